//! What is noted of a run: orders with their answers, and what readers were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Instant,
};

use leasehold::{
    catalog::{Delta, Event},
    engine::{Departed, Engine, Refusal, Registered, Registration},
    types::{Filter, Instance, LeaseId, Revision, Target, WallTime},
};
use parking_lot::Mutex;

use crate::follower::take;

/// One life of an engine, while clients and readers are at it.
pub struct Life {
    pub engine: Arc<dyn Engine>,
    /// Where its epoch began.
    pub base: Revision,
    /// Whether it was killed: what it says from now on is no answer, and nothing to be read.
    pub dead: AtomicBool,
    /// Whether everybody shall leave.
    pub over: AtomicBool,
    /// How many orders were given.
    pub orders: AtomicUsize,
    /// Until then nobody orders anything, so that leases lapse.
    pub lull: Mutex<Instant>,
    /// Ids that somebody was told of lately.
    pub known: Mutex<Vec<LeaseId>>,
    pub log: Mutex<Vec<Order>>,
    pub reads: Mutex<Vec<Read>>,
}

impl Life {
    pub fn new(engine: Arc<dyn Engine>, base: Revision) -> Self {
        let known = listed(&*engine).iter().map(|instance| instance.id).collect();
        Self {
            engine,
            base,
            dead: AtomicBool::new(false),
            over: AtomicBool::new(false),
            orders: AtomicUsize::new(0),
            lull: Mutex::new(Instant::now()),
            known: Mutex::new(known),
            log: Mutex::default(),
            reads: Mutex::default(),
        }
    }
}

/// One order, and what was said to it.
#[derive(Debug)]
pub struct Order {
    pub began: Instant,
    pub ended: Instant,
    pub what: What,
}

/// An order with its answer; none if nobody was there to hear it, so that nobody knows
/// whether it came to be.
#[derive(Debug)]
pub enum What {
    Register(Vec<Registration>, Option<Vec<Result<Registered, Refusal>>>),
    /// Whom it renewed, and when it counts from.
    Renew(Target, Option<Result<(LeaseId, WallTime), Refusal>>),
    Deregister(Target, Option<Result<Departed, Refusal>>),
    /// Who could not be attached.
    Attach(Vec<LeaseId>, Option<Vec<(LeaseId, Refusal)>>),
}

/// What a reader was told.
#[derive(Debug)]
pub enum Read {
    /// Everything that was listed at some revision.
    List { revision: Revision, instances: Vec<Instance> },
    /// Everything of these services.
    Snapshot { revision: Revision, filter: Filter, instances: Vec<Instance> },
    /// What came after one revision, up to another one.
    Since { after: Revision, to: Revision, filter: Filter, told: Vec<(Revision, Event)> },
}

/// A revision of a history, with its times as people read them: moments are each life's own.
#[derive(Debug)]
pub struct Change {
    pub delta: Delta,
    /// Of each event, the last renewal and the deadline.
    pub times: Vec<(WallTime, WallTime)>,
}

pub fn changes(engine: &dyn Engine, deltas: Vec<Delta>) -> Vec<Change> {
    let times = |event: &Event| (engine.wall(event.times.renewed), engine.wall(event.times.deadline));
    let change = |delta: Delta| Change { times: delta.events.iter().map(times).collect(), delta };
    deltas.into_iter().map(change).collect()
}

/// What is listed, by id.
pub fn listed(engine: &dyn Engine) -> Vec<Instance> {
    let catalog = engine.view().read();
    let mut list: Vec<_> = catalog.matching(&Filter::default()).cloned().collect();
    list.sort_by_key(|instance| instance.id);
    list
}

/// Everything that was noted of an epoch.
#[derive(Debug)]
pub struct Epoch {
    pub number: u64,
    /// Where it began: the revision, and what was listed.
    pub base: (Revision, Vec<Instance>),
    /// All that was told since, as it was when the last of its lives ended.
    pub history: Vec<Change>,
    pub orders: Vec<Order>,
    pub reads: Vec<Read>,
}

impl Epoch {
    /// Whatever epoch an engine is in, from now on.
    pub fn begins(engine: &dyn Engine) -> Self {
        // Nobody writes yet but the passing of time.
        let (number, revision, instances) = {
            let catalog = engine.view().read();
            let mut list: Vec<_> = catalog.matching(&Filter::default()).cloned().collect();
            list.sort_by_key(|instance| instance.id);
            (catalog.epoch().0, catalog.revision(), list)
        };
        Self { number, base: (revision, instances), history: vec![], orders: vec![], reads: vec![] }
    }

    /// A life of it has ended.
    pub fn take(&mut self, life: &Life, history: Vec<Change>) {
        self.history = history;
        self.orders.append(&mut life.log.lock());
        self.reads.append(&mut life.reads.lock());
    }

    /// What was listed at each revision.
    pub fn lists(&self) -> BTreeMap<Revision, BTreeMap<LeaseId, Instance>> {
        let mut live: BTreeMap<_, _> =
            self.base.1.iter().map(|instance| (instance.id, instance.clone())).collect();
        let mut lists = BTreeMap::from([(self.base.0, live.clone())]);
        let mut last = self.base.0;
        for Change { delta, .. } in &self.history {
            take(&mut live, delta, leasehold::catalog::Cursor(last));
            last = delta.revision;
            lists.insert(last, live.clone());
        }
        lists
    }

    /// Whether this was all that was listed at some revision.
    pub fn ever_listed(&self, list: &[Instance]) -> bool {
        self.lists().values().any(|then| then.values().eq(list))
    }
}
