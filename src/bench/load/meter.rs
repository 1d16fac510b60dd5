//! What is counted while a load runs.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use anyhow::bail;
use hdrhistogram::Histogram;

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmingUp,
    Measuring,
    Over,
}

/// Three digits are kept of each latency, and any is: the range grows.
const DIGITS: u8 = 3;

impl Default for Meter {
    fn default() -> Self {
        // Fails for more than five digits.
        let latency = Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits"));
        Self {
            phase: Cell::new(Phase::WarmingUp),
            operations: Cell::new(0),
            latency: RefCell::new(latency),
            begun: Cell::default(),
            ended: Cell::default(),
        }
    }
}

impl Meter {
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

    /// An exchange worth `operations` was begun, or should have been, at `since`, and is done `now`.
    pub fn done(&self, operations: u64, since: Instant, now: Instant) {
        if self.phase.get() == Phase::Measuring {
            self.operations.set(self.operations.get() + operations);
            let nanos = u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX);
            self.latency.borrow_mut().saturating_record(nanos.max(1));
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
