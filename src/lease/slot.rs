//! One lease in the table. There may be millions: 48 bytes each.

use crate::types::{LeaseId, Moment, Ttl};

use super::Terms;

/// A lease, and how it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    /// The last renewal of its own; see [`super::Leases::renewed`] for its stream's beats.
    pub(super) renewed: Moment,
    /// Of a live lease, where it is attached; of any other, until when it stands as it does.
    word: u64,
    grace: u64,
    pub(super) ttl: Ttl,
    kind: Kind,
}

const _: () = assert!(size_of::<Lease>() == 48, "memory a lease is promised");

/// Not attached: no stream has this number.
const DETACHED: u64 = u64::MAX;
/// No grace of its own.
const NO_GRACE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Free,
    Live,
    Suspect,
    Lapsed,
    Dead,
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Free,
    Live,
    Suspect { until: Moment },
    Lapsed { until: Moment },
    Dead { until: Moment },
}

/// Where a live lease stands in the members of its stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Attached {
    pub(super) stream: u32,
    pub(super) position: u32,
}

impl Lease {
    pub(super) fn new(id: LeaseId, terms: Terms, state: State, renewed: Moment) -> Self {
        let mut lease =
            Self { id, renewed, word: DETACHED, grace: NO_GRACE, ttl: terms.ttl, kind: Kind::Free };
        lease.set_grace(terms.grace_micros);
        lease.set_state(state);
        lease
    }

    pub(super) fn is_live(&self) -> bool {
        self.kind == Kind::Live
    }

    pub(super) fn state(&self) -> State {
        let until = Moment(self.word);
        match self.kind {
            Kind::Free => State::Free,
            Kind::Live => State::Live,
            Kind::Suspect => State::Suspect { until },
            Kind::Lapsed => State::Lapsed { until },
            Kind::Dead => State::Dead { until },
        }
    }

    /// Off any stream, for only live ones are attached.
    pub(super) fn set_state(&mut self, state: State) {
        (self.kind, self.word) = match state {
            State::Free => (Kind::Free, DETACHED),
            State::Live => (Kind::Live, DETACHED),
            State::Suspect { until } => (Kind::Suspect, until.0),
            State::Lapsed { until } => (Kind::Lapsed, until.0),
            State::Dead { until } => (Kind::Dead, until.0),
        };
    }

    pub(super) fn attached(&self) -> Option<Attached> {
        let attached = Attached { stream: (self.word >> 32) as u32, position: self.word as u32 };
        (self.is_live() && self.word != DETACHED).then_some(attached)
    }

    /// Of a live lease only.
    pub(super) fn attach(&mut self, Attached { stream, position }: Attached) {
        self.word = u64::from(stream) << 32 | u64::from(position);
    }

    /// Takes it off its stream, if it is on one; says where it stood.
    pub(super) fn detach(&mut self) -> Option<Attached> {
        let attached = self.attached()?;
        self.word = DETACHED;
        Some(attached)
    }

    /// How many microseconds it outlives the drop of its stream, if its terms say.
    pub(super) fn grace(&self) -> Option<u64> {
        (self.grace != NO_GRACE).then_some(self.grace)
    }

    pub(super) fn set_grace(&mut self, micros: Option<u64>) {
        // A grace until the end of time is one microsecond shorter.
        self.grace = micros.map_or(NO_GRACE, |micros| micros.min(NO_GRACE - 1));
    }
}
