//! RPCs, counted by method and code. Every call passes here, so its numbers have their places
//! before it comes: nothing is looked up and nothing locked.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
    registry::Unit,
};

use super::readings::describe;

/// gRPC's codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Upper bounds of durations in microseconds: a renewal takes some tens, a registration that
/// waits for a disk some thousands.
const BOUNDS: [u64; 14] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// The RPCs of one server.
#[derive(Debug, Default)]
pub struct Rpcs(Box<[Method]>);

#[derive(Debug)]
struct Method {
    name: &'static str,
    streams: bool,
    /// By code.
    handled: [AtomicU64; CODES.len()],
    took: Took,
}

#[derive(Debug, Default)]
struct Took {
    counts: [AtomicU64; BOUNDS.len()],
    above: AtomicU64,
    nanos: AtomicU64,
}

/// The code's name, as gRPC's documents have it.
pub fn code_name(code: usize) -> &'static str {
    CODES.get(code).copied().unwrap_or("UNKNOWN")
}

impl Rpcs {
    /// Of methods that have these names and may be streams, by their numbers. Several may have the
    /// same name.
    pub fn new(methods: impl IntoIterator<Item = (&'static str, bool)>) -> Self {
        let method =
            |(name, streams)| Method { name, streams, handled: Default::default(), took: Took::default() };
        Self(methods.into_iter().map(method).collect())
    }

    /// Counts a call that ended with this code. How long a stream is open says nothing of us, so
    /// only others are measured.
    pub fn handled(&self, method: usize, code: usize, took: Duration) {
        let Some(method) = self.0.get(method) else { return };
        if let Some(count) = method.handled.get(code).or(method.handled.get(2)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !method.streams {
            method.took.observe(took);
        }
    }

    /// Writes them.
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut handled: BTreeMap<(&str, usize), u64> = BTreeMap::new();
        for method in &self.0 {
            for (code, count) in method.handled.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                // What every server may answer is there from the start.
                if count > 0 || code == 0 {
                    *handled.entry((method.name, code)).or_default() += count;
                }
            }
        }
        let mut family = describe(
            encoder,
            "rpcs_handled",
            "Calls that ended, streams included, by method and gRPC code",
            None,
            MetricType::Counter,
        )?;
        for ((method, code), count) in handled {
            let labels = [("method", method), ("code", code_name(code))];
            ConstCounter::new(count).encode(family.encode_family(&labels.as_slice())?)?;
        }
        let mut family = describe(
            encoder,
            "rpc_duration",
            "How long calls took that are no streams",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for method in self.0.iter().filter(|method| !method.streams) {
            let labels = [("method", method.name)];
            method.took.encode(family.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    }
}

impl Took {
    fn observe(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let bucket = self.counts.get(BOUNDS.partition_point(|bound| *bound < micros));
        bucket.unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    fn encode(&self, mut encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.counts.iter().chain([&self.above]).map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }
}
