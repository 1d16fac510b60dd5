//! How often one peer may ask, and how many streams it may have open.

use leasehold::proto::{GetRequest, KeepAliveRequest, ListRequest, WatchRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    check_answer, check_refusal, lasting,
    support::{
        SOON, Server,
        peers::{exchange_from, loopback, registry_from},
        within,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_too_often_is_refused_and_no_other() {
    let server = Server::start(&["--max-requests-per-peer", "1"]);
    let mut noisy = registry_from(loopback(2), &server).await;
    let told = "too many requests from this peer: at most 1 a second; --max-requests-per-peer sets it";
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(noisy.list(ListRequest::default()).await);
    }
    let refused: Vec<Status> = answers.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty(), "ten at once are too many");
    for status in &refused {
        check_refusal(status, told);
    }
    // Two at most are let through before the next is refused, on whatever path.
    for path in ["/services", "/services/nobody", "/services/%zz", "/nowhere", "/metrics", "/openapi.json"] {
        let answers = (0..10).map(|_| exchange_from(loopback(2), server.addr, "GET", path, ""));
        let refused =
            answers.filter(|answer| answer.status == 429).inspect(|answer| check_answer(answer, told));
        assert!(refused.count() > 0, "{path}");
    }
    // Health is asked by those who would restart the server.
    for _ in 0..10 {
        assert_eq!(exchange_from(loopback(2), server.addr, "GET", "/health", "").status, 200);
    }
    let channel = tonic::transport::Endpoint::from_shared(server.url()).unwrap();
    let channel = channel.local_address(Some(loopback(2))).connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for _ in 0..10 {
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    server.register(lasting("quiet", "http://h:1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_open_at_once_are_bounded() {
    let server = Server::start(&["--max-watchers-per-peer", "2"]);
    let mut client = server.registry().await;
    let first = client.watch(WatchRequest::default()).await.unwrap();
    let _second = client.watch(WatchRequest::default()).await.unwrap();
    let told = "too many Watch streams from this peer: at most 2; --max-watchers-per-peer sets it";
    check_refusal(&client.watch(WatchRequest::default()).await.unwrap_err(), told);
    check_watch_answer(&server, told);
    let mut other = registry_from(loopback(2), &server).await;
    other.watch(WatchRequest::default()).await.expect("another peer's are others");

    drop(first);
    let mut reopened = Err(Status::unknown("not tried"));
    let opens = async {
        while reopened.is_err() {
            reopened = client.watch(WatchRequest::default()).await.map(drop);
            tokio::task::yield_now().await;
        }
    };
    within("room for another watch", SOON, opens).await;
}

fn check_watch_answer(server: &Server, told: &str) {
    let answer = server.get("/services/$watch");
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], 8);
    assert!(answer.text().contains(told), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalives_open_at_once_are_bounded() {
    let server = Server::start(&["--max-keepalives-per-peer", "1"]);
    let mut client = server.registry().await;
    let (held, beats) = mpsc::unbounded_channel();
    let first = client.keep_alive(UnboundedReceiverStream::new(beats)).await.unwrap();
    let refused = client.keep_alive(tokio_stream::pending()).await.unwrap_err();
    check_refusal(&refused, "too many KeepAlive streams from this peer: at most 1");
    drop((held, first));
    let opens = async {
        while client.keep_alive(tokio_stream::pending()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("room for another stream", SOON, opens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_open_stream_are_not_counted() {
    let server = Server::start(&["--max-requests-per-peer", "1"]);
    let mut client = server.registry().await;
    let id = client.register(lasting("s", "http://h:1")).await.unwrap().into_inner().id;
    let (send, beats) = mpsc::unbounded_channel();
    let mut answers = client.keep_alive(UnboundedReceiverStream::new(beats)).await.unwrap().into_inner();
    send.send(KeepAliveRequest { ids: vec![id.clone()], ..KeepAliveRequest::default() }).unwrap();
    for _ in 0..100 {
        send.send(KeepAliveRequest::default()).unwrap();
        let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.lost, []);
    }
    let mut refused = false;
    for _ in 0..10 {
        let got = client.get(GetRequest { id: id.clone() }).await;
        refused |= got.is_err_and(|status| status.code() == Code::ResourceExhausted);
    }
    assert!(refused, "requests are");
}
