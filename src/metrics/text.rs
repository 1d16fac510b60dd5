//! The two forms that scrapers take: `OpenMetrics`, which is what is written here, and the older text
//! format of Prometheus, which everything else reads.

use std::{collections::BTreeSet, fmt::Write as _};

/// The content type of `OpenMetrics`.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of the text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `OpenMetrics` in the text format: there a counter's name ends in `_total` in its description as
/// well, and neither units nor an end are told.
pub fn to_text(open_metrics: &str) -> String {
    let described = |line: &'_ str| -> Option<(String, String, String)> {
        let mut words = line.strip_prefix("# ")?.splitn(3, ' ');
        let mut word = || words.next().map(str::to_owned);
        Some((word()?, word()?, word()?))
    };
    let counters: BTreeSet<String> = open_metrics
        .lines()
        .filter_map(described)
        .filter(|(what, _, kind)| what == "TYPE" && kind == "counter")
        .map(|(_, name, _)| name)
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines() {
        match described(line) {
            None if line == "# EOF" => continue,
            Some((what, ..)) if what == "UNIT" => continue,
            Some((what, name, rest)) if counters.contains(&name) => {
                // Writing into a String does not fail.
                let _ = write!(text, "# {what} {name}_total {rest}");
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Whether a scraper takes `OpenMetrics`, by its `Accept`.
pub fn takes_open_metrics(accept: &str) -> bool {
    accept.contains("application/openmetrics-text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_they_have() {
        let open = "# HELP a_seconds Some.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 1.0\n\
                    # HELP b How many.\n# TYPE b counter\nb_total{c=\"d\"} 2\n# EOF\n";
        let text = "# HELP a_seconds Some.\n# TYPE a_seconds histogram\na_seconds_sum 1.0\n\
                    # HELP b_total How many.\n# TYPE b_total counter\nb_total{c=\"d\"} 2\n";
        assert_eq!(to_text(open), text);
    }
}
