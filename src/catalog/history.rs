//! The recent commits, bounded in bytes, and how a cursor reads them.

use std::{collections::VecDeque, sync::Arc};

use crate::types::{Filter, Revision};

use super::{Commit, Event, Eviction, evicted::Evicted, places::Places};

/// How many commits one look at the history goes through at most, so that nobody holds
/// the catalog for long.
const LOOK: usize = 4096;

/// Up to which revision a reader has seen everything that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub Revision);

/// The events of one revision that match.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Their revision.
    pub revision: Revision,
    /// At least one.
    pub events: Vec<Event>,
}

/// What came after a cursor.
#[derive(Clone, Debug, PartialEq)]
pub enum Since {
    /// These deltas, perhaps none, and the cursor that has seen them. There may be more
    /// unless it has reached the catalog's revision.
    Deltas(Vec<Delta>, Cursor),
    /// A change that may match has left the history: read a snapshot.
    Gone,
}

/// What came after a cursor, as it was committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Unread {
    /// All commits that touch services of the filter, perhaps none, and the cursor that has
    /// seen them. Whether they match is still to be looked at.
    Commits(Vec<Arc<Commit>>, Cursor),
    /// A change that may match has left the history: read a snapshot.
    Gone,
}

#[derive(Debug)]
pub(super) struct History {
    /// With the memory of each.
    commits: VecDeque<(Arc<Commit>, usize)>,
    /// The place of the first of them.
    first: u64,
    places: Places,
    /// The memory of all of them.
    bytes: usize,
    capacity: usize,
    evicted: Evicted,
    /// Every commit after this revision is here.
    complete_after: Revision,
    /// The memory that all evicted commits took.
    evicted_bytes: u64,
}

impl History {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            commits: VecDeque::new(),
            first: 0,
            places: Places::default(),
            bytes: 0,
            capacity,
            evicted: Evicted::default(),
            complete_after: Revision(0),
            evicted_bytes: 0,
        }
    }

    /// A history that ended with `revision`: nothing is known of what came before, but
    /// `evictions`, and what is pushed next.
    pub(super) fn restored(capacity: usize, complete_after: Revision, evictions: &[Eviction]) -> Self {
        Self { complete_after, evicted: Evicted::restored(evictions), ..Self::new(capacity) }
    }

    pub(super) fn push(&mut self, commit: Arc<Commit>) {
        let place = self.first + self.commits.len() as u64;
        self.places.note(&commit, place);
        let bytes = commit.memory();
        self.bytes += bytes;
        self.commits.push_back((commit, bytes));
        while self.bytes() > self.capacity {
            let Some((commit, bytes)) = self.commits.pop_front() else { break };
            self.bytes -= bytes;
            self.complete_after = commit.revision;
            self.evicted_bytes += bytes as u64;
            self.evicted.note(&commit);
            self.places.forget(&commit, self.first);
            self.first += 1;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.places.bytes()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn evicted_bytes(&self) -> u64 {
        self.evicted_bytes
    }

    /// The last commit that was evicted, and what is known of all that were.
    pub(super) fn evicted(&self) -> (Revision, Vec<Eviction>) {
        (self.complete_after, self.evicted.all())
    }

    pub(super) fn covers(&self, revision: Revision) -> bool {
        revision >= self.complete_after
    }

    /// Whether a reader with this filter can go on from a cursor.
    pub(super) fn reaches(&self, cursor: Cursor, head: Revision, filter: &Filter) -> bool {
        cursor.0 <= head && (self.covers(cursor.0) || !self.evicted.may_concern(filter, cursor.0))
    }

    pub(super) fn since(&self, cursor: Cursor, head: Revision, filter: &Filter, max_bytes: usize) -> Since {
        if !self.reaches(cursor, head, filter) {
            return Since::Gone;
        }
        let mut deltas = Vec::new();
        let mut bytes = 0;
        for (looked, (commit, size)) in self.touching(cursor, filter).enumerate() {
            let events: Vec<Event> =
                commit.changes.iter().filter_map(|change| change.seen_through(filter)).collect();
            let full = !events.is_empty() && bytes + size > max_bytes && bytes > 0;
            if full || looked == LOOK {
                return Since::Deltas(deltas, before(commit).max(cursor));
            }
            if !events.is_empty() {
                bytes += size;
                deltas.push(Delta { revision: commit.revision, events });
            }
        }
        Since::Deltas(deltas, Cursor(head))
    }

    pub(super) fn unread(
        &self,
        cursor: Cursor,
        head: Revision,
        filter: &Filter,
        through: Revision,
        max_bytes: usize,
    ) -> Unread {
        if !self.reaches(cursor, head, filter) {
            return Unread::Gone;
        }
        let through = through.min(head);
        let (mut commits, mut bytes) = (Vec::new(), 0);
        for (commit, size) in self.touching(cursor, filter) {
            if commit.revision > through {
                break;
            }
            bytes += size;
            if bytes > max_bytes && !commits.is_empty() {
                return Unread::Commits(commits, before(commit).max(cursor));
            }
            commits.push(Arc::clone(commit));
        }
        Unread::Commits(commits, Cursor(through).max(cursor))
    }

    /// The commits after a cursor that touch services of the filter, in order.
    fn touching<'a>(
        &'a self,
        cursor: Cursor,
        filter: &Filter,
    ) -> impl Iterator<Item = &'a (Arc<Commit>, usize)> {
        let start = self.commits.partition_point(|(commit, _)| commit.revision <= cursor.0);
        let any = filter.services().is_empty();
        let all = any.then(|| self.commits.range(start..)).into_iter().flatten();
        let places = self.places.from(filter.services(), self.first + start as u64);
        all.chain(places.filter_map(|place| self.commits.get((place - self.first) as usize)))
    }
}

/// The last cursor that has not seen a commit.
fn before(commit: &Commit) -> Cursor {
    Cursor(Revision(commit.revision.0 - 1))
}
