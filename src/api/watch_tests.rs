//! A reader that is slow at its snapshot, while the history moves on under it.

use std::collections::BTreeMap;

use prost::Message as _;
use tokio_stream::StreamExt as _;

use super::*;
use crate::{
    config::{HttpConfig, LeaseConfig, Quotas},
    engine::{Proof, Registration, embedded::Embedded},
    metrics::Metrics,
    proto::event::Reason,
    types::{Actor, Content, Info, LeaseId, Parts, ServiceName, ServiceUrl, Target},
};

const PEER: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn replica(n: usize, weight: u32) -> Registration {
    Registration {
        client_id: None,
        content: Content::from(Parts {
            service: ServiceName::fold("s").unwrap(),
            url: ServiceUrl::parse(&format!("http://h{n}")).unwrap(),
            info: Info(bytes::Bytes::new()),
            labels: BTreeMap::from([("filler".to_owned(), "x".repeat(256))]),
            zone: String::new(),
            weight,
        }),
        ttl_wish: 3600,
        drop_grace: None,
        token: None,
        by: Actor::at(PEER),
    }
}

async fn register(engine: &Embedded, replicas: impl Iterator<Item = (usize, u32)>) -> Vec<LeaseId> {
    let registrations = replicas.map(|(n, weight)| replica(n, weight)).collect();
    let registered = engine.register(registrations).await.unwrap();
    registered.into_iter().map(|one| one.unwrap().instance.id).collect()
}

#[tokio::test]
async fn a_slow_reader_of_a_snapshot_converges_before_it_is_synced() {
    let metrics = Arc::new(Metrics::default());
    let leases = LeaseConfig::default();
    let engine = Arc::new(Embedded::in_memory(&leases, &Quotas::default(), 4096, Arc::clone(&metrics)));
    let ids = register(&engine, (0..3000).map(|n| (n, 0))).await;
    let service = Registry::new(engine.clone(), HttpConfig::default(), &leases, metrics);
    let request = proto::WatchRequest::default();
    let mut messages = service.start_watch(request, &crate::api::unary::this_machine()).unwrap();

    let mut view: BTreeMap<String, u32> = BTreeMap::new();
    let mut gone = 0;
    let mut parts = 0;
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let message = proto::WatchResponse::decode(message.0).unwrap();
        if message.r#type() == Type::Synced {
            assert!(!message.resume_token.is_empty());
            break;
        }
        assert_eq!(message.r#type(), Type::Snapshot, "nothing else before SYNCED");
        assert!(message.resume_token.is_empty());
        parts += 1;
        for event in message.events {
            let reason = event.reason();
            let instance = event.instance.unwrap();
            if reason == Reason::Gone {
                gone += 1;
                assert!(view.remove(&instance.id).is_some(), "gone, but never listed");
            } else {
                view.insert(instance.id, instance.weight);
            }
        }
        if parts == 1 {
            // More than the history holds, of what the reader has seen and of what it has not.
            for id in ids.iter().step_by(10) {
                let proof = Proof { token: None, by: Actor::at(PEER) };
                engine.deregister(Target::Id(*id), proof).await.unwrap();
            }
            register(&engine, (1..3000).step_by(10).map(|n| (n, 7))).await;
            register(&engine, (5000..5100).map(|n| (n, 9))).await;
        }
    }
    assert!(parts > 4, "{parts} parts: the snapshot was too small to be read slowly");
    assert!(gone > 0);
    let catalog = engine.view().read();
    let filter = Filter::default();
    let live: BTreeMap<String, u32> =
        catalog.matching(&filter).map(|one| (one.id.to_string(), one.content().weight())).collect();
    assert_eq!(live.len(), 3000 - 300 + 100);
    assert_eq!(view, live);
}

#[tokio::test]
async fn a_snapshot_is_shared_while_the_history_goes_on_from_it() {
    let engine = Embedded::in_memory(&LeaseConfig::default(), &Quotas::default(), 1 << 20, Arc::default());
    register(&engine, (0..10).map(|n| (n, 0))).await;
    let filter = Filter::default();
    let first = engine.view().snapshot(&filter).unwrap();
    register(&engine, (10..11).map(|n| (n, 0))).await;
    let second = engine.view().snapshot(&filter).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    drop((first, second));
    // Nobody reads it any more: the next reader gets one of its own time.
    assert_eq!(engine.view().snapshot(&filter).unwrap().instances().len(), 11);
}
