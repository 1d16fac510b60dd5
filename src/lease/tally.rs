//! What is counted of leases: plain numbers, behind whatever lock the table is behind.

use super::slot::State;

/// What has become of all leases so far, and how many stand how.
#[derive(Clone, Debug)]
pub struct Tally {
    /// How many stand how.
    pub standing: Counts,
    /// Leases that were renewed while they lived.
    pub renewals: Renewals,
    /// How much of its time a live lease had left when it was renewed; for a beat, how much
    /// the stream's leases had left at least.
    pub margin: Histogram,
    /// Expiries that the brake has put off.
    pub held_back: u64,
}

/// How many leases stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They live.
    pub live: usize,
    /// Their streams dropped and their grace runs.
    pub suspect: usize,
    /// They lapsed, and can be restored.
    pub lapsed: usize,
}

/// Renewed leases, by what renewed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewals {
    /// A call of its own.
    pub ping: u64,
    /// A message of its stream that renews everything attached.
    pub beat: u64,
    /// A message of a stream that names it.
    pub attach: u64,
}

/// How many buckets a histogram has, the one without a bound not counted.
const BUCKETS: usize = 12;

/// Durations, counted by their size.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// The buckets' upper bounds in microseconds, inclusive.
    bounds: &'static [u64; BUCKETS],
    counts: [u64; BUCKETS],
    above: u64,
    sum_micros: u64,
}

/// From a tenth of a second, which a lost packet costs, to an hour.
static MARGINS: [u64; BUCKETS] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
];

impl Default for Tally {
    fn default() -> Self {
        Self {
            standing: Counts::default(),
            renewals: Renewals::default(),
            margin: Histogram::new(&MARGINS),
            held_back: 0,
        }
    }
}

impl Counts {
    /// Counts a lease that stood one way, and stands another way now.
    pub(super) fn moved(&mut self, from: State, to: State) {
        if let Some(count) = self.of(from) {
            *count -= 1;
        }
        if let Some(count) = self.of(to) {
            *count += 1;
        }
    }

    fn of(&mut self, state: State) -> Option<&mut usize> {
        match state {
            State::Live => Some(&mut self.live),
            State::Suspect { .. } => Some(&mut self.suspect),
            State::Lapsed { .. } => Some(&mut self.lapsed),
            State::Free | State::Dead { .. } => None,
        }
    }
}

impl Histogram {
    /// An empty one with these upper bounds, in microseconds, that rise.
    pub const fn new(bounds: &'static [u64; BUCKETS]) -> Self {
        Self { bounds, counts: [0; BUCKETS], above: 0, sum_micros: 0 }
    }

    /// Counts a duration.
    pub fn observe(&mut self, micros: u64) {
        match self.counts.get_mut(self.bounds.partition_point(|bound| *bound < micros)) {
            Some(count) => *count += 1,
            None => self.above += 1,
        }
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// The sum of all in seconds, and how many there are in each bucket up to its bound in
    /// seconds; the last one has none.
    pub fn seconds(&self) -> (f64, Vec<(f64, u64)>) {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let bounds = self.bounds.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let counts = self.counts.iter().copied().chain([self.above]);
        (seconds(self.sum_micros), bounds.zip(counts).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_where_its_bound_is_the_next_one() {
        let mut margins = Histogram::new(&MARGINS);
        for micros in [0, 100_000, 100_001, 3_600_000_000, 3_600_000_001] {
            margins.observe(micros);
        }
        let (sum, buckets) = margins.seconds();
        assert!((sum - 7_200.200_002).abs() < 1e-6, "{sum}");
        let some: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(some, [(0.1, 2), (0.25, 1), (3600.0, 1), (f64::INFINITY, 1)]);
    }
}
