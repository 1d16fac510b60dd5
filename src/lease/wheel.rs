//! A hierarchical timer wheel that takes numbers, not a clock: entries are small
//! integers (the lease table's slots), times are milliseconds.
//!
//! Every entry stands in at most one list, linked through an array that grows with the
//! entries, so arming, moving and disarming cost O(1) and memory is bounded by the
//! number of entries whatever a caller does. An entry never fires early.

const LEVELS: usize = 6;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const NONE: u32 = u32::MAX;

/// The wheel. Its span is 2^36 ms, more than two years; later times are clamped to it
/// and looked at again then.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Everything before this millisecond has fired.
    elapsed: u64,
    /// Per level, which slots hold something.
    occupied: [u64; LEVELS],
    heads: Box<[[u32; SLOTS]; LEVELS]>,
    nodes: Vec<Node>,
    /// What is due, oldest first out.
    due: Vec<u32>,
}

/// 16 bytes: there are as many as leases.
#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    /// The entry before it; of a list's first one, [`FIRST`] and the list; or [`OUT`].
    prev: u32,
    at: u64,
}

/// From here on a `prev` names no entry: the first of a list stands here plus the list's number.
const FIRST: u32 = u32::MAX - (LEVELS * SLOTS) as u32 - 1;
/// Stands in no list.
const OUT: u32 = u32::MAX;

impl Node {
    fn is_out(self) -> bool {
        self.prev == OUT
    }
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            elapsed: 0,
            occupied: [0; LEVELS],
            heads: Box::new([[NONE; SLOTS]; LEVELS]),
            nodes: Vec::new(),
            due: Vec::new(),
        }
    }

    /// Has `entry` fire at `at` or, if that is past, at the next advance; moves it if it
    /// was armed.
    pub(super) fn arm(&mut self, entry: u32, at: u64) {
        let index = entry as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, Node { next: NONE, prev: OUT, at: 0 });
        }
        self.disarm(entry);
        self.enter(entry, at);
    }

    /// Puts an entry that stands in no list into the one of `at`.
    fn enter(&mut self, entry: u32, at: u64) {
        let at = at.max(self.elapsed);
        let (level, slot) = self.place_of(at);
        let head = self.heads[level][slot];
        let list = FIRST + (level * SLOTS + slot) as u32;
        self.nodes[entry as usize] = Node { next: head, prev: list, at };
        if head != NONE {
            self.nodes[head as usize].prev = entry;
        }
        self.heads[level][slot] = entry;
        self.occupied[level] |= 1 << slot;
    }

    /// When `entry` will be looked at.
    pub(super) fn armed_at(&self, entry: u32) -> Option<u64> {
        let node = self.nodes.get(entry as usize)?;
        (!node.is_out()).then_some(node.at)
    }

    pub(super) fn disarm(&mut self, entry: u32) {
        let Some(node) = self.nodes.get_mut(entry as usize).filter(|node| !node.is_out()) else { return };
        let Node { next, prev, .. } = *node;
        node.prev = OUT;
        if prev < FIRST {
            self.nodes[prev as usize].next = next;
        } else {
            let list = (prev - FIRST) as usize;
            let (level, slot) = (list / SLOTS, list % SLOTS);
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
    }

    /// The earliest time at which something may be due; entries of the upper levels
    /// count by the start of their slot, when they are sorted anew.
    pub(super) fn next(&self) -> Option<u64> {
        (0..LEVELS).filter_map(|level| self.next_on(level)).map(|(at, _)| at).min()
    }

    /// Moves on to `now` and returns the entries whose time is `now` or before. They
    /// are out of the wheel then.
    pub(super) fn advance(&mut self, now: u64) -> Vec<u32> {
        while let Some((at, level, slot)) = self.earliest() {
            if at > now {
                break;
            }
            self.elapsed = self.elapsed.max(at);
            let mut entry = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while entry != NONE {
                let node = &mut self.nodes[entry as usize];
                let (next, at) = (node.next, node.at);
                node.prev = OUT;
                if at <= self.elapsed {
                    self.due.push(entry);
                } else {
                    self.enter(entry, at);
                }
                entry = next;
            }
        }
        self.elapsed = self.elapsed.max(now);
        std::mem::take(&mut self.due)
    }

    fn earliest(&self) -> Option<(u64, usize, usize)> {
        (0..LEVELS)
            .filter_map(|level| self.next_on(level).map(|(at, slot)| (at, level, slot)))
            // A slot of an upper level is sorted before a lower one of the same start fires.
            .min_by_key(|&(at, level, _)| (at, LEVELS - level))
    }

    /// The first occupied slot of a level at or after `elapsed`, and when it starts.
    fn next_on(&self, level: usize) -> Option<(u64, usize)> {
        let occupied = self.occupied[level];
        if occupied == 0 {
            return None;
        }
        let shift = BITS * level as u32;
        let current = (self.elapsed >> shift) & (SLOTS as u64 - 1);
        let ahead = occupied.rotate_right(current as u32).trailing_zeros();
        let slot = (current as usize + ahead as usize) % SLOTS;
        let start = ((self.elapsed >> shift) + u64::from(ahead)) << shift;
        Some((start.max(self.elapsed), slot))
    }

    /// The lowest level at which `at` and now stand in different slots.
    fn place_of(&self, at: u64) -> (usize, usize) {
        let top = BITS * (LEVELS as u32 - 1);
        // On the top level slots are taken in a ring: one turn ahead less one slot at most,
        // or the slot would be the one that is now.
        let at = at.min(self.elapsed + ((SLOTS as u64 - 1) << top));
        let differs = (self.elapsed ^ at) | (SLOTS as u64 - 1);
        let level = (differs.ilog2() / BITS).min(LEVELS as u32 - 1);
        let slot = (at >> (BITS * level)) & (SLOTS as u64 - 1);
        (level as usize, slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..3u64, 0..200u64, 0..10_000u64, 0..100_000_000u64, 0..(1u64 << 37)];
        prop_oneof![
            4 => (0..20u32, span.clone()).prop_map(|(entry, after)| Step::Arm(entry, after)),
            1 => (0..20u32).prop_map(Step::Disarm),
            3 => span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Each entry fires exactly once, when its time is reached and never before, whatever
        /// is armed, moved and disarmed between.
        #[test]
        fn fires_what_is_due(steps in prop::collection::vec(step(), 1..60)) {
            let mut wheel = Wheel::new();
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Arm(entry, after) => {
                        wheel.arm(entry, now + after);
                        model.insert(entry, now + after);
                    }
                    Step::Disarm(entry) => {
                        wheel.disarm(entry);
                        model.remove(&entry);
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut fired = wheel.advance(now);
                        fired.sort_unstable();
                        let mut expect: Vec<u32> =
                            model.iter().filter(|(_, at)| **at <= now).map(|(e, _)| *e).collect();
                        expect.sort_unstable();
                        model.retain(|_, at| *at > now);
                        prop_assert_eq!(fired, expect);
                    }
                }
                // `next` may be early (a slot to sort) but never late.
                let first = model.values().min().copied();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next <= first.max(now), "{next} {first}");
                }
                for (entry, at) in &model {
                    prop_assert_eq!(wheel.armed_at(*entry), Some(*at));
                }
            }
        }
    }
}
