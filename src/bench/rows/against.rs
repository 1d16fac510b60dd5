//! Comparisons that many rows have.

use crate::bench::{Comparison, Metric, subject::Keeps};

/// This build with another, where one was named: rate and CPU.
pub fn other_builds() -> impl Iterator<Item = Comparison> {
    [Keeps::Memory, Keeps::Os, Keeps::Sync].into_iter().flat_map(|keeps| {
        let own = keeps.name();
        [Metric::Rate, Metric::Cpu].map(|metric| Comparison::ratio(own, format!("other {own}"), metric))
    })
}
