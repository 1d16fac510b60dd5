//! `leasehold bench`: how fast this machine's leasehold is, against what bounds it.
//!
//! A [`Row`] is one kind of work. It is done by several [`Subject`]s: leasehold with some
//! settings, a null server that does nothing but speak the protocol, another registry. They
//! take turns, round by round, so that whatever else the machine does strikes all of them;
//! what counts is the ratio of two subjects within a round. Servers run as processes of their
//! own ([`process`]); the load ([`load`]) is the same for all subjects of a row.
//!
//! Start at [`run`]; the rows are in [`rows`], one file each.

use std::{path::PathBuf, time::Duration};

pub mod load;
pub mod machine;
pub mod null;
pub mod peers;
pub mod plot;
pub mod plots;
pub mod process;
mod proto;
pub mod report;
pub mod row;
pub mod rows;
pub mod run;
pub mod statistics;
pub mod subject;
mod units;

pub use report::Report;
pub use row::{Comparison, Goal, Metric, Row, Sample, Subject};
pub use run::run;

/// Of measuring: what went wrong, for a person to read.
pub type Result<T> = anyhow::Result<T>;

/// How large the amounts are that rows measure with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// What the goals are meant for.
    #[default]
    Full,
    /// All rows within a minute.
    Quick,
    /// For tests: only that it works.
    Tiny,
}

impl Size {
    /// The amount for this size.
    pub fn pick<T>(self, full: T, quick: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Tiny => tiny,
        }
    }
}

/// Other registries to measure in the same rounds.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// etcd's binary.
    pub etcd: Option<PathBuf>,
    /// A Python environment with servicekit.
    pub python: Option<PathBuf>,
    /// Another build of leasehold.
    pub leasehold: Option<PathBuf>,
}

/// How to measure; every row gets it.
#[derive(Clone, Debug)]
pub struct Bench {
    /// How often every subject is measured.
    pub rounds: usize,
    /// How long one measurement lasts, warming up apart.
    pub length: Duration,
    /// How long the load runs before it is measured.
    pub warm_up: Duration,
    /// How much rows measure with.
    pub size: Size,
    /// Where servers keep their data, each in a directory of its own that is removed afterwards.
    pub dir: PathBuf,
    /// Requests in flight of call-shaped rows.
    pub in_flight: usize,
    /// Connections they are spread over.
    pub connections: usize,
    /// An open loop of so many operations a second; a closed loop without.
    pub rate: Option<f64>,
    /// What else to measure.
    pub peers: Peers,
    /// Only subjects whose names contain one of these; empty is all.
    pub subjects: Vec<String>,
}

impl Default for Bench {
    fn default() -> Self {
        Self::of(Size::Full)
    }
}

impl Bench {
    /// The defaults for a size.
    pub fn of(size: Size) -> Self {
        let millis = |full, quick, tiny| Duration::from_millis(size.pick(full, quick, tiny));
        Self {
            rounds: size.pick(5, 2, 1),
            length: millis(2_000, 300, 50),
            warm_up: millis(500, 100, 10),
            size,
            dir: std::env::temp_dir(),
            in_flight: 64,
            connections: 8,
            rate: None,
            peers: Peers::default(),
            subjects: Vec::new(),
        }
    }

    /// Whether the subject of this name is to be measured.
    pub fn wants(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|part| subject.contains(part.as_str()))
    }
}
