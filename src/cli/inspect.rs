//! `leasehold inspect`: what a registry's file holds, and whether it is whole, without a
//! server.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    Failure,
    output::{self, Output},
};
use crate::store::{self, Condition, Durability, Report};

/// Verify what a registry keeps on disk, without a server
///
/// Reads all of it and changes nothing. Fails where `serve` would refuse it.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A data directory that no server uses, or a file such as a backup
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,

    #[command(flatten)]
    output: Output,
}

impl Inspect {
    /// Prints what is there, or fails with what is wrong.
    pub fn run(self) -> Result<(), Failure> {
        let report = store::inspect(&self.path).map_err(|error| Failure::other(error.to_string()))?;
        let text = if self.output.is_json() { json(&report).to_string() } else { table(&report) };
        output::line(&text)?;
        if report.refused {
            let missing = report.acknowledged.0.saturating_sub(report.revision.0);
            return Err(Failure::other(format!(
                "{missing} acknowledged revisions are missing; put a backup in its place, or serve it with \
                 --accept-loss"
            )));
        }
        Ok(())
    }
}

/// How it was left, and what a server makes of that.
fn condition(report: &Report) -> (&'static str, &'static str) {
    match report.condition {
        Condition::Created => ("new", "nothing was written yet"),
        Condition::Clean => ("clean", "the last server stopped in order"),
        Condition::Unclean if report.durability == Durability::Sync => {
            ("unclean", "the last server did not stop in order; nothing acknowledged is missing")
        }
        Condition::Unclean => {
            ("unclean", "the last server did not stop in order, and had not waited for the disk")
        }
        Condition::SyncFailed => ("sync_failed", "a sync failed; the next server writes the file anew"),
        Condition::Lost(_) => ("lost", "acknowledged revisions are missing"),
        Condition::Copy => ("copy", "a backup or a copy: a server on it begins a new epoch"),
    }
}

fn table(report: &Report) -> String {
    let (_, explained) = condition(report);
    let history = report.history.map_or_else(
        || "none".to_owned(),
        |(first, last)| format!("revisions {} to {} in {} commits", first.0, last.0, report.commits),
    );
    let mut table = output::table(&[]);
    table.add_rows([
        ["file", &format!("{} ({} bytes, format {})", report.path.display(), report.bytes, report.format)],
        ["verified", "every page, checksum and reference"],
        ["condition", explained],
        ["durability", report.durability.name()],
        ["epoch", &format!("{:016x}", report.epoch.0)],
        ["revision", &report.revision.0.to_string()],
        ["acknowledged", &report.acknowledged.0.to_string()],
        ["live", &format!("{}, of {} services", report.live, report.services)],
        ["suspect", &report.suspect.to_string()],
        ["lapsed", &report.lapsed.to_string()],
        ["ended", &report.dead.to_string()],
        ["history", &history],
    ]);
    output::render(table)
}

fn json(report: &Report) -> serde_json::Value {
    let (condition, _) = condition(report);
    json!({
        "file": report.path.display().to_string(),
        "bytes": report.bytes,
        "format": report.format,
        "condition": condition,
        "refused": report.refused,
        "durability": report.durability.name(),
        "epoch": format!("{:016x}", report.epoch.0),
        "revision": report.revision.0.to_string(),
        "acknowledged": report.acknowledged.0.to_string(),
        "live": report.live,
        "suspect": report.suspect,
        "lapsed": report.lapsed,
        "ended": report.dead,
        "services": report.services,
        "history": report.history.map(|(first, last)| json!({
            "first": first.0.to_string(),
            "last": last.0.to_string(),
            "commits": report.commits,
        })),
    })
}
