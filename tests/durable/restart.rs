//! A restart of a full registry: everybody is there, nobody expires early.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use leasehold::proto::{
    BatchRegisterRequest, KeepAliveRequest, KeepAliveResponse, ListRequest, WatchRequest,
    batch_register_response::result::Result as Entry, event::Type as Kind, registry_client::RegistryClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::support::{
    START, Serve, Server,
    data_dir::DataDir,
    replica,
    watch::{MARKER, Watch, instance},
    within,
};

const LEASES: usize = 100_000;
const BATCH: usize = 1_000;
const TTL: Duration = Duration::from_secs(12);
/// How long after the last renewal the next server starts, at least: by so much is a
/// deadline too early that was kept over the restart.
const APART: Duration = Duration::from_secs(7);
/// A message of ids stays below 1 MiB.
const IDS: usize = 30_000;

/// Holds all leases over one stream.
struct Holder {
    beats: mpsc::UnboundedSender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

impl Holder {
    async fn open(server: &Server) -> Self {
        let (beats, outgoing) = mpsc::unbounded_channel();
        // The headers of the answer come with the first answer.
        beats.send(KeepAliveRequest::default()).unwrap();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let mut answers = server.registry().await.keep_alive(outgoing).await.unwrap().into_inner();
        answers.message().await.unwrap();
        Self { beats, answers }
    }

    /// Attaches some.
    async fn attach(&mut self, ids: &[String]) {
        self.send(ids.to_vec()).await;
    }

    /// Renews all that are attached.
    async fn beat(&mut self) {
        self.send(Vec::new()).await;
    }

    async fn send(&mut self, ids: Vec<String>) {
        self.beats.send(KeepAliveRequest { ids, ..KeepAliveRequest::default() }).unwrap();
        let answer = within("an answer", START, self.answers.message()).await.unwrap().unwrap();
        assert!(answer.lost.is_empty(), "lost {}, {:?}", answer.lost.len(), answer.lost[0]);
    }
}

fn serve(dir: &DataDir) -> Serve {
    // The brake would hide most of what expires early, and a line of the log for each of them
    // would be all that this measures.
    let args = ["--default-ttl", "12s", "--mass-expiry-brake", "off", "--log-level", "warn"];
    // All of them are of one service, from one peer.
    let unbounded = ["--max-registrations-per-service", "off", "--max-registrations-per-peer", "off"];
    Serve::new().on(dir).args(args).args(unbounded)
}

async fn register_all(server: &Server, holder: &mut Holder) -> BTreeSet<String> {
    let mut client = server.registry().await;
    let mut all = BTreeSet::new();
    for batch in 0..LEASES / BATCH {
        let url = |number| format!("http://crowd-{batch}:{}", number + 1);
        let replicas: BatchRegisterRequest =
            (0..BATCH).map(|number| replica("crowd", &url(number))).collect();
        let answer = client.batch_register(replicas).await.unwrap();
        let ids: Vec<String> = answer
            .into_inner()
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(Entry::Response(answer)) => answer.id,
                other => panic!("refused: {other:?}"),
            })
            .collect();
        all.extend(ids.iter().cloned());
        holder.attach(&ids).await;
        holder.beat().await;
    }
    assert_eq!(all.len(), LEASES);
    all
}

async fn list_ids(client: &mut RegistryClient<Channel>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut request =
        ListRequest { service: vec!["crowd".to_owned()], page_size: 5_000, ..ListRequest::default() };
    loop {
        let page = client.list(request.clone()).await.unwrap().into_inner();
        ids.extend(page.services.into_iter().map(|found| found.id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        request.page_token = page.next_page_token;
    }
}

/// A token of now, without a snapshot to read.
async fn token(client: &mut RegistryClient<Channel>) -> String {
    let request = ListRequest { page_size: 1, ..ListRequest::default() };
    client.list(request).await.unwrap().into_inner().resume_token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_leases_live_through_a_stop_and_a_kill() {
    let dir = DataDir::new("restart");
    let mut server = serve(&dir).start();
    let mut holder = Holder::open(&server).await;
    let start = Instant::now();
    let all = register_all(&server, &mut holder).await;
    println!("{LEASES} registered in {:?}", start.elapsed());

    for signal in ["TERM", "KILL"] {
        let token = token(&mut server.registry().await).await;
        holder.beat().await;
        // All deadlines of this server are before this.
        let renewed = Instant::now();
        server.signal(signal);
        let status = server.wait_exit(START);
        assert_eq!(status.code(), (signal == "TERM").then_some(0), "{signal}: {}", server.stderr());
        println!("{signal}: ended within {:?}", renewed.elapsed());

        // The passing of time is what is tested.
        tokio::time::sleep(APART.saturating_sub(renewed.elapsed())).await;
        let (started_at, started, addr) = (SystemTime::now(), Instant::now(), server.addr);
        server = serve(&dir).at(addr).start();
        let health = server.get("/health");
        println!("{signal}: from exec to the first answer {:?}", started.elapsed());
        assert_eq!((health.status, &health.json()["instances"]), (200, &LEASES.into()), "{signal}");

        let mut client = server.registry().await;
        let request = WatchRequest { resume_token: token, ..WatchRequest::default() };
        let mut watch = Watch::open(&mut client, request).await;
        assert!(list_ids(&mut client).await == all, "{signal}: the same are there");
        // Deadlines that were kept over the restart would have passed by now.
        tokio::time::sleep((TTL + Duration::from_secs(1)).saturating_sub(renewed.elapsed())).await;
        let in_time = started.elapsed() + Duration::from_secs(1) < TTL;
        watch.catch_up(&server).await;
        for event in &watch.seen {
            // On a machine that is held up for seconds some may be due indeed.
            let expires_at = SystemTime::try_from(instance(event).expires_at.unwrap()).unwrap();
            assert_eq!(event.r#type(), Kind::Expired, "{signal}: {event:?}");
            assert!(!in_time && expires_at >= started_at + TTL, "{signal}: early: {event:?}");
        }
        assert_eq!(watch.resets, 0, "{signal}");

        holder = Holder::open(&server).await;
        for some in all.iter().cloned().collect::<Vec<_>>().chunks(IDS) {
            holder.attach(some).await;
            holder.beat().await;
        }
        let health = server.get("/health").json();
        assert_eq!(health["instances"], LEASES + 1, "{signal}: all of them, and the marker of {MARKER}");
        let marker = server.get(&format!("/services/{MARKER}")).json()["id"].as_str().unwrap().to_owned();
        assert_eq!(server.http("DELETE", &format!("/services/{marker}"), &[], b"").status, 200);
    }
}
