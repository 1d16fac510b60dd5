//! A `KeepAlive` stream is cut: how long until a watcher knows of all that hung on it.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use prost::Message as _;

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::{
            http2::{Connection, Heard, What, prefixed},
            record::Template,
            setup,
            watch::{Got, Watchers},
        },
        process::Server,
        subject::{Keeps, Load, Served},
    },
    proto::{KeepAliveRequest, RegisterRequest, WatchRequest, registry_client::RegistryClient},
};

const NULL: &str = "null tonic";
/// A drop is published at once: a history that it does not fit into resets every watcher.
const ARGS: &[&str] = &["--drop-grace", "0s", "--history-bytes", "512MiB"];
const KEEP_ALIVE: &str = "/leasehold.v1.Registry/KeepAlive";
/// How many ids are named in a message.
const IDS: usize = 1_000;

/// The row.
pub struct StreamDrop;

fn sizes(bench: &Bench) -> [usize; 3] {
    bench.size.pick([1, 1_000, 100_000], [1, 1_000, 10_000], [1, 10, 100])
}

fn named(subject: &str, leases: usize) -> String {
    amount::name(subject, leases, "leases")
}

impl Row for StreamDrop {
    fn name(&self) -> &'static str {
        "stream-drop"
    }

    fn about(&self) -> String {
        "from the cut of a KeepAlive stream's connection until a watcher of all was told the last EXPIRED"
            .to_owned()
    }

    fn metric(&self) -> Metric {
        Metric::Latency(500)
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let mut subjects = Vec::new();
        for leases in sizes(bench) {
            let seen = Rc::new(Cell::new(Got { events: 1, messages: 1, bytes: 0 }));
            let load: Load = {
                let seen = Rc::clone(&seen);
                Rc::new(move |_, server| Box::pin(drop_leases(server, leases, Rc::clone(&seen))))
            };
            let named = |subject: &str| named(subject, leases);
            subjects.extend(amount::leasehold(bench, Keeps::Memory, ARGS, named, &load));
            let load: Load = Rc::new(move |_, server| Box::pin(drop_nothing(server, leases, seen.get())));
            subjects.push(Served::new(named(NULL), "does nothing", |_| Server::null("watch"), &load));
        }
        subjects
    }

    fn comparisons(&self, bench: &Bench) -> Vec<Comparison> {
        let sizes = sizes(bench);
        let mut comparisons = Vec::new();
        for leases in sizes {
            let (ours, other) = (Keeps::Memory.name(), amount::other(Keeps::Memory));
            let against = |other: &str| {
                Comparison::ratio(named(ours, leases), named(other, leases), Metric::Latency(500))
            };
            let null = against(NULL);
            comparisons.push(if leases == sizes[2] {
                null.must(Goal::AtMost(2.0)).moonshot(Goal::AtMost(1.3))
            } else {
                null
            });
            comparisons.push(against(&other));
        }
        comparisons
    }
}

/// How often one round cuts a stream of so many.
fn repetitions(leases: usize) -> usize {
    (20_000 / leases).clamp(1, 20)
}

/// Drops streams of registered leases; `seen` is what a watcher got of one.
async fn drop_leases(server: &Server, leases: usize, seen: Rc<Cell<Got>>) -> Result<Sample> {
    let mut drops = Drops::new(server)?;
    for _ in 0..repetitions(leases) {
        let ids = setup::register(server.address(), 0, leases as u64).await?;
        drops.attach_and_cut(&ids).await?;
    }
    seen.set(drops.got);
    Ok(drops.sample())
}

/// Has the null server send as much, in messages like those that were `seen`.
async fn drop_nothing(server: &Server, leases: usize, seen: Got) -> Result<Sample> {
    let client = RegistryClient::connect(format!("http://{}", server.address()));
    let mut client = client.await.context("cannot connect")?;
    let mut bytes = Vec::new();
    Template::protobuf().write(0, &mut bytes);
    let mut record = RegisterRequest::decode(bytes.as_slice())?;
    // To the null server, the number of events of a message.
    record.weight = seen.events.div_ceil(seen.messages.max(1)) as u32;
    client.register(record).await?;
    let mut drops = Drops::new(server)?;
    let ids = vec!["01JD6V3Z5Q8X4N7M2K9T0B1C6F".to_owned(); leases];
    for _ in 0..repetitions(leases) {
        drops.attach_and_cut(&ids).await?;
    }
    Ok(drops.sample())
}

/// Streams that are cut one after the other.
struct Drops<'a> {
    server: &'a Server,
    latency: Histogram<u64>,
    cpu: Duration,
    wall: Duration,
    events: u64,
    /// Of the last one.
    got: Got,
}

impl<'a> Drops<'a> {
    fn new(server: &'a Server) -> Result<Self> {
        Ok(Self {
            server,
            latency: Histogram::new(3)?,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            events: 0,
            got: Got::default(),
        })
    }

    async fn attach_and_cut(&mut self, ids: &[String]) -> Result<()> {
        let address = self.server.address();
        let mut connection = Connection::open(address).await?;
        let stream = connection.call(KEEP_ALIVE, Instant::now());
        let mut heard: Vec<Heard> = Vec::new();
        for ids in ids.chunks(IDS) {
            let beat = KeepAliveRequest { ids: ids.to_vec(), ..KeepAliveRequest::default() };
            let mut message = Vec::new();
            prefixed(&mut message, |out| out.extend(beat.encode_to_vec()));
            connection.send(stream, &message, false);
            // The answer says that they are attached.
            connection.exchange(&mut heard).await?;
            if heard.drain(..).any(|heard| !matches!(heard.what, What::Message(_))) {
                bail!("the KeepAlive stream was refused");
            }
        }
        let watchers = Watchers::open(address, 1, &[WatchRequest::default()]).await?;
        let before = self.server.usage();
        let begin = Instant::now();
        // Closes the socket.
        drop(connection);
        watchers.wait_for(ids.len() as u64).await?;
        let wall = begin.elapsed();
        let used = self.server.usage().cpu_since(before);

        self.latency.record(wall.as_nanos() as u64)?;
        self.wall += wall;
        self.cpu += used.unwrap_or_default();
        self.events += ids.len() as u64;
        self.got = watchers.got();
        Ok(())
    }

    fn sample(self) -> Sample {
        let usage = self.server.usage();
        let got = self.got;
        Sample {
            operations: self.events,
            wall: self.wall,
            cpu: usage.cpu.map(|_| self.cpu),
            rss: usage.rss,
            latency: Some(self.latency),
            values: [
                ("events/message", got.events as f64 / got.messages.max(1) as f64),
                ("bytes/event", got.bytes as f64 / got.events.max(1) as f64),
            ]
            .into(),
        }
    }
}
