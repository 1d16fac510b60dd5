//! One change, while others watch other services: it must cost the same however many they are.

use std::{rc::Rc, time::Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::watch::Watchers,
        process::Server,
        subject::{Keeps, Load},
    },
    proto::{RegisterRequest, WatchRequest, registry_client::RegistryClient},
};

/// Below the streams that the server allows a connection.
const SHARE: usize = 500;
/// Services that the others watch.
const SERVICES: usize = 1_000;

/// The row.
pub struct Bystanders;

fn named(subject: &str, others: usize) -> String {
    amount::name(subject, others, "others")
}

fn sizes(bench: &Bench) -> [usize; 3] {
    bench.size.pick([0, 1_000, 10_000], [0, 100, 1_000], [0, 1, 5])
}

impl Row for Bystanders {
    fn name(&self) -> &'static str {
        "bystanders"
    }

    fn about(&self) -> String {
        "one change at a time, told to its one watcher, while others watch other services".to_owned()
    }

    fn metric(&self) -> Metric {
        Metric::Cpu
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let subjects = sizes(bench).into_iter().flat_map(|others| {
            let load: Load = Rc::new(move |bench, server| Box::pin(change(bench, server, others)));
            amount::leasehold(bench, Keeps::Memory, &[], |subject| named(subject, others), &load)
        });
        subjects.collect()
    }

    fn comparisons(&self, bench: &Bench) -> Vec<Comparison> {
        let [none, some, many] = sizes(bench);
        let mut comparisons = Vec::new();
        for (subject, has_goal) in
            [(Keeps::Memory.name().to_owned(), true), (amount::other(Keeps::Memory), false)]
        {
            for others in [some, many] {
                for metric in [Metric::Cpu, Metric::Latency(500)] {
                    let flat = Comparison::ratio(named(&subject, others), named(&subject, none), metric);
                    comparisons.push(if has_goal { flat.must(Goal::AtMost(1.25)) } else { flat });
                }
            }
        }
        comparisons
    }
}

/// Changes one service again and again, in a closed loop.
async fn change(bench: &Bench, server: &Server, count: usize) -> Result<Sample> {
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let watch = |service: String| WatchRequest {
        service: vec![service],
        bookmark_interval: Some(hour),
        ..WatchRequest::default()
    };
    let others: Vec<_> = (0..count).map(|n| watch(format!("other-{}", n % SERVICES))).collect();
    let _others = Watchers::open(server.address(), count.div_ceil(SHARE), &others).await?;
    let own = Watchers::open(server.address(), 1, &[watch("own".to_owned())]).await?;
    let client = RegistryClient::connect(format!("http://{}", server.address()));
    let mut client = client.await.context("cannot connect")?;

    let mut latency = Histogram::new(3)?;
    let (mut changes, mut warm) = (0, 0);
    let (start, mut begin, mut before) = (Instant::now(), Instant::now(), server.usage());
    while warm == 0 || begin.elapsed() < bench.length {
        if warm == 0 && start.elapsed() >= bench.warm_up {
            (warm, begin, before) = (changes, Instant::now(), server.usage());
            latency.reset();
        }
        changes += 1;
        let url = "http://own.bench.internal:8080".to_owned();
        let request = RegisterRequest {
            service: "own".to_owned(),
            url,
            weight: changes as u32,
            ..RegisterRequest::default()
        };
        let sent = Instant::now();
        let (answer, told) = tokio::join!(client.register(request), own.wait_for(changes));
        answer?;
        told?;
        latency.record(sent.elapsed().as_nanos() as u64)?;
    }
    let (wall, after) = (begin.elapsed(), server.usage());
    Ok(Sample {
        operations: changes - warm,
        wall,
        cpu: after.cpu_since(before),
        rss: after.rss,
        latency: Some(latency),
        values: [("watchers", count as f64)].into(),
    })
}
