//! The audit file.

use std::{fs, path::Path};

use leasehold::proto::{BatchRegisterRequest, DeregisterRequest, KeepAliveRequest};
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    TRACE, TRACEPARENT,
    support::{SOON, Server, leasehold, replica, wait_for},
};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first line of this event and reason.
fn line(path: &Path, event: &str, reason: &str) -> Value {
    wait_for(&format!("a line of {event} {reason}"), SOON, || {
        let fits = |line: &Value| line["event"] == event && line["reason"].as_str().unwrap().contains(reason);
        lines(path).into_iter().find(fits)
    })
}

fn start(path: &Path, more: &[&str]) -> Server {
    let audit = ["--audit-log", path.to_str().unwrap()];
    Server::start(&[&audit, more].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changed_what_is_told_and_who_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let server = start(&path, &["--log-level", "error"]);
    let body = json!({"id": "web", "url": "http://web:1", "ttlSeconds": 1}).to_string();
    let traced = [("traceparent", TRACEPARENT)];
    let answer = server.http("POST", "/services/$register", &traced, body.as_bytes());
    let id = answer.json()["id"].as_str().unwrap().to_owned();

    let registered = line(&path, "registered", "new");
    assert_eq!(registered["id"], id.as_str());
    assert_eq!((&registered["service"], &registered["url"]), (&json!("web"), &json!("http://web:1")));
    assert_eq!((&registered["peer"], &registered["trace_id"]), (&json!("127.0.0.1"), &json!(TRACE)));
    assert!(registered["time"].as_str().unwrap().ends_with('Z'), "{registered}");

    // Time asks for nothing.
    let expired = line(&path, "expired", "ttl_lapsed");
    assert_eq!(expired["id"], id.as_str());
    assert!(expired.get("peer").is_none() && expired.get("trace_id").is_none(), "{expired}");

    assert_eq!(server.http("PUT", &format!("/services/{id}/$ping"), &[], b"").status, 200);
    assert_eq!(line(&path, "registered", "revived")["peer"], "127.0.0.1");

    let mut registry = server.registry().await;
    let mut gone = tonic::Request::new(DeregisterRequest { id: "nobody".to_owned(), ..Default::default() });
    gone.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    registry.deregister(gone).await.unwrap_err();
    let refused = line(&path, "refused", "not registered");
    assert_eq!((&refused["rpc"], &refused["code"]), (&json!("Deregister"), &json!("NotFound")));
    assert_eq!((&refused["peer"], &refused["trace_id"]), (&json!("127.0.0.1"), &json!(TRACE)));

    // What no service gets to see, and what the listener does not let in.
    assert_eq!(server.get("/nowhere").status, 404);
    assert_eq!(server.http("GET", "/services", &[("Host", "elsewhere.example")], b"").status, 403);
    wait_for("both refusals", SOON, || {
        let told = lines(&path);
        let path = told.iter().any(|line| line["path"] == "/nowhere");
        let host = told.iter().any(|line| line["code"] == "PermissionDenied");
        (path && host).then_some(())
    });
    // A level of its own does not matter to it.
    assert!(!server.stderr().contains("refused"), "{}", server.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_drops_is_its_clients_doing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let server = start(&path, &[]);
    let id = server.register(replica("s", "http://s:1")).await.id;
    let (beats, requests) = tokio::sync::mpsc::channel(4);
    let mut registry = server.registry().await;
    let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(requests));
    request.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    beats.send(KeepAliveRequest { ids: vec![id.clone()], ..Default::default() }).await.unwrap();
    let mut answers = registry.keep_alive(request).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    drop((beats, answers));
    let expired = line(&path, "expired", "stream_dropped");
    assert_eq!((&expired["id"], &expired["peer"]), (&json!(id), &json!("127.0.0.1")));
    assert_eq!(expired["trace_id"], TRACE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stream_may_not_touch_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let server = start(&path, &["--require-lease-token"]);
    let id = server.register(replica("s", "http://s:1")).await.id;
    let beat = KeepAliveRequest { ids: vec![id.clone()], ..Default::default() };
    let mut registry = server.registry().await;
    let mut answers = registry.keep_alive(tokio_stream::iter([beat])).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let refused = line(&path, "refused", &id);
    assert_eq!((&refused["rpc"], &refused["code"]), (&json!("KeepAlive"), &json!("PermissionDenied")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_leaves_nothing_out_and_is_whole_when_the_server_has_stopped() {
    const BATCHES: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut server = start(&path, &[]);
    let mut registry = server.registry().await;
    for batch in 0..BATCHES {
        let one = |n| replica("many", &format!("http://h{batch}:{}", n + 1)).encode_to_vec().into();
        let requests = (0..1000).map(one).collect();
        registry.batch_register(BatchRegisterRequest { requests }).await.unwrap();
    }
    server.signal("TERM");
    assert!(server.wait_exit(SOON).success());
    let told = lines(&path);
    let registered = told.iter().filter(|line| line["event"] == "registered").count();
    assert_eq!(registered, BATCHES * 1000, "of {} lines", told.len());
    // The log has some of them.
    assert!(server.stderr().lines().count() < BATCHES * 1000);
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start() {
    let ended = leasehold(["serve", "--store", "memory", "--audit-log", "/nowhere/audit.log"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("/nowhere/audit.log"), "{}", ended.stderr);
}
