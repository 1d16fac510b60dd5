//! What is known of changes that have left the history: enough to tell a reader whether
//! it may have missed one that matters to it, so that churn of other services costs a
//! quiet service's reader nothing.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::types::{Digest, Filter, Revision, ServiceName};

use super::Commit;

/// How many services and labels are remembered, at 16 bytes each; beyond, the older half is
/// forgotten and counts against every reader.
const REMEMBERED: usize = 1_000_000;

/// The last revision that left the history of what a key stands for: a service, a label,
/// or both. The key 0 stands for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// What.
    pub key: u64,
    /// Its last revision.
    pub revision: Revision,
}

/// The last revision that left the history: by service, by label, and by both. Keys are
/// hashes: that two of them meet costs a reader a snapshot in 2^64 cases one.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    last: HashMap<u64, Revision, RandomState>,
    /// Up to here, any change may have touched anything.
    floor: Revision,
}

impl Evicted {
    pub(super) fn note(&mut self, commit: &Commit) {
        for change in &commit.changes {
            for instance in [&change.before, &change.after].into_iter().flatten() {
                let service = &instance.service;
                self.last.insert(key(Some(service), None), commit.revision);
                for label in instance.content().labels() {
                    self.last.insert(key(None, Some(label)), commit.revision);
                    self.last.insert(key(Some(service), Some(label)), commit.revision);
                }
            }
        }
        if self.last.len() > REMEMBERED {
            self.forget_half();
        }
    }

    /// Whether a change after `revision` that could match has left the history. Labels are
    /// remembered one by one: of two that never stood together it may say yes.
    pub(super) fn may_concern(&self, filter: &Filter, revision: Revision) -> bool {
        if self.floor > revision {
            return true;
        }
        let gone = |service, label| self.last.get(&key(service, label)).is_some_and(|at| *at > revision);
        let labels = || filter.labels().iter().map(|(key, value)| (key.as_str(), value.as_str()));
        match filter.services() {
            [] => labels().all(|label| gone(None, Some(label))),
            services => services.iter().any(|service| {
                gone(Some(service), None) && labels().all(|label| gone(Some(service), Some(label)))
            }),
        }
    }

    /// All that is known, for [`Evicted::restored`].
    pub(super) fn all(&self) -> Vec<Eviction> {
        let anything = Eviction { key: ANYTHING, revision: self.floor };
        let known = self.last.iter().map(|(key, revision)| Eviction { key: *key, revision: *revision });
        std::iter::once(anything).chain(known).collect()
    }

    pub(super) fn restored(evictions: &[Eviction]) -> Self {
        let mut evicted = Self::default();
        for Eviction { key, revision } in evictions {
            if *key == ANYTHING {
                evicted.floor = *revision;
            } else {
                evicted.last.insert(*key, *revision);
            }
        }
        evicted
    }

    fn forget_half(&mut self) {
        let mut revisions: Vec<Revision> = self.last.values().copied().collect();
        let middle = revisions.len() / 2;
        let (_, median, _) = revisions.select_nth_unstable(middle);
        let floor = *median;
        self.last.retain(|_, at| *at > floor);
        self.floor = floor;
    }
}

/// The key of what may be anything. No text has it: FNV-1a of something is never 0 but in
/// one case of 2^64.
const ANYTHING: u64 = 0;

fn key(service: Option<&ServiceName>, label: Option<(&str, &str)>) -> u64 {
    let mut digest = Digest::default();
    // No service has the empty name, and a label is two texts.
    digest.text(service.map_or("", ServiceName::as_str));
    if let Some((key, value)) = label {
        digest.text(key);
        digest.text(value);
    }
    digest.value()
}
