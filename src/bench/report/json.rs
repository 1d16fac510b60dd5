//! The report as JSON, every sample included.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{Compared, Report, RowReport, Series};
use crate::bench::{Goal, Metric, Sample, Size, statistics::Spread};

/// Quantiles of latency that are given.
const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999), ("max", 1.0)];

impl Report {
    /// All of it. Times are in seconds, amounts of memory in bytes; what is not known is null.
    pub fn json(&self) -> Value {
        let (bench, machine) = (&self.bench, &self.machine);
        json!({
            "leasehold": env!("CARGO_PKG_VERSION"),
            "machine": {
                "cores": machine.cores,
                "cpu": machine.cpu,
                "system": machine.system,
                "memory": machine.memory,
            },
            "settings": {
                "rounds": bench.rounds,
                "seconds": bench.length.as_secs_f64(),
                "warm_up": bench.warm_up.as_secs_f64(),
                "size": match bench.size {
                    Size::Full => "full",
                    Size::Quick => "quick",
                    Size::Tiny => "tiny",
                },
                "loop": if bench.rate.is_some() { "open" } else { "closed" },
                "rate": bench.rate,
                "in_flight": bench.in_flight,
                "connections": bench.connections,
                "dir": bench.dir.display().to_string(),
                "log": "the server's default level, thrown away",
            },
            "rows": self.rows.iter().map(RowReport::json).collect::<Vec<_>>(),
        })
    }
}

impl RowReport {
    fn json(&self) -> Value {
        json!({
            "row": self.name,
            "about": self.about,
            "metric": self.metric.name(),
            "subjects": self.series.iter().map(|series| series.json(self.metric)).collect::<Vec<_>>(),
            "compared": self.compared.iter().map(Compared::json).collect::<Vec<_>>(),
        })
    }
}

impl Series {
    fn json(&self, metric: Metric) -> Value {
        json!({
            "subject": self.subject,
            "settings": self.settings,
            "failure": self.failure,
            "figure": self.spread(metric).map(spread),
            "cpu": self.spread(Metric::Cpu).map(spread),
            "samples": self.samples.iter().map(|one| one.as_ref().map(sample)).collect::<Vec<_>>(),
        })
    }
}

impl Compared {
    fn json(&self) -> Value {
        let comparison = &self.comparison;
        json!({
            "subject": comparison.subject,
            "against": comparison.against,
            "metric": comparison.metric.name(),
            "spread": self.spread().map(spread),
            "rounds": self.values,
            "must": goal(comparison.must, self.meets(comparison.must)),
            "moonshot": goal(comparison.moonshot, self.meets(comparison.moonshot)),
        })
    }
}

fn spread(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}

fn goal(goal: Option<Goal>, met: Option<bool>) -> Value {
    match goal {
        None => Value::Null,
        Some(Goal::AtLeast(bound)) => json!({ "at_least": bound, "met": met }),
        Some(Goal::AtMost(bound)) => json!({ "at_most": bound, "met": met }),
    }
}

fn sample(sample: &Sample) -> Value {
    json!({
        "operations": sample.operations,
        "wall": sample.wall.as_secs_f64(),
        "rate": Metric::Rate.of(sample),
        "cpu": sample.cpu.map(|cpu| cpu.as_secs_f64()),
        "cpu_per_operation": Metric::Cpu.of(sample),
        "rss": sample.rss,
        "latency": sample.latency.as_ref().filter(|latency| !latency.is_empty()).map(latency),
        "values": sample.values,
    })
}

fn latency(latency: &Histogram<u64>) -> Value {
    let quantiles = QUANTILES.map(|(name, quantile)| {
        (name.to_owned(), Value::from(latency.value_at_quantile(quantile) as f64 / 1e9))
    });
    let mut values = Map::from_iter(quantiles);
    values.insert("mean".to_owned(), (latency.mean() / 1e9).into());
    values.insert("count".to_owned(), latency.len().into());
    Value::Object(values)
}
