//! Changes on their way to become commits.

use std::sync::Arc;

use crate::{
    catalog::{Change, Commit},
    types::Revision,
};

/// A commit holds at most so many bytes of events; more become several commits.
const COMMIT_BYTES: usize = 512 << 10;

/// Collects changes into commits of rising revisions.
#[derive(Debug)]
pub(super) struct Draft {
    head: Revision,
    done: Vec<Arc<Commit>>,
    open: Vec<Change>,
    open_bytes: usize,
}

impl Draft {
    /// Goes on after `head`.
    pub(super) fn after(head: Revision) -> Self {
        Self { head, done: Vec::new(), open: Vec::new(), open_bytes: 0 }
    }

    /// The revision that a change of `bytes`, pushed next, will have.
    pub(super) fn revision_for(&mut self, bytes: usize) -> Revision {
        if self.open_bytes + bytes > COMMIT_BYTES {
            self.close();
        }
        self.head.next()
    }

    pub(super) fn push(&mut self, change: Change) {
        self.revision_for(change.bytes());
        self.open_bytes += change.bytes();
        self.open.push(change);
    }

    /// Ends what belongs together.
    pub(super) fn close(&mut self) {
        if !self.open.is_empty() {
            self.head = self.head.next();
            let changes = std::mem::take(&mut self.open);
            self.done.push(Arc::new(Commit { revision: self.head, changes }));
            self.open_bytes = 0;
        }
    }

    /// All commits, in order.
    pub(super) fn finish(mut self) -> Vec<Arc<Commit>> {
        self.close();
        self.done
    }
}
