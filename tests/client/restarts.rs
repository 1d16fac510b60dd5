//! Servers that go, and come back or do not.

use std::time::Instant;

use leasehold::{
    client::State,
    proto::{WatchRequest, event::Type as Kind},
};

use super::{
    client, orders, registered,
    support::{
        SOON, START, Serve, Server,
        data_dir::DataDir,
        link::Link,
        watch::{Watch, instance, listed_ids},
    },
    until,
};

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_has_lost_nobody() {
    let dir = DataDir::new("client");
    let mut server = Serve::new().on(&dir).start();
    let watch = Watch::everything(&server).await;
    let leases: Vec<_> = {
        let client = client(server.url());
        (0..50).map(|number| client.hold(orders(number))).collect()
    };
    let mut ids = Vec::new();
    for lease in &leases {
        ids.push(registered(lease).await);
    }
    let killed = Instant::now();
    server.kill();
    for lease in &leases {
        let state = until("the risk", lease, |state| matches!(state, State::AtRisk { .. })).await;
        let State::AtRisk { until, .. } = state else { unreachable!() };
        assert!(until > killed);
    }
    let server = Serve::new().on(&dir).at(server.addr).start();
    for (lease, id) in leases.iter().zip(&ids) {
        assert_eq!(&registered(lease).await, id);
    }
    // Whoever watched from before sees nobody vanish.
    let request = WatchRequest { resume_token: watch.token, ..Default::default() };
    let mut watch = Watch::open(&mut server.registry().await, request).await;
    watch.catch_up(&server).await;
    assert_eq!(watch.resets, 0);
    for event in &watch.seen {
        assert!(!matches!(event.r#type(), Kind::Expired | Kind::Deregistered), "{event:?}");
    }
    ids.sort();
    assert_eq!(listed_ids(&server).await, ids);
}

#[tokio::test]
async fn a_server_that_forgot_is_registered_with_anew() {
    let mut server = Server::start(&[]);
    let client = client(server.url());
    let leases: Vec<_> = (0..50).map(|number| client.hold(orders(number))).collect();
    let mut before = Vec::new();
    for lease in &leases {
        before.push(registered(lease).await);
    }
    server.kill();
    let server = Serve::new().args(["--store", "memory"]).at(server.addr).start();
    let mut after = Vec::new();
    for (lease, before) in leases.iter().zip(&before) {
        let state = until(
            "the new registration",
            lease,
            |state| matches!(state, State::Registered { id, .. } if id != before),
        )
        .await;
        after.push(state.id().unwrap().to_owned());
        assert_eq!(lease.id(), after.last().cloned());
    }
    after.sort();
    assert_eq!(listed_ids(&server).await, after);
}

#[tokio::test]
async fn a_server_that_drains_is_left_for_the_one_that_is_there_then() {
    let mut first = Server::start(&[]);
    let second = Server::start(&[]);
    let link = Link::to(first.addr);
    let lease = client(link.url()).hold(orders(1));
    let id = registered(&lease).await;
    let mut watch = Watch::everything(&first).await;
    link.lead_to(second.addr);
    first.signal("TERM");
    let risk = until("the risk", &lease, |state| matches!(state, State::AtRisk { .. })).await;
    let State::AtRisk { id: at_risk, why, .. } = risk else { unreachable!() };
    assert_eq!((at_risk, why.as_str()), (id.clone(), "the registry is going down"));
    let other = until(
        "the other server",
        &lease,
        |state| matches!(state, State::Registered { id: other, .. } if *other != id),
    )
    .await;
    assert_eq!(listed_ids(&second).await, [other.id().unwrap()]);
    assert!(first.wait_exit(START).success());
    // What it still told before its end was no end of ours.
    while let Ok(message) = watch.try_message(SOON).await {
        for event in message.events {
            assert_eq!(event.r#type(), Kind::Registered, "{}", instance(&event).id);
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = Server::start(&[]);
    server.kill();
    let lease = client(server.url()).hold(orders(1));
    let state =
        until("the first try", &lease, |state| matches!(state, State::Pending { why: Some(_) })).await;
    let State::Pending { why: Some(why) } = state else { unreachable!() };
    assert!(why.to_lowercase().contains("refused"), "{why}");
    let server = Serve::new().args(["--store", "memory"]).at(server.addr).start();
    let id = registered(&lease).await;
    assert_eq!(listed_ids(&server).await, [id]);
}
