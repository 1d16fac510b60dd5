//! Measuring: every subject of a row in turn, round by round.

use anyhow::Context as _;

use super::{
    Bench, Result, Row, Subject,
    report::{Report, RowReport, Series},
};

/// Measures the rows, one after the other, on a runtime of this thread; `progress` is told what
/// is going on. A subject that fails is not measured again; the report says why.
pub fn run(bench: &Bench, rows: &[Box<dyn Row>], progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the load generator")?;
    let mut reports = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        progress(&format!("[{}/{}] {}: {}", number + 1, rows.len(), row.name(), row.about()));
        reports.push(runtime.block_on(measure(bench, row.as_ref(), progress)));
    }
    runtime.shutdown_background();
    Ok(Report::new(bench, reports))
}

async fn measure(bench: &Bench, row: &dyn Row, progress: &mut dyn FnMut(&str)) -> RowReport {
    let mut subjects = row.subjects(bench);
    subjects.retain(|subject| bench.wants(&subject.name()));
    let mut series: Vec<Series> = subjects.iter().map(|subject| Series::new(subject.as_ref())).collect();
    for round in 0..bench.rounds {
        for turn in turns(subjects.len(), round) {
            let (subject, series) = (&mut subjects[turn], &mut series[turn]);
            measure_once(bench, subject.as_mut(), series, row, round, progress).await;
        }
    }
    RowReport::new(row, bench, series)
}

async fn measure_once(
    bench: &Bench,
    subject: &mut dyn Subject,
    series: &mut Series,
    row: &dyn Row,
    round: usize,
    progress: &mut dyn FnMut(&str),
) {
    if series.failure.is_some() {
        series.samples.push(None);
        return;
    }
    let sample = subject.measure(bench).await;
    let said = match &sample {
        Ok(sample) => row.metric().shown(sample),
        Err(error) => format!("{error:#}"),
    };
    progress(&format!("  round {} of {}: {}: {said}", round + 1, bench.rounds, subject.name()));
    match sample {
        Ok(sample) => series.samples.push(Some(sample)),
        Err(error) => {
            series.samples.push(None);
            series.failure = Some(format!("{error:#}"));
        }
    }
}

/// The order of a round: every subject is first, second, … about equally often.
fn turns(subjects: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..subjects).map(move |turn| (turn + round) % subjects)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::bench::{Comparison, Goal, Metric, Sample};

    struct Counted;

    struct Fixed(&'static str, Vec<u64>);

    impl Row for Counted {
        fn name(&self) -> &'static str {
            "counted"
        }

        fn about(&self) -> String {
            "counts".to_owned()
        }

        fn metric(&self) -> Metric {
            Metric::Rate
        }

        fn subjects(&self, _bench: &Bench) -> Vec<Box<dyn Subject>> {
            vec![Box::new(Fixed("ours", vec![30, 10])), Box::new(Fixed("null", vec![20]))]
        }

        fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
            vec![Comparison::ratio("ours", "null", Metric::Rate).must(Goal::AtLeast(0.6))]
        }
    }

    #[async_trait(?Send)]
    impl Subject for Fixed {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        async fn measure(&mut self, bench: &Bench) -> Result<Sample> {
            let operations = self.1.pop().context("nothing left")?;
            Ok(Sample { operations, wall: bench.length, ..Sample::default() })
        }
    }

    #[test]
    fn a_failure_spoils_no_other_round_and_no_other_subject() {
        let bench = Bench { rounds: 2, ..Bench::default() };
        let mut told = Vec::new();
        let report =
            run(&bench, &[Box::new(Counted)], &mut |line| told.push(line.trim().to_owned())).unwrap();
        let row = &report.rows[0];
        assert_eq!(row.series[0].figures(Metric::Rate), [Some(5.0), Some(15.0)]);
        assert_eq!(row.series[1].figures(Metric::Rate), [Some(10.0), None]);
        assert_eq!(row.series[1].failure.as_deref(), Some("nothing left"));
        assert_eq!(row.compared[0].values, [0.5]);
        assert_eq!(row.compared[0].comparison.must.map(|goal| goal.is_met(0.5)), Some(false));
        assert!(told[0].starts_with("[1/1] counted"), "{told:?}");
        assert_eq!(told.len(), 5, "{told:?}");
    }

    #[test]
    fn everyone_is_first_once() {
        assert_eq!(turns(3, 0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turns(3, 4).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(turns(0, 1).count(), 0);
    }
}
