//! What is counted while a load runs.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use anyhow::bail;
use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::bench::{
    Result, Sample,
    process::{Server, Usage},
};

/// Counts operations between [`begin`](Meter::begin) and [`end`](Meter::end). Shared by the
/// clients of one thread.
#[derive(Debug)]
pub struct Meter {
    phase: Cell<Phase>,
    operations: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    begun: Cell<(Option<Instant>, Usage)>,
    ended: Cell<(Option<Instant>, Usage)>,
    unready: Cell<usize>,
    ready: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmingUp,
    Measuring,
    Over,
}

/// Three digits are kept of each latency, up to an hour.
const DIGITS: u8 = 3;
const LONGEST: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST, DIGITS)
        .unwrap_or_else(|_| unreachable!("refused above five digits only"))
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            phase: Cell::new(Phase::WarmingUp),
            operations: Cell::new(0),
            latency: RefCell::new(histogram()),
            begun: Cell::default(),
            ended: Cell::default(),
            unready: Cell::new(0),
            ready: Notify::new(),
        }
    }
}

impl Meter {
    /// A meter that does not begin before so many clients are [`ready`](Self::ready).
    pub fn awaiting(clients: usize) -> Self {
        Self { unready: Cell::new(clients), ..Self::default() }
    }

    /// One client more has prepared what it needs.
    pub fn ready(&self) {
        self.unready.set(self.unready.get().saturating_sub(1));
        self.ready.notify_one();
    }

    /// Waits for those who are not.
    pub async fn all_ready(&self) {
        while self.unready.get() > 0 {
            self.ready.notified().await;
        }
    }

    /// From now on operations count.
    pub fn begin(&self, server: &Server) {
        self.phase.set(Phase::Measuring);
        self.begun.set((Some(Instant::now()), server.usage()));
    }

    /// No more of them.
    pub fn end(&self, server: &Server) {
        self.ended.set((Some(Instant::now()), server.usage()));
        self.phase.set(Phase::Over);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// An exchange worth `operations` was begun, or should have been, at `since`, and is done `now`.
    pub fn done(&self, operations: u64, since: Instant, now: Instant) {
        if self.phase.get() == Phase::Measuring {
            self.operations.set(self.operations.get() + operations);
            let nanos = u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX);
            // Never fails: the histogram grows. (`saturating_record` would not let it.)
            let _ = self.latency.borrow_mut().record(nanos.max(1));
        }
    }

    /// What was measured.
    pub fn sample(&self) -> Result<Sample> {
        let ((Some(begun), before), (Some(ended), after)) = (self.begun.get(), self.ended.get()) else {
            bail!("the load ended before it was measured");
        };
        if self.operations.get() == 0 {
            bail!("not one operation was done in {:.1} s", (ended - begun).as_secs_f64());
        }
        Ok(Sample {
            operations: self.operations.get(),
            wall: ended - begun,
            cpu: cpu_between(before, after),
            rss: after.rss,
            latency: Some(self.latency.borrow().clone()),
            ..Sample::default()
        })
    }
}

/// The CPU time between two looks at a process.
fn cpu_between(before: Usage, after: Usage) -> Option<Duration> {
    Some(after.cpu?.saturating_sub(before.cpu?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_measured_counts() {
        let meter = Meter::default();
        let server =
            Server::start_at(std::process::Command::new("true"), ([127, 0, 0, 1], 1).into(), None).unwrap();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        meter.done(1, start, after(7));
        assert!(meter.sample().is_err());
        meter.begin(&server);
        meter.done(64, start, after(5));
        meter.done(64, start, after(40));
        meter.done(64, start, after(40));
        meter.end(&server);
        meter.done(1, start, after(7));
        let sample = meter.sample().unwrap();
        assert_eq!(sample.operations, 192);
        let latency = sample.latency.unwrap();
        assert_eq!(latency.len(), 3);
        let median = latency.value_at_quantile(0.5);
        assert!(latency.equivalent(median, 40_000_000), "{median}");
        assert!(latency.equivalent(latency.min(), 5_000_000));
    }
}
