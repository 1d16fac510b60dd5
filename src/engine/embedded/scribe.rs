//! The log of changes, one line each, written by a task of its own: ten thousand lines
//! take longer than the change they tell of, and nobody should wait for them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::catalog::{Change, Commit, Kind};

/// So many lines are written in one go; then others may run.
const PORTION: usize = 64;

/// Starts the task; it ends with the last sender.
pub(super) fn start() -> mpsc::UnboundedSender<Arc<Commit>> {
    let (sender, mut commits) = mpsc::unbounded_channel::<Arc<Commit>>();
    tokio::spawn(async move {
        let mut lines = 0;
        while let Some(commit) = commits.recv().await {
            for change in &commit.changes {
                log(&commit, change);
                lines += 1;
                if lines % PORTION == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    sender
}

fn log(commit: &Commit, change: &Change) {
    let Some(instance) = change.instance() else { return };
    let (id, service, url) = (instance.id, &instance.service, instance.content().url());
    let (what, reason) = (change.kind.name(), change.reason.name());
    let (revision, braked) = (commit.revision.0, change.braked);
    match change.kind {
        Kind::Expired | Kind::Suspect => warn!(%id, %service, %url, revision, reason, braked, "{what}"),
        _ => info!(%id, %service, %url, revision, reason, "{what}"),
    }
}
