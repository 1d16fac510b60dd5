//! What an honest client notices of hostile ones.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::{abuse::Pattern, meter::histogram},
        process::Server,
        subject::{Keeps, Load},
    },
    proto::{PingRequest, RegisterRequest, registry_client::RegistryClient},
};

/// An honest client registers and pings so often.
const EVERY: Duration = Duration::from_millis(4);
/// Which of its lots are the same ones again.
const REPLICAS: u64 = 1_000;
const P99: Metric = Metric::Latency(990);
/// Limits are off in all other rows; here they are the defaults.
const LIMITS: &[&str] = &[
    "--max-requests-per-peer",
    "10000",
    "--max-registrations-per-peer",
    "100000",
    "--max-registrations-per-service",
    "100000",
];

/// The row.
pub struct Abuse;

fn patterns(bench: &Bench) -> [Pattern; 5] {
    [
        Pattern::RapidReset,
        Pattern::Pings,
        Pattern::Settings,
        Pattern::Idle(bench.size.pick(5_000, 1_000, 10)),
        Pattern::NoisyPeer,
    ]
}

fn named(subject: &str, pattern: Option<Pattern>) -> String {
    format!("{subject}, {}", pattern.map_or("quiet", Pattern::name))
}

impl Row for Abuse {
    fn name(&self) -> &'static str {
        "abuse"
    }

    fn about(&self) -> String {
        "Register and Ping over gRPC, 250 a second, while another peer abuses the server; latency from when \
         each was due"
            .to_owned()
    }

    fn metric(&self) -> Metric {
        P99
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let all = std::iter::once(None).chain(patterns(bench).map(Some));
        let subjects = all.flat_map(|pattern| {
            let load: Load = Rc::new(move |bench, server| Box::pin(endure(bench, server, pattern)));
            amount::leasehold(bench, Keeps::Memory, LIMITS, |subject| named(subject, pattern), &load)
        });
        subjects.collect()
    }

    fn comparisons(&self, bench: &Bench) -> Vec<Comparison> {
        let of = |pattern| {
            let (subject, quiet) =
                (named(Keeps::Memory.name(), Some(pattern)), named(Keeps::Memory.name(), None));
            Comparison::ratio(subject, quiet, P99).must(Goal::AtMost(2.0))
        };
        patterns(bench).map(of).into()
    }
}

/// Registers and pings at a steady pace, abused or not.
async fn endure(bench: &Bench, server: &Server, pattern: Option<Pattern>) -> Result<Sample> {
    let address = server.address();
    // Before the honest one is there: to connect blocks.
    let begin = move || pattern.map(|pattern| pattern.begin(address)).transpose();
    let _attack = tokio::task::spawn_blocking(begin).await.context("the attack does not begin")??;
    let client = RegistryClient::connect(format!("http://{address}"));
    let mut client = client.await.context("cannot connect")?;
    let mut latency = histogram();
    let (start, mut due) = (Instant::now(), Instant::now());
    let (mut begin, mut before, mut number, mut operations) = (start, server.usage(), 0, 0);
    while operations == 0 || begin.elapsed() < bench.length {
        if operations == 0 && start.elapsed() >= bench.warm_up && !latency.is_empty() {
            (begin, before) = (Instant::now(), server.usage());
            latency.reset();
            operations = 1;
        }
        tokio::time::sleep_until(due.into()).await;
        let registered = client.register(RegisterRequest {
            service: format!("honest-{}", number % 10),
            url: format!("http://honest.bench.internal:8080/{}", number % REPLICAS),
            ..RegisterRequest::default()
        });
        let id = registered.await.context("an honest Register failed")?.into_inner().id;
        let ping = client.ping(PingRequest { id, lease_token: String::new() });
        ping.await.context("an honest Ping failed")?;
        latency.record(due.elapsed().as_nanos() as u64)?;
        operations += u64::from(operations > 0);
        number += 1;
        due += EVERY;
    }
    let (wall, after) = (begin.elapsed(), server.usage());
    Ok(Sample {
        operations: operations.saturating_sub(1),
        wall,
        cpu: after.cpu_since(before),
        rss: after.rss,
        latency: Some(latency),
        ..Sample::default()
    })
}
