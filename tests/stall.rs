//! The server's own stall, made with SIGSTOP, expires no client that lives: neither those
//! that ping, nor those on a stream, nor those whose connection falls apart over it. Who
//! is dead by then still goes, a little later.
//!
//! The stall's length is what is tested here, so these tests wait for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufReader, Write as _},
    net::{Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use leasehold::proto::{
    Event, KeepAliveRequest, KeepAliveResponse, RegisterRequest, WatchRequest,
    event::{Reason, Type as Kind},
    registry_client::RegistryClient,
};
use prost::Message as _;
use serde_json::json;
use support::{
    SOON, Server,
    h2raw::{ACK, Client, DATA, Frame, GOAWAY, PING, RST_STREAM},
    http::{open, read_answer, request_bytes},
    replica, wait_for,
    watch::{MARKER, Watch, instance, listed_ids, what},
    within,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;

const TTL: Duration = Duration::from_secs(3);
const PINGERS: usize = 40;
/// A client waits at most so long for an answer; then it goes on.
const PATIENCE: Duration = Duration::from_secs(30);

fn stop(server: &Server) {
    server.signal("STOP");
    wait_for("the server to be stopped", SOON, || (server.process_state() == 'T').then_some(()));
}

/// Who pings over HTTP as servicekit does: a connection a ping, one a second, going on
/// after errors.
struct Pinger {
    id: String,
    answered: Arc<AtomicU32>,
    not_found: Arc<AtomicU32>,
}

impl Pinger {
    fn start(server: &Server, number: usize, done: &Arc<AtomicBool>) -> (Self, JoinHandle<()>) {
        let body = json!({"id": "pinger", "url": format!("http://pinger:{}", number + 1)});
        let id = server.post_registration(&body)["id"].as_str().unwrap().to_owned();
        let (answered, not_found) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let pinger = Self { id: id.clone(), answered: answered.clone(), not_found: not_found.clone() };
        let (addr, done) = (server.addr, done.clone());
        let thread = thread::spawn(move || {
            let request = request_bytes(addr, "PUT", &format!("/services/{id}/$ping"), &[], b"");
            while !done.load(Ordering::Relaxed) {
                let mut stream = open(addr);
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let answer =
                    stream.write_all(&request).and_then(|()| read_answer(&mut BufReader::new(stream), false));
                match answer.map(|answer| answer.status) {
                    Ok(200) => answered.fetch_add(1, Ordering::Relaxed),
                    Ok(404) => not_found.fetch_add(1, Ordering::Relaxed),
                    _ => 0,
                };
                // servicekit's interval, from one answer to the next ping.
                thread::sleep(Duration::from_secs(1));
            }
        });
        (pinger, thread)
    }
}

/// What the holder of the raw stream is told.
enum Order {
    /// Be silent, so that the server asks with a PING, and do not answer that.
    HoldPings,
    /// Answer, and go on.
    ReleasePings,
}

const KEEP_ALIVE: &str = "/leasehold.v1.Registry/KeepAlive";

/// A beat on the first stream of a connection.
fn beat(ids: &[String]) -> Frame {
    let beat = KeepAliveRequest { ids: ids.to_vec(), ..KeepAliveRequest::default() };
    Frame::message(1, &beat.encode_to_vec())
}

/// Keeps one lease over a stream made of frames, two beats a second; connects again when
/// it ends. How many connections it took.
fn raw_keeper(
    addr: SocketAddr,
    id: &str,
    orders: &mpsc::Receiver<Order>,
    held: &mpsc::Sender<()>,
    done: &AtomicBool,
) -> u32 {
    const BEAT: Duration = Duration::from_millis(500);
    let (mut connections, mut holding) = (0, false);
    while !done.load(Ordering::Relaxed) {
        connections += 1;
        let mut client = Client::connect(addr);
        client.answers_pings = false;
        client.send(&[Frame::grpc_call(1, KEEP_ALIVE), beat(&[id.to_owned()])]);
        let mut socket = client.stream.try_clone().unwrap();
        let (read, frames) = mpsc::channel();
        let reader =
            thread::spawn(move || while client.next().is_some_and(|frame| read.send(frame).is_ok()) {});

        let mut waiting = Vec::new();
        let mut write = |frame: &Frame| socket.write_all(&frame.encode());
        let ack = |ping: &Frame| Frame::new(PING, ACK, 0, ping.payload.clone());
        let mut beaten = Instant::now();
        while !done.load(Ordering::Relaxed) {
            match orders.try_recv() {
                Ok(Order::HoldPings) => holding = true,
                Ok(Order::ReleasePings) => {
                    holding = false;
                    waiting.drain(..).for_each(|ping| drop(write(&ack(&ping))));
                }
                Err(_) => {}
            }
            if !holding && beaten.elapsed() >= BEAT {
                beaten = Instant::now();
                if write(&beat(&[])).is_err() {
                    break;
                }
            }
            match frames.recv_timeout(Duration::from_millis(20)) {
                Ok(ping) if ping.kind == PING && ping.flags & ACK == 0 && holding => {
                    waiting.push(ping);
                    held.send(()).unwrap();
                }
                Ok(ping) if ping.kind == PING && ping.flags & ACK == 0 => drop(write(&ack(&ping))),
                Ok(end) if end.ends_stream() || matches!(end.kind, RST_STREAM | GOAWAY) => break,
                Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        // Ends the reader too.
        let _ = socket.shutdown(Shutdown::Both);
        reader.join().unwrap();
    }
    connections
}

/// Keeps one lease from a client that gives up on a connection after 2 s without an
/// answer to its own HTTP/2 keepalive, and attaches again on a new one.
async fn impatient_keeper(url: String, id: String, done: Arc<AtomicBool>) -> u32 {
    let mut connections = 0;
    while !done.load(Ordering::Relaxed) {
        let endpoint = Endpoint::from_shared(url.clone())
            .unwrap()
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true);
        let Ok(channel) = endpoint.connect().await else { continue };
        connections += 1;
        let (beats, outgoing) = tokio::sync::mpsc::unbounded_channel();
        beats.send(KeepAliveRequest { ids: vec![id.clone()], ..KeepAliveRequest::default() }).unwrap();
        let opened = RegistryClient::new(channel).keep_alive(UnboundedReceiverStream::new(outgoing)).await;
        let Ok(answers) = opened else { continue };
        let mut answers = answers.into_inner();
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        while !done.load(Ordering::Relaxed) {
            tokio::select! {
                _ = ticks.tick() => {
                    if beats.send(KeepAliveRequest::default()).is_err() {
                        break;
                    }
                }
                answer = answers.message() => match answer {
                    // What lapsed is not named again here: it is what the test looks for.
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                },
            }
        }
    }
    connections
}

/// Follows every change from a token on, over as many connections as it takes, up to the
/// registration of this url.
async fn follow(url: String, mut token: String, last: String) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        let Ok(channel) = Endpoint::from_shared(url.clone()).unwrap().connect().await else { continue };
        let request = WatchRequest { resume_token: token.clone(), ..WatchRequest::default() };
        let mut client = RegistryClient::new(channel);
        // Before the head of the answer: a stopped server cannot give one.
        let Ok(stream) = client.watch(request).await else { continue };
        let mut stream = stream.into_inner();
        while let Ok(Some(message)) = stream.message().await {
            assert_ne!(message.r#type(), leasehold::proto::watch_response::Type::Reset, "no gap");
            if !message.resume_token.is_empty() {
                token = message.resume_token;
            }
            seen.extend(message.events);
            if seen.iter().any(|event| instance(event).url == last) {
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_twice_the_ttl_expires_no_live_client() {
    let server = Server::start(&["--default-ttl", "3s"]);
    let token = Watch::everything(&server).await.token;
    let last = "http://marker.test/after-the-stall";
    let follower = tokio::spawn(follow(server.url(), token, last.to_owned()));
    let done = Arc::new(AtomicBool::new(false));

    let (pingers, mut threads): (Vec<Pinger>, Vec<JoinHandle<()>>) =
        (0..PINGERS).map(|number| Pinger::start(&server, number, &done)).unzip();
    // The TTL leaves it time to be silent until the server asks; what may end it is the
    // connection.
    let request = RegisterRequest { ttl_seconds: 60, ..replica("raw", "http://raw:1") };
    let raw = server.register(request).await.id;
    let (orders, told) = mpsc::channel();
    let (held, holds) = mpsc::channel();
    let raw_thread = {
        let (addr, raw, done) = (server.addr, raw.clone(), done.clone());
        thread::spawn(move || raw_keeper(addr, &raw, &told, &held, &done))
    };
    let impatient = server.register(replica("impatient", "http://impatient:1")).await.id;
    let impatient_task = tokio::spawn(impatient_keeper(server.url(), impatient.clone(), done.clone()));
    wait_for("each to ping once", SOON, || {
        pingers.iter().all(|pinger| pinger.answered.load(Ordering::Relaxed) > 0).then_some(())
    });

    // The server asks a connection that is silent for 4 s: it is stopped with that PING in
    // flight, and the answer reaches its socket while it stands still.
    orders.send(Order::HoldPings).unwrap();
    holds.recv_timeout(SOON).expect("the server asks a silent connection");
    stop(&server);
    orders.send(Order::ReleasePings).unwrap();
    tokio::time::sleep(TTL * 2).await;
    let answered: Vec<u32> = pingers.iter().map(|pinger| pinger.answered.load(Ordering::Relaxed)).collect();
    server.signal("CONT");

    // What the stall did shows within a further TTL.
    tokio::time::sleep(TTL + Duration::from_secs(1)).await;
    server.register(replica(MARKER, last)).await;
    let seen = within("all that happened", SOON, follower).await.unwrap();
    let gone: Vec<_> =
        seen.iter().filter(|event| !matches!(event.r#type(), Kind::Registered)).map(what).collect();
    assert_eq!(gone, [], "of {} events", seen.len());
    assert!(seen.iter().all(|event| event.reason() == Reason::New), "nobody had to be revived");
    let mut expect: Vec<String> = pingers.iter().map(|pinger| pinger.id.clone()).collect();
    expect.extend([raw, impatient]);
    expect.sort();
    assert_eq!(listed_ids(&server).await, expect);
    for (pinger, before) in pingers.iter().zip(answered) {
        assert_eq!(pinger.not_found.load(Ordering::Relaxed), 0);
        assert!(pinger.answered.load(Ordering::Relaxed) > before, "it went on after the stall");
    }

    done.store(true, Ordering::Relaxed);
    for thread in threads.drain(..) {
        thread.join().unwrap();
    }
    raw_thread.join().unwrap();
    let connections = within("the impatient client's end", SOON, impatient_task).await.unwrap();
    assert!(connections >= 2, "it gave its first connection up");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_dead_goes_by_a_bound_after_the_stall() {
    let server = Server::start(&["--default-ttl", "3s"]);
    let token = Watch::everything(&server).await.token;
    let dead = server.register(replica("dead", "http://dead:1")).await.id;
    stop(&server);
    tokio::time::sleep(TTL * 2).await;
    let resumed = Instant::now();
    server.signal("CONT");

    let request = WatchRequest { resume_token: token, ..WatchRequest::default() };
    let mut watch = Watch::open(&mut server.registry().await, request).await;
    let gone = watch.until("its expiry", SOON, |event| event.r#type() == Kind::Expired).await;
    let after = resumed.elapsed();
    assert_eq!((instance(&gone).id.as_str(), gone.reason()), (dead.as_str(), Reason::TtlLapsed));
    assert!(after >= Duration::from_secs(1), "renewals that waited are read first: {after:?}");
    assert!(after <= TTL + Duration::from_millis(1250), "shifts add up to one TTL at most: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_during_a_stall_is_left_to_its_ttl() {
    let server = Server::start(&["--default-ttl", "3s"]);
    let mut watch = Watch::everything(&server).await;
    let request = RegisterRequest { ttl_seconds: 4, ..replica("cut", "http://cut:1") };
    let id = server.register(request).await.id;
    let mut client = Client::connect(server.addr);
    client.send(&[Frame::grpc_call(1, KEEP_ALIVE), beat(std::slice::from_ref(&id))]);
    let answer = client.until("an answer", |frame| frame.kind == DATA);
    let answer = KeepAliveResponse::decode(&answer.payload[5..]).unwrap();
    assert_eq!((answer.ttl_seconds, answer.lost.len()), (4, 0));
    stop(&server);
    drop(client);
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.signal("CONT");
    let gone = watch.until("its end", SOON * 2, |event| event.r#type() == Kind::Expired).await;
    assert_eq!((instance(&gone).id.as_str(), gone.reason()), (id.as_str(), Reason::TtlLapsed));
}
