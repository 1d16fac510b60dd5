//! A server that is told to stop: it says so to load balancers and to every `KeepAlive`
//! stream, expires nobody, and ends with 0.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use leasehold::proto::{
    KeepAliveRequest, WatchRequest,
    event::{Reason, Type as Kind},
};
use support::{
    SOON, Server, replica,
    watch::{Watch, what},
    within,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// How long a drain may take: `--drain-timeout` here is the default of 8 s.
const DRAIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_warns_everybody_and_expires_nobody() {
    let mut server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;

    // Health is watched over a connection that is open before the drain begins.
    let mut health = HealthClient::new(server.channel().await)
        .watch(HealthCheckRequest { service: "leasehold.v1.Registry".to_owned() })
        .await
        .unwrap()
        .into_inner();
    let first = within("the first health", SOON, health.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let mut streams = Vec::new();
    for number in 0..5 {
        let id = server.register(replica("kept", &format!("http://kept:{}", number + 1))).await.id;
        let (beats, outgoing) = mpsc::unbounded_channel();
        beats.send(KeepAliveRequest { ids: vec![id], ..KeepAliveRequest::default() }).unwrap();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let mut answers = server.registry().await.keep_alive(outgoing).await.unwrap().into_inner();
        let first = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
        assert_eq!((first.ttl_seconds, first.retry_after), (30, None));
        streams.push((beats, answers));
    }

    server.signal("TERM");
    let turned = within("NOT_SERVING", DRAIN, health.message()).await.unwrap().unwrap();
    assert_eq!(turned.status(), ServingStatus::NotServing);
    drop(health);

    for (beats, mut answers) in streams {
        let told = within("retry_after", DRAIN, answers.message()).await.unwrap().expect("it is said first");
        let retry_after = told.retry_after.expect("a draining server says when to come back");
        assert!(retry_after.seconds >= 0 && retry_after.nanos >= 0, "{retry_after:?}");
        assert_eq!(told.lost, [], "nothing is lost by it");
        // Whether it ends with OK or UNAVAILABLE, it ends, and by the server.
        match within("the stream's end", DRAIN, answers.message()).await {
            Ok(None) => {}
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
            Ok(Some(more)) => panic!("{more:?} after retry_after"),
        }
        drop(beats);
    }

    // Everything that is still told before the watch ends.
    while let Ok(message) = watch.try_message(DRAIN).await {
        watch.seen.extend(message.events);
    }
    let seen: Vec<(Kind, Reason)> = watch.seen.iter().map(what).collect();
    assert_eq!(seen, [(Kind::Registered, Reason::New); 5]);

    let status = server.wait_exit(DRAIN);
    assert_eq!(status.code(), Some(0), "{}", server.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_after_the_warning_is_not_expired() {
    let server = Server::start(&[]);
    let id = server.register(replica("leaving", "http://leaving:1")).await.id;
    let mut watch = Watch::everything(&server).await;
    let (beats, outgoing) = mpsc::unbounded_channel();
    beats.send(KeepAliveRequest { ids: vec![id], ..KeepAliveRequest::default() }).unwrap();
    let mut client = server.registry().await;
    let mut answers = client.keep_alive(UnboundedReceiverStream::new(outgoing)).await.unwrap().into_inner();
    within("an answer", SOON, answers.message()).await.unwrap().unwrap();
    server.signal("TERM");
    let told = within("retry_after", DRAIN, answers.message()).await.unwrap().unwrap();
    assert!(told.retry_after.is_some());
    drop((beats, answers, client));
    while let Ok(message) = watch.try_message(DRAIN).await {
        assert_eq!(message.events, [], "no end after retry_after is the client's");
    }
}

#[test]
fn an_idle_server_ends_at_once_and_by_interrupt_too() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        assert_eq!(server.get("/health").status, 200);
        server.signal(signal);
        assert_eq!(server.wait_exit(SOON).code(), Some(0), "SIG{signal}: {}", server.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_health_does_not_hold_up_a_drain() {
    // Longer than the wait for its end below: it must not come to be cut.
    let mut server = Server::start(&["--drain-timeout", "1h"]);
    let request = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(server.channel().await).watch(request).await.unwrap().into_inner();
    within("the first health", SOON, health.message()).await.unwrap().unwrap();
    server.signal("TERM");
    let turned = within("NOT_SERVING", SOON, health.message()).await.unwrap().unwrap();
    assert_eq!(turned.status(), ServingStatus::NotServing);
    assert!(within("the end", SOON, health.message()).await.unwrap().is_none());
    assert_eq!(server.wait_exit(SOON).code(), Some(0), "{}", server.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_never_read_does_not_hold_up_a_drain() {
    let mut server = Server::start(&["--drain-timeout", "1s"]);
    let mut client = server.registry().await;
    let _unread = Watch::open(&mut client, WatchRequest::default()).await;
    server.signal("TERM");
    assert_eq!(server.wait_exit(SOON).code(), Some(0), "{}", server.stderr());
}
