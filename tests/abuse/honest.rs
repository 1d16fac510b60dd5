//! An honest client: it registers, pings, reads, watches and keeps a lease alive on a stream, on
//! connections of its own and, as servicekit does, on a new one for each ping.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use leasehold::proto::{
    GetRequest, KeepAliveRequest, KeepAliveResponse, PingRequest, RegisterRequest, WatchRequest,
    event::Type as Kind, registry_client::RegistryClient,
};
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::JoinHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::support::{
    Server,
    http::exchange,
    replica,
    watch::{Watch, instance},
    within,
};

/// For one call: no attack may hold one up for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between rounds: an honest client is no flood.
const PAUSE: Duration = Duration::from_millis(50);

/// How often an honest client has come round.
#[derive(Debug, Default)]
pub struct Progress {
    rounds: AtomicUsize,
    ended: AtomicBool,
}

impl Progress {
    pub fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Acquire)
    }

    /// Whether it still comes round: it ends when something failed.
    pub fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}

/// An honest client at work.
pub struct Honest {
    progress: Arc<Progress>,
    work: JoinHandle<Client>,
    stop: UnboundedSender<()>,
}

struct Client {
    addr: SocketAddr,
    registry: RegistryClient<Channel>,
    watch: Watch,
    beats: UnboundedSender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

struct Ended(Arc<Progress>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

impl Honest {
    /// Returns when it has come round once.
    pub async fn start(server: &Server) -> Self {
        let mut registry = server.registry().await;
        let request = WatchRequest { service: vec!["honest".to_owned()], ..WatchRequest::default() };
        let (watch, _) = Watch::synced(&mut server.registry().await, request).await;
        let steady = RegisterRequest { ttl_seconds: 60, ..replica("honest", "http://steady:1") };
        let steady = registry.register(steady).await.unwrap().into_inner().id;
        let (beats, messages) = mpsc::unbounded_channel();
        let answers = registry.keep_alive(UnboundedReceiverStream::new(messages)).await.unwrap().into_inner();
        beats.send(KeepAliveRequest { ids: vec![steady], ..KeepAliveRequest::default() }).unwrap();
        let mut client = Client { addr: server.addr, registry, watch, beats, answers };
        client.hear_beat().await;

        let progress = Arc::new(Progress::default());
        let (stop, mut stopped) = mpsc::unbounded_channel();
        client.round(0).await;
        let work = tokio::spawn({
            let progress = Arc::clone(&progress);
            async move {
                let ended = Ended(progress);
                let mut number = 0;
                while stopped.try_recv().is_err() {
                    number += 1;
                    client.round(number).await;
                    ended.0.rounds.fetch_add(1, Ordering::Release);
                    tokio::time::sleep(PAUSE).await;
                }
                // Kept: its stream's end would be its lease's.
                client
            }
        });
        Self { progress, work, stop }
    }

    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Ends after one more round, and checks what its watch has seen: that it registered, and
    /// nothing else.
    pub async fn finish(self, server: &Server) {
        let rounds = self.progress.rounds();
        while self.progress.goes_on() && self.progress.rounds() <= rounds {
            tokio::time::sleep(PAUSE).await;
        }
        // An error means that it has ended already: with what, its task says.
        let _ = self.stop.send(());
        let client = self.work.await.unwrap();
        let seen = &client.watch.seen;
        let lost = seen.iter().filter(|event| event.r#type() != Kind::Registered).collect::<Vec<_>>();
        assert!(lost.is_empty(), "{lost:?}");
        let living = server.get("/services?service=honest").json()["count"].as_u64().unwrap();
        assert_eq!(living as usize, seen.len(), "all that registered lives");
    }
}

impl Client {
    async fn round(&mut self, number: usize) {
        let url = format!("http://honest:1/{number}");
        let request = RegisterRequest { ttl_seconds: 600, ..replica("honest", &url) };
        let registered = within("Register", PATIENCE, self.registry.register(request)).await.unwrap();
        let id = registered.into_inner().id;
        let ping = PingRequest { id: id.clone(), lease_token: String::new() };
        within("Ping", PATIENCE, self.registry.ping(ping)).await.unwrap();
        let got = within("Get", PATIENCE, self.registry.get(GetRequest { id: id.clone() })).await.unwrap();
        assert_eq!(got.into_inner().url, url);

        let (addr, path) = (self.addr, format!("/services/{id}/$ping"));
        let ping = tokio::task::spawn_blocking(move || exchange(addr, "PUT", &path, &[], b""));
        let answer = within("a ping on a new connection", PATIENCE, ping).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());

        self.watch.until("its own registration", PATIENCE, |event| instance(event).id == id).await;
        self.beats.send(KeepAliveRequest::default()).unwrap();
        self.hear_beat().await;
    }

    /// The stream goes on, and what is attached lives.
    async fn hear_beat(&mut self) {
        let answer = within("an answer to a beat", PATIENCE, self.answers.message()).await;
        let answer = answer.unwrap().expect("the stream goes on");
        assert_eq!((answer.lost, answer.ttl_seconds), (vec![], 60));
    }
}
