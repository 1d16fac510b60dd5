//! The charts of a report.

use super::{
    Metric, Report,
    plot::{Axis, Chart, Point, Scale, Series},
    report::RowReport,
};

/// What a chart shows of a row.
struct Shown {
    /// The file's name, without its ending.
    file: &'static str,
    row: &'static str,
    title: &'static str,
    /// The value that grows, and what it is called.
    x: (&'static str, &'static str),
    y: (Metric, &'static str),
    /// What a figure is multiplied with for the axis.
    scale: f64,
}

const SHOWN: [Shown; 3] = [
    Shown {
        file: "growth",
        row: "growth",
        title: "What an operation costs as leases become many",
        x: ("leases", "leases"),
        y: (Metric::Cpu, "server CPU, µs an operation"),
        scale: 1e6,
    },
    Shown {
        file: "fan-out",
        row: "fan-out-watchers",
        title: "One change at a time, told to all watchers of a service",
        x: ("watchers", "watchers"),
        y: (Metric::Rate, "events delivered a second"),
        scale: 1.0,
    },
    Shown {
        file: "fan-out-cpu",
        row: "fan-out-watchers",
        title: "What it costs to tell a watcher of a change",
        x: ("watchers", "watchers"),
        y: (Metric::Cpu, "server CPU, µs an event"),
        scale: 1e6,
    },
];

/// The charts that the report has figures for: a file's name each, and the SVG.
pub fn svgs(report: &Report) -> Vec<(String, String)> {
    let row = |name| report.rows.iter().find(|row| row.name == name);
    let charts = SHOWN.iter().filter_map(|shown| {
        let chart = chart(report, row(shown.row)?, shown);
        let has_line = chart.series.iter().any(|series| series.points.len() > 1);
        has_line.then(|| (format!("{}.svg", shown.file), chart.svg()))
    });
    charts.collect()
}

fn chart(report: &Report, row: &RowReport, shown: &Shown) -> Chart {
    let mut lines: Vec<Series> = Vec::new();
    for series in &row.series {
        // `leasehold (memory), 1000 watchers`
        let name = series.subject.split_once(", ").map_or(&*series.subject, |(name, _)| name);
        let x = series.spread(Metric::Value(shown.x.0, ""));
        let (Some(x), Some(y)) = (x, series.spread(shown.y.0)) else { continue };
        let point = Point {
            x: x.median,
            y: y.median * shown.scale,
            low: y.min * shown.scale,
            high: y.max * shown.scale,
        };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Series { name: name.to_owned(), points: vec![point] }),
        }
    }
    let (rounds, machine) = (report.bench.rounds, &report.machine);
    let cpu = machine.cpu.as_deref().unwrap_or("an unknown processor");
    Chart {
        title: shown.title.to_owned(),
        subtitle: format!(
            "median and range of {rounds} rounds in turn; {} × {cpu}, shared with the load",
            machine.cores
        ),
        x: Axis { label: shown.x.1.to_owned(), scale: Scale::Log },
        y: Axis { label: shown.y.1.to_owned(), scale: Scale::Log },
        series: lines,
    }
}
