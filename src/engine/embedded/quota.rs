//! How much is registered, by whom, and whether there may be more. What lives counts, and what
//! may still be revived; what was deregistered or replaced does not. Start with [`Tallies`].

use std::{collections::HashMap, hash::Hash, sync::Arc};

use foldhash::fast::RandomState;

use crate::{
    config::{Quota, Quotas},
    engine::Refusal,
    lease::Handle,
    types::{Actor, ContentRef, Instance, Network, ServiceName},
};

use super::book::Book;

/// What a registration takes beside its instance: its lease, its record, its places in the
/// indexes and in the catalog.
const LEASE_BYTES: u64 = 176;

/// What is registered, in all and by whom. An entry is there as long as something counts in it,
/// so there are never more than registrations.
#[derive(Debug)]
pub(super) struct Tallies {
    quotas: Quotas,
    all: Tally,
    services: HashMap<ServiceName, Tally, RandomState>,
    keys: HashMap<Arc<str>, Tally, RandomState>,
    peers: HashMap<Network, Tally, RandomState>,
    /// With whose key those were registered that were so with a named one.
    key_of: HashMap<Handle, Arc<str>, RandomState>,
}

/// So much of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// What one registration adds, and to whose tallies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) service: ServiceName,
    pub(super) key: Option<Arc<str>>,
    pub(super) peer: Network,
    pub(super) bytes: u64,
}

/// One kind of quota: what the two limits are called, and the flags that set them.
struct Names {
    count: (&'static str, &'static str),
    bytes: (&'static str, &'static str),
}

const ALL: Names = Names {
    count: ("registrations", "--max-registrations"),
    bytes: ("registration_bytes", "--max-registration-bytes"),
};
const SERVICE: Names = Names {
    count: ("service_registrations", "--max-registrations-per-service"),
    bytes: ("service_registration_bytes", "--max-registration-bytes-per-service"),
};
const KEY: Names = Names {
    count: ("key_registrations", "--max-registrations-per-key"),
    bytes: ("key_registration_bytes", "--max-registration-bytes-per-key"),
};
const PEER: Names = Names {
    count: ("peer_registrations", "--max-registrations-per-peer"),
    bytes: ("peer_registration_bytes", "--max-registration-bytes-per-peer"),
};

/// The names of all limits.
#[cfg(test)]
pub const NAMES: [&str; 8] = [
    ALL.count.0,
    ALL.bytes.0,
    SERVICE.count.0,
    SERVICE.bytes.0,
    KEY.count.0,
    KEY.bytes.0,
    PEER.count.0,
    PEER.bytes.0,
];

impl Charge {
    /// What a registration of this content adds.
    pub(super) fn of(service: &ServiceName, content: ContentRef<'_>, by: &Actor) -> Self {
        Self {
            service: service.clone(),
            key: by.own_key().cloned(),
            peer: Network::of(by.peer),
            bytes: bytes_of(content),
        }
    }
}

fn bytes_of(content: ContentRef<'_>) -> u64 {
    Instance::memory_of(content) as u64 + LEASE_BYTES
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        debug_assert!(self.count > 0 && self.bytes >= bytes, "what is removed was added");
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Tallies {
    /// Nothing is registered yet.
    pub(super) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            all: Tally::default(),
            services: HashMap::default(),
            keys: HashMap::default(),
            peers: HashMap::default(),
            key_of: HashMap::default(),
        }
    }

    /// Whether `new` may take the place of `leaving`. What does not grow may always: also where
    /// there is more than a quota allows, because it was lowered.
    pub(super) fn check(&self, new: &Charge, leaving: &[Charge]) -> Result<(), Refusal> {
        let Quotas { all, service, key, peer } = &self.quotas;
        let gone = |same: &dyn Fn(&Charge) -> bool| {
            let mut gone = Tally::default();
            leaving.iter().filter(|charge| same(charge)).for_each(|charge| gone.add(charge.bytes));
            gone
        };
        fits(*all, self.all, gone(&|_| true), new.bytes, &ALL, || "in all".to_owned())?;
        let used = self.services.get(&new.service).copied().unwrap_or_default();
        fits(*service, used, gone(&|old| old.service == new.service), new.bytes, &SERVICE, || {
            format!("of service {:?}", new.service.as_str())
        })?;
        if let Some(name) = &new.key {
            let used = self.keys.get(name).copied().unwrap_or_default();
            let gone = gone(&|old| old.key == new.key);
            fits(*key, used, gone, new.bytes, &KEY, || format!("with key {name:?}"))?;
        }
        let used = self.peers.get(&new.peer).copied().unwrap_or_default();
        fits(*peer, used, gone(&|old| old.peer == new.peer), new.bytes, &PEER, || {
            format!("from {}", new.peer)
        })
    }

    /// Counts a registration.
    pub(super) fn add(&mut self, handle: Handle, charge: Charge) {
        let Charge { service, key, peer, bytes } = charge;
        self.all.add(bytes);
        self.services.entry(service).or_default().add(bytes);
        self.peers.entry(peer).or_default().add(bytes);
        if let Some(key) = key {
            // One text serves all.
            let key = self.keys.get_key_value(&key).map_or(&key, |(known, _)| known).clone();
            self.keys.entry(Arc::clone(&key)).or_default().add(bytes);
            self.key_of.insert(handle, key);
        }
    }

    /// Counts a registration no more.
    pub(super) fn remove(&mut self, handle: Handle, charge: &Charge) {
        let Charge { service, key, peer, bytes } = charge;
        self.all.remove(*bytes);
        take(&mut self.services, service, *bytes);
        take(&mut self.peers, peer, *bytes);
        if let Some(key) = key {
            take(&mut self.keys, key, *bytes);
            self.key_of.remove(&handle);
        }
    }

    /// With whose key it was registered.
    pub(super) fn key_of(&self, handle: Handle) -> Option<&Arc<str>> {
        self.key_of.get(&handle)
    }
}

fn take<K: Hash + Eq>(tallies: &mut HashMap<K, Tally, RandomState>, key: &K, bytes: u64) {
    let Some(tally) = tallies.get_mut(key) else { return debug_assert!(false, "what is removed was added") };
    tally.remove(bytes);
    if tally.count == 0 {
        tallies.remove(key);
        if tallies.capacity() > 4 * tallies.len() + 64 {
            tallies.shrink_to(2 * tallies.len());
        }
    }
}

fn fits(
    quota: Quota,
    used: Tally,
    gone: Tally,
    new_bytes: u64,
    names: &Names,
    whose: impl Fn() -> String,
) -> Result<(), Refusal> {
    let check =
        |most: Option<u64>, used: u64, after: u64, (limit, flag): (&'static str, &'static str)| match most {
            Some(most) if after > most && after > used => {
                Err(Refusal::Quota { limit, whose: whose(), most, flag })
            }
            _ => Ok(()),
        };
    check(quota.count, used.count, used.count.saturating_sub(gone.count) + 1, names.count)?;
    check(quota.bytes, used.bytes, used.bytes.saturating_sub(gone.bytes) + new_bytes, names.bytes)
}

impl Book {
    /// The same, with bounds on what may be registered.
    pub(super) fn bounded(mut self, quotas: Quotas) -> Self {
        self.tallies = Tallies::new(quotas);
        self
    }

    /// What a registration that counts adds.
    pub(super) fn charge(&self, handle: Handle) -> Charge {
        let instance = &self.record(handle).instance;
        Charge {
            service: instance.service.clone(),
            key: self.tallies.key_of(handle).cloned(),
            peer: Network::of(self.peer(handle)),
            bytes: bytes_of(instance.content()),
        }
    }

    /// Counts a registration, as made with this key.
    pub(super) fn count(&mut self, handle: Handle, key: Option<Arc<str>>) {
        let charge = Charge { key, ..self.charge(handle) };
        self.tallies.add(handle, charge);
    }

    /// Counts a registration no more. To be said before what it is charged by changes.
    pub(super) fn discount(&mut self, handle: Handle) {
        let charge = self.charge(handle);
        self.tallies.remove(handle, &charge);
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
