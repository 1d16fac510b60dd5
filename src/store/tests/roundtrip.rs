//! Whatever is committed is what is loaded.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::{collection, option, prelude::*};

use super::{
    memory::{Image, MemoryDisk, now, open_here, open_on},
    sample::{ANCHOR, Held, options},
};
use crate::{
    catalog::{Change, Commit, Eviction, Kind, Reason},
    config::Durability,
    store::{Batch, Prune, Record, Standing},
    types::{
        Content, Head, Info, Instance, LeaseId, LeaseTimes, Moment, Parts, Revision, ServiceName, ServiceUrl,
        Status, Ttl, WallTime,
    },
};

/// A batch before it has its place: revisions are its own, counted from 0.
#[derive(Clone, Debug)]
struct Plan {
    records: Vec<(u8, Option<Record>)>,
    commits: Vec<Vec<Change>>,
    /// How many commits stay, and what is known of the others.
    prune: Option<(u64, Vec<(u64, u64)>)>,
}

fn content(id: u8) -> impl Strategy<Value = Content> {
    (
        "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?",
        "[a-z][a-z0-9+.-]{0,5}://[a-zA-Z0-9.\u{e9}-]{1,20}(:[1-9][0-9]{0,3})?",
        collection::vec(any::<u8>(), 0..200),
        collection::btree_map(".{0,12}", ".{0,12}", 0..4),
        ".{0,10}",
        any::<u32>(),
    )
        .prop_map(move |(service, url, info, labels, zone, weight)| {
            Content::from(Parts {
                service: ServiceName::fold(&service).unwrap(),
                // No two of one pair.
                url: ServiceUrl::parse(&format!("{url}/{id}")).unwrap(),
                info: Info(Bytes::from(info)),
                labels: BTreeMap::from_iter(labels),
                zone,
                weight,
            })
        })
}

fn instance(id: u8) -> impl Strategy<Value = Instance> {
    let numbers = (any::<u32>(), any::<u64>(), any::<u64>());
    (content(id), any::<bool>(), numbers).prop_map(move |(content, alive, (ttl, registered, updated))| {
        content.instance(Head {
            id: LeaseId(u128::from(id) << 100 | 1),
            service: content.service().clone(),
            status: if alive { Status::Alive } else { Status::Suspect },
            ttl: Ttl(ttl),
            registered_at: WallTime(registered),
            last_updated: WallTime(updated),
            revision: Revision(0),
        })
    })
}

fn record(id: u8) -> impl Strategy<Value = Record> {
    let standing = prop_oneof![
        Just(Standing::Live),
        any::<u64>().prop_map(|at| Standing::Lapsed(WallTime(at))),
        any::<u64>().prop_map(|at| Standing::Dead(WallTime(at))),
    ];
    let text = || option::of(".{0,20}");
    let rest = (any::<[u8; 16]>(), any::<IpAddr>(), text(), text(), any::<bool>());
    (instance(id), standing, option::of(any::<Duration>()), rest).prop_map(
        |(instance, standing, drop_grace, (token, peer, client_id, key, named))| Record {
            instance,
            standing,
            drop_grace,
            token,
            peer,
            client_id: client_id.map(Arc::from),
            key: key.map(Arc::from),
            named,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop::sample::select(vec![
        Kind::Registered,
        Kind::Updated,
        Kind::Suspect,
        Kind::Deregistered,
        Kind::Expired,
    ]);
    let reason = prop::sample::select(vec![
        Reason::New,
        Reason::Content,
        Reason::Revived,
        Reason::Recovered,
        Reason::Replaced,
        Reason::Client,
        Reason::TtlLapsed,
        Reason::StreamDropped,
        Reason::EnteredFilter,
        Reason::LeftFilter,
    ]);
    let moments = (0..1_u64 << 60, 0..1_u64 << 60);
    let instances = (any::<u8>().prop_flat_map(instance), option::of(any::<u8>().prop_flat_map(instance)));
    (kind, reason, instances, any::<bool>(), moments, any::<bool>()).prop_map(
        |(kind, reason, (one, other), swapped, (renewed, deadline), braked)| {
            let one = Some(one);
            let (before, after) = if swapped { (other, one) } else { (one, other) };
            let times = LeaseTimes { renewed: Moment(renewed), deadline: Moment(deadline) };
            Change { kind, reason, before, after, times, braked }
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let entry = (0..12_u8).prop_flat_map(|id| (Just(id), option::weighted(0.8, record(id))));
    let known = collection::vec((any::<u64>(), any::<u64>()), 0..20);
    (
        collection::vec(entry, 0..6),
        collection::vec(collection::vec(change(), 1..3), 0..3),
        option::weighted(0.2, (0..4_u64, known)),
    )
        .prop_map(|(records, commits, prune)| Plan { records, commits, prune })
}

impl Plan {
    /// The batch that comes after this revision.
    fn after(self, last: &mut u64) -> Batch {
        let commits: Vec<_> = (*last + 1..)
            .zip(self.commits)
            .map(|(revision, changes)| Arc::new(Commit { revision: Revision(revision), changes }))
            .collect();
        *last += commits.len() as u64;
        let at = *last;
        let records = self.records.into_iter().map(|(id, record)| {
            let record = record.map(|record| {
                let instance = record.instance.with(|head| head.revision = Revision(at));
                Record { instance, ..record }
            });
            (LeaseId(u128::from(id) << 100 | 1), record)
        });
        let prune = self.prune.map(|(stay, known)| Prune {
            through: Revision(at.saturating_sub(stay)),
            evicted: known
                .into_iter()
                .map(|(key, revision)| Eviction { key, revision: Revision(revision) })
                .collect(),
        });
        Batch { records: records.collect(), commits, anchor: ANCHOR, prune }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_loaded_is_what_was_committed(
        plans in collection::vec(plan(), 1..12),
        killed in any::<bool>(),
        durability in prop::sample::select(vec![Durability::Sync, Durability::Os, Durability::None]),
    ) {
        let mut disk = MemoryDisk::new(Image::default());
        let (mut held, mut last) = (Held::default(), 0);
        let half = plans.len() / 2;
        for life in [&plans[..half], &plans[half..]] {
            let (store, loaded) = open_on(&disk, &options(durability)).unwrap();
            prop_assert_eq!(&Held::of(&loaded), &held);
            for plan in life {
                let batch = plan.clone().after(&mut last);
                held.apply(&batch);
                now(store.commit(batch)).unwrap();
            }
            if !killed || durability != Durability::Sync {
                now(store.close()).unwrap();
            }
            disk = MemoryDisk::new(disk.image());
        }
        let (_live, loaded) = open_here(&disk, &options(durability)).unwrap();
        prop_assert_eq!(&Held::of(&loaded), &held);
    }
}
