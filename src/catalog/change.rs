//! Changes, as engines commit them and as readers see them through their filter.

use crate::types::{Filter, Instance, LeaseTimes, Revision};

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is there from now on.
    Registered,
    /// It changed.
    Updated,
    /// Its stream dropped and its grace runs.
    Suspect,
    /// It is gone on purpose.
    Deregistered,
    /// It is gone because its lease ended.
    Expired,
}

/// Why it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A new registration.
    New,
    /// It was registered again with other content.
    Content,
    /// A lapsed lease came back.
    Revived,
    /// A suspect instance was renewed.
    Recovered,
    /// A newer registration of the same client-sent id took its place.
    Replaced,
    /// The client's call.
    Client,
    /// No renewal within the TTL.
    TtlLapsed,
    /// Its stream dropped.
    StreamDropped,
    /// It began to match the reader's filter.
    EnteredFilter,
    /// It ceased to match the reader's filter.
    LeftFilter,
}

impl Kind {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Updated => "updated",
            Self::Suspect => "suspect",
            Self::Deregistered => "deregistered",
            Self::Expired => "expired",
        }
    }
}

impl Reason {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Content => "content",
            Self::Revived => "revived",
            Self::Recovered => "recovered",
            Self::Replaced => "replaced",
            Self::Client => "client",
            Self::TtlLapsed => "ttl_lapsed",
            Self::StreamDropped => "stream_dropped",
            Self::EnteredFilter => "entered_filter",
            Self::LeftFilter => "left_filter",
        }
    }
}

/// One change of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What.
    pub kind: Kind,
    /// Why.
    pub reason: Reason,
    /// How it was; none if it was not there.
    pub before: Option<Instance>,
    /// How it is; none if it is gone.
    pub after: Option<Instance>,
    /// Its lease's times at that point.
    pub times: LeaseTimes,
    /// Whether the brake had held this expiry back.
    pub braked: bool,
}

/// The changes of one revision: seen together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Their revision.
    pub revision: Revision,
    /// At least one.
    pub changes: Vec<Change>,
}

/// A change as a reader with a filter sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Why.
    pub reason: Reason,
    /// How it is, or was last.
    pub instance: Instance,
    /// Its lease's times at that point.
    pub times: LeaseTimes,
    /// Whether the brake had held this expiry back.
    pub braked: bool,
}

impl Change {
    /// The instance it is about, as it is or was last.
    pub fn instance(&self) -> Option<&Instance> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// How a reader sees it: not at all, as it is, or as entering or leaving the filter.
    pub fn seen_through(&self, filter: &Filter) -> Option<Event> {
        let matches = |instance: &&Instance| filter.matches(instance.content());
        let before = self.before.as_ref().filter(matches);
        let after = self.after.as_ref().filter(matches);
        let (kind, reason, instance) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) if self.before.is_some() => (Kind::Registered, Reason::EnteredFilter, after),
            (_, Some(after)) => (self.kind, self.reason, after),
            (Some(before), None) => match &self.after {
                Some(after) => (Kind::Deregistered, Reason::LeftFilter, after),
                None => (self.kind, self.reason, before),
            },
        };
        let instance = instance.clone();
        Some(Event { kind, reason, instance, times: self.times, braked: self.braked })
    }

    /// An upper bound of its bytes on the wire.
    pub fn bytes(&self) -> usize {
        self.instance().map_or(0, Instance::event_bytes)
    }
}

impl Commit {
    /// About what it takes in memory, were its instances held by nothing else. What an instance
    /// was before its change came with an earlier one.
    pub fn memory(&self) -> usize {
        let instances = self.changes.iter().filter_map(Change::instance).map(Instance::memory);
        size_of::<Self>() + self.changes.capacity() * size_of::<Change>() + instances.sum::<usize>()
    }

    /// An upper bound of its bytes on the wire.
    pub fn bytes(&self) -> usize {
        self.changes.iter().map(Change::bytes).sum()
    }
}
