//! What a row of the benchmark is made of.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use hdrhistogram::Histogram;

use super::{Bench, Result, units};

/// One kind of work, and who does it.
pub trait Row {
    /// What `--only` calls it.
    fn name(&self) -> &'static str;

    /// What is done, and how; a line or two.
    fn about(&self) -> String;

    /// What the row is about first of all: shown in the table for every subject.
    fn metric(&self) -> Metric;

    /// Who does it, in the order of the table.
    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>>;

    /// What is compared with what. Those whose subjects are not there are left out.
    fn comparisons(&self, bench: &Bench) -> Vec<Comparison>;
}

/// One that does the work.
#[async_trait(?Send)]
pub trait Subject {
    /// Unique within the row: `leasehold (sync)`, `null tonic`.
    fn name(&self) -> String;

    /// What it promises about what it acknowledged, and what else sets it apart.
    fn settings(&self) -> String {
        String::new()
    }

    /// Does the work once. Servers are started for this and ended after it, so that every
    /// round begins with the same state.
    async fn measure(&mut self, bench: &Bench) -> Result<Sample>;
}

/// What one subject did in one round.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Operations done in [`wall`](Self::wall).
    pub operations: u64,
    /// How long they took together.
    pub wall: Duration,
    /// The server's CPU time meanwhile, user and system; `None` where it is not known.
    pub cpu: Option<Duration>,
    /// The server's resident memory at the end, in bytes.
    pub rss: Option<u64>,
    /// Nanoseconds of each operation.
    pub latency: Option<Histogram<u64>>,
    /// Figures that are neither, by name: see [`Metric::Value`].
    pub values: BTreeMap<&'static str, f64>,
}

/// A figure of a [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Operations a second.
    Rate,
    /// Seconds of the server's CPU an operation.
    Cpu,
    /// A quantile of the latency, in thousandths: 500 is the median, 990 is p99; in seconds.
    Latency(u16),
    /// One of [`Sample::values`], its name and its unit (`s` is written as a time, `B` as bytes).
    Value(&'static str, &'static str),
}

impl Metric {
    /// The figure, where the sample has it.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let operations = sample.operations as f64;
        match self {
            Self::Rate => (!sample.wall.is_zero()).then(|| operations / sample.wall.as_secs_f64()),
            Self::Cpu => {
                sample.cpu.filter(|_| sample.operations > 0).map(|cpu| cpu.as_secs_f64() / operations)
            }
            Self::Latency(thousandths) => {
                let latency = sample.latency.as_ref().filter(|latency| !latency.is_empty())?;
                Some(latency.value_at_quantile(f64::from(thousandths) / 1e3) as f64 / 1e9)
            }
            Self::Value(name, _) => sample.values.get(name).copied(),
        }
    }

    /// The figure as it is written in the report; `-` where there is none.
    pub fn shown(self, sample: &Sample) -> String {
        self.of(sample).map_or_else(|| "-".to_owned(), |figure| self.written(figure))
    }

    /// A value of this figure, with its unit.
    pub fn written(self, figure: f64) -> String {
        match self {
            Self::Rate => format!("{}/s", units::count(figure)),
            Self::Cpu | Self::Latency(_) | Self::Value(_, "s") => units::seconds(figure),
            Self::Value(_, "B") => units::bytes(figure),
            Self::Value(_, unit) => format!("{} {unit}", units::count(figure)).trim_end().to_owned(),
        }
    }

    /// What it is called in the report.
    pub fn name(self) -> String {
        match self {
            Self::Rate => "rate".to_owned(),
            Self::Cpu => "CPU/op".to_owned(),
            Self::Latency(thousandths) => format!("p{}", f64::from(thousandths) / 10.0),
            Self::Value(name, _) => name.to_owned(),
        }
    }
}

/// What a figure or a ratio ought to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Not below.
    AtLeast(f64),
    /// Not above.
    AtMost(f64),
}

impl Goal {
    /// Whether `value` is as it ought to be.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// A subject's figure against another's of the same round; or, with nothing to be compared
/// with, the figure itself.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The subject.
    pub subject: String,
    /// What it is divided by.
    pub against: Option<String>,
    /// Which figure.
    pub metric: Metric,
    /// What has to be reached.
    pub must: Option<Goal>,
    /// What would be splendid.
    pub moonshot: Option<Goal>,
}

impl Comparison {
    /// `subject`'s figure divided by that of `against`.
    pub fn ratio(subject: impl Into<String>, against: impl Into<String>, metric: Metric) -> Self {
        let (subject, against) = (subject.into(), Some(against.into()));
        Self { subject, against, metric, must: None, moonshot: None }
    }

    /// `subject`'s figure by itself.
    pub fn figure(subject: impl Into<String>, metric: Metric) -> Self {
        Self { subject: subject.into(), against: None, metric, must: None, moonshot: None }
    }

    /// With a goal.
    #[must_use]
    pub fn must(self, goal: Goal) -> Self {
        Self { must: Some(goal), ..self }
    }

    /// With a higher goal.
    #[must_use]
    pub fn moonshot(self, goal: Goal) -> Self {
        Self { moonshot: Some(goal), ..self }
    }
}
