//! A reader of the history: a cursor, without a queue or a task of its own.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    catalog::{Commit, Cursor, Unread},
    types::{Filter, Revision},
};

use super::{
    View,
    audience::{Audience, Audiences, Member, Read},
};

/// One who reads what matches a filter.
///
/// Its cursor is moved when it reads, and only then. Yet nothing can leave it behind but a
/// change of its services: while none comes, nothing is marked as unread, and its next
/// reading starts at the head, whatever has left the history; and when one comes, its revision
/// is remembered as the first unread one, so that the reading starts right before that. So
/// what is asked of the history is only whether changes of these services (and labels) from
/// that one on have left it: churn of others costs a slow reader nothing, as if its cursor had
/// been moved along all the time.
#[derive(Debug)]
pub struct Reader {
    audiences: Arc<Mutex<Audiences>>,
    audience: Arc<Audience>,
    key: usize,
    cursor: Cursor,
}

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What came next, encoded.
    Next(Bytes),
    /// A change that may match has left the history: read a snapshot, and start again.
    Gone,
}

/// What commits come to for a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The message that tells it.
    pub message: Bytes,
    /// The first revision that matched.
    pub first: Revision,
}

impl Reader {
    pub(super) fn new(audiences: Arc<Mutex<Audiences>>, filter: Filter) -> Self {
        let (audience, key) = audiences.lock().join(filter);
        Self { audiences, audience, key, cursor: Cursor(Revision(0)) }
    }

    /// What it wants.
    pub fn filter(&self) -> &Filter {
        &self.audience.filter
    }

    /// Up to where it has read.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Reads on from a cursor.
    pub fn start(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        if let Some(member) = self.audience.members.lock().get_mut(self.key) {
            member.unread = Some(Revision(0));
        }
    }

    /// What comes next, of about `max_bytes` of history; pending when nothing is unread up to
    /// the head, where its cursor is then. `encode` makes a message of what matches of commits,
    /// which tells everything up to a revision; none where nothing does. The message may have
    /// been made by another reader with the same filter: they must encode alike.
    pub fn poll_next(
        &mut self,
        context: &Context<'_>,
        view: &View,
        max_bytes: usize,
        mut encode: impl FnMut(&Filter, &[Arc<Commit>], Revision) -> Option<Encoded>,
    ) -> Poll<Reading> {
        loop {
            if self.settle(context, view) {
                return Poll::Pending;
            }
            let Some(read) = self.read(view, max_bytes, &mut encode) else {
                return Poll::Ready(Reading::Gone);
            };
            self.cursor = Cursor(read.to);
            if let Some(message) = read.message {
                return Poll::Ready(Reading::Next(message));
            }
        }
    }

    /// Moves the cursor over what does not concern it. Where that is all there is, leaves the
    /// waker and says so.
    fn settle(&mut self, context: &Context<'_>, view: &View) -> bool {
        let catalog = view.read();
        let head = catalog.revision();
        let mut members = self.audience.members.lock();
        // It is there until this is dropped.
        let Some(member) = members.get_mut(self.key) else { return true };
        let Member { unread, waker } = member;
        match unread {
            None => self.cursor = Cursor(head),
            Some(first) => self.cursor = self.cursor.max(Cursor(Revision(first.0.saturating_sub(1)))),
        }
        if self.cursor.0 != head {
            return false;
        }
        *unread = None;
        match waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        true
    }

    /// Takes what another member has read from this cursor on, or reads it for all. They wait
    /// for that: they want the same.
    fn read(
        &self,
        view: &View,
        max_bytes: usize,
        encode: &mut impl FnMut(&Filter, &[Arc<Commit>], Revision) -> Option<Encoded>,
    ) -> Option<Read> {
        let cursor = self.cursor.0;
        let mut batches = self.audience.batches.lock();
        if let Some(read) = batches.take(cursor) {
            return Some(read);
        }
        let through = batches.through(cursor);
        let unread = view.read().unread(self.cursor, &self.audience.filter, through, max_bytes);
        let Unread::Commits(commits, Cursor(to)) = unread else { return None };
        // The catalog is free by now: encoding takes a while.
        let encoded = if commits.is_empty() { None } else { encode(self.filter(), &commits, to) };
        let first = encoded.as_ref().map(|encoded| encoded.first);
        let read = Read { message: encoded.map(|encoded| encoded.message), to };
        let others = self.audience.members.lock().len().saturating_sub(1);
        batches.keep(&read, cursor, first, others);
        Some(read)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.audiences.lock().leave(&self.audience, self.key);
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
