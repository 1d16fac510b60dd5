//! What the tests put into stores.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    catalog::{Change, Commit, Eviction, Kind, Reason},
    config::Durability,
    store::{Batch, Loaded, Options, Record, Standing},
    types::{
        Content, Epoch, Head, Info, Instance, LeaseId, LeaseTimes, Moment, Parts, Revision, ServiceName,
        ServiceUrl, Status, Ttl, WallTime,
    },
};

pub(super) const ANCHOR: WallTime = WallTime(1_700_000_000_000_000);

pub(super) fn options(durability: Durability) -> Options {
    Options { durability, fresh_epoch: Epoch(77), anchor: ANCHOR, accept_loss: false }
}

pub(super) fn instance(id: u128, revision: u64, bytes: usize) -> Instance {
    let content = Content::from(Parts {
        service: ServiceName::fold(&format!("service-{}", id % 7)).unwrap(),
        url: ServiceUrl::parse(&format!("http://10.0.0.1:{}/{id}", 1000 + id % 1000)).unwrap(),
        info: Info(Bytes::from(vec![(id % 251) as u8; bytes])),
        labels: BTreeMap::from([("zone".to_owned(), format!("z{}", id % 3))]),
        zone: format!("z{}", id % 3),
        weight: (id % 10) as u32,
    });
    content.instance(Head {
        id: LeaseId(id),
        service: content.service().clone(),
        status: Status::Alive,
        ttl: Ttl(30),
        registered_at: WallTime(ANCHOR.0 + revision),
        last_updated: WallTime(ANCHOR.0 + revision),
        revision: Revision(revision),
    })
}

pub(super) fn record(instance: &Instance) -> Record {
    Record {
        instance: instance.clone(),
        standing: Standing::Live,
        drop_grace: Some(Duration::from_millis(1500)),
        token: [instance.id.0 as u8; 16],
        peer: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
        client_id: Some(Arc::from("client")),
        key: None,
        named: true,
    }
}

/// A batch that registers these ids at this revision.
pub(super) fn registering(revision: u64, ids: impl IntoIterator<Item = u128>, bytes: usize) -> Batch {
    let instances: Vec<_> = ids.into_iter().map(|id| instance(id, revision, bytes)).collect();
    let times = LeaseTimes { renewed: Moment(revision), deadline: Moment(revision + 30_000_000) };
    let change = |instance: &Instance| Change {
        kind: Kind::Registered,
        reason: Reason::New,
        before: None,
        after: Some(instance.clone()),
        times,
        braked: false,
    };
    let commit = Commit { revision: Revision(revision), changes: instances.iter().map(change).collect() };
    Batch {
        records: instances.iter().map(|instance| (instance.id, Some(record(instance)))).collect(),
        commits: vec![Arc::new(commit)],
        anchor: ANCHOR,
        prune: None,
    }
}

/// What a store holds, to compare.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) records: BTreeMap<u128, Record>,
    pub(super) commits: Vec<Arc<Commit>>,
    pub(super) evicted: Vec<(u64, u64)>,
}

impl Held {
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self {
            revision: loaded.revision.0,
            records: loaded.records.iter().map(|record| ({ record.instance.id.0 }, record.clone())).collect(),
            commits: loaded.commits.clone(),
            evicted: loaded.evicted.iter().map(|eviction| (eviction.key, eviction.revision.0)).collect(),
        }
    }

    /// What it holds after one batch more.
    pub(super) fn apply(&mut self, batch: &Batch) {
        for (id, record) in &batch.records {
            match record {
                Some(record) => self.records.insert(id.0, record.clone()),
                None => self.records.remove(&{ id.0 }),
            };
        }
        for commit in &batch.commits {
            self.revision = commit.revision.0;
            self.commits.push(Arc::clone(commit));
        }
        if let Some(prune) = &batch.prune {
            self.commits.retain(|commit| commit.revision > prune.through);
            self.evicted = prune.evicted.iter().map(|eviction| (eviction.key, eviction.revision.0)).collect();
        }
    }

    /// The same in a new epoch.
    pub(super) fn afresh(mut self) -> Self {
        self.commits.clear();
        self.evicted.clear();
        self
    }
}

/// Some evictions, all of them different from those of another number.
pub(super) fn evictions(number: u64) -> Vec<Eviction> {
    (0..100).map(|i| Eviction { key: number + i, revision: Revision(i % 3) }).collect()
}

/// Numbers that look random and are the same in every run (xorshift64*).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}
