//! Requests in a second, of whoever asks: the generic cell rate algorithm, as `governor` has it,
//! over tables whose size is bounded.

use std::{hash::BuildHasher as _, hash::Hash, num::NonZeroU32, time::Duration};

use foldhash::fast::RandomState;
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, MonotonicClock},
    nanos::Nanos,
    state::StateStore,
};
use hashbrown::HashTable;
use parking_lot::Mutex;

/// So many locks share the tables' entries.
const SHARDS: usize = 16;
/// So many are remembered in one table: whoever comes from ever new addresses fills no more.
const SHARD_ENTRIES: usize = 4096;

/// A rate for each of many.
#[derive(Debug)]
pub(super) struct Rate<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Shards<K>, MonotonicClock>,
    most: NonZeroU32,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// So many in a second, and two seconds' worth at once.
    pub(super) fn new(most: NonZeroU32) -> Self {
        let burst = most.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        let quota = Quota::per_second(most).allow_burst(burst);
        Self { limiter: RateLimiter::new(quota, Shards::default(), MonotonicClock), most }
    }

    pub(super) fn most(&self) -> u32 {
        self.most.get()
    }

    /// Counts a request, or says how long it is too early.
    pub(super) fn check(&self, whose: &K) -> Result<(), Duration> {
        let now = || self.limiter.clock().now();
        self.limiter.check_key(whose).map_err(|until| until.wait_time_from(now()))
    }
}

/// When each will have had no more than its rate: its theoretical arrival time.
#[derive(Debug)]
struct Shards<K> {
    tables: [Mutex<HashTable<(K, Nanos)>>; SHARDS],
    hasher: RandomState,
}

impl<K> Default for Shards<K> {
    fn default() -> Self {
        let tables = std::array::from_fn(|_| Mutex::new(HashTable::new()));
        Self { tables, hasher: RandomState::default() }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Shards<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let hash = self.hasher.hash_one(key);
        // Not the bits that place an entry in its table.
        let mut table = self.tables[(hash >> 40) as usize % SHARDS].lock();
        if let Some((_, arrival)) = table.find_mut(hash, |(known, _)| known == key) {
            let (answer, next) = measure(Some(*arrival))?;
            *arrival = next;
            return Ok(answer);
        }
        let (answer, next) = measure(None)?;
        make_room(&mut table, next);
        table.insert_unique(hash, (key.clone(), next), |(known, _)| self.hasher.hash_one(known));
        Ok(answer)
    }
}

/// Halves a full table. Whoever has used no more than a newcomer loses nothing by being
/// forgotten; where that is not enough, those go who have used the least.
fn make_room<K>(table: &mut HashTable<(K, Nanos)>, newcomer: Nanos) {
    if table.len() < SHARD_ENTRIES {
        return;
    }
    table.retain(|(_, arrival)| *arrival > newcomer);
    if table.len() > SHARD_ENTRIES / 2 {
        let mut arrivals: Vec<Nanos> = table.iter().map(|(_, arrival)| *arrival).collect();
        let (_, middle, _) = arrivals.select_nth_unstable(SHARD_ENTRIES / 2);
        let middle = *middle;
        table.retain(|(_, arrival)| *arrival > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_newcomers_fills_no_memory_and_frees_nobody_who_asks_much() {
        let rate = Rate::new(NonZeroU32::new(10).unwrap());
        while rate.check(&u64::MAX).is_ok() {}
        for newcomer in 0..200_000 {
            assert!(rate.check(&newcomer).is_ok());
        }
        let tables = rate.limiter.into_state_store().tables;
        let entries: usize = tables.iter().map(|table| table.lock().len()).sum();
        assert!(entries <= SHARDS * SHARD_ENTRIES, "{entries} entries");
        let kept = tables.iter().any(|table| table.lock().iter().any(|(known, _)| *known == u64::MAX));
        assert!(kept, "who asked for too much is remembered");
    }
}
