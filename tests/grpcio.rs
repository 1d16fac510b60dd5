//! `KeepAlive` as a client in another language does it: plain grpcio with stubs generated
//! from `proto/` decides what becomes of a lease when its stream ends, however it ends.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use leasehold::proto::{
    RegisterRequest,
    event::{Reason, Type as Kind},
};
use serde_json::json;
use support::{
    SOON, Server,
    grpcio::Client,
    replica,
    watch::{Watch, instance, list, listed_ids, what},
};

const DROPPED: (Kind, Reason) = (Kind::Expired, Reason::StreamDropped);

/// A server with one registration, watched from before it, and a client it is attached to.
async fn attached(flags: &[&str], request: RegisterRequest) -> (Server, Watch, String, Client) {
    let server = Server::start(flags);
    let mut watch = Watch::everything(&server).await;
    let id = server.register(request).await.id;
    assert_eq!(what(&watch.event(SOON).await), (Kind::Registered, Reason::New));
    let mut client = Client::start(&server);
    client.attach(&[&id]);
    (server, watch, id, client)
}

/// Attaches one more lease; when it drops, the end of its stream has been dealt with, so
/// that what did not happen to the others is known.
async fn canary(server: &Server, client: &mut Client) -> String {
    let id = server.register(replica("canary", "http://canary:1")).await.id;
    let answer = client.ask(&format!("beat {id}"));
    assert_eq!(answer["answer"].get("lost"), None, "{answer}");
    id
}

/// Waits for the canary's end, and for everything committed with it.
async fn stream_is_over(server: &Server, watch: &mut Watch, canary: &str) {
    watch
        .until("the canary's end", SOON, |event| instance(event).id == canary && what(event) == DROPPED)
        .await;
    watch.catch_up(server).await;
}

fn seconds(count: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: count, nanos: 0 }
}

async fn check_next(watch: &mut Watch, id: &str, expect: (Kind, Reason)) {
    let event = watch.event(SOON).await;
    assert_eq!((instance(&event).id.as_str(), what(&event)), (id, expect));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_expires_at_once() {
    let (server, mut watch, id, mut client) = attached(&[], replica("killed", "http://killed:1")).await;
    client.0.kill();
    check_next(&mut watch, &id, DROPPED).await;
    assert_eq!(listed_ids(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lease_of_a_killed_client_expires_and_no_other() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(server.register(replica("many", &format!("http://many:{}", number + 1))).await.id);
    }
    let bystander = server.register(replica("many", "http://bystander:1")).await.id;
    let mut client = Client::start(&server);
    client.attach(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    watch.catch_up(&server).await;
    client.0.kill();
    for _ in &ids {
        assert_eq!(what(&watch.event(SOON).await), DROPPED);
    }
    watch.catch_up(&server).await;
    for id in &ids {
        assert_eq!(watch.seen_of(id), [(Kind::Registered, Reason::New), DROPPED]);
    }
    assert_eq!(listed_ids(&server).await, [bystander]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_expires_at_once() {
    let (_server, mut watch, id, mut client) =
        attached(&[], replica("cancelled", "http://cancelled:1")).await;
    assert_eq!(client.ask("cancel"), json!({"ended": "CANCELLED"}));
    check_next(&mut watch, &id, DROPPED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_call_expires_at_once_and_ends_well() {
    let (_server, mut watch, id, mut client) = attached(&[], replica("closed", "http://closed:1")).await;
    assert_eq!(client.ask("half-close"), json!({"ended": "OK"}));
    check_next(&mut watch, &id, DROPPED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_past_its_deadline_expires_at_once() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let id = server.register(replica("late", "http://late:1")).await.id;
    let mut client = Client::start(&server);
    client.ask("open 1");
    assert_eq!(client.ask(&format!("beat {id}"))["answer"]["ttl_seconds"], 30);
    check_next(&mut watch, &id, (Kind::Registered, Reason::New)).await;
    check_next(&mut watch, &id, DROPPED).await;
    assert_eq!(client.heard(), json!({"ended": "DEADLINE_EXCEEDED"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deregistered_lease_is_lost_to_its_stream() {
    let (server, mut watch, id, mut client) = attached(&[], replica("done", "http://done:1")).await;
    assert_eq!(client.ask(&format!("deregister {id}")), json!({"status": "deregistered"}));
    check_next(&mut watch, &id, (Kind::Deregistered, Reason::Client)).await;
    let lost = json!([{"id": id, "reason": "DEREGISTERED"}]);
    assert_eq!(client.ask("beat")["answer"]["lost"], lost);
    assert_eq!(client.ask("beat")["answer"].get("lost"), None, "told once");
    // Named anew, it is one that is not there; which of the two reasons is all the same.
    let named = client.ask(&format!("beat {id}"))["answer"]["lost"].clone();
    assert!(named == lost || named == json!([{"id": id, "reason": "NOT_FOUND"}]), "{named}");
    let canary = canary(&server, &mut client).await;
    assert_eq!(client.ask("half-close"), json!({"ended": "OK"}));
    stream_is_over(&server, &mut watch, &canary).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New), (Kind::Deregistered, Reason::Client)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_but_silent_stream_lapses_by_ttl() {
    let request = RegisterRequest { ttl_seconds: 2, ..replica("silent", "http://silent:1") };
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let id = server.register(request).await.id;
    watch.event(SOON).await;
    let mut client = Client::start(&server);
    client.ask("open");
    let before_beat = Instant::now();
    client.ask(&format!("beat {id}"));
    check_next(&mut watch, &id, (Kind::Expired, Reason::TtlLapsed)).await;
    let after = before_beat.elapsed();
    assert!(after >= Duration::from_secs(2), "never early: {after:?}");
    assert!(after < Duration::from_secs(4), "late by a bound: {after:?}");

    let lost = json!([{"id": id, "reason": "TTL_LAPSED"}]);
    assert_eq!(client.ask("beat")["answer"]["lost"], lost, "a beat without ids revives nothing");
    assert_eq!(client.ask("beat")["answer"].get("lost"), None, "told once");
    assert_eq!(listed_ids(&server).await, [""; 0]);
    assert_eq!(client.ask(&format!("beat {id}"))["answer"]["ttl_seconds"], 2);
    check_next(&mut watch, &id, (Kind::Registered, Reason::Revived)).await;
    client.0.kill();
    check_next(&mut watch, &id, DROPPED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beats_without_ids_keep_a_lease_past_its_ttl() {
    let request = RegisterRequest { ttl_seconds: 1, ..replica("beating", "http://beating:1") };
    let (server, mut watch, id, mut client) = attached(&[], request).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        let answer = client.ask("beat");
        assert_eq!((&answer["answer"]["ttl_seconds"], answer["answer"].get("lost")), (&json!(1), None));
        let next =
            answer["answer"]["next_beat_in"].as_str().expect("when to beat next").trim_end_matches('s');
        let next = Duration::from_secs_f64(next.parse().unwrap());
        assert!(next < Duration::from_secs(1), "{next:?} is in time");
        // The server's own advice is what is tested; it is below one TTL.
        tokio::time::sleep(next).await;
    }
    watch.catch_up(&server).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_with_grace_is_suspect_first() {
    let request =
        RegisterRequest { drop_grace: Some(seconds(2)), ..replica("graceful", "http://graceful:1") };
    let (server, mut watch, id, mut client) = attached(&[], request).await;
    let before = Instant::now();
    client.0.kill();
    check_next(&mut watch, &id, (Kind::Suspect, Reason::StreamDropped)).await;
    let listed = list(&server).await.services;
    assert_eq!((listed.len(), listed[0].status.as_str()), (1, "suspect"), "still listed");
    check_next(&mut watch, &id, DROPPED).await;
    let after = before.elapsed();
    assert!(after >= Duration::from_secs(2), "never early: {after:?}");
    assert!(after < Duration::from_secs(4), "only the grace counts, not the TTL of 30 s: {after:?}");
    assert_eq!(listed_ids(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_recovered_by_attaching_or_by_a_ping() {
    let (server, mut watch, id, mut client) =
        attached(&["--drop-grace", "20s"], replica("back", "http://back:1")).await;
    let mut second = Client::start(&server);
    client.0.kill();
    check_next(&mut watch, &id, (Kind::Suspect, Reason::StreamDropped)).await;
    second.attach(&[&id]);
    check_next(&mut watch, &id, (Kind::Updated, Reason::Recovered)).await;
    assert_eq!(list(&server).await.services[0].status, "alive");

    second.0.kill();
    check_next(&mut watch, &id, (Kind::Suspect, Reason::StreamDropped)).await;
    assert_eq!(server.http("PUT", &format!("/services/{id}/$ping"), &[], b"").status, 200);
    check_next(&mut watch, &id, (Kind::Updated, Reason::Recovered)).await;
    let listed = list(&server).await.services;
    assert_eq!((listed[0].status.as_str(), listed[0].ttl_seconds), ("alive", 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_lease_outlives_its_stream_by_its_ttl() {
    let request = RegisterRequest { ttl_seconds: 3, ..replica("detached", "http://detached:1") };
    let (server, mut watch, id, mut client) = attached(&[], request).await;
    let canary = canary(&server, &mut client).await;
    let before_detach = Instant::now();
    let answer = client.ask(&format!("detach {id}"));
    assert_eq!(answer["answer"]["ttl_seconds"], 30, "only the canary is attached: {answer}");
    assert_eq!(client.ask("half-close"), json!({"ended": "OK"}));
    stream_is_over(&server, &mut watch, &canary).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New)], "the stream's end expired nobody");
    let gone = watch.until("the expiry", SOON, |event| instance(event).id == id).await;
    assert_eq!(what(&gone), (Kind::Expired, Reason::TtlLapsed));
    assert!(before_detach.elapsed() >= Duration::from_secs(3), "never early: {:?}", before_detach.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_lease_is_deaf_to_its_old_stream() {
    let (server, mut watch, id, mut old) = attached(&[], replica("moved", "http://moved:1")).await;
    let canary = canary(&server, &mut old).await;
    let mut new = Client::start(&server);
    new.attach(&[&id]);
    assert_eq!(old.ask("beat")["answer"]["lost"], json!([{"id": id, "reason": "MOVED"}]));
    old.0.kill();
    stream_is_over(&server, &mut watch, &canary).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New)], "the old stream's end is harmless");
    assert_eq!(new.ask("beat")["answer"]["ttl_seconds"], 30);
    new.0.kill();
    watch.until("the drop", SOON, |event| instance(event).id == id && what(event) == DROPPED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_process_is_not_killed_by_its_predecessors_connection() {
    let request = replica("restarted", "http://restarted:1");
    let (server, mut watch, id, mut old) = attached(&[], request.clone()).await;
    let canary = canary(&server, &mut old).await;
    assert_eq!(server.register(request).await.id, id, "the same pair registers again");
    old.0.kill();
    stream_is_over(&server, &mut watch, &canary).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New)]);
    assert_eq!(listed_ids(&server).await, [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_do_all_of_it_by_itself() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let mut client = Client::start(&server);
    let id = client.ask("register whole http://whole:1 5")["id"].as_str().unwrap().to_owned();
    client.attach(&[&id]);
    assert_eq!(client.ask(&format!("deregister {id}")), json!({"status": "deregistered"}));
    client.ask("half-close");
    watch.catch_up(&server).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New), (Kind::Deregistered, Reason::Client)]);
}
