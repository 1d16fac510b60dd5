//! What lived at a revision.

use std::{
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
};

use crate::proto::Instance;

/// Into how many parts a snapshot is divided. A change copies the part it falls into, and only if an
/// older snapshot still holds it: some 400 pointers of 100,000, whoever keeps how many snapshots.
const PARTS: usize = 256;

/// What lived at a revision, by id. It never changes; a clone shares everything.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Each sorted by id.
    parts: Vec<Arc<Vec<Arc<Instance>>>>,
    len: usize,
    pub(super) revision: u64,
}

impl Snapshot {
    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The instance with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Instance>> {
        let part = &self.parts[part_of(id)];
        place_of(part, id).ok().map(|place| &part[place])
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// The registry's revision: every change up to it that the filter lets through is in here. Revisions of
    /// different servers, and of one before and after it lost its memory, are not to be compared.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(in crate::client) fn insert(&mut self, instance: Arc<Instance>) {
        let part = Arc::make_mut(&mut self.parts[part_of(&instance.id)]);
        match place_of(part, &instance.id) {
            Ok(place) => part[place] = instance,
            Err(place) => {
                part.insert(place, instance);
                self.len += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        let part = &mut self.parts[part_of(id)];
        if let Ok(place) = place_of(part, id) {
            Arc::make_mut(part).remove(place);
            self.len -= 1;
        }
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS], len: 0, revision: 0 }
    }
}

fn part_of(id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(id.as_bytes());
    (hasher.finish() % PARTS as u64) as usize
}

fn place_of(part: &[Arc<Instance>], id: &str) -> Result<usize, usize> {
    part.binary_search_by(|instance| instance.id.as_str().cmp(id))
}
