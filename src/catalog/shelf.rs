//! The instances of one service, ordered by id.

use crate::types::{Instance, LeaseId};

/// How many instances a part holds at most: few enough to make room in the middle, many
/// enough to find the part at once.
const PART: usize = 64;

/// Instances ordered by id, in parts of a bounded size, each of them sorted and none empty. Ids
/// rise with time, so nearly all come in at the end and parts are full.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    parts: Vec<Part>,
    len: usize,
}

type Part = Vec<(LeaseId, Instance)>;

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an instance in its place; returns the one that had its id.
    pub(super) fn put(&mut self, instance: Instance) -> Option<Instance> {
        let id = instance.id;
        if let Some(last) = self.parts.last_mut()
            && last.last().is_some_and(|(known, _)| *known < id)
            && last.len() < PART
        {
            last.push((id, instance));
            self.len += 1;
            return None;
        }
        let at = self.part_of(id);
        let Some(part) = self.parts.get_mut(at) else {
            self.parts.push(vec![(id, instance)]);
            self.len += 1;
            return None;
        };
        let place = match part.binary_search_by_key(&id, |(known, _)| *known) {
            Ok(place) => return Some(std::mem::replace(&mut part[place].1, instance)),
            Err(place) => place,
        };
        self.len += 1;
        if part.len() < PART {
            part.insert(place, (id, instance));
        } else if place == PART {
            // At the end of a full one: it stays full.
            self.parts.insert(at + 1, vec![(id, instance)]);
        } else {
            let mut upper = part.split_off(PART / 2);
            match place.checked_sub(PART / 2) {
                Some(place) => upper.insert(place, (id, instance)),
                None => part.insert(place, (id, instance)),
            }
            self.parts.insert(at + 1, upper);
        }
        None
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Instance> {
        let part = self.parts.get(self.part_of(id))?;
        let place = part.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(&part[place].1)
    }

    pub(super) fn take(&mut self, id: LeaseId) -> Option<Instance> {
        let at = self.part_of(id);
        let part = self.parts.get_mut(at)?;
        let place = part.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        let (_, instance) = part.remove(place);
        self.len -= 1;
        if part.is_empty() {
            self.parts.remove(at);
        }
        Some(instance)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.parts.iter().flatten().map(|(_, instance)| instance)
    }

    /// Those after `id`, in order.
    pub(super) fn after(&self, id: LeaseId) -> impl Iterator<Item = &Instance> {
        let at = self.part_of(id);
        let (first, later) = self.parts.get(at..).and_then(<[Part]>::split_first).unzip();
        let first = first.map_or(&[][..], |part| &part[part.partition_point(|(known, _)| *known <= id)..]);
        first.iter().chain(later.unwrap_or_default().iter().flatten()).map(|(_, instance)| instance)
    }

    /// The part that holds `id`, or would: the last one that starts at or before it.
    fn part_of(&self, id: LeaseId) -> usize {
        let after = self.parts.partition_point(|part| part.first().is_some_and(|(first, _)| *first <= id));
        after.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Bound};

    use proptest::prelude::*;

    use super::*;
    use crate::types::{Content, Head, Packer, Revision, ServiceName, Status, Ttl, WallTime};

    fn instance(id: u16, revision: u64) -> Instance {
        let service = ServiceName::fold("s").unwrap();
        let content = Content::new(service.clone(), Packer::new("http://h", &[]).finish("", 0));
        content.instance(Head {
            id: LeaseId(id.into()),
            status: Status::Alive,
            ttl: Ttl(1),
            registered_at: WallTime(0),
            last_updated: WallTime(0),
            revision: Revision(revision),
            service,
        })
    }

    proptest! {
        /// It holds what an ordered map would, in its order, whatever comes and goes.
        #[test]
        fn is_an_ordered_map(steps in prop::collection::vec((any::<bool>(), 0..400u16), 1..900), ascending in any::<bool>()) {
            let mut shelf = Shelf::default();
            let mut model = BTreeMap::new();
            for (at, (put, id)) in steps.into_iter().enumerate() {
                let id = if ascending && put { at as u16 } else { id };
                if put {
                    let one = instance(id, at as u64);
                    prop_assert_eq!(shelf.put(one.clone()), model.insert(one.id, one));
                } else {
                    let id = LeaseId(id.into());
                    prop_assert_eq!(shelf.take(id), model.remove(&id));
                }
                prop_assert_eq!(shelf.len(), model.len());
                let id = LeaseId(id.into());
                prop_assert_eq!(shelf.get(id), model.get(&id));
                prop_assert!(shelf.parts.iter().all(|part| !part.is_empty() && part.len() <= PART));
            }
            prop_assert!(shelf.iter().eq(model.values()));
            for id in (0..400).map(LeaseId) {
                let after = model.range((Bound::Excluded(id), Bound::Unbounded)).map(|(_, one)| one);
                prop_assert!(shelf.after(id).eq(after));
            }
        }
    }
}
