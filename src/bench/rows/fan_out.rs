//! Changes of one service, told to all its watchers.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use prost::Message as _;
use tonic::transport::Channel;

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::{
            record::Template,
            watch::{Call, Watchers},
        },
        peers::etcd::{self, Disk},
        process::Server,
        subject::{Keeps, Load, Served},
    },
    proto::{
        BatchRegisterRequest, RegisterRequest, WatchRequest,
        etcd::{self as etcd_proto, PutRequest, WatchCreateRequest, kv_client::KvClient},
        registry_client::RegistryClient,
    },
};

/// How many watchers share a connection, as long as there are several connections.
const SHARE: usize = 125;
const SERVICE: &str = "fan-out";
const NULL: &str = "null tonic";

/// How changes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One at a time; the next when all watchers were told.
    One,
    /// So many in one revision; the next when all watchers were told.
    Batch(usize),
    /// So many calls in flight, each a revision of its own; watchers may be [`LAG`] behind.
    Stream(usize),
}

/// How many changes the slowest watcher may be behind.
const LAG: u64 = 256;

/// A row of as many watchers as the goals are meant for, or of several numbers of them.
pub struct FanOut {
    name: &'static str,
    about: &'static str,
    pace: Pace,
    scales: bool,
}

/// The rows: by pace, and by the number of watchers.
pub fn rows() -> Vec<Box<dyn Row>> {
    let row = |name, about, pace, scales| -> Box<dyn Row> { Box::new(FanOut { name, about, pace, scales }) };
    vec![
        row(
            "fan-out",
            "events told to 1,000 watchers of one service, one change and one message at a time",
            Pace::One,
            false,
        ),
        row(
            "fan-out-16",
            "the same, 16 changes at a time, in one revision and one message",
            Pace::Batch(16),
            false,
        ),
        row(
            "fan-out-full",
            "the same, 64 changes in flight, each a revision; as many a message as the server puts into one",
            Pace::Stream(64),
            false,
        ),
        row(
            "fan-out-watchers",
            "one change at a time, told to more and more watchers of one service",
            Pace::One,
            true,
        ),
    ]
}

impl FanOut {
    fn sizes(&self, bench: &Bench) -> Vec<usize> {
        if self.scales {
            bench.size.pick(vec![10, 100, 1_000, 5_000], vec![10, 300], vec![3])
        } else {
            vec![bench.size.pick(1_000, 300, 4)]
        }
    }

    /// A subject's name with so many watchers.
    fn named(&self, subject: &str, watchers: usize) -> String {
        if self.scales { amount::name(subject, watchers, "watchers") } else { subject.to_owned() }
    }
}

impl Row for FanOut {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> String {
        self.about.to_owned()
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let mut subjects = Vec::new();
        for watchers in self.sizes(bench) {
            let pace = self.pace;
            let load: Load = Rc::new(move |bench, server| Box::pin(tell(bench, server, watchers, pace)));
            let named = |subject: &str| self.named(subject, watchers);
            subjects.push(Served::new(named(NULL), "does nothing", |_| Server::null("watch"), &load));
            subjects.extend(amount::leasehold(bench, Keeps::Memory, &[], named, &load));
        }
        if !self.scales && !matches!(self.pace, Pace::Batch(_)) {
            let (watchers, pace) = (self.sizes(bench)[0], self.pace);
            let load: Load = Rc::new(move |bench, server| Box::pin(tell_etcd(bench, server, watchers, pace)));
            subjects.extend(etcd::subjects(bench, &[Disk::Unsafe], &load));
        }
        subjects
    }

    fn comparisons(&self, bench: &Bench) -> Vec<Comparison> {
        let mut comparisons = Vec::new();
        for watchers in self.sizes(bench) {
            let named = |subject: &str| self.named(subject, watchers);
            let (ours, other) = (named(Keeps::Memory.name()), named(&amount::other(Keeps::Memory)));
            let rate = Comparison::ratio(&*ours, named(NULL), Metric::Rate);
            // Both sides put as much into a message only where the pace says so.
            let same_batching = !matches!(self.pace, Pace::Stream(_));
            comparisons.push(if same_batching && !self.scales {
                rate.must(Goal::AtLeast(0.6)).moonshot(Goal::AtLeast(0.85))
            } else {
                rate
            });
            comparisons.push(Comparison::ratio(&*ours, named(NULL), Metric::Cpu));
            if !self.scales {
                let etcd = Comparison::ratio(&*ours, Disk::Unsafe.name(), Metric::Rate);
                comparisons.push(if same_batching { etcd } else { etcd.moonshot(Goal::AtLeast(4.0)) });
                comparisons.push(Comparison::ratio(&*ours, Disk::Unsafe.name(), Metric::Cpu));
            }
            comparisons.push(Comparison::ratio(&*ours, &*other, Metric::Rate));
            comparisons.push(Comparison::ratio(&*ours, other, Metric::Cpu));
        }
        comparisons
    }
}

/// Opens watchers, and tells them of changes.
async fn tell(bench: &Bench, server: &Server, count: usize, pace: Pace) -> Result<Sample> {
    let request = WatchRequest { service: vec![SERVICE.to_owned()], ..WatchRequest::default() };
    let watchers = Watchers::open(server.address(), connections(count), &vec![request; count]).await?;
    let client = RegistryClient::connect(format!("http://{}", server.address()));
    let door = Door::Registry(client.await.context("cannot connect")?);
    publish(bench, server, &watchers, count, door, pace).await
}

/// The same with etcd: each change is a Put of the same record.
async fn tell_etcd(bench: &Bench, server: &Server, count: usize, pace: Pace) -> Result<Sample> {
    let door = Door::Etcd(KvClient::new(etcd::connect(server.address()).await?));
    let create = WatchCreateRequest { key: SERVICE.as_bytes().to_vec(), ..WatchCreateRequest::default() };
    let request =
        etcd_proto::WatchRequest { request: Some(etcd_proto::watch_request::Request::Create(create)) };
    let request = request.encode_to_vec();
    let (call, requests) = (Call::ETCD, vec![request; count]);
    let watchers = Watchers::open_call(server.address(), connections(count), call, &requests, None).await?;
    publish(bench, server, &watchers, count, door, pace).await
}

fn connections(watchers: usize) -> usize {
    watchers.div_ceil(SHARE).max(watchers.min(8))
}

async fn publish(
    bench: &Bench,
    server: &Server,
    watchers: &Watchers,
    count: usize,
    door: Door,
    pace: Pace,
) -> Result<Sample> {
    let mut publisher = Publisher::new(door, watchers, count as u64)?;
    publisher.run(pace, bench.warm_up).await?;
    let (begin, before, got) = (Instant::now(), server.usage(), watchers.got());
    publisher.run(pace, bench.length).await?;
    let (wall, after, got) = (begin.elapsed(), server.usage(), watchers.got().since(got));
    Ok(Sample {
        operations: got.events,
        wall,
        cpu: after.cpu_since(before),
        rss: after.rss,
        values: [
            ("watchers", count as f64),
            ("events/message", got.events as f64 / got.messages.max(1) as f64),
            ("bytes/event", got.bytes as f64 / got.events.max(1) as f64),
        ]
        .into(),
        ..Sample::default()
    })
}

/// Where changes are made.
#[derive(Clone)]
enum Door {
    Registry(RegistryClient<Channel>),
    Etcd(KvClient<Channel>),
}

impl Door {
    async fn change(&mut self, record: RegisterRequest) -> Result<()> {
        match self {
            Self::Registry(client) => drop(client.register(record).await?),
            Self::Etcd(client) => {
                let (key, value) = (SERVICE.as_bytes().to_vec(), record.encode_to_vec());
                client.put(PutRequest { key, value, ..PutRequest::default() }).await?;
            }
        }
        Ok(())
    }

    /// All of them in one revision.
    async fn change_all(&mut self, records: impl IntoIterator<Item = RegisterRequest>) -> Result<()> {
        match self {
            Self::Registry(client) => {
                client.batch_register(BatchRegisterRequest::from_iter(records)).await?;
                Ok(())
            }
            Self::Etcd(_) => bail!("etcd is not measured with several changes a revision"),
        }
    }
}

/// Makes changes, and waits for those who are told.
struct Publisher<'a> {
    door: Door,
    watchers: &'a Watchers,
    each: u64,
    changes: u64,
    record: RegisterRequest,
}

impl<'a> Publisher<'a> {
    fn new(door: Door, watchers: &'a Watchers, each: u64) -> Result<Self> {
        let mut bytes = Vec::new();
        Template::protobuf().write(0, &mut bytes);
        let mut record = RegisterRequest::decode(bytes.as_slice())?;
        SERVICE.clone_into(&mut record.service);
        Ok(Self { door, watchers, each, changes: 0, record })
    }

    /// The next change: another weight of one of a few replicas.
    fn next(&mut self) -> RegisterRequest {
        self.changes += 1;
        let mut record = self.record.clone();
        record.url = format!("http://host-{:09}.bench.internal:8080/api", self.changes % 256);
        record.weight = 1_000_000 + self.changes as u32;
        record
    }

    async fn run(&mut self, pace: Pace, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        match pace {
            Pace::One => {
                while Instant::now() < end {
                    let record = self.next();
                    self.door.change(record).await?;
                    self.told(self.changes).await?;
                }
            }
            Pace::Batch(size) => {
                while Instant::now() < end {
                    let records: Vec<_> = (0..size).map(|_| self.next()).collect();
                    self.door.change_all(records).await?;
                    self.told(self.changes).await?;
                }
            }
            Pace::Stream(in_flight) => {
                let mut calls = FuturesUnordered::new();
                while Instant::now() < end {
                    while calls.len() < in_flight {
                        let (mut door, record) = (self.door.clone(), self.next());
                        calls.push(async move { door.change(record).await });
                    }
                    calls.next().await.transpose()?;
                    self.told(self.changes.saturating_sub(LAG)).await?;
                }
                while calls.next().await.transpose()?.is_some() {}
                self.told(self.changes).await?;
            }
        }
        Ok(())
    }

    /// Waits until every watcher was told so many changes, on the average.
    async fn told(&self, changes: u64) -> Result<()> {
        self.watchers.wait_for(changes * self.each).await
    }
}
