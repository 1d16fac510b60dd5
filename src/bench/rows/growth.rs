//! What operations cost as leases become many.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;
use async_trait::async_trait;
use prost::Message as _;
use tokio::sync::Mutex;

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::{
            http2::prefixed,
            populate::populate,
            record::Template,
            streams::{self, Script},
            unary::{self, Calls},
        },
        process::Server,
        subject::Keeps,
    },
    proto::{GetRequest, KeepAliveRequest, RegisterRequest},
};

/// The row.
pub struct Growth;

const OPERATIONS: [Operation; 4] =
    [Operation::Register, Operation::Ping, Operation::KeepAlive, Operation::Get];

/// From few to many.
fn sizes(bench: &Bench) -> Vec<usize> {
    bench.size.pick(vec![10_000, 100_000, 1_000_000], vec![1_000, 40_000], vec![10, 50])
}

fn named(operation: Operation, leases: usize) -> String {
    amount::name(operation.name(), leases, "leases")
}

impl Row for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn about(&self) -> String {
        "CPU of an operation beside 10,000, 100,000 and 1,000,000 leases (fewer unless at full size): Register of \
         known urls with new content, Ping, KeepAlive with one id a message, and Get, each of leases all over"
            .to_owned()
    }

    fn metric(&self) -> Metric {
        Metric::Cpu
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
        for leases in sizes(bench) {
            let (shared, own) = (Rc::default(), Rc::default());
            for operation in OPERATIONS {
                let server = if operation == Operation::KeepAlive { &own } else { &shared };
                subjects.push(Box::new(Grown { operation, leases, server: Rc::clone(server) }));
            }
        }
        subjects
    }

    fn comparisons(&self, bench: &Bench) -> Vec<Comparison> {
        let sizes = sizes(bench);
        let (few, many) = (sizes[0], sizes[sizes.len() - 1]);
        let of = |operation| {
            let ratio = move |leases| {
                let ratio = Comparison::ratio(named(operation, leases), named(operation, few), Metric::Cpu);
                if leases == many { ratio.must(Goal::AtMost(1.3)).moonshot(Goal::AtMost(1.1)) } else { ratio }
            };
            sizes[1..].iter().copied().map(ratio)
        };
        OPERATIONS.into_iter().flat_map(of).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Register,
    Ping,
    KeepAlive,
    Get,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Register => "Register",
            Self::Ping => "Ping",
            Self::KeepAlive => "KeepAlive",
            Self::Get => "Get",
        }
    }
}

/// An operation on a server that the operations of one size share, from round to round: a million
/// leases are not made again for each. Renewals on streams have one of their own, for when a
/// stream ends its leases lapse; naming them revives them.
struct Grown {
    operation: Operation,
    leases: usize,
    server: Rc<Mutex<Option<Populated>>>,
}

struct Populated {
    server: Server,
    ids: Rc<Vec<String>>,
}

#[async_trait(?Send)]
impl Subject for Grown {
    fn name(&self) -> String {
        named(self.operation, self.leases)
    }

    fn settings(&self) -> String {
        Keeps::Memory.promise().to_owned()
    }

    async fn measure(&mut self, bench: &Bench) -> Result<Sample> {
        let mut server = self.server.lock().await;
        if server.is_none() {
            let started = Server::leasehold(bench, Keeps::Memory.args())?;
            let ids = Rc::new(populate(started.address(), self.leases as u64).await?);
            *server = Some(Populated { server: started, ids });
        }
        let Populated { server, ids } = server.as_ref().context("was put there")?;
        let mut sample = match self.operation {
            Operation::Register => {
                unary::load(bench, server, |own, all| Changed::new(self.leases as u64, own, all)).await?
            }
            Operation::Ping | Operation::Get => {
                let path = match self.operation {
                    Operation::Ping => "/leasehold.v1.Registry/Ping",
                    _ => "/leasehold.v1.Registry/Get",
                };
                unary::load(bench, server, |own, all| Known::new(path, ids, own, all)).await?
            }
            Operation::KeepAlive => {
                streams::load(bench, server, "/leasehold.v1.Registry/KeepAlive", IN_FLIGHT, scripts(ids))
                    .await?
            }
        };
        sample.values.insert("leases", self.leases as f64);
        Ok(sample)
    }
}

/// Goes through all of `count`, far apart, as several clients that begin at different places.
struct Walk {
    at: u64,
    count: u64,
}

/// A prime that is no factor of any number of leases here.
const STRIDE: u64 = 611_953;

impl Walk {
    fn new(count: u64, own: u64, all: u64) -> Self {
        Self { at: count * own / all, count }
    }

    fn next(&mut self) -> u64 {
        self.at = (self.at + STRIDE) % self.count;
        self.at
    }
}

/// Registrations of known urls, each with another weight than before.
struct Changed {
    template: Template,
    walk: Walk,
    changes: u32,
}

impl Changed {
    fn new(count: u64, own: u64, all: u64) -> Self {
        Self { template: Template::protobuf(), walk: Walk::new(count, own, all), changes: rounds() }
    }
}

/// Weights that the rounds before have not used.
fn rounds() -> u32 {
    static ROUNDS: AtomicU32 = AtomicU32::new(1);
    ROUNDS.fetch_add(1 << 20, Ordering::Relaxed)
}

impl Calls for Changed {
    fn path(&self) -> &'static str {
        "/leasehold.v1.Registry/Register"
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        self.template.write(self.walk.next(), out);
        self.changes += 1;
        let more = RegisterRequest { weight: self.changes, ttl_seconds: 3_600, ..RegisterRequest::default() };
        // Fields of a message may follow each other in any order.
        out.extend_from_slice(&more.encode_to_vec());
    }
}

/// Requests that name known leases and nothing else: Get and Ping look alike.
struct Known {
    path: &'static str,
    ids: Rc<Vec<String>>,
    walk: Walk,
}

impl Known {
    fn new(path: &'static str, ids: &Rc<Vec<String>>, own: u64, all: u64) -> Self {
        Self { path, ids: Rc::clone(ids), walk: Walk::new(ids.len() as u64, own, all) }
    }
}

impl Calls for Known {
    fn path(&self) -> &'static str {
        self.path
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let id = self.ids[self.walk.next() as usize].clone();
        out.extend_from_slice(&GetRequest { id }.encode_to_vec());
    }
}

const STREAMS: u64 = 64;
const IN_FLIGHT: usize = 16;
/// How many leases are renewed on streams at most.
const ATTACHED: u64 = 100_000;

/// Streams that renew leases all over, one id a message, once these are attached.
fn scripts(ids: &[String]) -> Vec<Script> {
    let mut walk = Walk::new(ids.len() as u64, 0, 1);
    let each = ATTACHED.min(ids.len() as u64).div_ceil(STREAMS);
    let script = |_| {
        let own: Vec<String> = (0..each).map(|_| ids[walk.next() as usize].clone()).collect();
        Script { first: vec![beat(&own)], beats: own.chunks(1).map(beat).collect(), operations: 1 }
    };
    (0..STREAMS).map(script).collect()
}

fn beat(ids: &[String]) -> Vec<u8> {
    let beat = KeepAliveRequest { ids: ids.to_vec(), ..KeepAliveRequest::default() };
    let mut message = Vec::new();
    prefixed(&mut message, |out| out.extend_from_slice(&beat.encode_to_vec()));
    message
}
