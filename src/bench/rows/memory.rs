//! What a lease takes of the server's memory.

use std::{rc::Rc, time::Instant};

use anyhow::Context as _;

use super::amount;
use crate::bench::{
    Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
    load::{populate::populate, record::SIZE, setup},
    process::Server,
    subject::{Keeps, Load},
};

const KEEPS: [Keeps; 2] = [Keeps::Memory, Keeps::Sync];
const EACH: Metric = Metric::Value("RSS/lease", "B");

/// The row.
pub struct Memory;

fn leases(bench: &Bench) -> u64 {
    bench.size.pick(1_000_000, 20_000, 200)
}

impl Row for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> String {
        format!(
            "resident memory of 1,000,000 leases with {SIZE}-byte records (fewer unless at full size), above that \
             of the empty server; the history of changes, 64 MiB at most, is in it"
        )
    }

    fn metric(&self) -> Metric {
        EACH
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let load: Load = Rc::new(|bench, server| Box::pin(fill(bench, server)));
        let of = |keeps| amount::leasehold(bench, keeps, &[], str::to_owned, &load);
        KEEPS.into_iter().flat_map(of).collect()
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let of = |keeps: Keeps| {
            [
                Comparison::figure(keeps.name(), EACH)
                    .must(Goal::AtMost(490.0))
                    .moonshot(Goal::AtMost(300.0)),
                Comparison::ratio(keeps.name(), amount::other(keeps), EACH),
            ]
        };
        KEEPS.into_iter().flat_map(of).collect()
    }
}

async fn fill(bench: &Bench, server: &Server) -> Result<Sample> {
    let count = leases(bench);
    // One, so that what every server holds is there: connections, buffers, the store's pages.
    setup::register(server.address(), count, 1).await?;
    let (before, begin) = (server.usage(), Instant::now());
    populate(server.address(), count).await?;
    let (after, wall) = (server.usage(), begin.elapsed());
    let [empty, full] =
        [before, after].map(|usage| usage.rss.context("the memory of a process is not known here"));
    let taken = full?.saturating_sub(empty?);
    let mut values = std::collections::BTreeMap::from([("RSS/lease", taken as f64 / count as f64)]);
    if let Some(peak) = after.peak_rss {
        values.insert("peak RSS", peak as f64);
    }
    Ok(Sample {
        operations: count,
        wall,
        cpu: after.cpu_since(before),
        rss: after.rss,
        values,
        ..Sample::default()
    })
}
