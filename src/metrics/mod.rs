//! What is counted, for Prometheus. Labels are bounded: kinds and reasons, never names.
//!
//! What happens often is counted where a lock is held anyway ([`crate::lease::Tally`]) or in places of
//! its own ([`Rpcs`]); a scrape reads it there ([`Readings`]). The rest is in [`Metrics`].

mod readings;
mod rpc;
mod text;

pub use readings::{Bounds, Memory, Readings, Traffic};
pub use rpc::{Rpcs, code_name};
pub use text::{OPEN_METRICS, TEXT, takes_open_metrics, to_text};

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{
    catalog::{Change, Commit, Kind, Reason},
    lease,
    types::Moment,
};
use readings::Scrape;

/// Upper bounds of how late an expiry is, in microseconds: 20 ms is what is promised of most,
/// 250 ms of all.
static LATENESS: [u64; 12] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 30_000_000,
];

/// Counters and gauges of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    changes: Family<ChangeLabels, Counter>,
    departures: Family<ReasonLabel, Counter>,
    braked: Counter,
    lateness: Mutex<lease::Histogram>,
    /// Registrations, by what they came to.
    pub registrations: Registrations,
    /// Stalls of this process that were noticed.
    pub stalls: Counter,
    /// Open Watch streams.
    pub watchers: Gauge,
    /// Watch streams that were sent a RESET.
    pub watch_resets: Counter,
    /// Open `KeepAlive` streams.
    pub keepalive_streams: Gauge,
    /// 1 while the store does not write.
    pub store_failing: Gauge,
    /// Named keys that are good, and shared ones.
    pub keys: Gauge,
    store_commits: Histogram,
    /// In seconds since 1970; 0 without a certificate.
    certificate_expiry: AtomicI64,
}

/// Registrations, by what they came to.
#[derive(Clone, Debug)]
pub struct Registrations {
    /// A new instance.
    pub new: Counter,
    /// Other content of a live one.
    pub updated: Counter,
    /// The same as was there.
    pub unchanged: Counter,
    /// A lapsed one came back.
    pub revived: Counter,
    /// It was refused.
    pub refused: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChangeLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let registrations = Family::<OutcomeLabel, Counter>::default();
        let of = |outcome| registrations.get_or_create_owned(&OutcomeLabel { outcome });
        let mut metrics = Self {
            registry: Registry::with_prefix("leasehold"),
            changes: Family::default(),
            departures: Family::default(),
            braked: Counter::default(),
            lateness: Mutex::new(lease::Histogram::new(&LATENESS)),
            registrations: Registrations {
                new: of("new"),
                updated: of("updated"),
                unchanged: of("unchanged"),
                revived: of("revived"),
                refused: of("refused"),
            },
            stalls: Counter::default(),
            watchers: Gauge::default(),
            watch_resets: Counter::default(),
            keepalive_streams: Gauge::default(),
            store_failing: Gauge::default(),
            keys: Gauge::default(),
            // From a disk with a cache of its own to one that is in trouble.
            store_commits: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            certificate_expiry: AtomicI64::new(0),
        };
        // Those that an alert or a rate asks for are there before they first count.
        for reason in [Reason::Client, Reason::Replaced, Reason::TtlLapsed, Reason::StreamDropped] {
            drop(metrics.departures.get_or_create(&ReasonLabel { reason: reason.name() }));
        }
        metrics.register(registrations);
        metrics
    }
}

impl Metrics {
    fn register(&mut self, registrations: Family<OutcomeLabel, Counter>) {
        let registry = &mut self.registry;
        registry.register("changes", "Changes committed, by kind and reason", self.changes.clone());
        registry.register("departures", "Instances that have gone, by reason", self.departures.clone());
        registry.register("registrations", "Registrations, by what they came to", registrations);
        registry.register("braked_expiries", "Expiries the brake had held back", self.braked.clone());
        registry.register("stalls", "Stalls of this process that were noticed", self.stalls.clone());
        registry.register("watchers", "Open Watch streams", self.watchers.clone());
        registry.register(
            "watch_resets",
            "Watch streams that had to begin again with a snapshot",
            self.watch_resets.clone(),
        );
        registry.register("keepalive_streams", "Open KeepAlive streams", self.keepalive_streams.clone());
        registry.register("store_failing", "1 while the store takes no changes", self.store_failing.clone());
        registry.register("keys", "Keys that are good", self.keys.clone());
        registry.register_with_unit(
            "store_commit",
            "How long it took until a batch of changes counted as written",
            Unit::Seconds,
            self.store_commits.clone(),
        );
    }

    /// Counts what was committed, and shown at `shown`.
    pub fn count(&self, commits: &[Arc<Commit>], shown: Moment) {
        // Of many changes most are alike: a counter is looked up once for each row of them.
        let changes: Vec<&Change> = commits.iter().flat_map(|commit| &commit.changes).collect();
        for alike in changes.chunk_by(|one, next| (one.kind, one.reason) == (next.kind, next.reason)) {
            let (kind, reason, count) = (alike[0].kind, alike[0].reason.name(), alike.len() as u64);
            self.changes.get_or_create(&ChangeLabels { kind: kind.name(), reason }).inc_by(count);
            if matches!(kind, Kind::Expired | Kind::Deregistered) {
                self.departures.get_or_create(&ReasonLabel { reason }).inc_by(count);
            }
            if kind == Kind::Expired {
                self.measure(alike, shown);
            }
        }
        let braked = changes.iter().filter(|change| change.braked).count();
        self.braked.inc_by(braked as u64);
    }

    /// How late expiries are. One that the brake held back is late on purpose, and one whose
    /// stream dropped may have no deadline yet that could have passed.
    fn measure(&self, expired: &[&Change], shown: Moment) {
        let mut lateness = self.lateness.lock();
        let due = expired.iter().filter(|change| !change.braked).map(|change| change.times.deadline);
        due.filter(|due| *due <= shown).for_each(|due| lateness.observe(shown.micros_since(due)));
    }

    /// Measures a commit of the store until it is dropped.
    pub fn store_commit(&self) -> impl Drop + use<> {
        Timer(Instant::now(), self.store_commits.clone())
    }

    /// Tells when the server's certificate expires, in seconds since 1970.
    pub fn certificate_expires(&self, at: i64) {
        self.certificate_expiry.store(at, Ordering::Relaxed);
    }

    /// All metrics in the form of `OpenMetrics`, with what others count.
    pub fn render(&self, readings: Readings, rpcs: &Arc<Rpcs>) -> String {
        let certificate_expiry = self.certificate_expiry.load(Ordering::Relaxed);
        let mut others = Registry::with_prefix("leasehold");
        others.register_collector(Box::new(Scrape {
            readings,
            lateness: self.lateness.lock().clone(),
            rpcs: Arc::clone(rpcs),
            certificate_expiry: (certificate_expiry != 0).then_some(certificate_expiry),
        }));
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &others);
        let _ = encode_eof(&mut text);
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
    use std::time::Duration;

    use super::*;
    use crate::types::{LeaseTimes, Revision};

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::default();
        let change = |deadline, braked| Change {
            kind: Kind::Expired,
            reason: Reason::TtlLapsed,
            before: None,
            after: None,
            times: LeaseTimes { renewed: Moment(0), deadline: Moment(deadline) },
            braked,
        };
        // One in time, one braked, and one whose deadline is still to come.
        let changes = vec![change(1_000_000, false), change(0, true), change(9_000_000, false)];
        metrics.count(&[Arc::new(Commit { revision: Revision(1), changes })], Moment(1_004_000));
        metrics.registrations.revived.inc();
        metrics.certificate_expires(1_800_000_000);
        let rpcs = Arc::new(Rpcs::new([("Ping", false), ("Watch", true), ("Watch", true)]));
        rpcs.handled(0, 5, Duration::from_micros(30));
        rpcs.handled(1, 0, Duration::from_secs(30));
        rpcs.handled(2, 0, Duration::from_secs(30));
        let readings = Readings {
            instances: 3,
            revision: 7,
            refusals: vec![("peer_requests", 4)],
            ..Readings::default()
        };
        let watcher = Open::of(&metrics.watchers);
        let text = metrics.render(readings, &rpcs);
        drop(watcher);
        for line in [
            "leasehold_changes_total{kind=\"expired\",reason=\"ttl_lapsed\"} 3",
            "leasehold_departures_total{reason=\"ttl_lapsed\"} 3",
            "leasehold_departures_total{reason=\"client\"} 0",
            "leasehold_braked_expiries_total 1",
            "leasehold_expiry_lateness_seconds_count 1",
            "leasehold_expiry_lateness_seconds_bucket{le=\"0.005\"} 1",
            "leasehold_expiry_lateness_seconds_bucket{le=\"0.002\"} 0",
            "leasehold_registrations_total{outcome=\"revived\"} 1",
            "leasehold_watchers 1",
            "leasehold_instances 3",
            "leasehold_revision 7",
            "leasehold_leases{state=\"alive\"} 0",
            "leasehold_refusals_total{limit=\"peer_requests\"} 4",
            "leasehold_rpcs_handled_total{method=\"Ping\",code=\"NOT_FOUND\"} 1",
            "leasehold_rpcs_handled_total{method=\"Watch\",code=\"OK\"} 2",
            "leasehold_rpc_duration_seconds_bucket{le=\"0.00005\",method=\"Ping\"} 1",
            "leasehold_certificate_expiry_timestamp_seconds 1800000000",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("duration_seconds_count{method=\"Watch\"}"), "{text}");
        assert!(metrics.render(Readings::default(), &rpcs).contains("leasehold_watchers 0"));
    }
}
