//! Line charts as SVG, so that figures can be looked at wherever a browser is: no
//! dependency, no script, readable on light and on dark pages. Start with [`Chart`].

use std::fmt::Write as _;

/// A chart of several series over the same axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What is shown, over the chart.
    pub title: String,
    /// How it was measured, in smaller letters under the title.
    pub subtitle: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn; from the seventh on colours come again.
    pub series: Vec<Series>,
}

/// An axis; it spans what the series hold.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with its unit.
    pub label: String,
    /// How far apart its values are drawn.
    pub scale: Scale,
}

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By difference, from zero on.
    Linear,
    /// By ratio; what is not above zero is left out.
    Log,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// As the legend names it.
    pub name: String,
    /// From left to right.
    pub points: Vec<Point>,
}

/// A measured value with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// The median.
    pub y: f64,
    /// The least of the rounds.
    pub low: f64,
    /// The greatest of them.
    pub high: f64,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 58.0;
const LEGEND_ROW: f64 = 20.0;
/// About the width of a letter of the legend.
const LETTER: f64 = 6.9;

/// Colours of the lines on light and on dark ground, told apart by those who see no red
/// or green as well; the marks differ in shape besides.
const COLOURS: [(&str, &str); 6] = [
    ("#2a78d6", "#3987e5"),
    ("#d95926", "#e8703f"),
    ("#128a5e", "#1fb37f"),
    ("#a87400", "#d9a520"),
    ("#b3408f", "#d664b0"),
    ("#5b4fc4", "#9085e9"),
];

impl Chart {
    /// The chart as a document of its own.
    pub fn svg(&self) -> String {
        let legend = self.legend();
        let rows = legend.iter().map(|(_, row, _)| row + 1).max().unwrap_or(0);
        let top = TOP + rows as f64 * LEGEND_ROW;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Span::of(self.x.scale, points().map(|point| point.x), LEFT, WIDTH - RIGHT, false);
        let values = points().flat_map(|point| [point.low, point.y, point.high]);
        let y = Span::of(self.y.scale, values, HEIGHT - BOTTOM, top, true);

        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = self.draw(&mut svg, &x, &y, &legend);
        svg
    }

    fn draw(
        &self,
        svg: &mut String,
        x: &Span,
        y: &Span,
        legend: &[(f64, usize, &Series)],
    ) -> std::fmt::Result {
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif\">"
        )?;
        writeln!(svg, "<title>{}</title>", escaped(&self.title))?;
        style(svg)?;
        writeln!(svg, "<rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>")?;
        writeln!(
            svg,
            "<text class=\"title\" x=\"{LEFT}\" y=\"26\">{}</text><text class=\"less\" x=\"{LEFT}\" \
             y=\"45\">{}</text>",
            escaped(&self.title),
            escaped(&self.subtitle)
        )?;
        for (left, row, series) in legend {
            let line = TOP + *row as f64 * LEGEND_ROW;
            let index = self.series.iter().position(|one| std::ptr::eq(one, *series)).unwrap_or(0);
            let end = left + 22.0;
            writeln!(svg, "<path class=\"line c{}\" d=\"M{left} {line}H{end}\"/>", index % COLOURS.len())?;
            mark(svg, index, left + 11.0, line)?;
            let (text, base) = (left + 28.0, line + 4.0);
            writeln!(svg, "<text x=\"{text}\" y=\"{base}\">{}</text>", escaped(&series.name))?;
        }
        self.axes(svg, x, y)?;
        for (index, series) in self.series.iter().enumerate() {
            line(svg, index, series, x, y)?;
        }
        writeln!(svg, "</svg>")
    }

    fn axes(&self, svg: &mut String, x: &Span, y: &Span) -> std::fmt::Result {
        let (bottom, right) = (y.from, x.to);
        for value in y.ticks() {
            let at = y.place(value);
            writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"less\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                short(value)
            )?;
        }
        for value in x.ticks() {
            let at = x.place(value);
            writeln!(
                svg,
                "<path class=\"axis\" d=\"M{at:.1} {bottom}v5\"/><text class=\"less\" x=\"{at:.1}\" \
                 y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 20.0,
                short(value)
            )?;
        }
        writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>")?;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 14.0,
            escaped(&self.x.label)
        )?;
        let middle = f64::midpoint(bottom, y.to);
        writeln!(
            svg,
            "<text x=\"20\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 20 {middle:.1})\">\
             {}</text>",
            escaped(&self.y.label)
        )
    }

    /// Where each series stands in the legend: from the left, and in which row.
    fn legend(&self) -> Vec<(f64, usize, &Series)> {
        let (mut left, mut row) = (LEFT, 0);
        let mut places = Vec::new();
        for series in &self.series {
            let width = 44.0 + series.name.chars().count() as f64 * LETTER;
            if left + width > WIDTH - RIGHT && left > LEFT {
                (left, row) = (LEFT, row + 1);
            }
            places.push((left, row, series));
            left += width;
        }
        places
    }
}

fn style(svg: &mut String) -> std::fmt::Result {
    writeln!(
        svg,
        "<style>text{{fill:#1f2328;font-size:13px}}.title{{font-size:16px;font-weight:600}}\
         .less{{fill:#59636e;font-size:12px}}.ground{{fill:#fff}}.grid{{stroke:#e4e7eb}}\
         .axis{{stroke:#59636e}}.line{{fill:none;stroke-width:2;stroke-linejoin:round}}\
         .range{{stroke-width:1.5;opacity:.55}}"
    )?;
    for (index, (light, _)) in COLOURS.iter().enumerate() {
        writeln!(svg, ".c{index}{{stroke:{light}}}.m{index}{{fill:{light}}}")?;
    }
    writeln!(
        svg,
        "@media (prefers-color-scheme: dark){{text{{fill:#e6edf3}}.less{{fill:#9aa4af}}\
         .ground{{fill:#0d1117}}.grid{{stroke:#262c34}}.axis{{stroke:#9aa4af}}"
    )?;
    for (index, (_, dark)) in COLOURS.iter().enumerate() {
        writeln!(svg, ".c{index}{{stroke:{dark}}}.m{index}{{fill:{dark}}}")?;
    }
    writeln!(svg, "}}</style>")
}

fn line(svg: &mut String, index: usize, series: &Series, x: &Span, y: &Span) -> std::fmt::Result {
    let colour = index % COLOURS.len();
    let shown: Vec<&Point> = series.points.iter().filter(|point| x.has(point.x) && y.has(point.y)).collect();
    let path: Vec<String> =
        shown.iter().map(|point| format!("{:.1} {:.1}", x.place(point.x), y.place(point.y))).collect();
    if !path.is_empty() {
        writeln!(svg, "<path class=\"line c{colour}\" d=\"M{}\"/>", path.join("L"))?;
    }
    for point in shown {
        let at = x.place(point.x);
        if y.has(point.low) && y.has(point.high) {
            let (low, high) = (y.place(point.low), y.place(point.high));
            writeln!(svg, "<path class=\"range c{colour}\" d=\"M{at:.1} {low:.1}V{high:.1}\"/>")?;
        }
        mark(svg, index, at, y.place(point.y))?;
    }
    Ok(())
}

/// The mark of a series at a point.
fn mark(svg: &mut String, index: usize, x: f64, y: f64) -> std::fmt::Result {
    let class = index % COLOURS.len();
    match index % 3 {
        0 => writeln!(svg, "<circle class=\"m{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => {
            let (left, top) = (x - 4.0, y - 4.0);
            writeln!(
                svg,
                "<rect class=\"m{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"8\" height=\"8\"/>"
            )
        }
        _ => {
            let top = y - 5.0;
            writeln!(svg, "<path class=\"m{class}\" d=\"M{x:.1} {top:.1}l5 9h-10z\"/>")
        }
    }
}

/// The values of an axis, and the pixels they are drawn on.
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Span {
    /// The span of these values; `rounded` widens it to the ticks around.
    fn of(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64, rounded: bool) -> Self {
        let usable = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => {
                low = low.min(0.0);
                high = if high > low { high } else { low + 1.0 };
                if rounded {
                    let step = step(high - low);
                    (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
                }
            }
            Scale::Log if rounded => (low, high) = (at_most(low), at_least(high)),
            Scale::Log => {}
        }
        if scale == Scale::Log && low >= high {
            (low, high) = (low / 2.0, high * 2.0);
        }
        Self { scale, low, high, from, to }
    }

    fn has(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        let within = |value: &f64| *value >= self.low * (1.0 - 1e-9) && *value <= self.high * (1.0 + 1e-9);
        match self.scale {
            Scale::Linear => {
                let step = step(self.high - self.low);
                let first = (self.low / step).ceil();
                (0..=20).map(|n| (first + f64::from(n)) * step).filter(within).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let first = self.low.log10().floor() as i32;
                let tens = (first..=first + decades.ceil() as i32 + 1).map(|ten| 10f64.powi(ten));
                tens.flat_map(|ten| steps.iter().map(move |step| step * ten)).filter(within).collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten that makes about five of the span.
fn step(span: f64) -> f64 {
    at_most(span / 4.0)
}

/// The greatest 1, 2 or 5 times a power of ten that is not above.
fn at_most(value: f64) -> f64 {
    let ten = 10f64.powf(value.log10().floor());
    [5.0, 2.0].map(|step| step * ten).into_iter().find(|round| *round <= value * (1.0 + 1e-9)).unwrap_or(ten)
}

/// The least 1, 2 or 5 times a power of ten that is not below.
fn at_least(value: f64) -> f64 {
    let ten = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|step| step * ten)
        .into_iter()
        .find(|round| *round >= value * (1.0 - 1e-9))
        .unwrap_or(ten * 10.0)
}

/// A tick's number: 0.5, 20, 10k, 1M.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Six digits hide what a sum of steps is off by.
    format!("{}{unit}", (value * 1e6).round() / 1e6)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: &[(f64, f64)]) -> Chart {
        let points = points.iter().map(|&(x, y)| Point { x, y, low: y, high: y }).collect();
        let axis = |label: &str| Axis { label: label.to_owned(), scale };
        Chart {
            title: "Cost & <count>".to_owned(),
            subtitle: String::new(),
            x: axis("leases"),
            y: axis("µs"),
            series: vec![Series { name: "get".to_owned(), points }],
        }
    }

    #[test]
    fn ticks_are_round() {
        let check = |scale, low, high, expect: &[&str]| {
            let span = Span::of(scale, [low, high].into_iter(), 0.0, 1.0, false);
            let ticks: Vec<String> = span.ticks().into_iter().map(short).collect();
            assert_eq!(ticks, expect, "{scale:?} {low} {high}");
        };
        check(Scale::Linear, 0.0, 10.0, &["0", "2", "4", "6", "8", "10"]);
        check(Scale::Linear, 0.0, 0.9, &["0", "0.2", "0.4", "0.6", "0.8"]);
        check(Scale::Log, 10.0, 1e6, &["10", "100", "1k", "10k", "100k", "1M"]);
        check(Scale::Log, 0.4, 3.0, &["0.5", "1", "2"]);
        check(Scale::Log, 1e4, 1e6, &["10k", "20k", "50k", "100k", "200k", "500k", "1M"]);
    }

    #[test]
    fn any_figures_make_a_chart() {
        for scale in [Scale::Linear, Scale::Log] {
            let nan = f64::NAN;
            for points in [&[][..], &[(1.0, 1.0)], &[(0.0, 0.0), (10.0, -1.0)], &[(nan, 1.0), (1.0, nan)]] {
                let svg = chart(scale, points).svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{scale:?} {points:?}\n{svg}");
                assert!(svg.contains("Cost &amp; &lt;count&gt;"));
            }
        }
    }
}
