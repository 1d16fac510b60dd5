//! Who watches what: the readers of the history, gathered by filter, so that a commit wakes
//! those whose services it touches and nobody else, and what one of them has read and
//! encoded serves all who wait for the same.
//!
//! A reader sleeps only if nothing is unread, and is woken by the first commit that touches
//! its services. Nothing is lost between the check and the sleep, for both sides hold the
//! catalog's lock: the reader looks at its mark and leaves its waker under the read lock, the
//! writer puts the commit in, sets the mark and takes the waker under the write lock. So
//! either the reader comes first, and its waker is there when the writer looks; or the writer
//! does, and the mark is. That needs no atomics and no order of its own.
//!
//! Locks are taken in this order: the audiences, an audience's batches, the catalog, an
//! audience's members.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use slab::Slab;

use crate::{
    catalog::{Commit, touched},
    types::{Filter, Revision, ServiceName},
};

/// What the batches of all audiences that wait for slower members may take. Beyond, they are
/// encoded anew for each member.
const BATCH_BYTES: usize = 64 << 20;
/// The batches that one audience keeps.
const BATCHES: usize = 64;

/// All who read with the same filter.
#[derive(Debug)]
pub(super) struct Audience {
    number: u64,
    pub(super) filter: Filter,
    pub(super) members: Mutex<Slab<Member>>,
    pub(super) batches: Mutex<Batches>,
}

/// One reader.
#[derive(Debug)]
pub(super) struct Member {
    /// The first revision after its cursor that may concern it; none while it sleeps, or may
    /// do so: then nothing up to the head concerns it.
    pub(super) unread: Option<Revision>,
    /// What wakes it, while nothing is unread.
    pub(super) waker: Option<Waker>,
}

/// What was encoded of the history, until every member has taken it.
#[derive(Debug)]
pub(super) struct Batches {
    kept: VecDeque<Batch>,
    /// The furthest that any member has read. Who comes behind reads up to here, not
    /// further, so that all meet at the same revisions and want the same batches.
    tip: Revision,
    budget: Arc<AtomicUsize>,
}

/// What one reading of the history came to.
#[derive(Debug)]
struct Batch {
    read: Read,
    /// From this cursor on nothing matched before `first`: it serves every cursor between.
    after: Revision,
    first: Revision,
    /// How many members may still want it.
    wanted: usize,
}

/// A part of the history, encoded.
#[derive(Clone, Debug)]
pub struct Read {
    /// The message; none if nothing matched.
    pub message: Option<Bytes>,
    /// All up to this revision is told by it.
    pub to: Revision,
}

/// All audiences, by what wakes them.
#[derive(Debug, Default)]
pub(super) struct Audiences {
    by_filter: HashMap<Filter, Arc<Audience>>,
    by_service: HashMap<ServiceName, BTreeMap<u64, Arc<Audience>>, RandomState>,
    /// Those whose filter names no service.
    of_any: BTreeMap<u64, Arc<Audience>>,
    /// The number of the last one.
    last: u64,
    batch_bytes: Arc<AtomicUsize>,
}

// === impl Audiences ===

impl Audiences {
    /// Makes a reader a member of its filter's audience. As long as it has read nothing,
    /// everything is unread.
    pub(super) fn join(&mut self, filter: Filter) -> (Arc<Audience>, usize) {
        let audience = match self.by_filter.get(&filter) {
            Some(audience) => Arc::clone(audience),
            None => self.open(filter),
        };
        let member = Member { unread: Some(Revision(0)), waker: None };
        let key = audience.members.lock().insert(member);
        (audience, key)
    }

    /// Takes a member out, and its audience if that was the last.
    pub(super) fn leave(&mut self, audience: &Audience, key: usize) {
        let empty = {
            let mut members = audience.members.lock();
            drop(members.try_remove(key));
            members.is_empty()
        };
        // Batches may have waited for this member only; who still wants one makes it anew.
        audience.batches.lock().clear();
        if !empty {
            return;
        }
        self.by_filter.remove(&audience.filter);
        self.of_any.remove(&audience.number);
        for service in audience.filter.services() {
            if let Some(audiences) = self.by_service.get_mut(service) {
                audiences.remove(&audience.number);
                if audiences.is_empty() {
                    self.by_service.remove(service);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_filter.is_empty() && self.by_service.is_empty() && self.of_any.is_empty()
    }

    /// The audiences that these commits concern, and the first revision that does.
    pub(super) fn concerned(&self, commits: &[Arc<Commit>]) -> Vec<(&Audience, Revision)> {
        let Some(first) = commits.first() else { return Vec::new() };
        let mut found = BTreeMap::new();
        if !self.by_service.is_empty() {
            for commit in commits {
                for audiences in touched(commit).filter_map(|service| self.by_service.get(service)) {
                    for (number, audience) in audiences {
                        found.entry(*number).or_insert((&**audience, commit.revision));
                    }
                }
            }
        }
        let of_any = self.of_any.values().filter_map(|audience| {
            let first = match audience.filter.bounds() {
                None => Some(first),
                Some(globs) => commits.iter().find(|commit| touched(commit).any(|name| globs.cover(name))),
            };
            Some((&**audience, first?.revision))
        });
        found.into_values().chain(of_any).collect()
    }

    fn open(&mut self, filter: Filter) -> Arc<Audience> {
        self.last += 1;
        let number = self.last;
        let batches =
            Batches { kept: VecDeque::new(), tip: Revision(0), budget: Arc::clone(&self.batch_bytes) };
        let audience = Arc::new(Audience {
            number,
            filter: filter.clone(),
            members: Mutex::default(),
            batches: Mutex::new(batches),
        });
        for service in filter.services() {
            let audiences = self.by_service.entry(service.clone()).or_default();
            audiences.insert(number, Arc::clone(&audience));
        }
        if filter.services().is_empty() {
            self.of_any.insert(number, Arc::clone(&audience));
        }
        self.by_filter.insert(filter, Arc::clone(&audience));
        audience
    }
}

// === impl Audience ===

impl Audience {
    /// Marks that from `first` on something is unread, for all who have read everything so
    /// far; hands out what wakes them. Those who have not find it without.
    pub(super) fn mark(&self, first: Revision, wakers: &mut Vec<Waker>) {
        for (_, member) in self.members.lock().iter_mut() {
            if member.unread.is_none() {
                member.unread = Some(first);
                wakers.extend(member.waker.take());
            }
        }
    }
}

// === impl Batches ===

impl Batches {
    /// What tells a reader with this cursor what comes next, if another has encoded it.
    pub(super) fn take(&mut self, cursor: Revision) -> Option<Read> {
        let found = self.kept.iter().rposition(|one| one.after <= cursor && cursor < one.first)?;
        let batch = &mut self.kept[found];
        batch.wanted -= 1;
        let read = batch.read.clone();
        if batch.wanted == 0 {
            self.drop_at(found);
        }
        Some(read)
    }

    /// How far a reader with this cursor reads.
    pub(super) fn through(&self, cursor: Revision) -> Revision {
        if self.tip > cursor { self.tip } else { Revision(u64::MAX) }
    }

    /// Keeps what one member has read from a cursor on for the `wanted` others. `first` is the
    /// first revision that it tells of, if any.
    pub(super) fn keep(&mut self, read: &Read, after: Revision, first: Option<Revision>, wanted: usize) {
        self.tip = self.tip.max(read.to);
        let first = first.unwrap_or(read.to);
        if wanted == 0 || after >= first {
            return;
        }
        let bytes = read.bytes();
        if self.budget.load(Ordering::Relaxed) + bytes > BATCH_BYTES {
            return;
        }
        if self.kept.len() == BATCHES {
            self.drop_at(0);
        }
        self.budget.fetch_add(bytes, Ordering::Relaxed);
        self.kept.push_back(Batch { read: read.clone(), after, first, wanted });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    fn drop_at(&mut self, index: usize) {
        if let Some(batch) = self.kept.remove(index) {
            self.budget.fetch_sub(batch.read.bytes(), Ordering::Relaxed);
        }
    }

    fn clear(&mut self) {
        while !self.kept.is_empty() {
            self.drop_at(0);
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Read {
    fn bytes(&self) -> usize {
        self.message.as_ref().map_or(0, Bytes::len)
    }
}
