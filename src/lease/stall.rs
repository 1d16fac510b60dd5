//! Our own stalls. When this process was stopped, or its machine slept, renewals could
//! not be received: no live client may pay for that.
//!
//! Every tick promises the next one. One that comes more than 500 ms late was a stall,
//! whoever notices it first. Then deadlines shift by the gap, none falls before the
//! stall's end + 1 s, so that what waits in sockets is read first, and streams that end
//! within 10 s of it count as ended by the server.

use crate::types::Moment;

use super::{Leases, table::State};

/// The longest that a tick may be late without being a stall.
const TOLERANCE_MICROS: u64 = 500_000;
/// No deadline falls earlier than this after a stall.
const FLOOR_MICROS: u64 = 1_000_000;
/// Streams that end this soon after a stall were ended by it.
const STREAM_GUARD_MICROS: u64 = 10_000_000;

/// What is known of ticks and stalls.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    last_tick: Option<Moment>,
    next_tick: Moment,
    guarded_until: Moment,
    ended: Moment,
    count: u64,
}

impl Stalls {
    /// Whether a stream that ended at `at` may have been ended by our stall.
    pub(super) fn guards(&self, at: Moment) -> bool {
        at < self.guarded_until
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Promises that the next tick comes by `next`.
    pub(super) fn ticked(&mut self, now: Moment, next: Moment) {
        self.last_tick = Some(now);
        self.next_tick = next;
    }

    /// The gap, in microseconds, if `now` ends a stall. It is reported once.
    fn notice(&mut self, now: Moment) -> Option<u64> {
        let last = self.last_tick?;
        if now.micros_since(self.next_tick) <= TOLERANCE_MICROS {
            return None;
        }
        self.last_tick = Some(now);
        self.next_tick = now;
        self.guarded_until = now.plus_micros(STREAM_GUARD_MICROS);
        self.ended = now;
        self.count += 1;
        Some(now.micros_since(last))
    }
}

impl Leases {
    /// Tells what time it is before anything is decided at that time. If a stall has just
    /// ended, deadlines shift; its length in microseconds comes back, once.
    ///
    /// Without a renewal, the shifts of one lease add up to one TTL at most, but that a
    /// stall which finds some of it left also keeps its floor: a machine that stalls for
    /// ever cannot keep a dead client's lease for ever.
    pub fn notice(&mut self, now: Moment) -> Option<u64> {
        let gap = self.stalls.notice(now)?;
        let floor = now.plus_micros(FLOOR_MICROS);
        for slot in 0..self.table.len() as u32 {
            let deadline = self.deadline(slot);
            let renewed = self.renewed(slot);
            let lease = &mut self.table[slot as usize];
            let spent = if lease.deferred_at > renewed { lease.shifted } else { 0 };
            let budget = lease.ttl.micros().saturating_sub(spent);
            if budget == 0 {
                continue;
            }
            let moved = deadline.plus_micros(gap.min(budget)).max(floor);
            let shifted = spent.saturating_add(moved.micros_since(deadline));
            match &mut lease.state {
                State::Live => {
                    // A renewal since had let go of the brake.
                    lease.braked &= lease.deferred_at > renewed;
                    lease.deferred_at = now;
                    lease.deferred_to = moved;
                    lease.shifted = shifted;
                }
                State::Suspect { until } => {
                    *until = moved;
                    lease.deferred_at = now;
                    lease.shifted = shifted;
                }
                State::Free | State::Lapsed { .. } | State::Dead { .. } => {}
            }
        }
        Some(gap)
    }

    /// When the last stall ended. What was received before it counts from there.
    pub fn stall_ended(&self) -> Moment {
        self.stalls.ended
    }

    /// How many stalls there were.
    pub fn stalls(&self) -> u64 {
        self.stalls.count()
    }
}
