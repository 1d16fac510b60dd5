//! Where in the history a service's commits stand, so that who reads some services looks at
//! nothing else.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, vec_deque},
};

use foldhash::fast::RandomState;

use crate::types::ServiceName;

use super::Commit;

/// What a service takes here at most, beside its places, as long as one of its commits is in
/// the history: its entry, its name, and the room that a queue keeps anyway.
const SERVICE_BYTES: usize = 512;
/// What each place takes at most: a queue keeps room for four times what is in it.
const PLACE_BYTES: usize = 32;

/// The places of the commits that touch a service, by service. A place is a commit's number
/// in the order of arrival, those that have left included.
#[derive(Debug, Default)]
pub(super) struct Places {
    of: HashMap<ServiceName, VecDeque<u64>, RandomState>,
    /// How many places there are in all.
    count: usize,
}

impl Places {
    /// Takes in the commit at a place, which comes after all others.
    pub(super) fn note(&mut self, commit: &Commit, place: u64) {
        for service in touched(commit) {
            match self.of.get_mut(service) {
                Some(places) if places.back() == Some(&place) => continue,
                Some(places) => places.push_back(place),
                None => drop(self.of.insert(service.clone(), VecDeque::from([place]))),
            }
            self.count += 1;
        }
    }

    /// Forgets the commit at a place, which is the first of all.
    pub(super) fn forget(&mut self, commit: &Commit, place: u64) {
        for service in touched(commit) {
            let Some(places) = self.of.get_mut(service) else { continue };
            if places.front() == Some(&place) {
                places.pop_front();
                self.count -= 1;
            }
            if places.is_empty() {
                self.of.remove(service);
            } else if places.capacity() > 4 * places.len() + 16 {
                places.shrink_to(2 * places.len());
            }
        }
    }

    /// What it takes in memory at most.
    pub(super) fn bytes(&self) -> usize {
        SERVICE_BYTES * self.of.len() + PLACE_BYTES * self.count
    }

    /// The places from `start` on of commits that touch any of these services, each once, in
    /// order.
    pub(super) fn from(&self, services: &[ServiceName], start: u64) -> Merged<'_> {
        let mut merged = Merged { next: BinaryHeap::new(), rest: Vec::new(), last: None };
        for service in services {
            let Some(places) = self.of.get(service) else { continue };
            // Most of many services have nothing new.
            if places.back().is_none_or(|last| *last < start) {
                continue;
            }
            let mut rest = places.range(places.partition_point(|place| *place < start)..);
            merged.next.extend(rest.next().map(|first| Reverse((*first, merged.rest.len()))));
            merged.rest.push(rest);
        }
        merged
    }
}

/// The services of a commit's instances, as they were and as they are. Of runs of one service
/// only the first is told; else they may repeat.
pub(crate) fn touched(commit: &Commit) -> impl Iterator<Item = &ServiceName> {
    let instances = commit.changes.iter().flat_map(|change| [&change.before, &change.after]);
    let mut last: Option<&ServiceName> = None;
    instances.flatten().map(|instance| &instance.service).filter(move |service| {
        let new = last != Some(*service);
        last = Some(*service);
        new
    })
}

/// Places of several services as one row.
pub(super) struct Merged<'a> {
    /// The first place of each service that has some left, and the service's rest.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    rest: Vec<vec_deque::Iter<'a, u64>>,
    last: Option<u64>,
}

impl Iterator for Merged<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            let Reverse((place, of)) = self.next.pop()?;
            self.next.extend(self.rest[of].next().map(|next| Reverse((*next, of))));
            if self.last.replace(place) != Some(place) {
                return Some(place);
            }
        }
    }
}
