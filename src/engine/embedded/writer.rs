//! The writer: the one task that makes changes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    catalog::Commit,
    lease::{StreamEnd, StreamId},
    store::{Batch, Prune, Record, Store, StoreError},
    types::{Actor, Actors, LeaseId, Moment, Target},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Departed, Proof, Refusal, Renewed, Shared, TokenHash,
    book::{Book, Now},
    draft::Draft,
    register::{Entered, Entry},
    scribe::Scribe,
};

/// How often the writer looks at the clock even when nothing is due: that is how a
/// stall is noticed.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How many commands one batch takes at most, so that expiry is never kept waiting.
const BATCH: usize = 1024;

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What only the writer does.
#[derive(Debug)]
pub(super) enum Command {
    Register { entries: Vec<Entry>, at: Moment, reply: Reply<Vec<Result<Entered, Refusal>>> },
    Restore { target: Target, proof: Proof, at: Moment, reply: Reply<Renewed> },
    Deregister { target: Target, proof: Proof, reply: Reply<Departed> },
    Attach { stream: StreamId, leases: Leases, by: Actor, at: Moment, reply: Reply<Vec<(LeaseId, Refusal)>> },
    EndStream { stream: StreamId, end: StreamEnd, at: Moment, by: Actor },
    Close { reply: oneshot::Sender<Result<(), StoreError>> },
}

type Leases = Vec<(LeaseId, Option<TokenHash>)>;

/// An answer that may be given once the batch is committed.
pub(super) enum Answer {
    Register(Reply<Vec<Result<Entered, Refusal>>>, Vec<Result<Entered, Refusal>>),
    Restore(Reply<Renewed>, Result<Renewed, Refusal>),
    Deregister(Reply<Departed>, Result<Departed, Refusal>),
    Attach(Reply<Vec<(LeaseId, Refusal)>>, Vec<(LeaseId, Refusal)>),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Option<Arc<Store>>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Commands that were taken and not decided yet.
    pub(super) waiting: VecDeque<Command>,
    /// How much the history in memory had forgotten when the store was told last.
    pruned: u64,
    scribe: Scribe,
}

/// What was decided, before anybody knows of it.
#[derive(Default)]
pub(super) struct Decided {
    /// When.
    pub(super) at: Moment,
    commits: Vec<Arc<Commit>>,
    /// Who asked for the changes of each.
    by: Vec<Actors>,
    records: Vec<(LeaseId, Option<Record>)>,
    pub(super) answers: Vec<Answer>,
    /// How long there is nothing to do but to wait for commands.
    wait: Duration,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::UnboundedReceiver<Command>,
        store: Option<Arc<Store>>,
    ) -> Self {
        Self { shared, store, commands, waiting: VecDeque::new(), pruned: 0, scribe: Scribe::start() }
    }

    /// Runs until every sender of commands is gone, or it was told to close.
    pub(super) async fn run(mut self) {
        let mut wait = TICK;
        loop {
            if self.waiting.is_empty() {
                tokio::select! {
                    more = self.receive() => if !more { return },
                    () = tokio::time::sleep(wait) => {}
                }
            } else {
                // Renewals must not wait for all of a large batch.
                tokio::task::yield_now().await;
            }
            // Where nobody waits for the disk, it may have failed since the last batch.
            let trouble = self.store.as_ref().and_then(|store| store.trouble());
            let (decided, error) = if trouble.is_some() {
                (Decided { at: self.shared.clock.now(), ..Decided::default() }, trouble)
            } else {
                let mut decided = self.decide(portion(&self.waiting));
                let error = self.write(&mut decided).await.err();
                (decided, error)
            };
            wait = decided.wait;
            match error {
                None => self.tell(decided),
                Some(error) => {
                    if !self.hold_out(error, decided).await {
                        return;
                    }
                }
            }
            if let Some(Command::Close { .. }) = self.waiting.front() {
                return self.close().await;
            }
        }
    }

    /// Waits for commands; says whether there can be any.
    pub(super) async fn receive(&mut self) -> bool {
        let mut taken = Vec::with_capacity(BATCH);
        let more = self.commands.recv_many(&mut taken, BATCH).await > 0;
        self.waiting.extend(taken);
        more
    }

    /// Decides so many commands, and what is due.
    fn decide(&mut self, portion: usize) -> Decided {
        self.shared.clock.follow();
        let mut answers = Vec::with_capacity(portion);
        let commands = self.waiting.drain(..portion);
        let (shared, anchor) = (&self.shared, self.shared.clock.anchor());
        shared.decide(|book, now| {
            let mut draft = book.draft();
            for command in commands {
                answers.extend(apply(shared, book, command, now, &mut draft));
                draft.close();
            }
            draft.act(None);
            book.tick(now, now.plus(TICK), &mut draft);
            let (commits, by) = draft.finish();
            if let Some(last) = commits.last() {
                book.revision = last.revision;
            }
            let next = book.leases.next_wake().unwrap_or(now.plus(TICK));
            let wait = Duration::from_micros(next.micros_since(now)).min(TICK);
            let records = book.take_touched(anchor);
            book.in_doubt = !records.is_empty();
            Decided { at: now, commits, by, records, answers, wait }
        })
    }

    /// Has the store write what was decided; returns when that counts as written.
    async fn write(&mut self, decided: &mut Decided) -> Result<(), StoreError> {
        if decided.records.is_empty() {
            return Ok(());
        }
        let prune = self.prune();
        let Some(store) = &self.store else { return Ok(()) };
        let batch = Batch {
            records: std::mem::take(&mut decided.records),
            commits: decided.commits.clone(),
            anchor: self.shared.clock.anchor(),
            prune,
        };
        let _timer = self.shared.metrics.store_commit();
        self.patiently(store.commit(batch)).await
    }

    /// What the store may forget, once that is as much as the history in memory holds.
    fn prune(&mut self) -> Option<Prune> {
        let catalog = self.shared.view.read();
        let evicted = catalog.evicted_bytes();
        if evicted - self.pruned <= catalog.history_bytes() as u64 {
            return None;
        }
        self.pruned = evicted;
        let (through, evicted) = catalog.evicted();
        Some(Prune { through, evicted })
    }

    /// What was decided holds: streams hear of what they lost, watchers of all of it, then it
    /// is answered.
    pub(super) fn tell(&mut self, decided: Decided) {
        {
            let mut book = self.shared.book.lock();
            book.in_doubt = false;
            book.leases.settle();
        }
        self.shared.view.publish(&decided.commits);
        let shown = self.shared.clock.now();
        for answer in decided.answers {
            answer.send();
        }
        let Shared { metrics, clock, audit, .. } = &*self.shared;
        metrics.count(&decided.commits, shown);
        let told = decided.commits.into_iter().zip(decided.by);
        self.scribe.tell(told, decided.at, clock.wall(decided.at), audit.get());
    }

    /// Ends in order: everything that was decided is written.
    async fn close(mut self) {
        self.commands.close();
        while self.receive().await {}
        let result = match &self.store {
            Some(store) => store.close().await,
            None => Ok(()),
        };
        let mut result = Some(result);
        for command in self.waiting.drain(..) {
            if let Command::Close { reply } = command {
                drop(reply.send(result.take().unwrap_or(Ok(()))));
            }
        }
    }
}

fn apply(
    shared: &Shared,
    book: &mut Book,
    command: Command,
    now: Moment,
    draft: &mut Draft,
) -> Option<Answer> {
    Some(match command {
        // Whoever has gone while the disk kept it waiting is not registered behind its back.
        Command::Register { reply, .. } if reply.is_closed() => return None,
        Command::Register { entries, at, reply } => {
            let at = received(book, at);
            let at = Now { moment: at, wall: shared.clock.wall(at) };
            let register = |entry: Entry| {
                draft.act(Some(&entry.by));
                book.register(entry, at, draft)
            };
            let entered = entries.into_iter().map(register).collect();
            Answer::Register(reply, entered)
        }
        Command::Restore { target, proof, at, reply } => {
            draft.act(Some(&proof.by));
            Answer::Restore(reply, book.restore(&target, &proof, received(book, at), draft))
        }
        Command::Deregister { target, proof, reply } => {
            draft.act(Some(&proof.by));
            Answer::Deregister(reply, book.deregister(&target, &proof, now, draft))
        }
        Command::Attach { stream, leases, by, at, reply } => {
            let at = received(book, at);
            draft.act(Some(&by));
            let mut refused = Vec::new();
            for (id, token) in leases {
                if let Err(refusal) = book.attach_restoring(stream, id, token, at, draft) {
                    refused.push((id, refusal));
                }
            }
            Answer::Attach(reply, refused)
        }
        Command::EndStream { stream, end, at, by } => {
            draft.act(Some(&by));
            book.end_stream(stream, end, at, now, draft);
            return None;
        }
        // Never part of a portion.
        Command::Close { .. } => return None,
    })
}

/// How many commands make a commit of about [`BATCH`] registrations.
fn portion(commands: &VecDeque<Command>) -> usize {
    let mut weight = 0;
    for (at, command) in commands.iter().enumerate() {
        weight += match command {
            Command::Register { entries, .. } => entries.len(),
            Command::Attach { leases, .. } => leases.len(),
            Command::Close { .. } => return at,
            _ => 1,
        };
        if weight >= BATCH {
            return at + 1;
        }
    }
    commands.len()
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
            Self::Register(reply, answer) => drop(reply.send(Ok(answer))),
            Self::Restore(reply, answer) => drop(reply.send(answer)),
            Self::Deregister(reply, answer) => drop(reply.send(answer)),
            Self::Attach(reply, answer) => drop(reply.send(Ok(answer))),
        }
    }

    /// Whose fresh tokens nobody knows if this answer is not given.
    pub(super) fn unclaimed(&self) -> impl Iterator<Item = LeaseId> {
        let entered: &[Result<Entered, Refusal>] = match self {
            Self::Register(_, entered) => entered,
            _ => &[],
        };
        entered.iter().flatten().filter(|entered| entered.fresh_token).map(|entered| entered.instance.id)
    }

    pub(super) fn refuse(self, refusal: &Refusal) {
        let refusal = refusal.clone();
        match self {
            Self::Register(reply, _) => drop(reply.send(Err(refusal))),
            Self::Restore(reply, _) => drop(reply.send(Err(refusal))),
            Self::Deregister(reply, _) => drop(reply.send(Err(refusal))),
            Self::Attach(reply, _) => drop(reply.send(Err(refusal))),
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
        types::{Content, Info, Parts, ServiceName, ServiceUrl, WallTime},
    };

    const SECOND: u64 = 1_000_000;

    fn entry(id: u128) -> Entry {
        Entry {
            client_id: None,
            content: Content::from(Parts {
                service: ServiceName::fold("s").unwrap(),
                url: ServiceUrl::parse("http://h").unwrap(),
                info: Info::default(),
                labels: [("k".to_owned(), "v".to_owned())].into(),
                zone: "z".to_owned(),
                weight: 1,
            }),
            ttl_wish: 30,
            drop_grace: None,
            token: None,
            by: Actor::at(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            fresh_id: LeaseId(id),
            fresh_token: [0; 16],
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
        book.revision = draft.finish().0.last().map_or(book.revision, |last| last.revision);
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
        let proof = Proof { token: None, by: Actor::at(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
        let mut draft = book.draft();
        let departed = book.deregister(&Target::Id(id), &proof, Moment(2), &mut draft).unwrap();
        assert_eq!(departed.instance.content().zone(), "z", "told as it was");
        let handle = book.handle(id).unwrap();
        assert_eq!(book.leases.standing(handle), Standing::Dead);
        let kept = book.instance(handle);
        assert!(kept.content().labels().next().is_none() && kept.content().zone().is_empty());
        // The pair begins anew, with what is said now.
        let again = register(&mut book, 2, Moment(3));
        assert_eq!((again.outcome, again.instance.id), (Outcome::New, LeaseId(2)));
        assert_eq!(again.instance.content().zone(), "z");
    }

    #[test]
    fn a_commit_is_not_made_of_too_much() {
        let (reply, _) = oneshot::channel();
        let large = Command::Register { entries: vec![entry(1); 1000], at: Moment(0), reply };
        let small = || Command::EndStream {
            stream: book().leases.open_stream(false),
            end: StreamEnd::Server,
            at: Moment(0),
            by: Actor::at(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        assert_eq!(portion(&VecDeque::new()), 0);
        assert_eq!(portion(&VecDeque::from([small(), small()])), 2);
        let mut commands = VecDeque::from([large]);
        commands.extend((0..50).map(|_| small()));
        assert_eq!(portion(&commands), 25);
    }
}
