//! The writer: the one task that makes changes.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    catalog::Commit,
    lease::{StreamEnd, StreamId},
    types::{LeaseId, Moment, Target},
};

use super::{
    Departed, Proof, Refusal, Renewed, Shared, TokenHash,
    book::{Book, Now},
    draft::Draft,
    register::{Entered, Entry},
    scribe,
};

/// How often the writer looks at the clock even when nothing is due: that is how a
/// stall is noticed.
const TICK: Duration = Duration::from_millis(100);
/// How many commands one batch takes at most, so that expiry is never kept waiting.
const BATCH: usize = 1024;

type Reply<T> = oneshot::Sender<T>;

/// What only the writer does.
#[derive(Debug)]
pub(super) enum Command {
    Register { entries: Vec<Entry>, at: Moment, reply: Reply<Vec<Result<Entered, Refusal>>> },
    Restore { target: Target, proof: Proof, at: Moment, reply: Reply<Result<Renewed, Refusal>> },
    Deregister { target: Target, proof: Proof, reply: Reply<Result<Departed, Refusal>> },
    Attach { stream: StreamId, leases: Leases, at: Moment, reply: Reply<Vec<(LeaseId, Refusal)>> },
    EndStream { stream: StreamId, end: StreamEnd, at: Moment },
}

type Leases = Vec<(LeaseId, Option<TokenHash>)>;

/// An answer that may be given once the batch is committed.
enum Answer {
    Register(Reply<Vec<Result<Entered, Refusal>>>, Vec<Result<Entered, Refusal>>),
    Restore(Reply<Result<Renewed, Refusal>>, Result<Renewed, Refusal>),
    Deregister(Reply<Result<Departed, Refusal>>, Result<Departed, Refusal>),
    Attach(Reply<Vec<(LeaseId, Refusal)>>, Vec<(LeaseId, Refusal)>),
}

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    scribe: mpsc::UnboundedSender<Arc<Commit>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        Self { shared, commands, scribe: scribe::start() }
    }

    /// Runs until every sender of commands is gone.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut wait = TICK;
        loop {
            tokio::select! {
                taken = self.commands.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
            loop {
                let rest = batch.split_off(portion(&batch));
                wait = self.commit(&mut batch);
                batch = rest;
                if batch.is_empty() {
                    break;
                }
                // Renewals must not wait for all of a large batch.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Decides the batch and what is due, publishes, answers. Returns how long there is
    /// nothing to do but to wait for commands.
    fn commit(&self, batch: &mut Vec<Command>) -> Duration {
        self.shared.clock.follow();
        let mut answers = Vec::with_capacity(batch.len());
        let (commits, wait) = self.shared.decide(|book, now| {
            let mut draft = book.draft();
            for command in batch.drain(..) {
                answers.extend(self.apply(book, command, now, &mut draft));
                draft.close();
            }
            book.tick(now, now.plus(TICK), &mut draft);
            let commits = draft.finish();
            if let Some(last) = commits.last() {
                book.revision = last.revision;
            }
            let next = book.leases.next_wake().unwrap_or(now.plus(TICK));
            (commits, Duration::from_micros(next.micros_since(now)).min(TICK))
        });
        self.shared.view.publish(&commits);
        for answer in answers {
            answer.send();
        }
        for commit in commits {
            commit.changes.iter().for_each(|change| self.shared.metrics.count(change));
            // The scribe ends with the runtime, and so does this task.
            let _ = self.scribe.send(commit);
        }
        wait
    }

    fn apply(&self, book: &mut Book, command: Command, now: Moment, draft: &mut Draft) -> Option<Answer> {
        Some(match command {
            Command::Register { entries, at, reply } => {
                let at = received(book, at);
                let at = Now { moment: at, wall: self.shared.clock.wall(at) };
                let entered = entries.into_iter().map(|entry| book.register(entry, at, draft)).collect();
                Answer::Register(reply, entered)
            }
            Command::Restore { target, proof, at, reply } => {
                Answer::Restore(reply, book.restore(&target, proof, received(book, at), draft))
            }
            Command::Deregister { target, proof, reply } => {
                Answer::Deregister(reply, book.deregister(&target, proof, now, draft))
            }
            Command::Attach { stream, leases, at, reply } => {
                let at = received(book, at);
                let mut refused = Vec::new();
                for (id, token) in leases {
                    if let Err(refusal) = book.attach_restoring(stream, id, token, at, draft) {
                        refused.push((id, refusal));
                    }
                }
                Answer::Attach(reply, refused)
            }
            Command::EndStream { stream, end, at } => {
                book.end_stream(stream, end, at, now, draft);
                return None;
            }
        })
    }
}

/// How many commands make a commit of about [`BATCH`] registrations.
fn portion(commands: &[Command]) -> usize {
    let mut weight = 0;
    let full = commands.iter().position(|command| {
        weight += match command {
            Command::Register { entries, .. } => entries.len(),
            Command::Attach { leases, .. } => leases.len(),
            _ => 1,
        };
        weight >= BATCH
    });
    full.map_or(commands.len(), |at| at + 1)
}

/// What was received before a stall of ours could not be decided before it: it counts
/// from the stall's end.
fn received(book: &Book, at: Moment) -> Moment {
    at.max(book.leases.stall_ended())
}

impl Answer {
    /// Whoever asked may be gone; what was decided stands.
    fn send(self) {
        match self {
            Self::Register(reply, answer) => drop(reply.send(answer)),
            Self::Restore(reply, answer) => drop(reply.send(answer)),
            Self::Deregister(reply, answer) => drop(reply.send(answer)),
            Self::Attach(reply, answer) => drop(reply.send(answer)),
        }
    }
}
