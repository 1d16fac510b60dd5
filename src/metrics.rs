//! What is counted, for Prometheus. Labels are bounded: kinds and reasons, never names.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::catalog::{Change, Commit};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters and gauges of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    changes: Family<ChangeLabels, Counter>,
    braked: Counter,
    /// Stalls of this process that were noticed.
    pub stalls: Counter,
    /// Open Watch streams.
    pub watchers: Gauge,
    /// Open `KeepAlive` streams.
    pub keepalive_streams: Gauge,
    /// 1 while the store does not write.
    pub store_failing: Gauge,
    store_commits: Histogram,
    instances: Gauge,
    revision: Gauge<u64, AtomicU64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChangeLabels {
    kind: &'static str,
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("leasehold"),
            changes: Family::default(),
            braked: Counter::default(),
            stalls: Counter::default(),
            watchers: Gauge::default(),
            keepalive_streams: Gauge::default(),
            store_failing: Gauge::default(),
            // From a disk with a cache of its own to one that is in trouble.
            store_commits: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            instances: Gauge::default(),
            revision: Gauge::default(),
        };
        let Self {
            registry,
            changes,
            braked,
            stalls,
            watchers,
            keepalive_streams,
            store_failing,
            store_commits,
            instances,
            revision,
        } = &mut metrics;
        registry.register("changes", "Changes committed, by kind and reason", changes.clone());
        registry.register("braked_expiries", "Expiries the brake had held back", braked.clone());
        registry.register("stalls", "Stalls of this process that were noticed", stalls.clone());
        registry.register("watchers", "Open Watch streams", watchers.clone());
        registry.register("keepalive_streams", "Open KeepAlive streams", keepalive_streams.clone());
        registry.register("store_failing", "1 while the store takes no changes", store_failing.clone());
        registry.register_with_unit(
            "store_commit",
            "How long it took until a batch of changes counted as written",
            Unit::Seconds,
            store_commits.clone(),
        );
        registry.register("instances", "Instances listed, suspect ones included", instances.clone());
        registry.register("revision", "The last revision committed", revision.clone());
        metrics
    }
}

impl Metrics {
    /// Counts what was committed.
    pub fn count(&self, commits: &[Arc<Commit>]) {
        // Of many changes most are alike: a counter is looked up once for each row of them.
        let changes: Vec<&Change> = commits.iter().flat_map(|commit| &commit.changes).collect();
        for alike in changes.chunk_by(|one, next| (one.kind, one.reason) == (next.kind, next.reason)) {
            let labels = ChangeLabels { kind: alike[0].kind.name(), reason: alike[0].reason.name() };
            self.changes.get_or_create(&labels).inc_by(alike.len() as u64);
        }
        let braked = changes.iter().filter(|change| change.braked).count();
        self.braked.inc_by(braked as u64);
    }

    /// Measures a commit of the store until it is dropped.
    pub fn store_commit(&self) -> impl Drop + use<> {
        Timer(Instant::now(), self.store_commits.clone())
    }

    /// All metrics as text, with what the catalog says now.
    pub fn render(&self, instances: usize, revision: u64) -> String {
        self.instances.set(i64::try_from(instances).unwrap_or(i64::MAX));
        self.revision.set(revision);
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

struct Timer(Instant, Histogram);

impl Drop for Timer {
    fn drop(&mut self) {
        self.1.observe(self.0.elapsed().as_secs_f64());
    }
}

/// Counts one as open until it is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// One more.
    pub fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Kind, Reason},
        types::{LeaseTimes, Moment, Revision},
    };

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::default();
        let times = LeaseTimes { renewed: Moment(0), deadline: Moment(0) };
        let change = Change {
            kind: Kind::Expired,
            reason: Reason::TtlLapsed,
            before: None,
            after: None,
            times,
            braked: true,
        };
        let commit = Commit { revision: Revision(1), changes: vec![change.clone(), change] };
        metrics.count(&[Arc::new(commit)]);
        let watcher = Open::of(&metrics.watchers);
        let text = metrics.render(3, 7);
        drop(watcher);
        for line in [
            "leasehold_changes_total{kind=\"expired\",reason=\"ttl_lapsed\"} 2",
            "leasehold_braked_expiries_total 2",
            "leasehold_watchers 1",
            "leasehold_instances 3",
            "leasehold_revision 7",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(metrics.render(3, 7).contains("leasehold_watchers 0"));
    }
}
