//! Refusals in the log, as far as somebody could read them: of a second that brings many, the
//! first have lines, and the rest is counted. A line takes longer to write than most refusals take
//! to make, and whoever is refused must not have us write for everybody else. The audit file has
//! them all.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing::{Metadata, subscriber::Interest};
use tracing_subscriber::{
    filter::{LevelFilter, dynamic_filter_fn},
    layer::Filter,
};

use crate::call::AUDITED;

/// So many refusals of a second have lines of their own.
const LINES: u64 = 1_000;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The second that lines are counted in, in the upper half, and how many there were.
static TOLD: AtomicU64 = AtomicU64::new(0);
static UNTOLD: AtomicU64 = AtomicU64::new(0);

/// Lets refusals through as far as they are written, and everything else.
pub(super) fn told<S>() -> impl Filter<S> {
    // Without these two, each of the many events and spans of libraries would be asked about anew.
    let once = |of: &'static Metadata<'static>| {
        if of.target() == AUDITED { Interest::sometimes() } else { Interest::always() }
    };
    dynamic_filter_fn(|of, _| is_told(of)).with_callsite_filter(once).with_max_level_hint(LevelFilter::TRACE)
}

/// Whether an event is written to the log.
fn is_told(of: &Metadata<'_>) -> bool {
    if of.target() != AUDITED || admit(BEGAN.elapsed().as_secs()) {
        return true;
    }
    UNTOLD.fetch_add(1, Ordering::Relaxed);
    false
}

/// How many refusals were not written since it was asked last.
pub fn untold() -> u64 {
    UNTOLD.swap(0, Ordering::Relaxed)
}

fn admit(second: u64) -> bool {
    let one_more = |told: u64| {
        let (of, lines) = (told >> 32, told & u64::from(u32::MAX));
        match (of == second, lines) {
            (false, _) => Some(second << 32 | 1),
            (true, lines) if lines < LINES => Some(told + 1),
            _ => None,
        }
    };
    TOLD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_lines() {
        let told = |second| (0..3 * LINES).filter(|_| admit(second)).count() as u64;
        assert_eq!([told(7), told(7), told(8), told(20)], [LINES, 0, LINES, LINES]);
    }
}
