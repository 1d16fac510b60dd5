//! What others count, as it stands when somebody asks.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::rpc::Rpcs;
use crate::lease::{Histogram, Tally};

/// What others count, as it stands now.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Instances listed.
    pub instances: usize,
    /// The last revision.
    pub revision: u64,
    /// Of the leases.
    pub leases: Tally,
    /// Of the history and of snapshots.
    pub memory: Memory,
    /// Of the listeners.
    pub traffic: Traffic,
    /// What was refused for a limit, by its name.
    pub refusals: Vec<(&'static str, u64)>,
    /// How much there may be.
    pub bounds: Bounds,
    /// Lines that the audit file lost.
    pub audit_lost: u64,
}

/// Bytes held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// By the history.
    pub history: usize,
    /// What that may hold.
    pub history_limit: usize,
    /// By snapshots that are being read.
    pub snapshots: usize,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Registrations in all, those that can be revived included; none is without bound.
    pub registrations: Option<u64>,
    /// Connections.
    pub connections: usize,
}

/// What went over the listeners' connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// Idle connections closed to make room.
    pub shed: u64,
    /// TLS handshakes that failed.
    pub failed_handshakes: u64,
    /// Bytes read.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
}

/// The two together, for one scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) readings: Readings,
    pub(super) lateness: Histogram,
    pub(super) rpcs: std::sync::Arc<Rpcs>,
    /// When the certificate expires, in seconds since 1970; none without.
    pub(super) certificate_expiry: Option<i64>,
}

/// Some series of a metric: a value for each of a label.
type Series<'a> = &'a [(&'a str, u64)];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let Readings { leases, memory, traffic, bounds, .. } = &self.readings;
        let counts = leases.standing;
        self.rpcs.encode(encoder)?;
        gauge(encoder, "instances", "Instances listed, suspect ones included", self.readings.instances)?;
        gauge(encoder, "revision", "The last revision committed", self.readings.revision)?;
        gauges(
            encoder,
            "leases",
            "Leases by state: alive, suspect (the stream dropped, the grace runs), lapsed (can be revived)",
            &[
                ("alive", counts.live as u64),
                ("suspect", counts.suspect as u64),
                ("lapsed", counts.lapsed as u64),
            ],
        )?;
        if let Some(most) = bounds.registrations {
            let text = "Registrations that there may be, lapsed ones included";
            gauge(encoder, "registrations_limit", text, most)?;
        }
        counters(
            encoder,
            "renewals",
            "Leases that were renewed while they lived, by way",
            "way",
            &[
                ("ping", leases.renewals.ping),
                ("beat", leases.renewals.beat),
                ("attach", leases.renewals.attach),
            ],
        )?;
        histogram(
            encoder,
            "renewal_margin",
            "Time that a lease had left when it was renewed; of a beat, what its stream's leases had left at least",
            &leases.margin,
        )?;
        histogram(
            encoder,
            "expiry_lateness",
            "From a lease's deadline until its expiry was shown, braked ones excepted",
            &self.lateness,
        )?;
        counter(encoder, "expiries_held_back", "Expiries that the brake has put off", leases.held_back)?;
        gauge(encoder, "history_bytes", "Bytes of history kept for watchers", memory.history)?;
        gauge(encoder, "history_limit_bytes", "Bytes that the history may take", memory.history_limit)?;
        gauge(encoder, "snapshot_bytes", "Bytes held by snapshots that are being read", memory.snapshots)?;
        gauge(encoder, "connections", "Open connections", traffic.open)?;
        gauge(encoder, "connections_limit", "Connections that may be open", bounds.connections)?;
        counter(encoder, "connections_accepted", "Connections accepted", traffic.accepted)?;
        counter(encoder, "connections_shed", "Idle connections closed to make room", traffic.shed)?;
        counter(encoder, "handshakes_failed", "TLS handshakes that failed", traffic.failed_handshakes)?;
        counter(encoder, "received_bytes", "Bytes received", traffic.received)?;
        counter(encoder, "sent_bytes", "Bytes sent", traffic.sent)?;
        counters(
            encoder,
            "refusals",
            "What was refused because a limit was met, by limit",
            "limit",
            &self.readings.refusals,
        )?;
        counter(
            encoder,
            "audit_lines_lost",
            "Lines that the audit file could not take",
            self.readings.audit_lost,
        )?;
        if let Some(at) = self.certificate_expiry {
            let text = "When the server's certificate expires, in seconds since 1970";
            let family = describe(
                encoder,
                "certificate_expiry_timestamp",
                text,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?;
            ConstGauge::new(at).encode(family)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl TryInto<i64>,
) -> fmt::Result {
    let value = value.try_into().unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(describe(encoder, name, help, None, MetricType::Gauge)?)
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, states: Series<'_>) -> fmt::Result {
    let mut family = describe(encoder, name, help, None, MetricType::Gauge)?;
    states.iter().try_for_each(|(state, value)| {
        let value = i64::try_from(*value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(family.encode_family(&[("state", *state)].as_slice())?)
    })
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(describe(encoder, name, help, None, MetricType::Counter)?)
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    series: Series<'_>,
) -> fmt::Result {
    let mut family = describe(encoder, name, help, None, MetricType::Counter)?;
    series.iter().try_for_each(|(of, value)| {
        ConstCounter::new(*value).encode(family.encode_family(&[(label, *of)].as_slice())?)
    })
}

fn histogram(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, of: &Histogram) -> fmt::Result {
    let (sum, buckets) = of.seconds();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut metric: MetricEncoder<'_> =
        describe(encoder, name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    metric.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
}

/// Begins a metric; its help ends as the registry has the help of others end.
pub(super) fn describe<'s>(
    encoder: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
    unit: Option<&'s Unit>,
    kind: MetricType,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    encoder.encode_descriptor(name, &format!("{help}."), unit, kind)
}
