//! What was seen already in an object: the same must not come twice.

use std::{borrow::Cow, collections::HashSet};

/// Places of fields or oneofs that were seen.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Those below 64, a bit for each. Few messages have more fields.
    low: u64,
    high: HashSet<usize>,
}

/// The keys of all maps that are open, the innermost ones last.
#[derive(Debug, Default)]
pub(super) struct Keys<'t> {
    few: Vec<Cow<'t, str>>,
}

/// The keys of one map.
#[derive(Debug)]
pub(super) struct MapKeys<'t> {
    /// Where they begin in [`Keys::few`].
    from: usize,
    /// All of them, once they are more than [`FEW`].
    many: HashSet<Cow<'t, str>>,
}

/// So many keys are compared one by one.
const FEW: usize = 16;

impl Places {
    /// False if it was seen before.
    pub(super) fn insert(&mut self, place: usize) -> bool {
        if place >= 64 {
            return self.high.insert(place);
        }
        let bit = 1 << place;
        let is_new = self.low & bit == 0;
        self.low |= bit;
        is_new
    }
}

impl<'t> Keys<'t> {
    pub(super) fn begin(&self) -> MapKeys<'t> {
        MapKeys { from: self.few.len(), many: HashSet::new() }
    }

    /// False if the key is among those of the innermost map already.
    pub(super) fn insert(&mut self, map: &mut MapKeys<'t>, key: Cow<'t, str>) -> bool {
        if !map.many.is_empty() {
            return map.many.insert(key);
        }
        let few = self.few.get(map.from..).unwrap_or_default();
        if few.contains(&key) {
            return false;
        }
        if few.len() < FEW {
            self.few.push(key);
        } else {
            map.many.extend(self.few.drain(map.from..));
            map.many.insert(key);
        }
        true
    }

    /// Takes back the key that was just inserted.
    pub(super) fn remove(&mut self, map: &mut MapKeys<'t>, key: &str) {
        if map.many.is_empty() {
            self.few.pop();
        } else {
            map.many.remove(key);
        }
    }

    /// Ends the innermost map.
    pub(super) fn end(&mut self, map: &MapKeys<'t>) {
        self.few.truncate(map.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_once_in_its_map() {
        let mut keys = Keys::default();
        let mut outer = keys.begin();
        assert!(keys.insert(&mut outer, "a".into()));
        let mut inner = keys.begin();
        for round in 0..100 {
            assert!(keys.insert(&mut inner, round.to_string().into()), "{round}");
            assert!(!keys.insert(&mut inner, (round / 2).to_string().into()), "{round}");
        }
        keys.remove(&mut inner, "50");
        assert!(keys.insert(&mut inner, "50".into()));
        keys.end(&inner);
        assert!(!keys.insert(&mut outer, "a".into()));
        assert!(keys.insert(&mut outer, "b".into()));
        keys.remove(&mut outer, "b");
        assert!(keys.insert(&mut outer, "b".into()));
        assert!(keys.insert(&mut outer, "0".into()));
    }

    #[test]
    fn each_place_once() {
        let mut places = Places::default();
        for place in [0, 1, 63, 64, 1000] {
            assert!(places.insert(place));
            assert!(!places.insert(place));
        }
    }
}
