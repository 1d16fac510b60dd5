//! The embedded engine: truth in memory, one writer.
//!
//! The book (who is who, which leases live) stands behind one lock that is never held
//! across an await or a wait. Renewals of live leases take it and are answered at once.
//! Everything that makes a change goes through the writer, a single task: it drains its
//! queue, decides the batch under the lock, has it written where there is a store,
//! publishes the commits to the catalog, and only then answers. Expiry is the writer's
//! too, so there is one point at which a renewal and an expiry meet: the lock. A renewal
//! that finds its lease taken becomes a command like any other, and revives it after the
//! expiry was shown.

mod book;
mod draft;
mod keep;
mod names;
mod outage;
mod quota;
mod register;
mod scribe;
mod stream;
mod writer;

#[cfg(test)]
mod model;
#[cfg(test)]
pub use quota::NAMES as QUOTA_NAMES;

use std::{
    error::Error,
    panic::resume_unwind,
    path::Path,
    sync::{Arc, OnceLock, Weak},
    thread,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;
use ulid::Ulid;

use crate::{
    audit::Audit,
    catalog::Catalog,
    config::{LeaseConfig, Quotas, StoreConfig},
    lease::{Beat, Leases, Rules, Standing, StreamEnd, StreamId, Tally},
    metrics::Metrics,
    store::{self, Condition, Store, StoreError},
    types::{Actor, Content, Epoch, LeaseId, LeaseTimes, Moment, Packer, ServiceName, Target, WallTime},
};

use super::{
    Ask, Departed, Engine, Export, Health, Proof, Refusal, Registered, Registration, Renewed, TokenHash,
    Told, View, clock::Clock,
};
use book::{Book, BookRules, Now, Renewal};
use register::Entry;
use writer::{Command, Writer};

/// The embedded engine.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    /// Whether there is a store.
    durable: bool,
    /// Unbounded, for a stream's end must never be refused; what can stand in it is bounded
    /// by the requests that may be open.
    queue: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    view: View,
    clock: Clock,
    metrics: Arc<Metrics>,
    health: watch::Sender<Health>,
    /// Where changes are told beside the log.
    audit: OnceLock<Audit>,
    /// The writer's; it ends with the writer.
    store: Weak<Store>,
}

impl Embedded {
    /// Starts an empty registry that memory holds, and its writer, on the current tokio
    /// runtime. The writer ends when the engine is dropped.
    pub fn in_memory(
        leases: &LeaseConfig,
        quotas: &Quotas,
        history_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        // What memory held is gone with the process: its revisions are given anew.
        let catalog = Catalog::new(fresh_epoch(), history_bytes);
        Self::start(book(leases, quotas), catalog, Clock::start(), metrics, None)
    }

    /// The same, with all that a store holds, and a writer that keeps it there. Reading and
    /// verifying the store blocks.
    pub fn open(
        dir: &Path,
        store: &StoreConfig,
        leases: &LeaseConfig,
        quotas: &Quotas,
        history_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Condition), StoreError> {
        let clock = Clock::start();
        let options = store::Options {
            durability: store.durability,
            fresh_epoch: fresh_epoch(),
            anchor: clock.anchor(),
            accept_loss: store.accept_loss,
        };
        let (store, loaded) = Store::open(dir, &options)?;
        let listed = loaded.records.iter().filter(|record| record.standing == store::Standing::Live);
        let instances = listed.map(|record| record.instance.clone()).collect();
        let restore = || {
            let (commits, evicted) = (loaded.commits, loaded.evicted);
            Catalog::restored(loaded.epoch, loaded.revision, history_bytes, instances, commits, &evicted)
        };
        let mut book = book(leases, quotas).durable();
        let now = clock.now();
        let catalog = thread::scope(|scope| {
            // Beside the book: each of them takes as long.
            let restored = scope.spawn(restore);
            if !loaded.records.is_empty() {
                book.resume(loaded.records, Now { moment: now, wall: clock.wall(now) });
            }
            restored.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        book.revision = loaded.revision;
        Ok((Self::start(book, catalog, clock, metrics, Some(store)), loaded.condition))
    }

    fn start(
        book: Book,
        catalog: Catalog,
        clock: Clock,
        metrics: Arc<Metrics>,
        store: Option<Store>,
    ) -> Self {
        let (health, _) = watch::channel(Health::Serving);
        let store = store.map(Arc::new);
        let durable = store.is_some();
        let held = store.as_ref().map(Arc::downgrade).unwrap_or_default();
        let (book, view) = (Mutex::new(book), View::new(catalog));
        let shared =
            Arc::new(Shared { book, view, clock, metrics, health, audit: OnceLock::new(), store: held });
        let (queue, commands) = mpsc::unbounded_channel();
        tokio::spawn(Writer::new(Arc::clone(&shared), commands, store).run());
        Self { shared, durable, queue }
    }

    /// Has all changes from here on told to `audit`, too; once.
    pub fn audited_by(&self, audit: Audit) {
        // A second one would miss what the first was told.
        let _ = self.shared.audit.set(audit);
    }

    /// Runs `f` on the book at the time it is told, after looking for a stall.
    fn decide<T>(&self, f: impl FnOnce(&mut Book, Moment) -> T) -> T {
        self.shared.decide(f)
    }

    async fn command<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, Refusal>>, Moment) -> Command,
    ) -> Result<T, Refusal> {
        if let Some(failing) = self.failing() {
            return Err(failing);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(make(reply, self.now())).map_err(|_| Refusal::Closed)?;
        answer.await.map_err(|_| Refusal::Closed)?
    }

    /// Why nothing changes now, if that is so.
    fn failing(&self) -> Option<Refusal> {
        match &*self.shared.health.borrow() {
            Health::Serving => None,
            Health::Failing(reason) => Some(Refusal::Unavailable(Arc::clone(reason))),
        }
    }
}

fn book(config: &LeaseConfig, quotas: &Quotas) -> Book {
    let rules = BookRules {
        default_ttl: config.default_ttl.as_secs() as u32,
        min_ttl: config.min_ttl.as_secs() as u32,
        max_ttl: config.max_ttl.as_secs() as u32,
        duplicate_id: config.duplicate_id,
        require_token: config.require_lease_token,
    };
    let leases = Leases::new(Rules {
        window_micros: config.revive_window.as_micros() as u64,
        grace_micros: config.drop_grace.as_micros() as u64,
        brake: config.mass_expiry_brake,
    });
    Book::new(rules, leases).bounded(quotas.clone())
}

fn fresh_epoch() -> Epoch {
    Epoch(fresh_bits() as u64)
}

impl Shared {
    fn decide<T>(&self, f: impl FnOnce(&mut Book, Moment) -> T) -> T {
        let mut book = self.book.lock();
        let now = self.clock.now();
        if let Some(gap) = book.leases.notice(now) {
            self.metrics.stalls.inc();
            warn!(
                gap_ms = gap / 1000,
                "stalled: deadlines shift, streams that end within 10 s expire nobody"
            );
        }
        f(&mut book, now)
    }
}

#[async_trait]
impl Engine for Embedded {
    fn view(&self) -> &View {
        &self.shared.view
    }

    fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    fn wall(&self, moment: Moment) -> WallTime {
        self.shared.clock.wall(moment)
    }

    fn service_of(&self, id: LeaseId) -> Option<ServiceName> {
        self.shared.book.lock().service_of(id)
    }

    fn id_of(&self, service: &ServiceName, url: &str) -> Option<LeaseId> {
        let content = Content::new(service.clone(), Packer::new(url, &[]).finish("", 0));
        self.shared.book.lock().id_of(content.view())
    }

    fn last_renewal(&self, target: &Target, proof: &Proof) -> Option<Renewed> {
        self.shared.book.lock().last_renewal(target, proof)
    }

    fn times(&self, ids: &[LeaseId]) -> Vec<Option<LeaseTimes>> {
        let mut times = Vec::with_capacity(ids.len());
        for some in ids.chunks(1024) {
            // In portions: a long list must not keep renewals waiting.
            let book = self.shared.book.lock();
            times.extend(some.iter().map(|id| book.times(*id)));
        }
        times
    }

    async fn register(
        &self,
        registrations: Vec<Registration>,
    ) -> Result<Vec<Result<Registered, Refusal>>, Refusal> {
        let mut tokens = Vec::with_capacity(registrations.len());
        let entries = registrations
            .into_iter()
            .map(|registration| {
                let fresh = new_token();
                let entry = entry(registration, &fresh, &mut tokens);
                (entry, fresh)
            })
            .unzip::<Entry, String, Vec<_>, Vec<_>>();
        let (entries, fresh) = entries;
        let entered = self.command(|reply, at| Command::Register { entries, at, reply }).await?;
        let answers = entered.into_iter().zip(tokens.into_iter().zip(fresh));
        Ok(answers
            .map(|(entered, (sent, fresh))| {
                let entered = entered?;
                let token = if entered.fresh_token { fresh } else { sent.unwrap_or_default() };
                Ok(Registered {
                    instance: entered.instance,
                    times: entered.times,
                    outcome: entered.outcome,
                    token,
                })
            })
            .collect())
    }

    async fn renew(&self, target: Target, proof: Proof) -> Result<Renewed, Refusal> {
        match self.decide(|book, now| (book.renew(&target, &proof, now), book.in_doubt)) {
            (Ok(Renewal::Done(renewed)), _) => Ok(renewed),
            (Err(refusal), false) => Err(refusal),
            // To be brought back; or refused by what may never be written: the writer knows.
            (Ok(Renewal::NeedsCommit) | Err(_), _) => {
                self.command(|reply, at| Command::Restore { target, proof, at, reply }).await
            }
        }
    }

    async fn deregister(&self, target: Target, proof: Proof) -> Result<Departed, Refusal> {
        self.command(|reply, _| Command::Deregister { target, proof, reply }).await
    }

    fn open_stream(&self, proxied: bool) -> StreamId {
        self.shared.book.lock().leases.open_stream(proxied)
    }

    fn keep(&self, stream: StreamId, asks: &[Ask], told: &mut Vec<Told>) {
        self.decide(|book, now| book.keep(stream, asks, now, told));
    }

    async fn attach(
        &self,
        stream: StreamId,
        leases: Vec<(LeaseId, Option<TokenHash>)>,
        by: Actor,
    ) -> Result<Vec<(LeaseId, Refusal)>, Refusal> {
        let mut refused = Vec::new();
        let mut restore = Vec::new();
        self.decide(|book, now| {
            for (id, token) in leases {
                match book.attach(stream, id, token, now) {
                    Ok(Standing::Live) => {}
                    Err(refusal) if !book.in_doubt => refused.push((id, refusal)),
                    // To be brought back; or refused by what may never be written.
                    Ok(_) | Err(_) => restore.push((id, token)),
                }
            }
        });
        if !restore.is_empty() {
            let more =
                self.command(|reply, at| Command::Attach { stream, leases: restore, by, at, reply }).await?;
            refused.extend(more);
        }
        Ok(refused)
    }

    fn detach(&self, stream: StreamId, ids: &[LeaseId]) -> Vec<LeaseId> {
        self.decide(|book, now| {
            if ids.is_empty() {
                book.leases.detach_all(stream, now);
            }
            book.detach(stream, ids, now).collect()
        })
    }

    fn beat(&self, stream: StreamId) {
        self.decide(|book, now| book.leases.beat(stream, now));
    }

    fn answer(&self, stream: StreamId) -> Beat {
        self.shared.book.lock().leases.answer(stream)
    }

    fn end_stream(&self, stream: StreamId, end: StreamEnd, at: Moment, by: Actor) {
        // The writer is gone only when the server is: then nothing expires any more.
        let _ = self.queue.send(Command::EndStream { stream, end, at, by });
    }

    fn tally(&self) -> Tally {
        self.shared.book.lock().leases.tally().clone()
    }

    fn freeze(&self) {
        self.decide(|book, _| book.leases.freeze());
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn export(&self) -> Result<Export, Refusal> {
        if !self.durable {
            return Err(Refusal::KeepsNothing);
        }
        let store = self.shared.store.upgrade().ok_or(Refusal::Closed)?;
        store.export().map_err(|error| Refusal::Unavailable(error.to_string().into()))
    }

    async fn close(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Command::Close { reply }).is_err() {
            return Ok(());
        }
        answer.await.map_err(|_| "the writer ended before it had closed the store")?.map_err(Into::into)
    }
}

fn entry(registration: Registration, fresh: &str, tokens: &mut Vec<Option<String>>) -> Entry {
    let token = registration.token.as_deref().map(hash_token);
    tokens.push(registration.token);
    Entry {
        client_id: registration.client_id,
        content: registration.content,
        ttl_wish: registration.ttl_wish,
        drop_grace: registration.drop_grace,
        token,
        by: registration.by,
        fresh_id: LeaseId(Ulid::generate().0),
        fresh_token: hash_token(fresh),
    }
}

/// The hash under which a lease token is kept.
pub fn hash_token(token: &str) -> TokenHash {
    let whole: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    whole.first_chunk().copied().unwrap_or_default()
}

/// 128 random bits as 32 hexadecimal digits.
fn new_token() -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = fresh_bits();
    (0..32).rev().map(|digit| char::from(DIGITS[(bits >> (4 * digit)) as usize & 15])).collect()
}

/// Of a generator that cannot be foreseen, one for each thread, seeded by the system over and
/// over: the system itself would be asked by a call for each registration.
fn fresh_bits() -> u128 {
    rand::random()
}
