//! The log of changes: one line each, as long as somebody could read them. Of a second that
//! brings more, the first ones are written and the rest is counted, in one line. The lines
//! are made by a task of their own: ten thousand of them take longer than the change they
//! tell of, and nobody should wait for that. Where there is an audit file, it is told all of them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{Level, enabled, field::display, info, warn};

use crate::{
    audit::Audit,
    catalog::{Change, Commit, Kind},
    types::{Actor, Actors, Moment, WallTime},
};

/// So many lines are written in one go; then others may run.
const PORTION: usize = 64;
/// So many changes of a second have lines of their own, and the rest of their commit.
const LINES: usize = 1_000;
const SECOND: u64 = 1_000_000;

/// Hands changes to the log.
#[derive(Debug)]
pub(super) struct Scribe {
    lines: mpsc::UnboundedSender<Told>,
    quota: Quota,
}

#[derive(Debug)]
enum Told {
    Commit(Arc<Commit>, Actors),
    Rest(Counts),
}

/// What of a second is told one by one, and how much is not.
#[derive(Debug, Default)]
struct Quota {
    began: Moment,
    told: usize,
    counted: Counts,
}

/// Changes, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    registered: usize,
    updated: usize,
    suspect: usize,
    deregistered: usize,
    expired: usize,
}

impl Scribe {
    /// Starts the task; it ends with this.
    pub(super) fn start() -> Self {
        let (lines, told) = mpsc::unbounded_channel();
        tokio::spawn(write(told));
        Self { lines, quota: Quota::default() }
    }

    /// Takes what was committed at `now`, which people call `wall`, and who asked for it. To be
    /// called every now and then without any, so that what was counted is told.
    pub(super) fn tell(
        &mut self,
        commits: impl Iterator<Item = (Arc<Commit>, Actors)>,
        now: Moment,
        wall: WallTime,
        audit: Option<&Audit>,
    ) {
        // The task ends with the runtime, and so does its sender: neither send can matter.
        if let Some(rest) = self.quota.turn(now) {
            let _ = self.lines.send(Told::Rest(rest));
        }
        // Whoever asks for all gets all.
        let all = enabled!(Level::DEBUG);
        for (commit, by) in commits {
            if let Some(audit) = audit {
                audit.changed(wall, &commit, &by);
            }
            if all || self.quota.admit(&commit, is_written) {
                let _ = self.lines.send(Told::Commit(commit, by));
            }
        }
    }
}

// === impl Quota ===

impl Quota {
    /// Begins another second if it is time; gives back what the last one counted.
    fn turn(&mut self, now: Moment) -> Option<Counts> {
        if now.micros_since(self.began) < SECOND {
            return None;
        }
        let last = std::mem::replace(self, Self { began: now, ..Self::default() });
        (last.counted != Counts::default()).then_some(last.counted)
    }

    /// Whether a commit is told one by one. Else it is counted; in both cases only what
    /// `is_written` at all.
    fn admit(&mut self, commit: &Commit, is_written: impl Fn(Kind) -> bool) -> bool {
        let kinds = commit.changes.iter().map(|change| change.kind).filter(|kind| is_written(*kind));
        if self.told < LINES {
            self.told += kinds.count();
            return true;
        }
        kinds.for_each(|kind| self.counted.add(kind));
        false
    }
}

impl Counts {
    fn add(&mut self, kind: Kind) {
        *match kind {
            Kind::Registered => &mut self.registered,
            Kind::Updated => &mut self.updated,
            Kind::Suspect => &mut self.suspect,
            Kind::Deregistered => &mut self.deregistered,
            Kind::Expired => &mut self.expired,
        } += 1;
    }
}

/// Whether the log's level lets changes of a kind through.
fn is_written(kind: Kind) -> bool {
    match kind {
        Kind::Expired | Kind::Suspect => enabled!(Level::WARN),
        Kind::Registered | Kind::Updated | Kind::Deregistered => enabled!(Level::INFO),
    }
}

async fn write(mut told: mpsc::UnboundedReceiver<Told>) {
    let mut lines = 0;
    while let Some(next) = told.recv().await {
        let (commit, by) = match next {
            Told::Commit(commit, by) => (commit, by),
            Told::Rest(counts) => {
                log_rest(counts);
                continue;
            }
        };
        for (change, by) in commit.changes.iter().zip(by.iter()) {
            log(&commit, change, by);
            lines += 1;
            if lines % PORTION == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn log(commit: &Commit, change: &Change, by: Option<&Actor>) {
    let Some(instance) = change.instance() else { return };
    let (id, service, url) = (instance.id, &instance.service, instance.content().url());
    let (what, reason) = (change.kind.name(), change.reason.name());
    let (revision, braked) = (commit.revision.0, change.braked);
    let key = by.and_then(|by| by.key.as_deref());
    let peer = by.map(|by| display(by.peer));
    let trace_id = by.and_then(|by| by.trace).map(display);
    match change.kind {
        Kind::Expired | Kind::Suspect => {
            warn!(%id, %service, %url, revision, reason, braked, key, peer, trace_id, "{what}");
        }
        _ => info!(%id, %service, %url, revision, reason, key, peer, trace_id, "{what}"),
    }
}

fn log_rest(counts: Counts) {
    const TEXT: &str = "more changes in a second than are logged one by one; \
                        --log-level info,leasehold::engine=debug logs each";
    let Counts { registered, updated, suspect, deregistered, expired } = counts;
    if suspect + expired > 0 {
        warn!(registered, updated, suspect, deregistered, expired, "{TEXT}");
    } else {
        info!(registered, updated, deregistered, "{TEXT}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Reason,
        types::{LeaseTimes, Revision},
    };

    fn commit(kinds: &[Kind]) -> Commit {
        let times = LeaseTimes { renewed: Moment(0), deadline: Moment(0) };
        let change = |kind: &Kind| Change {
            kind: *kind,
            reason: Reason::New,
            before: None,
            after: None,
            times,
            braked: false,
        };
        Commit { revision: Revision(1), changes: kinds.iter().map(change).collect() }
    }

    #[test]
    fn what_nobody_can_read_is_counted() {
        let mut quota = Quota::default();
        let large = commit(&[Kind::Registered; 999]);
        let small = commit(&[Kind::Expired, Kind::Updated]);
        let all = |_| true;
        assert_eq!(quota.turn(Moment(SECOND)), None);
        // A commit is told as a whole.
        assert!(quota.admit(&large, all) && quota.admit(&small, all));
        assert!(!quota.admit(&large, all) && !quota.admit(&small, all));
        assert_eq!(quota.turn(Moment(2 * SECOND - 1)), None);
        let counted = Counts { registered: 999, updated: 1, expired: 1, ..Counts::default() };
        assert_eq!(quota.turn(Moment(2 * SECOND)), Some(counted));
        // A second of its own, and nothing is told twice.
        assert!(quota.admit(&small, all));
        assert_eq!(quota.turn(Moment(9 * SECOND)), None);
    }

    #[test]
    fn what_the_level_keeps_out_uses_nothing_up() {
        let mut quota = Quota::default();
        let losses = |kind| kind == Kind::Expired;
        assert!(quota.admit(&commit(&[Kind::Registered; 5000]), losses));
        assert!(quota.admit(&commit(&[Kind::Expired; 1000]), losses));
        assert!(!quota.admit(&commit(&[Kind::Registered; 5]), losses));
        assert_eq!(quota.turn(Moment(SECOND)), None);
    }
}
