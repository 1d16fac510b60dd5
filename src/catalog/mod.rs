//! The read model that every engine feeds and every reader reads: what lives, by id and
//! by service, and the recent history. No I/O, no clock, no randomness, no async, no
//! logging. Start with [`Catalog`] and [`Change`].
//!
//! Readers of the history have no queue here. Each holds a [`Cursor`], and asks for what
//! came after it; a cursor whose next matching change has left the history is told so.

mod change;
mod evicted;
mod history;
mod snapshot;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use crate::types::{Epoch, Filter, Instance, LeaseId, Revision, ServiceName};

pub use change::{Change, Commit, Event, Kind, Reason};
pub use evicted::Eviction;
pub use history::{Cursor, Delta, Since};
pub use snapshot::{Removal, Snapshot};

use history::History;

type ByService = BTreeMap<ServiceName, BTreeMap<LeaseId, Arc<Instance>>>;

/// What lives, and how it came so.
#[derive(Debug)]
pub struct Catalog {
    epoch: Epoch,
    revision: Revision,
    by_id: HashMap<LeaseId, Arc<Instance>>,
    by_service: ByService,
    history: History,
}

/// Where a page of a list starts: after this service's instance.
pub type PageKey = (ServiceName, LeaseId);

impl Catalog {
    /// An empty catalog whose history takes at most so many bytes.
    pub fn new(epoch: Epoch, history_bytes: usize) -> Self {
        Self {
            epoch,
            revision: Revision(0),
            by_id: HashMap::new(),
            by_service: BTreeMap::new(),
            history: History::new(history_bytes),
        }
    }

    /// A catalog as it was at `revision`, with these instances, and the history that led
    /// there: commits without a gap, and what is known of those before them.
    pub fn restored(
        epoch: Epoch,
        revision: Revision,
        history_bytes: usize,
        instances: impl Iterator<Item = Arc<Instance>>,
        commits: Vec<Arc<Commit>>,
        evictions: &[Eviction],
    ) -> Self {
        let complete_after = commits.first().map_or(revision, |first| Revision(first.revision.0 - 1));
        let mut catalog = Self::new(epoch, history_bytes);
        catalog.revision = revision;
        catalog.history = History::restored(history_bytes, complete_after, evictions);
        for instance in instances {
            catalog.put(instance);
        }
        for commit in commits {
            catalog.history.push(commit);
        }
        catalog
    }

    /// Takes the next commit in. Commits come in the order of their revisions.
    pub fn publish(&mut self, commit: Arc<Commit>) {
        debug_assert!(commit.revision > self.revision, "revisions rise");
        for change in &commit.changes {
            match &change.after {
                Some(after) => self.put(Arc::clone(after)),
                None => {
                    if let Some(before) = &change.before {
                        self.take(before);
                    }
                }
            }
        }
        self.revision = commit.revision;
        self.history.push(commit);
    }

    /// The run of revisions this catalog counts in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The revision of the last commit.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// One instance.
    pub fn get(&self, id: LeaseId) -> Option<&Arc<Instance>> {
        self.by_id.get(&id)
    }

    /// The instance of a service that was registered last.
    pub fn newest(&self, service: &ServiceName) -> Option<&Arc<Instance>> {
        self.by_service.get(service)?.values().max_by_key(|instance| (instance.registered_at, instance.id))
    }

    /// How many match.
    pub fn count(&self, filter: &Filter) -> usize {
        if filter.labels().is_empty() {
            self.services(filter).map(BTreeMap::len).sum()
        } else {
            self.matching(filter).count()
        }
    }

    /// What matches, ordered by service, then id.
    pub fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.services(filter)
            .flat_map(BTreeMap::values)
            .filter(move |instance| filter.matches(&instance.content))
    }

    /// The same from after `key` on.
    pub fn matching_after<'a>(
        &'a self,
        filter: &'a Filter,
        key: &PageKey,
    ) -> impl Iterator<Item = &'a Arc<Instance>> {
        let (service, id) = key.clone();
        let rest = self.by_service.get(&service).map(|instances| {
            instances.range((Bound::Excluded(id), Bound::Unbounded)).map(|(_, instance)| instance)
        });
        let named = filter.services();
        let next = named.partition_point(|name| *name <= service);
        let named = named[next..].iter().filter_map(|name| self.by_service.get(name));
        let all = filter.services().is_empty().then(|| {
            let after = (Bound::Excluded(service), Bound::Unbounded);
            self.by_service.range::<ServiceName, _>(after).map(|(_, instances)| instances)
        });
        let later = named.chain(all.into_iter().flatten()).flat_map(BTreeMap::values);
        rest.into_iter().flatten().chain(later).filter(move |instance| filter.matches(&instance.content))
    }

    /// What a cursor has not seen, in order: whole revisions, until `max_bytes` are
    /// reached or enough of the history was looked at; ask again from its cursor then.
    pub fn since(&self, cursor: Cursor, filter: &Filter, max_bytes: usize) -> Since {
        self.history.since(cursor, self.revision, filter, max_bytes)
    }

    /// What lives now, of the filter's services whatever their labels: one for all
    /// readers of these services.
    pub fn snapshot(&self, services: &Filter) -> Snapshot {
        let instances = self.services(services).flat_map(BTreeMap::values).cloned().collect();
        Snapshot::new(self.revision, instances)
    }

    /// Whether every change after `revision` is still in the history.
    pub fn covers(&self, revision: Revision) -> bool {
        self.history.covers(revision)
    }

    /// How many bytes the history takes.
    pub fn history_bytes(&self) -> usize {
        self.history.bytes()
    }

    /// How many bytes of the history were evicted so far.
    pub fn evicted_bytes(&self) -> u64 {
        self.history.evicted_bytes()
    }

    /// The last commit that was evicted from the history, and what is known of all that were.
    pub fn evicted(&self) -> (Revision, Vec<Eviction>) {
        self.history.evicted()
    }

    fn services<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = &'a BTreeMap<LeaseId, Arc<Instance>>> {
        let named = filter.services().iter().filter_map(|service| self.by_service.get(service));
        let all = filter.services().is_empty().then(|| self.by_service.values());
        named.chain(all.into_iter().flatten())
    }

    fn put(&mut self, instance: Arc<Instance>) {
        let service = &instance.content.service;
        if !self.by_service.contains_key(service) {
            self.by_service.insert(service.clone(), BTreeMap::new());
        }
        if let Some(instances) = self.by_service.get_mut(service) {
            instances.insert(instance.id, Arc::clone(&instance));
        }
        self.by_id.insert(instance.id, instance);
    }

    fn take(&mut self, instance: &Instance) {
        self.by_id.remove(&instance.id);
        let service = &instance.content.service;
        if let Some(instances) = self.by_service.get_mut(service) {
            instances.remove(&instance.id);
            if instances.is_empty() {
                self.by_service.remove(service);
            }
        }
    }
}
