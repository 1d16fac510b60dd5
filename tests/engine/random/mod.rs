//! Whatever clients do at once, and whenever the engine ends: some hundreds of random orders
//! by several tasks, over several lives of an engine, recorded, and then held against what
//! must be true of any history (`check`).
//!
//! Chance is a seed's, which a failure prints; who comes first is not. `LEASEHOLD_TEST_SEED` takes
//! one again.

mod act;
mod check;
mod record;
#[path = "../../gateway/generate/rng.rs"]
mod rng;
mod watch;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use leasehold::{
    catalog::{Cursor, Since},
    engine::Engine,
    types::Filter,
};

use crate::{
    rig::{replica, wait_for, within},
    subject::{End, Remembers, Settings, Subject, keeps_epoch},
};

use self::{
    check::{Past, check},
    record::{Epoch, Life, Order, Read, What},
    rng::Rng,
};

const LIVES: usize = 4;
const CLIENTS: usize = 4;
/// After so many orders of all clients, a life ends.
const ORDERS: usize = 300;

pub async fn every_history_is_sound<S: Subject>() {
    let seed = Seed::new();
    let mut rng = Rng::new(seed.0);
    let mut subject = S::new();
    let settings = Settings::default();

    let mut engine = subject.start(&settings).await;
    let mut epoch = Epoch::begins(&*engine);
    let mut past = Past::default();
    let mut watchers = watch::watchers(&epoch);
    let mut ends = Vec::new();
    for _ in 0..LIVES {
        let life = Arc::new(Life::new(engine.clone(), epoch.base.0));
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| tokio::spawn(act::client(life.clone(), Rng::new(rng.bits())))).collect();
        let readers: Vec<_> =
            watchers.into_iter().map(|watcher| tokio::spawn(watcher.follow(life.clone()))).collect();
        let looker = tokio::spawn(watch::look(life.clone(), Rng::new(rng.bits())));
        wait_for("the orders", || (life.orders.load(Ordering::Relaxed) >= ORDERS).then_some(())).await;

        // Of each two, one is of either kind.
        let end = match ends.last() {
            Some(End::Stop) if ends.len() % 2 == 1 => End::Kill,
            Some(End::Kill) if ends.len() % 2 == 1 => End::Stop,
            _ => rng.pick(&[End::Stop, End::Kill]),
        };
        ends.push(end);
        match end {
            End::Stop => subject.stop().await,
            End::Kill => {
                life.dead.store(true, Ordering::SeqCst);
                subject.kill().await;
            }
        }
        life.over.store(true, Ordering::SeqCst);
        for client in clients {
            within("a client", client).await.unwrap();
        }
        watchers = Vec::new();
        for reader in readers {
            watchers.push(within("a reader", reader).await.unwrap());
        }
        within("a reader", looker).await.unwrap();
        if end == End::Kill {
            // Who was killed may have written what nobody has seen: it shall be seen.
            let (began, last) = (Instant::now(), vec![replica("marker", "http://marker:1")]);
            let _ = within("an answer", engine.register(last.clone())).await;
            life.log.lock().push(Order { began, ended: Instant::now(), what: What::Register(last, None) });
        }
        epoch.take(&life, history(&*engine, &epoch));

        engine = subject.start(&settings).await;
        let next = Epoch::begins(&*engine);
        if keeps_epoch::<S>(end) {
            assert_eq!(next.number, epoch.number, "after {end:?}");
            epoch.reads.push(Read::List { revision: next.base.0, instances: next.base.1 });
            continue;
        }
        check(&epoch, &mut past);
        assert!(!past.epochs.contains(&next.number), "after {end:?} an epoch begins that never was");
        match S::REMEMBERS {
            Remembers::Nothing => assert_eq!(next.base.1, [], "it begins with nothing"),
            Remembers::AfterStop | Remembers::Always => {
                assert!(epoch.ever_listed(&next.base.1), "after {end:?} there is what was at some revision");
            }
        }
        epoch = next;
        watchers = watch::watchers(&epoch);
    }
    // The last life: what is there, and how it came to be.
    let (revision, instances) = Epoch::begins(&*engine).base;
    epoch.history = history(&*engine, &epoch);
    epoch.reads.push(Read::List { revision, instances });
    check(&epoch, &mut past);
    past.was_lively();
}

/// All that was told since an epoch began.
fn history(engine: &dyn Engine, epoch: &Epoch) -> Vec<record::Change> {
    let catalog = engine.view().read();
    let since = catalog.since(Cursor(epoch.base.0), &Filter::default(), usize::MAX);
    let Since::Deltas(deltas, cursor) = since else { panic!("nothing has left the history") };
    assert_eq!(cursor.0, catalog.revision(), "all at once");
    record::changes(engine, deltas)
}

/// Said when a run fails.
struct Seed(u64);

impl Seed {
    fn new() -> Self {
        Self(match std::env::var("LEASEHOLD_TEST_SEED") {
            Ok(seed) => seed.parse().expect("LEASEHOLD_TEST_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        })
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("LEASEHOLD_TEST_SEED={}", self.0);
        }
    }
}
