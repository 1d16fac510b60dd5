//! How much may be registered.

use leasehold::proto::{
    BatchRegisterRequest, DeregisterRequest, RegisterRequest,
    batch_register_response::result::Result as Outcome,
};
use serde_json::json;
use tonic::Code;

use crate::{
    check_answer, check_refusal, lasting,
    support::{
        SOON, Serve, Server,
        data_dir::DataDir,
        info,
        peers::{exchange_from, loopback, registry_from},
        replica, wait_for,
    },
};

fn count(server: &Server) -> u64 {
    server.get("/services").json()["count"].as_u64().unwrap()
}

/// A JSON registration's answer.
fn post(server: &Server, service: &str, url: &str) -> crate::support::http::Answer {
    let body = json!({"service": service, "url": url, "ttl_seconds": 3600}).to_string();
    server.http("POST", "/services/$register", &[], body.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_registered_than_may_be() {
    let server = Server::start(&["--max-registrations", "3"]);
    let mut client = server.registry().await;
    let mut last = String::new();
    for n in 0..3 {
        let request = lasting(&format!("s{n}"), "http://h:1");
        last = client.register(request).await.unwrap().into_inner().id;
    }
    let told = "at most 3, those that may still be revived included; --max-registrations sets it";
    let refused = client.register(lasting("s3", "http://h:1")).await.unwrap_err();
    check_refusal(&refused, told);
    check_answer(&post(&server, "s3", "http://h:1"), told);
    assert_eq!(count(&server), 3);

    // What is there may say what it likes, in one batch with what may not come in.
    let labels = [("k".to_owned(), "v".to_owned())].into();
    let update = RegisterRequest { labels, ..lasting("s0", "http://h:1") };
    let entries = [update, lasting("s3", "http://h:1"), lasting("s1", "http://h:1")];
    let batch = client.batch_register(BatchRegisterRequest::from_iter(entries)).await.unwrap().into_inner();
    let codes = batch.results.iter().map(|result| match result.result.as_ref().unwrap() {
        Outcome::Response(_) => Code::Ok,
        Outcome::Error(status) => {
            let named: Vec<&str> = status.details.iter().map(|detail| &*detail.type_url).collect();
            assert_eq!(named, ["type.googleapis.com/google.rpc.RetryInfo"]);
            Code::from_i32(status.code)
        }
    });
    assert_eq!(codes.collect::<Vec<_>>(), [Code::Ok, Code::ResourceExhausted, Code::Ok]);

    client.deregister(DeregisterRequest { id: last, lease_token: String::new() }).await.unwrap();
    client.register(lasting("s3", "http://h:1")).await.expect("there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_still_be_revived_counts_until_it_is_forgotten() {
    let server = Server::start(&["--max-registrations", "1", "--revive-window", "3s"]);
    let mut client = server.registry().await;
    let id = client
        .register(RegisterRequest { ttl_seconds: 1, ..replica("brief", "http://h:1") })
        .await
        .unwrap()
        .into_inner()
        .id;
    wait_for("the lease to lapse", SOON, || (count(&server) == 0).then_some(()));
    check_refusal(&client.register(lasting("late", "http://h:1")).await.unwrap_err(), "in all: at most 1");
    // It comes back though there is no room: its own is kept.
    let ping = server.http("PUT", &format!("/services/{id}/$ping"), &[], b"");
    assert_eq!(ping.status, 200, "{}", ping.text());
    wait_for("its time to be over", SOON, || {
        (post(&server, "late", "http://h:1").status == 200).then_some(())
    });
    assert_eq!(count(&server), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_and_a_peer_have_bounds_of_their_own() {
    let server =
        Server::start(&["--max-registrations-per-service", "2", "--max-registrations-per-peer", "3"]);
    let mut client = server.registry().await;
    for n in 1..3 {
        client.register(lasting("one", &format!("http://h:{n}"))).await.unwrap();
    }
    let refused = client.register(lasting("one", "http://h:3")).await.unwrap_err();
    check_refusal(&refused, "of service \"one\": at most 2");
    client.register(lasting("two", "http://h:1")).await.unwrap();
    let refused = client.register(lasting("three", "http://h:1")).await.unwrap_err();
    check_refusal(&refused, "from 127.0.0.1: at most 3");

    let mut other = registry_from(loopback(2), &server).await;
    other.register(lasting("three", "http://h:1")).await.expect("another peer has its own");
    // Whoever registers a pair last has it: that makes room for the one before.
    other.register(lasting("two", "http://h:1")).await.unwrap();
    client.register(lasting("four", "http://h:1")).await.expect("there is room");
    let body = json!({"service": "one", "url": "http://h:9"}).to_string();
    let answer = exchange_from(loopback(2), server.addr, "POST", "/services/$register", &body);
    check_answer(&answer, "--max-registrations-per-service sets it");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_bounded_too() {
    let server = Server::start(&["--max-registration-bytes-per-service", "64KiB"]);
    let mut client = server.registry().await;
    let large = |n: usize, bytes: usize| RegisterRequest {
        info: Some(info("text", &"x".repeat(bytes))),
        ..lasting("large", &format!("http://h:{n}"))
    };
    client.register(large(1, 30_000)).await.unwrap();
    client.register(large(2, 30_000)).await.unwrap();
    let told = "too many bytes of registrations of service \"large\": at most 65536";
    check_refusal(&client.register(large(3, 30_000)).await.unwrap_err(), told);
    // An update that grows is refused, one that does not is taken.
    check_refusal(&client.register(large(2, 40_000)).await.unwrap_err(), told);
    let kept = server.get("/services/large").json();
    assert_eq!(kept["info"]["text"].as_str().unwrap().len(), 30_000, "a refusal changes nothing");
    client.register(large(2, 20_000)).await.unwrap();
    client.register(large(3, 10_000)).await.expect("there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_count_and_loses_nothing_to_a_smaller_quota() {
    let dir = DataDir::new("quotas");
    let serve =
        |most: &str| Serve::new().on(dir.path()).args(["--max-registrations-per-service", most]).start();
    let mut server = serve("3");
    for n in 1..4 {
        server.register(lasting("kept", &format!("http://h:{n}"))).await;
    }
    server.kill();
    drop(server);

    let server = serve("1");
    assert_eq!(count(&server), 3);
    let mut client = server.registry().await;
    client.register(lasting("kept", "http://h:1")).await.expect("a retry");
    let refused = client.register(lasting("kept", "http://h:4")).await.unwrap_err();
    check_refusal(&refused, "of service \"kept\": at most 1");
    client.register(lasting("other", "http://h:1")).await.expect("another service");
}
