//! Leases while nothing is in the way.

use std::time::Duration;

use leasehold::{
    client::{Ended, Registration, State},
    proto::{
        DeregisterRequest, GetRequest, Instance, ListRequest, PingRequest,
        event::{Reason, Type as Kind},
    },
};
use serde_json::json;
use tonic::Code;

use super::{
    PATIENCE, client, orders, registered,
    support::{
        SOON, Serve, Server,
        link::Link,
        replica,
        watch::{Watch, instance, list, listed_ids, what},
        within,
    },
    until,
};

async fn get(server: &Server, id: &str) -> Option<Instance> {
    match server.registry().await.get(GetRequest { id: id.to_owned() }).await {
        Ok(found) => Some(found.into_inner()),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            None
        }
    }
}

#[tokio::test]
async fn what_is_held_is_registered_with_all_that_was_said_of_it() {
    let server = Server::start(&[]);
    let registration = Registration::new("Orders", "http://10.0.0.7:8080")
        .label("tier", "gold")
        .zone("a")
        .weight(3)
        .ttl(Duration::from_secs(7))
        .info(json!({ "version": "1.4.2" }));
    let lease = client(server.url()).hold(registration);
    let id = registered(&lease).await;
    let found = get(&server, &id).await.expect("it is registered");
    assert_eq!((found.service.as_str(), found.url.as_str()), ("orders", "http://10.0.0.7:8080"));
    assert_eq!((found.labels["tier"].as_str(), found.zone.as_str(), found.weight), ("gold", "a", 3));
    assert_eq!(found.ttl_seconds, 7);
    assert!(found.info.expect("as sent").fields.contains_key("version"));
    assert_eq!(lease.id().as_ref(), Some(&id));
    let State::Registered { ttl, .. } = lease.state() else { panic!("{:?}", lease.state()) };
    assert_eq!(ttl.as_secs(), 7);
    assert!(!lease.answer().expect("an answer").lease_token.is_empty());
}

#[tokio::test]
async fn it_goes_by_call_and_when_it_is_dropped() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let client = client(server.url());
    for by_call in [true, false] {
        let lease = client.hold(orders(1));
        let id = registered(&lease).await;
        let mut states = lease.states();
        if by_call {
            within("deregistering", SOON, lease.deregister()).await.expect("the registry confirms it");
            assert_eq!(get(&server, &id).await, None);
        } else {
            drop(lease);
        }
        let event = watch.until("its end", SOON, |event| event.r#type() != Kind::Registered).await;
        assert_eq!((instance(&event).id.as_str(), event.reason()), (id.as_str(), Reason::Client));
        let ended = |state: &State| *state == State::Ended(Ended::Deregistered);
        assert!(within("the last state", SOON, states.wait_for(ended)).await.is_ok());
    }
}

#[tokio::test]
async fn what_was_not_registered_yet_is_ended_without_a_trace() {
    let server = Server::start(&[]);
    let client = client(server.url());
    for _ in 0..20 {
        let lease = client.hold(orders(1));
        within("deregistering", SOON, lease.deregister()).await.expect("nothing is left");
        assert_eq!(listed_ids(&server).await, [""; 0]);
    }
}

#[tokio::test]
async fn what_is_left_stays_for_its_ttl() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let client = client(server.url());
    let (stays, leaves) = (client.hold(orders(1)), client.hold(orders(2).ttl(Duration::from_secs(2))));
    let (stays_id, leaves_id) = (registered(&stays).await, registered(&leaves).await);
    within("leaving", SOON, leaves.leave()).await;
    assert!(get(&server, &leaves_id).await.is_some());
    // By its TTL, and not by the drop of a stream.
    let event = watch.until("its end", PATIENCE, |event| event.r#type() == Kind::Expired).await;
    assert_eq!((instance(&event).id.as_str(), event.reason()), (leaves_id.as_str(), Reason::TtlLapsed));
    assert!(get(&server, &stays_id).await.is_some());
}

#[tokio::test]
async fn a_crowd_is_held_over_one_connection_and_one_stream() {
    const MANY: usize = 3000;
    let server = Server::start(&[]);
    let link = Link::to(server.addr);
    let client = client(link.url());
    let leases: Vec<_> = (0..MANY).map(|number| client.clone().hold(orders(number))).collect();
    for lease in &leases {
        registered(lease).await;
    }
    assert_eq!(list(&server).await.count as usize, MANY);
    assert_eq!(link.accepted(), 1);
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("leasehold_keepalive_streams 1\n"), "{metrics}");
    within("closing", PATIENCE, client.close()).await.expect("the registry confirms it");
    assert_eq!(list(&server).await.count, 0);
    for lease in leases {
        assert_eq!(lease.state(), State::Ended(Ended::Deregistered));
    }
    assert_eq!(link.accepted(), 1);
}

#[tokio::test]
async fn a_bad_one_among_good_ones_harms_none_but_itself() {
    let server = Server::start(&[]);
    let client = client(server.url());
    let mut leases: Vec<_> = (0..20).map(|number| client.hold(orders(number))).collect();
    let bad = client.hold(Registration::new("orders", "not-a-url"));
    leases.extend((20..40).map(|number| client.hold(orders(number))));
    let Err(Ended::Refused(why)) = within("the refusal", SOON, bad.registered()).await else {
        panic!("{:?}", bad.state());
    };
    assert!(why.starts_with("url "), "{why}");
    for lease in &leases {
        registered(lease).await;
    }
    assert_eq!(list(&server).await.count, 40);
}

#[tokio::test]
async fn an_update_changes_the_content_under_the_same_id() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let lease = client(server.url()).hold(orders(1));
    let id = registered(&lease).await;
    for round in 0..5 {
        lease.update(orders(1).label("round", round.to_string()));
        let updated = watch.until("the update", SOON, |event| event.r#type() == Kind::Updated).await;
        assert_eq!((instance(&updated).id.as_str(), updated.reason()), (id.as_str(), Reason::Content));
        assert_eq!(instance(&updated).labels["round"], round.to_string());
    }
    // It takes place on the stream again: beats renew it, not the update alone.
    let before = get(&server, &id).await.expect("it lives").last_ping_at;
    lease.update(orders(1).ttl(Duration::from_secs(1)));
    let renewed = async {
        while get(&server, &id).await.expect("it lives").last_ping_at == before {}
        let after = get(&server, &id).await.expect("it lives").last_ping_at;
        while get(&server, &id).await.expect("it lives").last_ping_at == after {}
    };
    within("two renewals", SOON, renewed).await;
    assert_eq!(watch.seen_of(&id).iter().filter(|(kind, _)| *kind != Kind::Updated).count(), 1);
}

#[tokio::test]
async fn an_update_to_another_url_is_another_registration() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let lease = client(server.url()).hold(orders(1));
    let id = registered(&lease).await;
    lease.update(orders(2));
    watch
        .until("the end of the former", SOON, |event| {
            instance(event).id == id && event.reason() == Reason::Client
        })
        .await;
    let other = until(
        "the new one",
        &lease,
        |state| matches!(state, State::Registered { id: other, .. } if *other != id),
    )
    .await;
    assert_eq!(listed_ids(&server).await, [other.id().unwrap()]);
}

#[tokio::test]
async fn an_update_that_is_refused_changes_nothing() {
    let server = Server::start(&[]);
    let lease = client(server.url()).hold(orders(1).label("round", "1"));
    let id = registered(&lease).await;
    let mut states = lease.states();
    states.mark_unchanged();
    lease.update(orders(1).label("round", "x".repeat(300)));
    let refused = async {
        while lease.refusal().is_none() {
            states.changed().await.expect("it is held");
        }
    };
    within("the refusal", SOON, refused).await;
    assert!(lease.refusal().unwrap().contains("labels"), "{:?}", lease.refusal());
    assert_eq!(registered(&lease).await, id);
    assert_eq!(get(&server, &id).await.expect("it lives").labels["round"], "1");
    lease.update(orders(1).label("round", "2"));
    let updated = async { while get(&server, &id).await.expect("it lives").labels["round"] != "2" {} };
    within("the update", SOON, updated).await;
    // The server has it before its answer is here.
    let told = async {
        while lease.refusal().is_some() {
            tokio::task::yield_now().await;
        }
    };
    within("the answer", SOON, told).await;
}

#[tokio::test]
async fn who_registers_the_same_pair_takes_it_over() {
    let server = Server::start(&[]);
    let lease = client(server.url()).hold(orders(1).ttl(Duration::from_secs(3)));
    let other = client(server.url()).hold(orders(2));
    let id = registered(&lease).await;
    registered(&other).await;
    let taken = client(server.url()).hold(orders(1));
    assert_eq!(registered(&taken).await, id);
    until("the end", &lease, |state| *state == State::Ended(Ended::TakenOver)).await;
    drop(lease);
    within("a beat of the other", SOON, other.deregister()).await.expect("it is as it was");
    assert!(get(&server, &id).await.is_some(), "it is the other's");
    assert!(matches!(taken.state(), State::Registered { .. }));
}

#[tokio::test]
async fn holding_it_twice_is_holding_it_anew() {
    let server = Server::start(&["--require-lease-token"]);
    let client = client(server.url());
    let first = client.hold(orders(1));
    let id = registered(&first).await;
    let second = client.hold(orders(1).label("a", "b"));
    assert_eq!(registered(&second).await, id);
    assert_eq!(first.state(), State::Ended(Ended::TakenOver));
    drop(first);
    // One that is being ended as well.
    drop(second);
    let third = client.hold(orders(1));
    let id = registered(&third).await;
    assert_eq!(listed_ids(&server).await, [id]);
}

#[tokio::test]
async fn what_others_deregister_comes_back() {
    let server = Server::start(&["--require-lease-token"]);
    let lease = client(server.url()).hold(orders(1).ttl(Duration::from_secs(3)));
    let first = registered(&lease).await;
    let lease_token = lease.answer().unwrap().lease_token;
    let request = DeregisterRequest { id: first.clone(), lease_token };
    server.registry().await.deregister(request).await.expect("the token is good");
    let lost = until("the loss", &lease, |state| matches!(state, State::Lost { .. })).await;
    assert_eq!(lost.id(), Some(first.as_str()));
    let second = registered(&lease).await;
    assert_ne!(second, first);
    // With the token of the new registration.
    within("deregistering", SOON, lease.deregister()).await.expect("the token is good");
    assert_eq!(listed_ids(&server).await, [""; 0]);
}

#[tokio::test]
async fn a_registration_of_ones_own_is_taken_up() {
    let server = Server::start(&[]);
    let request = replica("orders", "http://10.0.0.1:80/1");
    let answer = server.register(request.clone()).await;
    let lease = client(server.url()).hold_registered(request.into(), answer.clone());
    assert_eq!(registered(&lease).await, answer.id);
    within("deregistering", SOON, lease.deregister()).await.expect("the token is good");
    let gone = server.registry().await.ping(PingRequest { id: answer.id, ..Default::default() }).await;
    assert_eq!(gone.expect_err("it is gone").code(), Code::NotFound);
}

#[tokio::test]
async fn a_quota_is_waited_out() {
    let server = Serve::new().args(["--store", "memory", "--max-registrations", "1"]).start();
    let client = client(server.url());
    let first = client.hold(orders(1));
    registered(&first).await;
    let second = client.hold(orders(2));
    until("the refusal", &second, |state| matches!(state, State::Pending { why: Some(_) })).await;
    assert!(matches!(first.state(), State::Registered { .. }));
    within("deregistering", SOON, second.deregister()).await.expect("it was never there");
    let listed = server.registry().await.list(ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.count, 1);
}

#[test]
fn outside_a_runtime_it_says_what_is_missing() {
    let client = client("http://127.0.0.1:1");
    let lease = client.hold(orders(1));
    let State::Ended(Ended::Refused(why)) = lease.state() else { panic!("{:?}", lease.state()) };
    assert!(why.contains("runtime"), "{why}");
}

#[test]
fn a_client_of_a_runtime_holds_from_any_thread_and_survives_it() {
    let server = Server::start(&[]);
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = runtime();
    let client = first.block_on(async { client(server.url()) });
    let lease = client.hold(orders(1));
    first.block_on(registered(&lease));
    drop(first);
    assert_eq!(lease.state(), State::Ended(Ended::Left));
    let second = runtime();
    let again = second.block_on(async { client.hold(orders(1)) });
    second.block_on(registered(&again));
    let events = second.block_on(async { Watch::everything(&server).await.seen.iter().map(what).count() });
    assert_eq!(events, 0);
    second
        .block_on(async { within("closing", SOON, client.close()).await })
        .expect("the registry confirms it");
}
