//! What is counted of calls and leases, as it is served.

use std::collections::BTreeMap;

use leasehold::proto::{GetRequest, KeepAliveRequest, PingRequest, WatchRequest};
use serde_json::json;

use super::support::{SOON, Server, replica, wait_for};

/// All series, by name and labels.
fn series(server: &Server) -> BTreeMap<String, f64> {
    let text = server.get("/metrics").text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(of, is)| (of.to_owned(), is.parse().unwrap()))
        .collect()
}

fn value(server: &Server, of: &str) -> f64 {
    series(server).get(of).copied().unwrap_or_default()
}

#[track_caller]
fn becomes(server: &Server, of: &str, expect: f64) {
    let mut last = 0.0;
    let what = format!("{of} to be {expect}");
    wait_for(&what, SOON, || {
        last = value(server, of);
        ((last - expect).abs() < 1e-9).then_some(())
    });
}

fn handled(method: &str, code: &str) -> String {
    format!("leasehold_rpcs_handled_total{{method=\"{method}\",code=\"{code}\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_by_method_and_code_whatever_the_door() {
    let server = Server::start(&[]);
    let id = server.register(replica("a", "http://a:1")).await.id;
    server.post_registration(&json!({"id": "b", "url": "http://b:1"}));
    server.http("POST", "/services/$register", &[], br#"{"url": "nonsense"}"#);
    let mut registry = server.registry().await;
    registry.ping(PingRequest { id: id.clone(), ..Default::default() }).await.unwrap();
    registry.get(GetRequest { id: "nobody".to_owned() }).await.unwrap_err();
    server.get("/services/nobody");
    let now = series(&server);
    for (of, expect) in [
        (handled("Register", "OK"), 2.0),
        (handled("Register", "INVALID_ARGUMENT"), 1.0),
        (handled("Ping", "OK"), 1.0),
        (handled("Get", "NOT_FOUND"), 2.0),
        (handled("Get", "OK"), 0.0),
        ("leasehold_rpc_duration_seconds_count{method=\"Register\"}".to_owned(), 3.0),
        ("leasehold_registrations_total{outcome=\"new\"}".to_owned(), 2.0),
        ("leasehold_registrations_total{outcome=\"refused\"}".to_owned(), 1.0),
        ("leasehold_renewals_total{way=\"ping\"}".to_owned(), 1.0),
        ("leasehold_renewal_margin_seconds_count".to_owned(), 1.0),
        ("leasehold_leases{state=\"alive\"}".to_owned(), 2.0),
    ] {
        assert_eq!(now.get(&of), Some(&expect), "{of}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_counted_when_it_ends_by_how_it_ended() {
    let mut server = Server::start(&["--drain-timeout", "2s"]);
    let mut registry = server.registry().await;
    let watch = registry.watch(WatchRequest::default()).await.unwrap().into_inner();
    becomes(&server, "leasehold_watchers", 1.0);
    assert!(value(&server, &handled("Watch", "CANCELLED")) < 1.0);
    drop(watch);
    becomes(&server, &handled("Watch", "CANCELLED"), 1.0);
    becomes(&server, "leasehold_watchers", 0.0);

    let nonsense = WatchRequest { resume_token: "nonsense".to_owned(), ..Default::default() };
    registry.watch(nonsense).await.unwrap_err();
    becomes(&server, &handled("Watch", "INVALID_ARGUMENT"), 1.0);

    // Half-closed by the client, it ends well; and what hung on it lapses.
    let id = server.register(replica("a", "http://a:1")).await.id;
    let beat = KeepAliveRequest { ids: vec![id], ..Default::default() };
    let beats = tokio_stream::iter([beat, KeepAliveRequest::default()]);
    let mut answers = registry.keep_alive(beats).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    becomes(&server, &handled("KeepAlive", "OK"), 1.0);
    becomes(&server, "leasehold_renewals_total{way=\"attach\"}", 1.0);
    becomes(&server, "leasehold_renewals_total{way=\"beat\"}", 1.0);
    becomes(&server, "leasehold_leases{state=\"lapsed\"}", 1.0);
    becomes(&server, "leasehold_departures_total{reason=\"stream_dropped\"}", 1.0);
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_is_measured_and_a_reset_counted() {
    let server = Server::start(&[]);
    let mut short = replica("short", "http://short:1");
    short.ttl_seconds = 1;
    server.register(short).await;
    becomes(&server, "leasehold_expiry_lateness_seconds_count", 1.0);
    becomes(&server, "leasehold_departures_total{reason=\"ttl_lapsed\"}", 1.0);
    assert!(value(&server, "leasehold_expiry_lateness_seconds_sum") < 1.0);

    let mut registry = server.registry().await;
    let mut watch = registry.watch(WatchRequest::default()).await.unwrap().into_inner();
    let token = loop {
        let step = watch.message().await.unwrap().unwrap();
        if !step.resume_token.is_empty() {
            break step.resume_token;
        }
    };
    drop(watch);
    // It says nothing of another filter.
    let again = WatchRequest { resume_token: token, service: vec!["other".to_owned()], ..Default::default() };
    let mut watch = registry.watch(again).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    becomes(&server, "leasehold_watch_resets_total", 1.0);
    assert!(value(&server, "leasehold_history_bytes") <= value(&server, "leasehold_history_limit_bytes"));
}
