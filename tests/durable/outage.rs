//! What holds whenever the store does not write: nothing is taken, nothing expires, every
//! door says so, and what is there can be read and renewed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use leasehold::proto::{
    DeregisterRequest, KeepAliveRequest, KeepAliveResponse, ListRequest, PingRequest, RegisterRequest,
    RegisterResponse, WatchRequest, registry_client::RegistryClient,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    SOON, Server,
    http::exchange,
    info, replica, wait_for,
    watch::{Watch, list},
    within,
};

/// A registration that takes some room.
pub fn load(number: usize) -> RegisterRequest {
    let info = info("filler", &"x".repeat(48 << 10));
    RegisterRequest {
        info: Some(info),
        ttl_seconds: 3600,
        ..replica("load", &format!("http://load:{}", number + 1))
    }
}

/// Registers one after the other until one is refused: what was acknowledged, and why no
/// more was.
pub async fn until_refused(
    client: &mut RegistryClient<Channel>,
    from: usize,
) -> (Vec<RegisterResponse>, Status) {
    let mut acknowledged = Vec::new();
    for number in from..from + 10_000 {
        match client.register(load(number)).await {
            Ok(answer) => acknowledged.push(answer.into_inner()),
            Err(status) => return (acknowledged, status),
        }
    }
    panic!("nothing is refused");
}

/// Renews a lease every 200 ms, and never without success.
pub struct Pinger {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Pinger {
    pub fn start(server: &Server, id: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (addr, path, stopped) = (server.addr, format!("/services/{id}/$ping"), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut pings = 0;
            while !stopped.load(Ordering::Relaxed) {
                let answer = exchange(addr, "PUT", &path, &[], b"");
                assert_eq!(answer.status, 200, "a ping of what lives: {}", answer.text());
                pings += 1;
                thread::sleep(Duration::from_millis(200));
            }
            pings
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it; says how often it pinged.
    pub fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is stopped once").join().expect("no ping failed")
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A `KeepAlive` stream with leases on it.
pub struct Attached {
    beats: mpsc::UnboundedSender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

impl Attached {
    pub async fn open(server: &Server, id: &str) -> Self {
        Self::open_all(server, vec![id.to_owned()]).await
    }

    pub async fn open_all(server: &Server, ids: Vec<String>) -> Self {
        let (beats, outgoing) = mpsc::unbounded_channel();
        beats.send(KeepAliveRequest { ids, ..KeepAliveRequest::default() }).unwrap();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let mut answers = server.registry().await.keep_alive(outgoing).await.unwrap().into_inner();
        let first = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
        assert_eq!(first.lost, []);
        Self { beats, answers }
    }

    /// Renews all; nothing was lost.
    pub async fn beat(&mut self) {
        assert_eq!(self.lost().await, [""; 0]);
    }

    /// Renews all; the ids that were lost.
    pub async fn lost(&mut self) -> Vec<String> {
        self.beats.send(KeepAliveRequest::default()).unwrap();
        let answer = within("an answer", SOON, self.answers.message()).await.unwrap().unwrap();
        answer.lost.into_iter().map(|lost| lost.id).collect()
    }

    /// Ends it by the client's doing, and waits until the server knows.
    pub async fn half_close(self) {
        let Self { beats, mut answers } = self;
        drop(beats);
        let end = within("the end of the stream", SOON, answers.message()).await;
        assert!(matches!(end, Ok(None)), "{end:?}");
    }
}

/// What health says over gRPC.
async fn serving(server: &Server, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel().await).check(request).await.unwrap().into_inner().status()
}

/// The reason that health gives; none when all is well. Every door says the same.
pub async fn trouble(server: &Server) -> Option<String> {
    let health = server.get("/health");
    let healthy = health.status == 200;
    let body = health.json();
    assert_eq!(health.status, if healthy { 200 } else { 503 });
    assert_eq!(body["status"], if healthy { "healthy" } else { "failing" });
    let expect = if healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", "leasehold.v1.Registry"] {
        assert_eq!(serving(server, service).await, expect, "{service:?}");
    }
    assert_eq!(server.get("/healthz").status, health.status);
    let failing = format!("leasehold_store_failing {}", u8::from(!healthy));
    assert!(server.get("/metrics").text().lines().any(|line| line == failing), "{failing}");
    (!healthy).then(|| body["reason"].as_str().expect("a reason").to_owned())
}

/// Waits until health says that all is well.
pub async fn recovered(server: &Server) {
    wait_for("health to be good again", SOON, || (server.get("/health").status == 200).then_some(()));
    assert_eq!(trouble(server).await, None);
}

/// Nothing is taken, and it is said why: each of these pieces is in what is said.
pub async fn takes_nothing(server: &Server, live: &str, pieces: &[&str]) {
    let before = list(server).await;
    let mut client = server.registry().await;
    let says_so = |text: &str| {
        for piece in pieces {
            assert!(text.contains(piece), "{piece:?} in {text:?}");
        }
    };
    let refused = |status: Status| {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        says_so(status.message());
    };
    refused(client.register(replica("late", "http://late:1")).await.unwrap_err());
    let end = DeregisterRequest { id: live.to_owned(), ..DeregisterRequest::default() };
    refused(client.deregister(end).await.unwrap_err());
    let body = json!({"service": "late", "url": "http://late:2"}).to_string();
    for (method, path, body) in [
        ("POST", "/services/$register", body.as_bytes()),
        ("POST", "/services/$batchRegister", br#"{"requests": [{"url": "http://late:3"}]}"#),
        ("DELETE", &format!("/services/{live}"), b""),
    ] {
        let answer = server.http(method, path, &[], body);
        assert_eq!(answer.status, 503, "{method} {path}: {}", answer.text());
        says_so(answer.json()["message"].as_str().unwrap());
    }
    says_so(&trouble(server).await.expect("health tells of it"));

    // Reads and renewals go on.
    let ping = client.ping(PingRequest { id: live.to_owned(), ..PingRequest::default() }).await.unwrap();
    assert_eq!(ping.into_inner().status, "alive");
    assert_eq!(server.get(&format!("/services/{live}")).json()["id"], live);
    let listed = client.list(ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.resume_token, before.resume_token, "no revision was made");
    let (_, view) = Watch::synced(&mut client, WatchRequest::default()).await;
    assert_eq!(view.0.len(), listed.services.len());
}

/// For as long as leases of this TTL would have lapsed twice, none of these does.
pub async fn nothing_expires(server: &Server, ttl: Duration, ids: &[&str]) {
    let check = async || {
        let listed = list(server).await.services;
        for id in ids {
            let found = listed.iter().find(|found| found.id == *id).expect("it is there");
            assert_eq!(found.status, "alive", "{found:?}");
        }
        listed.len()
    };
    let before = check().await;
    // The passing of time is what is tested.
    tokio::time::sleep(ttl * 2 + Duration::from_millis(500)).await;
    assert_eq!(check().await, before);
}
