//! The report as lines of a table, which whoever prints it draws.

use super::{Compared, Report, RowReport, Series};
use crate::bench::{Goal, Metric, Size, statistics::Spread, units};

/// What the columns are.
pub const HEADER: [&str; 8] = ["ROW", "SUBJECT", "FIGURE", "CPU/OP", "P50", "P99", "AGAINST", "GOAL"];

/// One line.
pub type Line = [String; HEADER.len()];

impl Report {
    /// The table, without its header.
    pub fn table(&self) -> Vec<Line> {
        self.rows.iter().flat_map(RowReport::lines).collect()
    }

    /// What has to be known to read the table.
    pub fn notes(&self) -> Vec<String> {
        let (bench, machine) = (&self.bench, &self.machine);
        let cpu = machine.cpu.as_deref().unwrap_or("a processor of unknown name");
        let memory =
            machine.memory.map_or_else(String::new, |bytes| format!(", {}", units::bytes(bytes as f64)));
        let loop_of = match bench.rate {
            None => {
                format!("closed loop, {} in flight over {} connections", bench.in_flight, bench.connections)
            }
            Some(rate) => format!(
                "open loop, {}/s, latency counted from when a request should have been sent",
                units::count(rate)
            ),
        };
        let mut notes = vec![
            format!(
                "leasehold {}, {} x {cpu}{memory}, {}; load and server share the machine",
                env!("CARGO_PKG_VERSION"),
                machine.cores,
                machine.system
            ),
            format!(
                "{} rounds, in turn, of {} after {}; {loop_of}; data in {}",
                bench.rounds,
                units::seconds(bench.length.as_secs_f64()),
                units::seconds(bench.warm_up.as_secs_f64()),
                bench.dir.display()
            ),
            "median [min..max] of the rounds; a ratio is of two figures of the same round".to_owned(),
        ];
        if bench.size != Size::Full {
            notes.push("quick: smaller amounts and shorter rounds than the goals are meant for".to_owned());
        }
        notes.extend(self.promises());
        notes.extend(self.rows.iter().map(|row| format!("{}: {}", row.name, row.about)));
        notes
    }

    /// What sets each subject apart, once: before all, what it promises for its speed.
    fn promises(&self) -> Vec<String> {
        let mut promises = Vec::new();
        for series in self.rows.iter().flat_map(|row| &row.series) {
            let promise = format!("{}: {}", series.subject, series.settings);
            if !series.settings.is_empty() && !promises.contains(&promise) {
                promises.push(promise);
            }
        }
        promises
    }
}

impl RowReport {
    fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for series in &self.series {
            let of = |done: &&Compared| done.comparison.subject == series.subject;
            let mut compared = self.compared.iter().filter(of).map(|done| self.compared(done));
            let [against, goal] = compared.next().unwrap_or_default();
            let [figure, cpu, p50, p99] = self.figures(series);
            lines.push([String::new(), series.subject.clone(), figure, cpu, p50, p99, against, goal]);
            lines.extend(compared.map(|[against, goal]| {
                let mut line = Line::default();
                [line[6], line[7]] = [against, goal];
                line
            }));
        }
        if let Some(first) = lines.first_mut() {
            self.name.clone_into(&mut first[0]);
        }
        lines
    }

    fn figures(&self, series: &Series) -> [String; 4] {
        if series.failure.is_some() && series.samples.iter().all(Option::is_none) {
            return ["failed", "", "", ""].map(str::to_owned);
        }
        let median = |metric: Metric| {
            series.spread(metric).map_or_else(|| "-".to_owned(), |spread| metric.written(spread.median))
        };
        let figure =
            series.spread(self.metric).map_or_else(|| "-".to_owned(), |spread| figure(self.metric, spread));
        [figure, median(Metric::Cpu), median(Metric::Latency(500)), median(Metric::Latency(990))]
    }

    /// What is compared, and what ought to be.
    fn compared(&self, done: &Compared) -> [String; 2] {
        let comparison = &done.comparison;
        let Some(spread) = done.spread() else { return ["-".to_owned(), String::new()] };
        let metric = if comparison.metric == self.metric {
            String::new()
        } else {
            format!("{} ", comparison.metric.name())
        };
        let against = match &comparison.against {
            Some(against) => format!("{metric}{} of {against}", ratio(spread)),
            None => format!("{metric}{}", figure(comparison.metric, spread)),
        };
        let goals = [("A", comparison.must), ("M", comparison.moonshot)];
        let goals = goals.into_iter().filter_map(|(name, goal)| {
            let goal = goal?;
            let met = if goal.is_met(spread.median) { "met" } else { "not met" };
            let written = |bound: f64| match comparison.against {
                Some(_) => units::digits(bound),
                None => comparison.metric.written(bound),
            };
            Some(match goal {
                Goal::AtLeast(bound) => format!("{name} ≥ {} {met}", written(bound)),
                Goal::AtMost(bound) => format!("{name} ≤ {} {met}", written(bound)),
            })
        });
        [against, goals.collect::<Vec<_>>().join(", ")]
    }
}

fn figure(metric: Metric, spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    format!("{} [{}..{}]", metric.written(median), metric.written(min), metric.written(max))
}

fn ratio(spread: Spread) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(units::digits);
    format!("{median} [{min}..{max}]")
}
