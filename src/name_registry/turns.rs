//! Whose turn it is: each time a service is discovered, its list begins with the next instance.

use std::{collections::HashMap, hash::BuildHasher as _};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// How many services' turns are remembered; beyond, all begin anew.
const MAX_SERVICES: usize = 1 << 16;

/// The turn of each service that was discovered.
#[derive(Debug, Default)]
pub(super) struct Turns {
    hasher: RandomState,
    /// By a number for the service's name: names may be long, and are the clients'.
    next: Mutex<HashMap<u64, usize, RandomState>>,
}

impl Turns {
    /// Whose turn it is of a service's `count` instances, in their order.
    pub(super) fn next(&self, service: &str, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        let mut next = self.next.lock();
        let key = self.hasher.hash_one(service);
        if next.len() >= MAX_SERVICES && !next.contains_key(&key) {
            next.clear();
        }
        let next = next.entry(key).or_default();
        let turn = *next % count;
        *next = turn + 1;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_in_turn() {
        let turns = Turns::default();
        let next = |service: &str, count| turns.next(service, count);
        let seen: Vec<usize> = (0..5).map(|_| next("a", 3)).collect();
        assert_eq!(seen, [0, 1, 2, 0, 1]);
        assert_eq!(next("b", 2), 0, "each service by itself");
        assert_eq!([next("a", 2), next("a", 2)], [0, 1], "there may be fewer");
        assert_eq!([next("a", 1), next("a", 0)], [0, 0]);
    }

    #[test]
    fn not_too_many_are_remembered() {
        let turns = Turns::default();
        for service in 0..=MAX_SERVICES {
            turns.next(&service.to_string(), 2);
        }
        assert!(turns.next.lock().len() <= MAX_SERVICES);
    }
}
