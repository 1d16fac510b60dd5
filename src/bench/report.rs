//! What came of it. [`table`] shows it to people, [`json`] to everything else.

mod json;
pub mod table;

use super::{
    Bench, Comparison, Goal, Metric, Row, Sample, Subject,
    machine::Machine,
    statistics::{self, Spread},
};

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    /// How.
    pub bench: Bench,
    /// Where.
    pub machine: Machine,
    /// What.
    pub rows: Vec<RowReport>,
}

/// One row.
#[derive(Debug)]
pub struct RowReport {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What was done.
    pub about: String,
    /// The figure it is about.
    pub metric: Metric,
    /// One per subject.
    pub series: Vec<Series>,
    /// The ratios.
    pub compared: Vec<Compared>,
}

/// All rounds of one subject.
#[derive(Debug)]
pub struct Series {
    /// The subject's name.
    pub subject: String,
    /// What sets it apart.
    pub settings: String,
    /// One per round; none where it failed, and after it.
    pub samples: Vec<Option<Sample>>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// A comparison, done.
#[derive(Debug)]
pub struct Compared {
    /// Of what.
    pub comparison: Comparison,
    /// One per round that has both figures.
    pub values: Vec<f64>,
}

impl Series {
    /// Of a subject that is yet to be measured.
    pub fn new(subject: &dyn Subject) -> Self {
        Self { subject: subject.name(), settings: subject.settings(), samples: Vec::new(), failure: None }
    }

    /// A figure of every round.
    pub fn figures(&self, metric: Metric) -> Vec<Option<f64>> {
        self.samples.iter().map(|sample| metric.of(sample.as_ref()?)).collect()
    }

    /// A figure of all rounds together.
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.figures(metric).into_iter().flatten())
    }
}

impl RowReport {
    /// With the comparisons that the subjects allow.
    pub fn new(row: &dyn Row, bench: &Bench, series: Vec<Series>) -> Self {
        let of = |name: &str| series.iter().find(|series| series.subject == name);
        let compared = row.comparisons(bench).into_iter().filter_map(|comparison| {
            let figures = of(&comparison.subject)?.figures(comparison.metric);
            let values = match &comparison.against {
                Some(against) => statistics::ratios(&figures, &of(against)?.figures(comparison.metric)),
                None => figures.into_iter().flatten().collect(),
            };
            Some(Compared { comparison, values })
        });
        let compared = compared.collect();
        Self { name: row.name(), about: row.about(), metric: row.metric(), series, compared }
    }
}

impl Compared {
    /// The median and the ends.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().copied())
    }

    /// Whether the median is what it ought to be; `None` where there is none.
    pub fn meets(&self, goal: Option<Goal>) -> Option<bool> {
        Some(goal?.is_met(self.spread()?.median))
    }
}

impl Report {
    /// Of these rows, on this machine.
    pub fn new(bench: &Bench, rows: Vec<RowReport>) -> Self {
        Self { bench: bench.clone(), machine: Machine::read(), rows }
    }

    /// The subjects that failed, and why.
    pub fn failures(&self) -> Vec<String> {
        let series = self.rows.iter().flat_map(|row| row.series.iter().map(move |series| (row, series)));
        let failed = series.filter_map(|(row, series)| {
            Some(format!("{}, {}: {}", row.name, series.subject, series.failure.as_ref()?))
        });
        failed.collect()
    }
}

#[cfg(test)]
mod tests;
