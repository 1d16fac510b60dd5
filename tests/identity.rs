//! Who a registration is: what registering again does, what a name means, what ends for
//! good and what can come back, and what a lease token guards.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use leasehold::proto::{
    DeregisterRequest, GetRequest, Instance, KeepAliveRequest, PingRequest, RegisterRequest,
    event::{Reason, Type as Kind},
    keep_alive_response::lost,
};
use prost_types::Timestamp;
use serde_json::{Value, json};
use support::{
    SOON, Server, info, replica,
    watch::{Watch, instance, listed_ids, what},
};
use tonic::Code;

/// A registration with every content field set.
fn full() -> RegisterRequest {
    RegisterRequest {
        id: "climate".to_owned(),
        url: "grpc://climate.test:50051/v1".to_owned(),
        info: Some(info("team", "data")),
        service: "Climate Data".to_owned(),
        ttl_seconds: 40,
        labels: [("tier".to_owned(), "gold".to_owned()), ("region".to_owned(), "eu".to_owned())].into(),
        zone: "eu-1".to_owned(),
        weight: 7,
        ..RegisterRequest::default()
    }
}

async fn get(server: &Server, id: &str) -> Instance {
    let request = GetRequest { id: id.to_owned() };
    server.registry().await.get(request).await.expect("it lives").into_inner()
}

async fn ping(server: &Server, id: &str, token: &str) -> Result<Duration, Code> {
    let request = PingRequest { id: id.to_owned(), lease_token: token.to_owned() };
    match server.registry().await.ping(request).await {
        Ok(answer) => Ok(Duration::from_secs(answer.into_inner().ttl_seconds.into())),
        Err(status) => Err(status.code()),
    }
}

async fn deregister(server: &Server, id: &str, token: &str) -> Result<Instance, Code> {
    let request = DeregisterRequest { id: id.to_owned(), lease_token: token.to_owned() };
    match server.registry().await.deregister(request).await {
        Ok(answer) => Ok(answer.into_inner().service.expect("the instance as it was")),
        Err(status) => Err(status.code()),
    }
}

fn nanos(time: Option<Timestamp>) -> i128 {
    let time = time.expect("a time");
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

#[tokio::test]
async fn every_field_comes_back() {
    let server = Server::start(&[]);
    let registered = server.register(full()).await;
    assert_eq!(registered.ttl_seconds, 40);
    let found = get(&server, &registered.id).await;
    assert_eq!(found.service, "climate-data");
    assert_eq!(found.url, "grpc://climate.test:50051/v1");
    assert_eq!(found.info, full().info);
    assert_eq!(found.labels, full().labels);
    assert_eq!((found.zone.as_str(), found.weight), ("eu-1", 7));
    assert_eq!((found.status.as_str(), found.ttl_seconds), ("alive", 40));
    assert_eq!(found.revision, registered.revision);
    assert_eq!(nanos(found.expires_at) - nanos(found.last_ping_at), 40_000_000_000);
}

#[tokio::test]
async fn ttl_wishes_are_clamped() {
    let server = Server::start(&["--default-ttl", "20s", "--min-ttl", "5s", "--max-ttl", "60s"]);
    for (wish, granted) in [(0, 20), (1, 5), (5, 5), (33, 33), (60, 60), (61, 60), (u32::MAX, 60)] {
        let request = RegisterRequest { ttl_seconds: wish, ..replica("clamped", "http://clamped:1") };
        let answer = server.register(request).await;
        assert_eq!(answer.ttl_seconds, granted, "wished {wish}");
    }
}

#[tokio::test]
async fn registering_the_same_again_renews_and_changes_nothing() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let first = server.register(full()).await;
    let before = get(&server, &first.id).await;

    let again = server.register(full()).await;
    assert_eq!(again.id, first.id);
    assert_eq!(again.revision, first.revision);
    assert_ne!(again.expires_at, first.expires_at, "the lease was renewed");

    let after = get(&server, &first.id).await;
    assert_ne!(after.last_ping_at, before.last_ping_at);
    let unmoved = Instance { last_ping_at: before.last_ping_at, expires_at: before.expires_at, ..after };
    assert_eq!(unmoved, before);
    watch.catch_up(&server).await;
    assert_eq!(watch.seen_of(&first.id), [(Kind::Registered, Reason::New)], "no further event");
}

#[tokio::test]
async fn registering_other_content_updates_in_place() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let first = server.register(full()).await;
    let before = get(&server, &first.id).await;
    let changes: [(&str, RegisterRequest); 6] = [
        ("zone", RegisterRequest { zone: "eu-2".to_owned(), ..full() }),
        ("weight", RegisterRequest { weight: 8, ..full() }),
        ("labels", RegisterRequest { labels: [].into(), ..full() }),
        ("info", RegisterRequest { info: Some(info("team", "other")), ..full() }),
        ("no info", RegisterRequest { info: None, ..full() }),
        ("ttl", RegisterRequest { ttl_seconds: 41, ..full() }),
    ];
    let mut last = before;
    for (name, request) in changes {
        let answer = server.register(request.clone()).await;
        let after = get(&server, &first.id).await;
        assert_eq!(answer.id, first.id, "{name}");
        assert_eq!(after.registered_at, last.registered_at, "{name}");
        assert_eq!(
            (&after.labels, &after.zone, after.weight),
            (&request.labels, &request.zone, request.weight)
        );
        assert_eq!(after.info.clone().unwrap(), request.info.unwrap_or_default(), "{name}: never null");
        assert_eq!(after.ttl_seconds, request.ttl_seconds);
        if name != "ttl" {
            assert!(answer.revision > last.revision, "{name}");
            assert!(nanos(after.last_updated) > nanos(last.last_updated), "{name}");
        }
        last = after;
    }
    watch.catch_up(&server).await;
    let seen = watch.seen_of(&first.id);
    assert_eq!(seen[0], (Kind::Registered, Reason::New));
    assert!(
        seen.len() >= 6 && seen[1..].iter().all(|event| *event == (Kind::Updated, Reason::Content)),
        "{seen:?}"
    );

    let sibling =
        server.register(RegisterRequest { url: "grpc://climate.test:50052".to_owned(), ..full() }).await;
    assert_ne!(sibling.id, first.id, "another url is another replica");
    let other = server.register(RegisterRequest { service: "other".to_owned(), ..full() }).await;
    assert_ne!(other.id, first.id, "another service at the same url is another replica");
    assert_eq!(listed_ids(&server).await.len(), 3);
}

#[tokio::test]
async fn a_name_means_the_newest_to_read_and_exactly_one_to_end() {
    let server = Server::start(&[]);
    let first = server.register(replica("pair", "http://pair:1")).await;
    assert_eq!(ping(&server, "pair", "").await, Ok(Duration::from_secs(30)));
    let second = server.register(replica("pair", "http://pair:2")).await;
    assert_eq!(get(&server, "pair").await.id, second.id);
    assert_eq!(ping(&server, "pair", "").await, Err(Code::FailedPrecondition));
    assert_eq!(deregister(&server, "pair", "").await, Err(Code::FailedPrecondition));

    let refused = server.http("DELETE", "/services/pair", &[], b"");
    assert_eq!((refused.status, refused.error_code()), (400, 9));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&first.id) && message.contains(&second.id), "{message}");
    assert_eq!(listed_ids(&server).await.len(), 2);

    assert_eq!(deregister(&server, &first.id, "").await.unwrap().id, first.id);
    assert_eq!(get(&server, "pair").await.id, second.id);
}

#[tokio::test]
async fn a_lone_name_is_ended_by_name_once() {
    let server = Server::start(&[]);
    let only = server.register(replica("Lone Star", "http://lone:1")).await;
    assert_eq!(get(&server, "lone-star").await.id, only.id);
    assert_eq!(deregister(&server, "lone-star", "").await.unwrap().id, only.id);
    assert_eq!(deregister(&server, "lone-star", "").await, Err(Code::NotFound));
    assert_eq!(ping(&server, "lone-star", "").await, Err(Code::NotFound));

    let anew = server.register(replica("Lone Star", "http://lone:1")).await;
    assert_ne!(anew.id, only.id, "an id is never used again");
    assert_eq!(deregister(&server, "lone-star", "").await.unwrap().id, anew.id);
}

#[tokio::test]
async fn the_newest_of_a_client_sent_id_can_replace_the_older() {
    let server = Server::start(&["--duplicate-id", "replace"]);
    let mut watch = Watch::everything(&server).await;
    let by_id = |url: &str| RegisterRequest {
        id: "slug".to_owned(),
        url: url.to_owned(),
        ..RegisterRequest::default()
    };
    let first = server.register(by_id("http://slug:1")).await;
    let other = server.register(RegisterRequest { id: "other".to_owned(), ..by_id("http://slug:1") }).await;
    let second = server.register(by_id("http://slug:2")).await;
    assert_ne!(second.id, first.id);
    watch.catch_up(&server).await;
    assert_eq!(
        watch.seen_of(&first.id),
        [(Kind::Registered, Reason::New), (Kind::Deregistered, Reason::Replaced)]
    );
    assert_eq!(watch.seen_of(&second.id), [(Kind::Registered, Reason::New)]);
    let mut live = [other.id.clone(), second.id.clone()];
    live.sort();
    assert_eq!(listed_ids(&server).await, live);
    assert_eq!(ping(&server, &first.id, "").await, Err(Code::NotFound), "a replaced one never comes back");
    // The name means the newest now; who was replaced does not make it ambiguous.
    assert_eq!(deregister(&server, "slug", "").await.map(|gone| gone.id), Ok(second.id));
}

#[tokio::test]
async fn a_lapsed_lease_is_revived_by_a_ping_and_a_deregistered_one_never() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let request = RegisterRequest { ttl_seconds: 1, ..replica("brief", "http://brief:1") };

    let sent = Instant::now();
    let brief = server.register(request.clone()).await;
    let gone = watch.until("the expiry", SOON, |event| event.r#type() == Kind::Expired).await;
    assert!(sent.elapsed() >= Duration::from_secs(1), "never early: {:?}", sent.elapsed());
    assert_eq!(
        (instance(&gone).id.as_str(), gone.reason(), gone.braked),
        (brief.id.as_str(), Reason::TtlLapsed, false)
    );
    assert_eq!(listed_ids(&server).await, [""; 0]);
    let status = server.registry().await.get(GetRequest { id: brief.id.clone() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    assert_eq!(ping(&server, &brief.id, "").await, Ok(Duration::from_secs(1)));
    let back = watch.event(SOON).await;
    assert_eq!(what(&back), (Kind::Registered, Reason::Revived));
    assert_eq!(instance(&back).id, brief.id);
    assert!(back.revision > gone.revision);

    // It lapses again; registering the pair gives the id back, with the new content.
    watch.until("the second expiry", SOON, |event| event.r#type() == Kind::Expired).await;
    let revived = server.register(RegisterRequest { zone: "b".to_owned(), ..request.clone() }).await;
    assert_eq!(revived.id, brief.id);
    let back = watch.event(SOON).await;
    assert_eq!(what(&back), (Kind::Registered, Reason::Revived));
    assert_eq!(instance(&back).zone, "b");

    // Lapsed, then deregistered: OK once, and it cannot come back.
    watch.until("the third expiry", SOON, |event| event.r#type() == Kind::Expired).await;
    assert_eq!(deregister(&server, &brief.id, "").await.unwrap().id, brief.id);
    assert_eq!(ping(&server, &brief.id, "").await, Err(Code::NotFound));
    assert_eq!(deregister(&server, &brief.id, "").await, Err(Code::NotFound));
    let anew = server.register(request).await;
    assert_ne!(anew.id, brief.id);
}

#[tokio::test]
async fn a_revive_window_ends() {
    let server = Server::start(&["--revive-window", "1s"]);
    let mut watch = Watch::everything(&server).await;
    let brief =
        server.register(RegisterRequest { ttl_seconds: 1, ..replica("brief", "http://brief:1") }).await;
    watch.until("the expiry", SOON, |event| event.r#type() == Kind::Expired).await;
    // The passing of time is what is tested: a look by ping would revive it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ping(&server, &brief.id, "").await, Err(Code::NotFound));
    let anew = server.register(replica("brief", "http://brief:1")).await;
    assert_ne!(anew.id, brief.id);
}

#[tokio::test]
async fn a_lease_token_is_checked_where_it_is_given() {
    let server = Server::start(&[]);
    let first = server.register(full()).await;
    let other = server.register(replica("other", "http://other:1")).await;
    assert_ne!(first.lease_token, other.lease_token);
    for token in [other.lease_token.as_str(), "nonsense"] {
        assert_eq!(ping(&server, &first.id, token).await, Err(Code::PermissionDenied));
        assert_eq!(deregister(&server, &first.id, token).await, Err(Code::PermissionDenied));
        let update = RegisterRequest { zone: "z".to_owned(), lease_token: token.to_owned(), ..full() };
        let status = server.registry().await.register(update).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }
    assert_eq!(get(&server, &first.id).await.zone, "eu-1");
    assert_eq!(ping(&server, &first.id, &first.lease_token).await, Ok(Duration::from_secs(40)));
    assert_eq!(ping(&server, &first.id, "").await, Ok(Duration::from_secs(40)), "optional by default");
    assert_eq!(deregister(&server, &first.id, &first.lease_token).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_lease_token_can_be_required() {
    let server = Server::start(&["--require-lease-token"]);
    let body = json!({"id": "guarded", "url": "http://guarded:1"});
    let registered = server.post_registration(&body);
    let text = |key: &str| -> String { registered[key].as_str().unwrap().to_owned() };
    let (id, token, ping_url) = (text("id"), text("lease_token"), text("ping_url"));
    assert_eq!(ping_url, format!("{}/services/{id}/$ping?lease_token={token}", server.url()));
    let put = |path: &str| server.http("PUT", path, &[], b"");
    assert_eq!(put(ping_url.strip_prefix(&server.url()).unwrap()).status, 200);

    let status = |answer: support::http::Answer| (answer.status, answer.error_code());
    assert_eq!(status(put(&format!("/services/{id}/$ping"))), (403, 7));
    assert_eq!(status(put(&format!("/services/{id}/$ping?lease_token=wrong"))), (403, 7));
    for name in [id.as_str(), "guarded"] {
        assert_eq!(status(server.http("DELETE", &format!("/services/{name}"), &[], b"")), (403, 7), "{name}");
    }
    let update: Value = json!({"id": "guarded", "url": "http://guarded:1", "zone": "b"});
    let refused = server.http("POST", "/services/$register", &[], update.to_string().as_bytes());
    assert_eq!(status(refused), (403, 7));

    let bare = KeepAliveRequest { ids: vec![id.clone()], ..KeepAliveRequest::default() };
    let beat = async |beat: KeepAliveRequest| {
        let mut client = server.registry().await;
        let mut answers = client.keep_alive(tokio_stream::once(beat)).await.unwrap().into_inner();
        answers.message().await.unwrap().expect("an answer")
    };
    let answer = beat(bare.clone()).await;
    assert_eq!((answer.ttl_seconds, answer.lost.len()), (0, 1), "{answer:?}");
    assert_eq!(
        (answer.lost[0].id.as_str(), answer.lost[0].reason()),
        (id.as_str(), lost::Reason::PermissionDenied)
    );

    let own: Value = json!({"id": "guarded", "url": "http://guarded:1", "zone": "c", "lease_token": token});
    assert_eq!(server.post_registration(&own)["id"], id);
    assert_eq!(server.get("/services/guarded").json()["zone"], "c");
    let answer = beat(KeepAliveRequest { lease_tokens: [(id.clone(), token.clone())].into(), ..bare }).await;
    assert_eq!((answer.ttl_seconds, answer.lost.len()), (30, 0), "{answer:?}");
    assert!(!server.stderr().contains(&token), "no token in the log");
    assert!(!server.get("/metrics").text().contains(&token));
}
