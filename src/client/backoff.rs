//! How long to wait before the next try: full jitter, so that a thousand clients of one
//! restarted server do not come back in the same instant.

use std::time::Duration;

/// The first wait is at most this; each further one at most twice the last.
const BASE: Duration = Duration::from_millis(250);

/// The waits of one row of failures.
#[derive(Debug)]
pub struct Backoff {
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits that never pass `cap`.
    pub fn new(cap: Duration) -> Self {
        Self { cap, failures: 0 }
    }

    /// Waits that never pass `cap` from now on; the row of failures goes on.
    pub fn set_cap(&mut self, cap: Duration) {
        self.cap = cap;
    }

    /// After a success: the next wait is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: at least `floor`, which the server asked for, plus a random part.
    pub fn next(&mut self, floor: Duration) -> Duration {
        self.wait(floor, random_fraction())
    }

    /// The same, where `fraction`, from 0 up to 1, is the random part of it.
    pub fn wait(&mut self, floor: Duration, fraction: f64) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        floor.saturating_add(ceiling.mul_f64(fraction))
    }

    fn ceiling(&self) -> Duration {
        // 2^16 times the base is past every cap.
        BASE.saturating_mul(1 << self.failures.min(16)).min(self.cap)
    }
}

/// From 0 up to 1. Without a source of randomness all clients wait alike: the middle.
pub(super) fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let ceilings: Vec<u128> = (0..4)
            .map(|_| {
                let ceiling = backoff.ceiling();
                let wait = backoff.next(Duration::ZERO);
                assert!(wait <= ceiling, "{wait:?}");
                ceiling.as_millis()
            })
            .collect();
        assert_eq!(ceilings, [250, 500, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.ceiling(), BASE);
    }

    #[test]
    fn never_less_than_the_server_asked_for() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for _ in 0..100 {
            let wait = backoff.next(Duration::from_secs(3));
            assert!((3.0..=4.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }
}
