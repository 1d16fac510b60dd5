//! How late leases expire that all fall due together, and that none does so early.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use prost::Message as _;

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::{
            record::Template,
            watch::{Call, Sink, Watchers},
        },
        process::Server,
        subject::{Keeps, Load},
    },
    proto::{
        BatchRegisterRequest, RegisterRequest, WatchRequest, WatchResponse,
        batch_register_response::result::Result as One, event::Type, registry_client::RegistryClient,
    },
};

const BATCH: u64 = 500;
const KEEPS: [Keeps; 2] = [Keeps::Memory, Keeps::Sync];
const P99: Metric = Metric::Latency(990);
const EARLY: Metric = Metric::Value("early", "");

/// The row.
pub struct Lateness;

impl Row for Lateness {
    fn name(&self) -> &'static str {
        "lateness"
    }

    fn about(&self) -> String {
        "leases registered together and never renewed (10,000 at full size): from the answer's expires_at \
         until a watcher was told; early is before their registration was even sent + TTL"
            .to_owned()
    }

    fn metric(&self) -> Metric {
        P99
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let load: Load = Rc::new(|bench, server| Box::pin(expire(bench, server)));
        let of =
            |keeps| amount::leasehold(bench, keeps, &["--mass-expiry-brake", "off"], str::to_owned, &load);
        KEEPS.into_iter().flat_map(of).collect()
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let of = |keeps: Keeps| {
            let (ours, other) = (keeps.name(), amount::other(keeps));
            [
                Comparison::figure(ours, P99).must(Goal::AtMost(0.185)).moonshot(Goal::AtMost(0.02)),
                Comparison::figure(ours, EARLY).must(Goal::AtMost(0.0)).moonshot(Goal::AtMost(0.0)),
                Comparison::ratio(ours, other, P99),
            ]
        };
        KEEPS.into_iter().flat_map(of).collect()
    }
}

/// When a lease is due.
struct Due {
    /// No clock could have it expire before: the call's begin + TTL.
    earliest: SystemTime,
    /// As the server granted it.
    granted: SystemTime,
}

/// Registers leases, and waits until all have expired.
async fn expire(bench: &Bench, server: &Server) -> Result<Sample> {
    let (count, ttl) = bench.size.pick((10_000, 3), (2_000, 1), (20, 1));
    let told = Arc::new(Told::default());
    let requests = [WatchRequest::default().encode_to_vec()];
    let watchers =
        Watchers::open_call(server.address(), 1, Call::LEASEHOLD, &requests, Some(told.clone())).await?;

    let client = RegistryClient::connect(format!("http://{}", server.address()));
    let client = client.await.context("cannot connect")?;
    let batches = (0..count).step_by(BATCH as usize);
    let batches = batches.map(|from| register(client.clone(), from, BATCH.min(count - from), ttl));
    let due: HashMap<String, Due> = try_join_all(batches).await?.into_iter().flatten().collect();
    watchers.wait_for(count).await?;
    let before = server.usage();
    let begin = Instant::now();
    watchers.wait_for(2 * count).await?;
    let after = server.usage();

    let (mut latency, mut early) = (Histogram::new(3)?, 0);
    for (at, message) in told.0.lock().drain(..) {
        for event in WatchResponse::decode(message.as_slice())?.events {
            if event.r#type() != Type::Expired {
                continue;
            }
            let id = event.instance.context("an event without an instance")?.id;
            let due = due.get(&id).context("an event of a lease that was never registered")?;
            early += u32::from(at < due.earliest);
            let late = at.duration_since(due.granted).unwrap_or_default();
            latency.record(late.as_nanos() as u64)?;
        }
    }
    if latency.len() != count {
        bail!("{} of {count} leases expired", latency.len());
    }
    Ok(Sample {
        operations: count,
        wall: begin.elapsed(),
        cpu: after.cpu_since(before),
        rss: after.rss,
        values: [("early", f64::from(early)), ("worst", latency.max() as f64 / 1e9)].into(),
        latency: Some(latency),
    })
}

/// Registers records in one call; their ids, and when they are due.
async fn register(
    mut client: RegistryClient<tonic::transport::Channel>,
    from: u64,
    count: u64,
    ttl_seconds: u32,
) -> Result<Vec<(String, Due)>> {
    let template = Template::protobuf();
    let ttl = RegisterRequest { ttl_seconds, ..RegisterRequest::default() }.encode_to_vec();
    let record = |number| {
        let mut bytes = Vec::new();
        template.write(number, &mut bytes);
        bytes.extend_from_slice(&ttl);
        bytes.into()
    };
    let requests = (from..from + count).map(record).collect();
    let earliest = SystemTime::now() + Duration::from_secs(ttl_seconds.into());
    let results = client.batch_register(BatchRegisterRequest { requests }).await?.into_inner().results;
    results
        .into_iter()
        .map(|result| {
            let Some(One::Response(response)) = result.result else { bail!("a registration was refused") };
            let granted = response.expires_at.context("an answer without expires_at")?.try_into()?;
            Ok((response.id, Due { earliest, granted }))
        })
        .collect()
}

/// All messages, and when they came: looked at when nothing is measured any more.
#[derive(Default)]
struct Told(Mutex<Vec<(SystemTime, Vec<u8>)>>);

impl Sink for Told {
    fn message(&self, _watcher: usize, message: &[u8]) {
        self.0.lock().push((SystemTime::now(), message.to_vec()));
    }
}
