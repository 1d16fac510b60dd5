//! The engine's clock. It runs on while the machine sleeps, so that a suspend looks
//! like any other stall, and it never goes back.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::types::{Moment, WallTime};

/// What moment it is when a clock starts, in microseconds (9 years): what happened before, in
/// an earlier process, has a moment too.
const ORIGIN: u64 = 1 << 48;
/// How far people's time may drift from ours before it is taken anew.
const DRIFT_MICROS: u64 = 50_000;

/// Moments, and what people call them.
#[derive(Debug)]
pub struct Clock {
    start: u64,
    /// What people call moment 0, in microseconds since 1970. One value for all
    /// conversions, so that equal moments are equal times.
    anchor: AtomicU64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let clock = Self { start: monotonic_micros(), anchor: AtomicU64::new(0) };
        clock.anchor.store(wall_micros().saturating_sub(clock.now().0), Ordering::Relaxed);
        clock
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment(ORIGIN + monotonic_micros().saturating_sub(self.start))
    }

    /// What people call a moment.
    pub fn wall(&self, moment: Moment) -> WallTime {
        self.anchor().of(moment)
    }

    /// What people call moment 0.
    pub fn anchor(&self) -> WallTime {
        WallTime(self.anchor.load(Ordering::Relaxed))
    }

    /// Follows the machine's time where it was set or has drifted.
    pub fn follow(&self) {
        let anchor = wall_micros().saturating_sub(self.now().0);
        if anchor.abs_diff(self.anchor.load(Ordering::Relaxed)) > DRIFT_MICROS {
            self.anchor.store(anchor, Ordering::Relaxed);
        }
    }
}

fn wall_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
fn monotonic_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Time since boot is never negative.
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

#[cfg(not(target_os = "linux"))]
fn monotonic_micros() -> u64 {
    use std::{sync::OnceLock, time::Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX)
}
