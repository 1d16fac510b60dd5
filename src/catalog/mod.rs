//! The read model that every engine feeds and every reader reads: what lives, by id and
//! by service, and the recent history. No I/O, no clock, no randomness, no async, no
//! logging. Start with [`Catalog`] and [`Change`].
//!
//! Readers of the history have no queue here. Each holds a [`Cursor`], and asks for what
//! came after it; a cursor whose next matching change has left the history is told so.

mod change;
mod evicted;
mod history;
mod places;
mod shelf;
mod snapshot;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::types::{Epoch, Filter, Instance, LeaseId, Revision, ServiceName};

pub use change::{Change, Commit, Event, Kind, Reason};
pub use evicted::Eviction;
pub use history::{Cursor, Delta, Since, Unread};
pub use snapshot::{Removal, Snapshot};

pub(crate) use places::touched;

use history::History;
use shelf::Shelf;

/// What lives, and how it came so.
#[derive(Debug)]
pub struct Catalog {
    epoch: Epoch,
    revision: Revision,
    /// How many live.
    live: usize,
    shelves: HashMap<ServiceName, Shelf, RandomState>,
    /// The services, in order.
    services: BTreeSet<ServiceName>,
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
            live: 0,
            shelves: HashMap::default(),
            services: BTreeSet::new(),
            history: History::new(history_bytes),
        }
    }

    /// A catalog as it was at `revision`, with these instances, no two of one id, and the
    /// history that led there: commits without a gap, and what is known of those before them.
    pub fn restored(
        epoch: Epoch,
        revision: Revision,
        history_bytes: usize,
        instances: Vec<Instance>,
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
                Some(after) => self.put(after.clone()),
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
        self.live
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// One instance of a service. Which service an id is of, the engine knows: an index here
    /// would cost every lease twenty bytes for the sake of one call.
    pub fn get(&self, service: &ServiceName, id: LeaseId) -> Option<&Instance> {
        self.shelves.get(service)?.get(id)
    }

    /// The instance of a service that was registered last.
    pub fn newest(&self, service: &ServiceName) -> Option<&Instance> {
        self.shelves.get(service)?.iter().max_by_key(|instance| (instance.registered_at, instance.id))
    }

    /// How many match.
    pub fn count(&self, filter: &Filter) -> usize {
        if filter.labels().is_empty() {
            self.shelves(filter).map(Shelf::len).sum()
        } else {
            self.matching(filter).count()
        }
    }

    /// What matches, ordered by service, then id.
    pub fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Instance> {
        self.shelves(filter).flat_map(Shelf::iter).filter(move |instance| filter.matches(instance.content()))
    }

    /// The same from after `key` on.
    pub fn matching_after<'a>(
        &'a self,
        filter: &'a Filter,
        key: &'a PageKey,
    ) -> impl Iterator<Item = &'a Instance> {
        let (service, id) = key;
        let rest = self.shelves.get(service).map(|shelf| shelf.after(*id));
        let named = filter.services();
        let next = named.partition_point(|name| name <= service);
        let named = named[next..].iter();
        let all = filter.services().is_empty().then(|| {
            let after = (Bound::Excluded(service), Bound::Unbounded);
            self.services.range::<ServiceName, _>(after).filter(|name| filter.admits(name))
        });
        let later = named.chain(all.into_iter().flatten()).filter_map(|name| self.shelves.get(name));
        let all = rest.into_iter().flatten().chain(later.flat_map(Shelf::iter));
        all.filter(move |instance| filter.matches(instance.content()))
    }

    /// What a cursor has not seen, in order: whole revisions, until `max_bytes` are
    /// reached or enough of the history was looked at; ask again from its cursor then.
    pub fn since(&self, cursor: Cursor, filter: &Filter, max_bytes: usize) -> Since {
        self.history.since(cursor, self.revision, filter, max_bytes)
    }

    /// The same before the filter is applied, for who does that outside of the catalog's lock:
    /// the commits after a cursor, up to the one of `through` at most, that touch services of
    /// the filter; about `max_bytes` of memory, but one at least.
    pub fn unread(&self, cursor: Cursor, filter: &Filter, through: Revision, max_bytes: usize) -> Unread {
        self.history.unread(cursor, self.revision, filter, through, max_bytes)
    }

    /// Whether a reader with this filter can go on from a cursor: nothing that may match has
    /// left the history since.
    pub fn reaches(&self, cursor: Cursor, filter: &Filter) -> bool {
        self.history.reaches(cursor, self.revision, filter)
    }

    /// What lives now, of the filter's services whatever their labels: one for all
    /// readers of these services.
    pub fn snapshot(&self, services: &Filter) -> Snapshot {
        let mut instances = Vec::with_capacity(self.shelves(services).map(Shelf::len).sum());
        instances.extend(self.shelves(services).flat_map(Shelf::iter).cloned());
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

    /// How many bytes the history may take.
    pub fn history_limit(&self) -> usize {
        self.history.capacity()
    }

    /// How many bytes of the history were evicted so far.
    pub fn evicted_bytes(&self) -> u64 {
        self.history.evicted_bytes()
    }

    /// The last commit that was evicted from the history, and what is known of all that were.
    pub fn evicted(&self) -> (Revision, Vec<Eviction>) {
        self.history.evicted()
    }

    fn shelves<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Shelf> {
        let all = filter.services().is_empty().then_some(&self.services);
        let names = filter.services().iter().chain(all.into_iter().flatten());
        names.filter(|name| filter.admits(name)).filter_map(|name| self.shelves.get(name))
    }

    fn put(&mut self, instance: Instance) {
        let service = &instance.service;
        let known = if let Some(shelf) = self.shelves.get_mut(service) {
            shelf.put(instance)
        } else {
            self.services.insert(service.clone());
            self.shelves.entry(service.clone()).or_default().put(instance)
        };
        self.live += usize::from(known.is_none());
    }

    fn take(&mut self, instance: &Instance) {
        let Some(instances) = self.shelves.get_mut(&instance.service) else { return };
        self.live -= usize::from(instances.take(instance.id).is_some());
        if instances.is_empty() {
            self.shelves.remove(&instance.service);
            self.services.remove(&instance.service);
        }
    }
}
