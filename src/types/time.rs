//! Two kinds of time: [`Moment`]s measure how long things take, [`WallTime`]s are for
//! people and messages. Neither reads a clock.

use std::time::Duration;

/// Microseconds on a clock that never goes back, from a start of the process's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// This many microseconds later; the end of time at most.
    #[must_use]
    pub fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This much later; the end of time at most.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        self.plus_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }

    /// Microseconds since `earlier`; 0 if it is not earlier.
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Microseconds since 1970-01-01T00:00:00Z. An anchor is what people call moment 0: with
/// it, moments and wall times become each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// What people call `moment`, if this is what they call moment 0.
    #[must_use]
    pub fn of(self, moment: Moment) -> Self {
        Self(self.0.saturating_add(moment.0))
    }

    /// The moment that people call this, if `anchor` is what they call moment 0; moment 0 if
    /// it was before that.
    pub fn moment(self, anchor: Self) -> Moment {
        Moment(self.0.saturating_sub(anchor.0))
    }
}
