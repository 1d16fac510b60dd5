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
        self.shared.book.lock().leases.settle();
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::{
        config::DuplicateId,
        engine::{Outcome, embedded::book::BookRules},
        lease::{self, Standing},
        types::{Content, Info, ServiceName, ServiceUrl, WallTime},
    };

    const SECOND: u64 = 1_000_000;

    fn entry(id: u128) -> Entry {
        Entry {
            client_id: None,
            content: Content {
                service: ServiceName::fold("s").unwrap(),
                url: ServiceUrl::parse("http://h").unwrap(),
                info: Info::default(),
                labels: [("k".to_owned(), "v".to_owned())].into(),
                zone: "z".to_owned(),
                weight: 1,
            },
            ttl_wish: 30,
            drop_grace: None,
            token: None,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            fresh_id: LeaseId(id),
            fresh_token: [0; 32],
        }
    }

    fn book() -> Book {
        let rules = BookRules {
            default_ttl: 30,
            min_ttl: 1,
            max_ttl: 86_400,
            duplicate_id: DuplicateId::Replica,
            require_token: false,
        };
        let leases = lease::Rules { window_micros: 600 * SECOND, grace_micros: 0, brake: true };
        Book::new(rules, lease::Leases::new(leases))
    }

    fn register(book: &mut Book, id: u128, moment: Moment) -> Entered {
        let mut draft = book.draft();
        let entered = book.register(entry(id), Now { moment, wall: WallTime(moment.0) }, &mut draft).unwrap();
        book.revision = draft.finish().last().map_or(book.revision, |last| last.revision);
        entered
    }

    #[test]
    fn what_waited_through_a_stall_counts_from_its_end() {
        let mut book = book();
        let mut draft = book.draft();
        book.tick(Moment(0), Moment(SECOND / 10), &mut draft);
        // Queued right before a stall of 40 s, longer than its TTL.
        let queued = Moment(SECOND / 100);
        let resumed = Moment(40 * SECOND);
        assert!(book.leases.notice(resumed).is_some());
        let at = received(&book, queued);
        let entered = register(&mut book, 1, at);
        assert_eq!(entered.times.deadline, Moment(70 * SECOND));
        // Later ones count from when they were received.
        assert_eq!(received(&book, Moment(41 * SECOND)), Moment(41 * SECOND));
    }

    #[test]
    fn the_dead_keep_their_place_but_not_their_content() {
        let mut book = book();
        let id = register(&mut book, 1, Moment(1)).instance.id;
        let proof = Proof { token: None, peer: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let mut draft = book.draft();
        let departed = book.deregister(&Target::Id(id), proof, Moment(2), &mut draft).unwrap();
        assert_eq!(departed.instance.content.zone, "z", "told as it was");
        let handle = book.ids[&id];
        assert_eq!(book.leases.standing(handle), Standing::Dead);
        let kept = book.instance(handle);
        assert!(kept.content.labels.is_empty() && kept.content.zone.is_empty());
        // The pair begins anew, with what is said now.
        let again = register(&mut book, 2, Moment(3));
        assert_eq!((again.outcome, again.instance.id), (Outcome::New, LeaseId(2)));
        assert_eq!(again.instance.content.zone, "z");
    }

    #[test]
    fn a_commit_is_not_made_of_too_much() {
        let (reply, _) = oneshot::channel();
        let large = Command::Register { entries: vec![entry(1); 1000], at: Moment(0), reply };
        let small = || Command::EndStream {
            stream: book().leases.open_stream(false),
            end: StreamEnd::Server,
            at: Moment(0),
        };
        assert_eq!(portion(&[]), 0);
        assert_eq!(portion(&[small(), small()]), 2);
        let mut commands = vec![large];
        commands.extend((0..50).map(|_| small()));
        assert_eq!(portion(&commands), 25);
    }
}
