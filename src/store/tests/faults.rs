//! Disks that fail: what callers are told, what is written afterwards, and what is left.

use std::{sync::Arc, time::Duration};

use super::{
    crash::{batches, without_power},
    memory::{Fault, Image, MemoryDisk, Op, now, open_here, open_on},
    sample::{Dice, Held, options, registering},
};
use crate::{
    config::Durability,
    store::{
        Condition, Store, StoreError,
        head::{self, Mark, State},
    },
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What came of a run on a disk that failed.
struct Outcome {
    disk: Arc<MemoryDisk>,
    /// What the store held after each batch, the empty one first.
    states: Vec<Held>,
    /// Whether the store was made, and the last batch that was acknowledged.
    acknowledged: Option<usize>,
    error: Option<StoreError>,
}

/// Two lives with batches in each. Where there is no room it asks twice in vain, if the disk
/// stays full, then makes some.
fn run(durability: Durability, fault: Option<Fault>) -> Outcome {
    let disk = MemoryDisk::new(Image::default());
    disk.break_with(fault);
    let mut outcome = Outcome { disk, states: vec![Held::default()], acknowledged: None, error: None };
    outcome.error = live(&mut outcome, durability, fault).err();
    outcome
}

fn live(outcome: &mut Outcome, durability: Durability, fault: Option<Fault>) -> Result<(), StoreError> {
    let disk = Arc::clone(&outcome.disk);
    let full_for_long = fault.is_some_and(|fault| !fault.once);
    let make_room = |mut result: Result<(), StoreError>, again: &dyn Fn() -> Result<(), StoreError>| {
        for attempt in 0..3 {
            match result {
                Err(StoreError::Full { .. }) => {
                    if attempt == 2 || !full_for_long {
                        disk.break_with(None);
                    }
                    result = again();
                }
                result => return result,
            }
        }
        result
    };
    let all = batches();
    for batches in all.chunks(all.len().div_ceil(2)) {
        let (store, loaded) = open_on(&disk, &options(durability))?;
        outcome.acknowledged.get_or_insert(0);
        let mut held = Held::of(&loaded);
        for batch in batches {
            held.apply(batch);
            outcome.states.push(held.clone());
            let result = make_room(now(store.commit(batch.clone())), &|| now(store.retry()));
            if result.is_err() {
                assert!(store.trouble().is_some());
                let again = now(store.commit(registering(9999, [9999], 10)));
                assert!(matches!(again, Err(StoreError::Failed { .. })), "{again:?}");
            }
            result?;
            outcome.acknowledged = Some(outcome.states.len() - 1);
        }
        make_room(now(store.close()), &|| now(store.close()))?;
    }
    Ok(())
}

impl Outcome {
    fn check(&self, durability: Durability, fault: Fault) {
        let Some((done, op)) = self.disk.failed() else { return };
        let what = format!("{durability:?}, {fault:?}, {done} changes, {:?}", self.error);
        let full = fault.errno == ENOSPC && op != Op::Sync;
        let told = match &self.error {
            None | Some(StoreError::Full { .. }) => full,
            // The one of what is open, the other of what is being opened.
            Some(StoreError::Failed { .. } | StoreError::Io { .. }) => !full,
            Some(_) => false,
        };
        assert!(told, "{what}");
        let log = self.disk.log();
        if !full {
            self.check_silence(&log[done..], &op, &what);
        }
        let Some(acknowledged) = self.acknowledged else { return };
        self.check_left(self.disk.image(), acknowledged, durability, &what);
        if durability == Durability::Sync {
            let mut dice = Dice::new(fault.at as u64);
            for _ in 0..2 {
                let image = without_power(&log, &mut dice);
                self.check_left(image, acknowledged, durability, &format!("{what}, without power"));
            }
        }
    }

    /// Whoever comes after it finds everything that was acknowledged.
    fn check_left(&self, image: Image, acknowledged: usize, durability: Durability, what: &str) {
        let disk = MemoryDisk::new(image);
        let (_live, loaded) =
            open_here(&disk, &options(Durability::Sync)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let held = Held::of(&loaded);
        let batch = self
            .states
            .iter()
            .rposition(|state| *state == held || state.clone().afresh() == held)
            .unwrap_or_else(|| panic!("{what}: no batch ends like this"));
        if durability == Durability::Sync || self.error.is_none() {
            assert!(batch >= acknowledged, "{what}: batch {acknowledged} was lost");
        }
        assert!(batch <= acknowledged + 1, "{what}: batch {batch} came from nowhere");
    }

    /// Nothing is written after a failure; but after a failed sync one slot of the first page,
    /// which says so.
    fn check_silence(&self, after: &[Op], failed: &Op, what: &str) {
        match after {
            [] if *failed != Op::Sync => {}
            [Op::Write(at, slot)] if *failed == Op::Sync && [512, 1024].contains(at) => {
                assert_eq!(slot.len(), 64, "{what}");
                let mut page = vec![0; head::PAGE];
                self.disk.image().read(0, &mut page);
                assert_eq!(head::decode(&page).unwrap().head.state, State::SyncFailed, "{what}");
            }
            _ => panic!("{what}: written after it: {after:?}"),
        }
    }
}

fn every_failure(durability: Durability, errno: i32, once: bool) {
    let all = run(durability, None);
    assert!(all.error.is_none(), "{:?}", all.error);
    let changes = all.disk.done();
    assert!(changes > 100);
    for at in 0..changes {
        let fault = Fault { at, errno, once };
        run(durability, Some(fault)).check(durability, fault);
    }
}

#[test]
fn whatever_fails_for_good_loses_nothing() {
    every_failure(Durability::Sync, EIO, true);
}

#[test]
fn whatever_finds_no_room_once_is_written_later() {
    every_failure(Durability::Sync, ENOSPC, true);
}

#[test]
fn whatever_finds_no_room_for_long_is_written_later() {
    every_failure(Durability::Sync, ENOSPC, false);
}

#[test]
fn whatever_fails_where_nobody_waits_for_the_disk() {
    every_failure(Durability::Os, EIO, true);
    every_failure(Durability::Os, ENOSPC, false);
    every_failure(Durability::None, ENOSPC, true);
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not happen within 30 s");
}

fn syncs(disk: &MemoryDisk) -> usize {
    disk.log().iter().filter(|op| **op == Op::Sync).count()
}

fn kill(disk: &MemoryDisk, store: Store) -> Arc<MemoryDisk> {
    let image = disk.image();
    drop(store);
    MemoryDisk::new(image)
}

#[test]
fn with_os_a_batch_is_synced_without_another_one() {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::Os)).unwrap();
    let before = syncs(&disk);
    now(store.commit(registering(1, [1], 10))).unwrap();
    assert_eq!(syncs(&disk), before);
    wait_for("the sync", || syncs(&disk) > before);
    let (_, loaded) = open_here(&kill(&disk, store), &options(Durability::Os)).unwrap();
    assert_eq!((loaded.condition, loaded.revision.0), (Condition::Unclean, 1));
}

#[test]
fn with_none_what_waits_for_the_disk_is_bounded() {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::None)).unwrap();
    let before = syncs(&disk);
    for revision in 1..=10 {
        now(store.commit(registering(revision, [revision.into()], 4 << 20))).unwrap();
    }
    wait_for("the sync", || syncs(&disk) > before);
}

#[test]
fn with_os_what_waits_for_room_is_written_without_another_batch() {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::Os)).unwrap();
    now(store.commit(registering(1, [1], 10))).unwrap();
    disk.break_with(Some(Fault { at: 0, errno: ENOSPC, once: false }));
    wait_for("the failure", || matches!(store.trouble(), Some(StoreError::Full { .. })));
    disk.break_with(None);
    wait_for("the recovery", || store.trouble().is_none());
    now(store.commit(registering(2, [2], 10))).unwrap();
    now(store.close()).unwrap();
    drop(store);
    let (_, loaded) = open_here(&disk, &options(Durability::Os)).unwrap();
    assert_eq!((loaded.condition, loaded.revision.0, loaded.records.len()), (Condition::Clean, 2, 2));
}

#[test]
fn a_batch_out_of_order_is_refused() {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::Sync)).unwrap();
    now(store.commit(registering(1, [1], 10))).unwrap();
    let result = now(store.commit(registering(3, [2], 10)));
    assert!(matches!(result, Err(StoreError::Failed { .. })), "{result:?}");
    let (_, loaded) = open_here(&kill(&disk, store), &options(Durability::Sync)).unwrap();
    assert_eq!((loaded.revision.0, loaded.records.len()), (1, 1));
}

#[test]
fn a_write_that_redb_would_try_again_later_fails_the_store() {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::None)).unwrap();
    now(store.commit(registering(1, [1], 10))).unwrap();
    // More than redb holds in memory.
    let at = disk.done() + 20;
    disk.break_with(Some(Fault { at, errno: EIO, once: true }));
    let batch = registering(2, 2..=41, 1 << 20);
    let result = now(store.commit(batch));
    assert!(matches!(result, Err(StoreError::Failed { .. })), "{result:?}");
    assert_eq!(disk.failed().map(|(done, _)| done), Some(disk.done()), "written after it");
}

#[test]
fn a_failure_is_the_last_thing_that_is_done() {
    let disk = MemoryDisk::new(Image::default());
    let (live, _) = open_here(&disk, &options(Durability::Sync)).unwrap();
    let at = disk.done();
    disk.break_with(Some(Fault { at, errno: EIO, once: true }));
    live.backend.sync().unwrap_err();
    // The mark, and nothing else.
    assert_eq!(disk.done(), at + 1);
    live.backend.sync().unwrap_err();
    live.backend.write(0, &[1; 4096]).unwrap_err();
    live.backend.set_len(1 << 20).unwrap_err();
    live.backend.acknowledge(Mark { batch: 9, revision: 9 }).unwrap_err();
    drop(live);
    assert_eq!(disk.done(), at + 1);
}
