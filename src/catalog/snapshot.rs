//! What lived at one revision: immutable, shared by all who read it.

use std::cmp::Ordering;

use crate::types::{Filter, Instance, LeaseId, Revision};

/// What lived at one revision, ordered by service, then id.
#[derive(Debug)]
pub struct Snapshot {
    revision: Revision,
    instances: Vec<Instance>,
}

/// An instance that a snapshot had and a later one has not.
pub type Removal = Instance;

impl Snapshot {
    pub(super) fn new(revision: Revision, instances: Vec<Instance>) -> Self {
        Self { revision, instances }
    }

    /// The revision at which these lived.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All of them; filter by labels while reading.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// About how many bytes it holds by itself, were every instance gone elsewhere.
    pub fn bytes(&self) -> usize {
        self.instances.iter().map(Instance::event_bytes).sum()
    }

    /// What a reader of this one must be told to know `later`: what is new or changed,
    /// and what is gone, as far as its filter matches.
    pub fn difference(&self, later: &Self, filter: &Filter) -> (Vec<Instance>, Vec<Removal>) {
        let wanted = |instance: &&Instance| filter.matches(instance.content());
        let mut old = self.instances.iter().filter(wanted).peekable();
        let mut new = later.instances.iter().filter(wanted).peekable();
        let (mut put, mut removed) = (Vec::new(), Vec::new());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return (put, removed),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => key(old).cmp(&key(new)),
            };
            match order {
                Ordering::Less => removed.extend(old.next().cloned()),
                Ordering::Greater => put.extend(new.next().cloned()),
                Ordering::Equal => {
                    let changed = old.next().map(|i| i.revision) != new.peek().map(|i| i.revision);
                    let current = new.next();
                    if changed {
                        put.extend(current.cloned());
                    }
                }
            }
        }
    }
}

fn key(instance: &Instance) -> (&str, LeaseId) {
    (instance.service.as_str(), instance.id)
}
