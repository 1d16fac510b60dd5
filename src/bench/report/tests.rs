use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::bench::{Result, Size, load::meter::histogram};

struct Made;

struct Named(&'static str);

impl Row for Made {
    fn name(&self) -> &'static str {
        "made"
    }

    fn about(&self) -> String {
        "made up".to_owned()
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, _bench: &Bench) -> Vec<Box<dyn Subject>> {
        ["null", "ours", "theirs"].map(|name| Box::new(Named(name)) as Box<dyn Subject>).into()
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        vec![
            Comparison::ratio("ours", "null", Metric::Rate)
                .must(Goal::AtLeast(0.4))
                .moonshot(Goal::AtLeast(0.85)),
            Comparison::ratio("ours", "theirs", Metric::Rate),
            Comparison::ratio("ours", "nobody", Metric::Rate),
            Comparison::ratio("ours", "null", Metric::Cpu),
            Comparison::figure("ours", Metric::Value("lateness", "s")).must(Goal::AtMost(0.02)),
        ]
    }
}

#[async_trait(?Send)]
impl Subject for Named {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    async fn measure(&mut self, _bench: &Bench) -> Result<Sample> {
        unreachable!("samples are made up")
    }

    fn settings(&self) -> String {
        if self.0 == "ours" { "loses nothing".to_owned() } else { String::new() }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as a report has them: a subject may have failed")]
fn sample(operations: u64, millis_of_cpu: u64) -> Option<Sample> {
    let mut latency = histogram();
    latency.saturating_record_n(1_000_000, 99);
    latency.saturating_record(30_000_000);
    Some(Sample {
        operations,
        wall: Duration::from_secs(2),
        cpu: Some(Duration::from_millis(millis_of_cpu)),
        rss: Some(1 << 20),
        latency: Some(latency),
        values: [("lateness", 0.025)].into(),
    })
}

fn report() -> Report {
    let bench = Bench { rounds: 3, dir: PathBuf::from("/data"), ..Bench::of(Size::Quick) };
    let mut series: Vec<Series> =
        Made.subjects(&bench).iter().map(|subject| Series::new(subject.as_ref())).collect();
    series[0].samples = vec![sample(100_000, 1_600), sample(80_000, 1_600), sample(120_000, 1_600)];
    series[1].samples = vec![sample(50_000, 1_600), sample(48_000, 1_600), sample(30_000, 1_600)];
    series[2].samples = vec![None, None, None];
    series[2].failure = Some("no such thing".to_owned());
    let rows = vec![RowReport::new(&Made, &bench, series)];
    let machine = Machine {
        cores: 2,
        cpu: Some("A chip".to_owned()),
        system: "linux 6.1 x86_64".to_owned(),
        memory: Some(1 << 34),
    };
    Report { bench, machine, rows }
}

#[test]
fn the_table() {
    let lines = report().table();
    let expect = [
        ["made", "null", "50,000/s [40,000/s..60,000/s]", "16.0 µs", "1.00 ms", "1.00 ms", "", ""],
        [
            "",
            "ours",
            "24,000/s [15,000/s..25,000/s]",
            "33.3 µs",
            "1.00 ms",
            "1.00 ms",
            "0.50 [0.25..0.60] of null",
            "A ≥ 0.40 met, M ≥ 0.85 not met",
        ],
        ["", "", "", "", "", "", "-", ""],
        ["", "", "", "", "", "", "CPU/op 2.00 [1.67..4.00] of null", ""],
        ["", "", "", "", "", "", "lateness 25.0 ms [25.0 ms..25.0 ms]", "A ≤ 20.0 ms not met"],
        ["", "theirs", "failed", "", "", "", "", ""],
    ];
    assert_eq!(lines, expect);
}

#[test]
fn the_notes_say_how_it_was_measured() {
    let notes = report().notes().join("\n");
    for part in [
        "2 x A chip, 16.0 GiB, linux 6.1 x86_64",
        "3 rounds, in turn, of 300 ms after 100 ms; closed loop, 64 in flight over 8 connections; data in /data",
        "quick: smaller amounts",
        "\nours: loses nothing\nmade: made up",
    ] {
        assert!(notes.contains(part), "{part} is not in\n{notes}");
    }
    let open = Report { bench: Bench { rate: Some(5e3), ..Bench::default() }, ..report() };
    let notes = open.notes().join("\n");
    assert!(notes.contains("open loop, 5,000/s, latency counted from when a request should"), "{notes}");
    assert!(!notes.contains("quick"), "{notes}");
}

#[test]
fn failures_are_told() {
    assert_eq!(report().failures(), ["made, theirs: no such thing"]);
}

#[test]
fn the_json_has_every_sample() {
    let json = report().json();
    assert_eq!(json["machine"]["cores"], 2);
    assert_eq!(json["settings"]["size"], "quick");
    assert_eq!(json["settings"]["rate"], json!(null));
    let row = &json["rows"][0];
    assert_eq!(row["row"], "made");
    assert_eq!(row["subjects"][1]["figure"], json!({ "median": 24e3, "min": 15e3, "max": 25e3 }));
    let sample = &row["subjects"][1]["samples"][0];
    assert_eq!(sample["operations"], 50_000);
    assert_eq!(sample["cpu_per_operation"], 3.2e-5);
    assert_eq!(sample["latency"]["count"], 100);
    assert_eq!(sample["values"]["lateness"], 0.025);
    assert_eq!(row["subjects"][2]["samples"], json!([null, null, null]));
    assert_eq!(row["subjects"][2]["failure"], "no such thing");
    assert_eq!(row["compared"][0]["rounds"], json!([0.5, 0.6, 0.25]));
    assert_eq!(row["compared"][0]["must"], json!({ "at_least": 0.4, "met": true }));
    assert_eq!(row["compared"][1]["spread"], json!(null));
    // What is compared with a subject that is not there is not compared.
    assert_eq!(row["compared"].as_array().unwrap().len(), 4);
}
