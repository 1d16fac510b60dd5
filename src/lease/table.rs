//! The lease table: one slot a lease, its state and its moments.

use crate::types::{LeaseId, LeaseTimes, Moment, Ttl};

use super::{
    brake::Brake,
    deferral::Deferrals,
    slot::{Attached, Lease, State},
    stall::Stalls,
    stream::{Loss, Stream},
    tally::Tally,
    wheel::Wheel,
};

/// All leases, live ones and ended ones that are still remembered.
#[derive(Debug)]
pub struct Leases {
    pub(super) table: Vec<Lease>,
    free: Vec<u32>,
    pub(super) streams: Vec<Stream>,
    pub(super) free_streams: Vec<u32>,
    /// Streams with losses that are not settled.
    pub(super) unsettled: Vec<u32>,
    wheel: Wheel,
    pub(super) stalls: Stalls,
    pub(super) brake: Brake,
    pub(super) deferrals: Deferrals,
    pub(super) tally: Tally,
    pub(super) frozen: bool,
    window: u64,
    pub(super) grace: u64,
}

/// What holds for every lease.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// For how many microseconds an ended lease is remembered, and a lapsed one can be
    /// restored.
    pub window_micros: u64,
    /// How many microseconds a lease outlives the drop of its stream if its terms do not say.
    pub grace_micros: u64,
    /// Whether expiries that come all at once are spread.
    pub brake: bool,
}

/// What was granted to one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its TTL.
    pub ttl: Ttl,
    /// How many microseconds it outlives the drop of its stream; none is the rules', or for
    /// a stream through a proxy its TTL.
    pub grace_micros: Option<u64>,
}

/// Names a lease to this table. It is good until [`Lapse`] says [`Cause::Forgotten`], or
/// [`Leases::forget`] was called; whoever holds it keeps track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub(super) u32);

impl Handle {
    /// A small number that no other lease has meanwhile: an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lives.
    Live,
    /// Its stream dropped and its grace runs.
    Suspect,
    /// It lapsed, and can be restored.
    Lapsed,
    /// It was ended on purpose, and cannot be restored.
    Dead,
}

/// How a lease of an earlier process stood, to be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It lived.
    Live,
    /// Its stream had dropped and its grace ran.
    Suspect,
    /// It had lapsed, and is remembered until then.
    Lapsed(Moment),
    /// It had been ended on purpose, and is remembered until then.
    Dead(Moment),
}

/// What became of a lease by time or by its stream's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// Which.
    pub handle: Handle,
    /// What.
    pub cause: Cause,
    /// Its times as they stood.
    pub times: LeaseTimes,
}

/// What can become of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its stream dropped and its grace began.
    Suspect,
    /// It expired: no renewal within its TTL.
    TtlLapsed {
        /// Whether the brake had held it back.
        braked: bool,
    },
    /// It expired: its stream dropped, and its grace is over.
    StreamDropped,
    /// Its time to be remembered is over; its handle is void.
    Forgotten {
        /// Whether it could be restored until now.
        lapsed: bool,
    },
}

impl Leases {
    /// An empty table.
    pub fn new(rules: Rules) -> Self {
        Self {
            table: Vec::new(),
            free: Vec::new(),
            streams: Vec::new(),
            free_streams: Vec::new(),
            unsettled: Vec::new(),
            wheel: Wheel::new(),
            stalls: Stalls::default(),
            brake: Brake::new(rules.brake),
            deferrals: Deferrals::default(),
            tally: Tally::default(),
            frozen: false,
            window: rules.window_micros,
            grace: rules.grace_micros,
        }
    }

    /// A new lease, renewed at `at`.
    pub fn insert(&mut self, id: LeaseId, terms: Terms, at: Moment) -> Handle {
        self.resume(id, terms, Past::Live, at)
    }

    /// Takes up a lease of an earlier process at `at`: what lived has a full TTL from then, and
    /// so has what was suspect, or its grace if that is longer, for nobody could come back
    /// while there was no server.
    pub fn resume(&mut self, id: LeaseId, terms: Terms, past: Past, at: Moment) -> Handle {
        let grace = terms.grace_micros.unwrap_or(self.grace);
        let state = match past {
            Past::Live => State::Live,
            Past::Suspect => State::Suspect { until: at.plus_micros(grace.max(terms.ttl.micros())) },
            Past::Lapsed(until) => State::Lapsed { until },
            Past::Dead(until) => State::Dead { until },
        };
        let lease = Lease::new(id, terms, state, at);
        let slot = if let Some(slot) = self.free.pop() {
            self.table[slot as usize] = lease;
            slot
        } else {
            self.table.push(lease);
            self.table.len() as u32 - 1
        };
        self.deferrals.clear(slot);
        self.tally.standing.moved(State::Free, state);
        self.arm(slot, self.deadline(slot));
        Handle(slot)
    }

    /// Grants anew: the lease lives, with these terms, from `at` on, off any stream. A
    /// shorter TTL takes effect at once. A dead lease stays dead.
    pub fn regrant(&mut self, handle: Handle, terms: Terms, at: Moment) {
        let slot = handle.0;
        if self.standing(handle) == Standing::Dead {
            return;
        }
        self.leave_stream(slot, Some(Loss::Moved));
        self.come_alive(slot, at);
        let lease = &mut self.table[slot as usize];
        lease.ttl = terms.ttl;
        lease.set_grace(terms.grace_micros);
        // A renewal received after `at` may have been first in the table: it counts too.
        lease.renewed = lease.renewed.max(at);
        self.deferrals.clear(slot);
        self.arm_earlier(slot);
    }

    /// Renews a live lease and says so; anything else is left as it stands.
    pub fn renew(&mut self, handle: Handle, at: Moment) -> Standing {
        let standing = self.standing(handle);
        if standing == Standing::Live {
            self.tally.renewals.ping += 1;
            self.count_margin(handle.0, at);
            self.renew_live(handle.0, at);
        }
        standing
    }

    /// Brings a suspect or lapsed lease back, renewed at `at`; a live one is renewed, a
    /// dead one stays dead.
    pub fn restore(&mut self, handle: Handle, at: Moment) {
        if self.standing(handle) != Standing::Dead {
            self.come_alive(handle.0, at);
            self.renew_live(handle.0, at);
        }
    }

    /// Ends a lease on purpose: it is remembered as dead for the window.
    pub fn end(&mut self, handle: Handle, now: Moment) {
        self.leave_stream(handle.0, Some(Loss::Ended));
        let until = now.plus_micros(self.window);
        self.set_state(handle.0, State::Dead { until });
        self.arm(handle.0, until);
    }

    /// Forgets a lease at once; its handle is void.
    pub fn forget(&mut self, handle: Handle) {
        self.leave_stream(handle.0, Some(Loss::Ended));
        self.wheel.disarm(handle.0);
        self.set_state(handle.0, State::Free);
        self.free.push(handle.0);
    }

    /// Lets go of what is due at `now` and promises the next tick by `next_tick`. A stall
    /// must have been noticed before: see [`Leases::notice`].
    pub fn tick(&mut self, now: Moment, next_tick: Moment) -> Vec<Lapse> {
        self.stalls.ticked(now, next_tick);
        let mut by_ttl = Vec::new();
        let mut lapses = Vec::new();
        for slot in self.wheel.advance(now.0 / 1000) {
            let due_at = self.deadline(slot);
            if due_at > now {
                self.arm(slot, due_at);
                continue;
            }
            match self.table[slot as usize].state() {
                State::Live | State::Suspect { .. } if self.frozen => {
                    self.arm(slot, now.plus_micros(1_000_000));
                }
                State::Live => by_ttl.push(slot),
                State::Suspect { .. } => lapses.push(self.lapse(slot, now, Cause::StreamDropped)),
                state @ (State::Lapsed { .. } | State::Dead { .. }) => {
                    let cause = Cause::Forgotten { lapsed: matches!(state, State::Lapsed { .. }) };
                    let lapse = Lapse { handle: Handle(slot), cause, times: self.times(slot) };
                    self.forget(Handle(slot));
                    lapses.push(lapse);
                }
                State::Free => {}
            }
        }
        for slot in self.brake(by_ttl, now) {
            let braked = self.deferrals.of(slot, self.renewed(slot)).braked;
            let lapse = self.lapse(slot, now, Cause::TtlLapsed { braked });
            lapses.push(lapse);
        }
        if !self.frozen {
            self.deferrals.shrink(now);
        }
        lapses
    }

    /// When [`Leases::tick`] has something to look at next.
    pub fn next_wake(&self) -> Option<Moment> {
        self.wheel.next().map(|millis| Moment(millis.saturating_mul(1000)))
    }

    /// From now on nothing expires, whatever happens: the server is leaving.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// How a lease stands.
    pub fn standing(&self, handle: Handle) -> Standing {
        match self.table[handle.0 as usize].state() {
            State::Live => Standing::Live,
            State::Suspect { .. } => Standing::Suspect,
            State::Lapsed { .. } => Standing::Lapsed,
            State::Dead { .. } | State::Free => Standing::Dead,
        }
    }

    /// When a lease lapsed or was ended, if it was.
    pub fn ended(&self, handle: Handle) -> Option<Moment> {
        match self.table[handle.0 as usize].state() {
            State::Lapsed { until } | State::Dead { until } => {
                Some(Moment(until.0.saturating_sub(self.window)))
            }
            State::Free | State::Live | State::Suspect { .. } => None,
        }
    }

    /// For how many microseconds an ended lease is remembered.
    pub fn window_micros(&self) -> u64 {
        self.window
    }

    /// The lease's id.
    pub fn id(&self, handle: Handle) -> LeaseId {
        self.table[handle.0 as usize].id
    }

    /// What was granted to it.
    pub fn terms(&self, handle: Handle) -> Terms {
        let lease = &self.table[handle.0 as usize];
        Terms { ttl: lease.ttl, grace_micros: lease.grace() }
    }

    /// Its last renewal, and when it lapses, or lapsed.
    pub fn view(&self, handle: Handle) -> LeaseTimes {
        self.times(handle.0)
    }

    /// How many live, suspect ones not counted.
    pub fn live(&self) -> usize {
        self.tally.standing.live
    }

    /// What was counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes a lease that is due: from here on it has lapsed.
    pub(super) fn lapse(&mut self, slot: u32, now: Moment, cause: Cause) -> Lapse {
        let times = self.times(slot);
        self.leave_stream(slot, Some(Loss::Lapsed));
        let until = now.plus_micros(self.window);
        self.set_state(slot, State::Lapsed { until });
        self.arm(slot, until);
        Lapse { handle: Handle(slot), cause, times }
    }

    /// Has a lease stand another way, off any stream.
    pub(super) fn set_state(&mut self, slot: u32, state: State) {
        let lease = &mut self.table[slot as usize];
        self.tally.standing.moved(lease.state(), state);
        lease.set_state(state);
    }

    /// Counts how much of its time a live lease has left that is renewed at `at`; not if that
    /// was done at the same time already, which tells nothing.
    pub(super) fn count_margin(&mut self, slot: u32, at: Moment) {
        let renewed = self.renewed(slot);
        if renewed < at {
            let due = renewed.plus_micros(self.table[slot as usize].ttl.micros());
            self.tally.margin.observe(due.micros_since(at));
        }
    }

    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.table[slot as usize].is_live()
    }

    pub(super) fn renew_live(&mut self, slot: u32, at: Moment) {
        let lease = &mut self.table[slot as usize];
        lease.renewed = lease.renewed.max(at);
    }

    /// The last renewal, its stream's beats included.
    pub(super) fn renewed(&self, slot: u32) -> Moment {
        let lease = &self.table[slot as usize];
        match lease.attached() {
            Some(Attached { stream, .. }) => lease.renewed.max(self.streams[stream as usize].beat),
            None => lease.renewed,
        }
    }

    /// When the state it is in ends.
    pub(super) fn deadline(&self, slot: u32) -> Moment {
        let lease = &self.table[slot as usize];
        match lease.state() {
            State::Live => {
                let renewed = self.renewed(slot);
                let by_ttl = renewed.plus_micros(lease.ttl.micros());
                by_ttl.max(self.deferrals.of(slot, renewed).to)
            }
            State::Suspect { until } | State::Lapsed { until } | State::Dead { until } => until,
            State::Free => Moment(u64::MAX),
        }
    }

    pub(super) fn times(&self, slot: u32) -> LeaseTimes {
        LeaseTimes { renewed: self.renewed(slot), deadline: self.deadline(slot) }
    }

    /// Has the wheel look at a lease at `at`, rounded up to its milliseconds.
    pub(super) fn arm(&mut self, slot: u32, at: Moment) {
        self.wheel.arm(slot, at.0.div_ceil(1000));
    }

    fn arm_earlier(&mut self, slot: u32) {
        let at = self.deadline(slot).0.div_ceil(1000);
        if self.wheel.armed_at(slot).is_none_or(|armed| armed > at) {
            self.wheel.arm(slot, at);
        }
    }

    fn come_alive(&mut self, slot: u32, at: Moment) {
        if !self.is_live(slot) {
            self.set_state(slot, State::Live);
            self.table[slot as usize].renewed = at;
            self.deferrals.clear(slot);
            self.arm_earlier(slot);
        }
    }
}
