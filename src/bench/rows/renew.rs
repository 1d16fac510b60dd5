//! Renewals over `KeepAlive` streams.

use std::rc::Rc;

use prost::Message as _;

use super::against;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::{
            http2::prefixed,
            setup,
            streams::{self, IN_FLIGHT, STREAMS, Script},
        },
        peers::etcd::{self, Disk},
        process::Server,
        subject::{Keeps, Load, Served},
    },
    proto::KeepAliveRequest,
};

const PATH: &str = "/leasehold.v1.Registry/KeepAlive";
/// Messages that a stream says in turn where each names a few leases.
const TURNS: usize = 16;
/// An id takes 28 bytes; a message may have a MiB.
const ATTACHED_AT_ONCE: usize = 10_000;
const NULL: &str = "null bidi";

/// Messages that name the leases they renew.
pub struct Ids {
    /// So many a message.
    pub each: usize,
}

impl Ids {
    fn turns(&self) -> usize {
        if self.each == 1 { TURNS } else { 1 }
    }

    fn load(&self, invented: bool) -> Load {
        let (each, turns) = (self.each, self.turns());
        Rc::new(move |bench, server| {
            Box::pin(async move {
                let leases = (STREAMS * turns * each) as u64;
                let ids = if invented {
                    setup::invented(leases)
                } else {
                    setup::register(server.address(), 0, leases).await?
                };
                let scripts = ids.chunks(turns * each).map(|own| Script {
                    first: vec![beat(own)],
                    beats: own.chunks(each).map(beat).collect(),
                    operations: each as u64,
                });
                streams::load(bench, server, PATH, IN_FLIGHT, scripts.collect()).await
            })
        })
    }
}

impl Row for Ids {
    fn name(&self) -> &'static str {
        if self.each == 1 { "renew" } else { "renew-many" }
    }

    fn about(&self) -> String {
        let each = self.each;
        format!(
            "KeepAlive over gRPC: {STREAMS} streams, {IN_FLIGHT} messages in flight on each, {each} id{} a message; a \
             figure is a renewed lease",
            if each == 1 { "" } else { "s" }
        )
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let mut subjects = vec![Served::null("bidi", &self.load(true))];
        subjects.extend(Served::leasehold(bench, Keeps::Sync, &self.load(false)));
        if self.each == 1 {
            subjects.extend(etcd::renew(bench));
        }
        subjects
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let sync = Keeps::Sync.name();
        let null = Comparison::ratio(sync, NULL, Metric::Rate);
        let mut all = if self.each == 1 {
            let etcd = Comparison::ratio(sync, Disk::Fsync.name(), Metric::Rate);
            vec![
                null.must(Goal::AtLeast(0.6)).moonshot(Goal::AtLeast(0.85)),
                etcd.moonshot(Goal::AtLeast(10.0)),
            ]
        } else {
            vec![null.must(Goal::AtLeast(0.2)).moonshot(Goal::AtLeast(0.5))]
        };
        all.push(Comparison::ratio(sync, NULL, Metric::Cpu));
        all.extend(against::other_builds());
        all
    }
}

/// Beats that name nothing, and renew all of a stream.
pub struct Whole;

/// Leases on the one stream.
fn sizes(bench: &Bench) -> [usize; 4] {
    bench.size.pick([1, 100, 10_000, 100_000], [1, 100, 1_000, 10_000], [1, 10, 20, 30])
}

impl Row for Whole {
    fn name(&self) -> &'static str {
        "renew-stream"
    }

    fn about(&self) -> String {
        format!(
            "KeepAlive over gRPC: one stream, {IN_FLIGHT} beats in flight that name nothing and renew all attached; a \
             figure is a beat, and has to be the same whatever is attached"
        )
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let null: Load = Rc::new(|bench, server| Box::pin(beats(bench, server, Vec::new())));
        let mut subjects = vec![Served::null("bidi", &null)];
        for attached in sizes(bench) {
            let load: Load = Rc::new(move |bench, server| {
                Box::pin(async move {
                    let ids = setup::register(server.address(), 0, attached as u64).await?;
                    beats(bench, server, ids).await
                })
            });
            let keeps = Keeps::Memory;
            let start = move |bench: &Bench| Server::leasehold(bench, keeps.args());
            subjects.push(Served::new(with(attached), keeps.promise(), start, &load));
        }
        subjects
    }

    fn comparisons(&self, bench: &Bench) -> Vec<Comparison> {
        let [one, .., most] = sizes(bench);
        vec![
            Comparison::ratio(with(one), NULL, Metric::Rate),
            Comparison::ratio(with(most), with(one), Metric::Cpu).must(Goal::AtMost(1.3)),
        ]
    }
}

fn with(attached: usize) -> String {
    format!("leasehold, {attached} attached")
}

async fn beats(bench: &Bench, server: &Server, ids: Vec<String>) -> Result<Sample> {
    let first =
        if ids.is_empty() { vec![beat(&[])] } else { ids.chunks(ATTACHED_AT_ONCE).map(beat).collect() };
    let script = Script { first, beats: vec![beat(&[])], operations: 1 };
    streams::load(bench, server, PATH, IN_FLIGHT, vec![script]).await
}

/// An encoded message, with its prefix.
fn beat(ids: &[String]) -> Vec<u8> {
    let beat = KeepAliveRequest { ids: ids.to_vec(), ..Default::default() }.encode_to_vec();
    let mut message = Vec::new();
    prefixed(&mut message, |out| out.extend_from_slice(&beat));
    message
}
