//! The catalog, shared: one writer, any number of readers; those who wait for changes are
//! woken for what concerns them, or by a bell for everything.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    task::Waker,
};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::{
    catalog::{Catalog, Commit, Snapshot},
    types::{Filter, Globs, Revision, ServiceName},
};

use super::{audience::Audiences, reader::Reader};

/// How many bytes snapshots that are still being read may hold in all, beside what the
/// catalog and the history hold. Beyond, new readers are asked to come again.
const SNAPSHOT_BYTES: usize = 1 << 30;
/// About so many changes become known at once.
const PORTION: usize = 2048;

/// What readers read.
#[derive(Debug)]
pub struct View {
    catalog: RwLock<Catalog>,
    audiences: Arc<Mutex<Audiences>>,
    head: watch::Sender<Revision>,
    snapshots: Mutex<HashMap<Services, Vec<Held>>>,
}

/// Which services a snapshot is of: those named, and the bounds of what may be seen.
type Services = (Box<[ServiceName]>, Option<Arc<Globs>>);

#[derive(Debug)]
struct Held {
    snapshot: Weak<Snapshot>,
    revision: Revision,
    pointers: usize,
    bytes: usize,
}

impl Held {
    /// What it holds by itself. As long as the history goes on from it, its instances are
    /// held by the catalog and the history anyway.
    fn charge(&self, catalog: &Catalog) -> usize {
        if catalog.covers(self.revision) { self.pointers } else { self.bytes }
    }
}

/// Slow readers hold as much as this server gives to snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many slow readers hold snapshots of other revisions; try again in a second")]
pub struct SnapshotError;

impl View {
    /// A view of this catalog.
    pub fn new(catalog: Catalog) -> Self {
        let (head, _) = watch::channel(catalog.revision());
        Self { catalog: RwLock::new(catalog), audiences: Arc::default(), head, snapshots: Mutex::default() }
    }

    /// The catalog; hold it for as short as can be, and never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read()
    }

    /// Takes commits in, in order; wakes the readers whom they concern, and rings the bell.
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        // In portions, so that readers tell of the first ones of a burst while the last ones
        // come in.
        let mut rest = commits;
        while !rest.is_empty() {
            let mut changes = 0;
            let end = rest.iter().position(|commit| {
                changes += commit.changes.len();
                changes >= PORTION
            });
            let (portion, after) = rest.split_at(end.map_or(rest.len(), |last| last + 1));
            self.publish_at_once(portion);
            rest = after;
        }
    }

    fn publish_at_once(&self, commits: &[Arc<Commit>]) {
        let Some(last) = commits.last().map(|commit| commit.revision) else { return };
        let mut wakers = Vec::new();
        {
            // Held until the commits are in, so that nobody joins between.
            let audiences = self.audiences.lock();
            let concerned = audiences.concerned(commits);
            let mut catalog = self.catalog.write();
            for commit in commits {
                catalog.publish(Arc::clone(commit));
            }
            for (audience, first) in concerned {
                audience.mark(first, &mut wakers);
            }
        }
        self.head.send_replace(last);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Rings whenever the catalog has moved on.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.head.subscribe()
    }

    /// A reader of the history that is woken for what may match its filter; it begins where it
    /// is told to.
    pub fn reader(&self, filter: Filter) -> Reader {
        Reader::new(Arc::clone(&self.audiences), filter)
    }

    /// How many bytes snapshots hold that are still being read, beside what the catalog and the
    /// history hold.
    pub fn snapshot_bytes(&self) -> usize {
        let held = self.snapshots.lock();
        let catalog = self.catalog.read();
        let read = held.values().flatten().filter(|one| one.snapshot.strong_count() > 0);
        read.map(|one| one.charge(&catalog)).sum()
    }

    /// What lives, of the filter's services whatever their labels. One that is being read
    /// already serves as long as the history goes on from it.
    pub fn snapshot(&self, filter: &Filter) -> Result<Arc<Snapshot>, SnapshotError> {
        let mut held = self.snapshots.lock();
        held.retain(|_, snapshots| {
            snapshots.retain(|one| one.snapshot.strong_count() > 0);
            !snapshots.is_empty()
        });
        let catalog = self.catalog.read();
        let services: Services = (filter.services().into(), filter.bounds().cloned());
        let shared = held.get(&services).and_then(|snapshots| snapshots.last()?.snapshot.upgrade());
        if let Some(snapshot) = shared.filter(|snapshot| catalog.covers(snapshot.revision())) {
            return Ok(snapshot);
        }
        let taken: usize = held.values().flatten().map(|one| one.charge(&catalog)).sum();
        if taken > SNAPSHOT_BYTES {
            return Err(SnapshotError);
        }
        let snapshot = Arc::new(catalog.snapshot(filter));
        let (pointers, bytes) = (size_of_val(snapshot.instances()), snapshot.bytes());
        let one =
            Held { snapshot: Arc::downgrade(&snapshot), revision: snapshot.revision(), pointers, bytes };
        held.entry(services).or_default().push(one);
        Ok(snapshot)
    }
}
