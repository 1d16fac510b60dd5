//! What a network can do to a lease.

use std::time::Duration;

use leasehold::{
    client::{Ended, Registration, State},
    proto::event::{Reason, Type as Kind},
};

use super::{
    PATIENCE, client, orders, registered,
    support::{
        Server,
        link::{Link, Way},
        watch::{Watch, instance, listed_ids, what},
        within,
    },
    until,
};

fn brief(number: usize) -> Registration {
    orders(number).ttl(Duration::from_secs(2))
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let link = Link::to(server.addr);
    let client = client(link.url());
    let (bare, graced) = (client.hold(orders(1)), client.hold(orders(2).drop_grace(Duration::from_mins(1))));
    let (bare_id, graced_id) = (registered(&bare).await, registered(&graced).await);
    for cut in 1..=3 {
        link.refuse();
        link.cut();
        for lease in [&bare, &graced] {
            until("the risk", lease, |state| matches!(state, State::AtRisk { .. })).await;
        }
        link.pass();
        assert_eq!(registered(&bare).await, bare_id);
        assert_eq!(registered(&graced).await, graced_id);
        assert_eq!(link.accepted(), cut + 1);
    }
    watch.catch_up(&server).await;
    let of_graced = watch.seen_of(&graced_id);
    assert!(of_graced.iter().all(|(kind, _)| *kind != Kind::Expired), "{of_graced:?}");
    // Each time the server saw it drop, and saw it come back.
    let of_bare = watch.seen_of(&bare_id);
    let news = of_bare.iter().filter(|(_, reason)| *reason == Reason::New).count();
    assert_eq!((news, of_bare.last().unwrap().0), (1, Kind::Registered), "{of_bare:?}");
}

#[tokio::test]
async fn a_partition_costs_the_lease_and_its_end_brings_it_back() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let link = Link::to(server.addr);
    let lease = client(link.url()).hold(brief(1));
    let id = registered(&lease).await;
    link.hold(Way::Both);
    until("the risk", &lease, |state| matches!(state, State::AtRisk { .. })).await;
    let lapsed = watch.until("the lapse", PATIENCE, |event| event.r#type() == Kind::Expired).await;
    assert_eq!((instance(&lapsed).id.as_str(), lapsed.reason()), (id.as_str(), Reason::TtlLapsed));
    let lost = until("the loss", &lease, |state| matches!(state, State::Lost { .. })).await;
    let State::Lost { why, .. } = lost else { unreachable!() };
    assert!(why.contains("not renewed for a TTL"), "{why}");
    link.pass();
    assert_eq!(registered(&lease).await, id);
    let back = watch.until("the return", PATIENCE, |event| event.r#type() == Kind::Registered).await;
    assert_eq!((instance(&back).id.as_str(), back.reason()), (id.as_str(), Reason::Revived));
    within("deregistering", PATIENCE, lease.deregister()).await.expect("the registry confirms it");
}

#[tokio::test]
async fn a_registry_that_is_not_heard_is_asked_over_a_new_connection() {
    let server = Server::start(&[]);
    let link = Link::to(server.addr);
    let lease = client(link.url()).hold(brief(1));
    let id = registered(&lease).await;
    link.hold(Way::ToClient);
    until("the loss", &lease, |state| matches!(state, State::Lost { .. })).await;
    assert!(link.accepted() > 1);
    link.pass();
    assert_eq!(registered(&lease).await, id);
    // The connections that it was looked for on are closed in the end.
    let one = async {
        while link.open() > 1 {
            tokio::task::yield_now().await;
        }
    };
    within("one connection to be left", PATIENCE, one).await;
    assert_eq!(listed_ids(&server).await, [id]);
}

#[tokio::test]
async fn a_server_that_stalls_expires_nobody() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let client = client(server.url());
    let leases: Vec<_> = (0..20).map(brief).map(|registration| client.hold(registration)).collect();
    let mut ids = Vec::new();
    for lease in &leases {
        ids.push(registered(lease).await);
    }
    server.signal("STOP");
    for lease in &leases {
        until("the loss", lease, |state| matches!(state, State::Lost { .. })).await;
    }
    server.signal("CONT");
    for (lease, id) in leases.iter().zip(&ids) {
        assert_eq!(&registered(lease).await, id);
    }
    watch.catch_up(&server).await;
    for id in &ids {
        assert_eq!(watch.seen_of(id), [(Kind::Registered, Reason::New)]);
    }
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_made_once() {
    let server = Server::start(&["--require-lease-token"]);
    let mut watch = Watch::everything(&server).await;
    let link = Link::to(server.addr);
    link.hold(Way::ToClient);
    // Until its first registration has lapsed, nobody knows the token of it.
    let lease = client(link.url()).hold(brief(1));
    let event = watch.event(PATIENCE).await;
    link.cut();
    link.pass();
    assert_eq!(registered(&lease).await, instance(&event).id);
    watch.catch_up(&server).await;
    let registered: Vec<_> =
        watch.seen.iter().map(what).filter(|(_, reason)| *reason == Reason::New).collect();
    assert_eq!(registered.len(), 1);
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_ended_too() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let link = Link::to(server.addr);
    link.hold(Way::ToClient);
    let lease = client(link.url()).hold(orders(1));
    let id = instance(&watch.event(PATIENCE).await).id.clone();
    let states = lease.states();
    let ending = tokio::spawn(lease.deregister());
    link.cut();
    link.pass();
    within("deregistering", PATIENCE, ending).await.unwrap().expect("the registry confirms it");
    let end = watch.until("the end", PATIENCE, |event| event.r#type() == Kind::Deregistered).await;
    assert_eq!(instance(&end).id, id);
    assert_eq!(*states.borrow(), State::Ended(Ended::Deregistered));
}

#[tokio::test]
async fn ending_it_while_the_registry_is_away_is_given_up() {
    let server = Server::start(&[]);
    let link = Link::to(server.addr);
    let client = client(link.url());
    let lease = client.hold(orders(1));
    registered(&lease).await;
    link.refuse();
    link.cut();
    let why = within("giving up", PATIENCE, lease.deregister()).await.expect_err("nobody is there");
    assert!(!why.is_empty());
    within("closing", PATIENCE, client.close()).await.expect("nothing is held");
}
