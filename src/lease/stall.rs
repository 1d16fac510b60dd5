//! Our own stalls. When this process was stopped, or its machine slept, renewals could
//! not be received: no live client may pay for that.
//!
//! Every tick promises the next one. One that comes more than 500 ms late was a stall,
//! whoever notices it first. Then deadlines shift by the gap, none falls before the
//! stall's end + 1 s, so that what waits in sockets is read first, and streams that end
//! within 10 s of it count as ended by the server.

use crate::types::Moment;

use super::{Leases, deferral::Deferral, slot::State};

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
        self.count += 1;
        self.end(now);
        Some(now.micros_since(last))
    }

    fn end(&mut self, now: Moment) {
        self.last_tick = Some(now);
        self.next_tick = now;
        self.guarded_until = now.plus_micros(STREAM_GUARD_MICROS);
        self.ended = now;
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
        self.shift(gap, now, None);
        Some(gap)
    }

    /// A tick that lets go of nothing, for what is due could not be told: renewals are taken,
    /// and this is no stall. Ends with [`Leases::release`].
    pub fn hold(&mut self, now: Moment, next_tick: Moment) {
        self.stalls.ticked(now, next_tick);
    }

    /// Ends a hold that began at `since`. Whatever was not renewed in it has the time that a
    /// stall would have given: who was suspect could not be brought back.
    pub fn release(&mut self, since: Moment, now: Moment) {
        self.stalls.end(now);
        self.shift(now.micros_since(since), now, Some(since));
    }

    /// Shifts deadlines: after a hold only of what was not renewed in it, but of that also where
    /// nothing of its TTL is left to shift, for holds end with the disk's trouble.
    fn shift(&mut self, gap: u64, now: Moment, held_since: Option<Moment>) {
        let floor = now.plus_micros(FLOOR_MICROS);
        for slot in 0..self.table.len() as u32 {
            let deadline = self.deadline(slot);
            let renewed = self.renewed(slot);
            if held_since.is_some_and(|since| renewed > since) {
                continue;
            }
            let lease = &mut self.table[slot as usize];
            let deferral = self.deferrals.of(slot, renewed);
            let budget = lease.ttl.micros().saturating_sub(deferral.shifted);
            if budget == 0 && held_since.is_none() {
                continue;
            }
            let moved = deadline.plus_micros(gap.min(budget)).max(floor);
            let shifted = deferral.shifted.saturating_add(moved.micros_since(deadline));
            // A renewal since had let go of the brake.
            let deferral = Deferral { to: moved, at: now, shifted, ..deferral };
            match lease.state() {
                State::Live => self.deferrals.set(slot, deferral),
                State::Suspect { .. } => {
                    lease.set_state(State::Suspect { until: moved });
                    self.deferrals.set(slot, deferral);
                }
                State::Free | State::Lapsed { .. } | State::Dead { .. } => {}
            }
        }
    }

    /// Tells that leases of an earlier process were taken up at `now`. The time between was a
    /// stall to their clients: what ends of their streams within 10 s was ended by it.
    pub fn resumed(&mut self, now: Moment) {
        self.stalls.guarded_until = now.plus_micros(STREAM_GUARD_MICROS);
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
