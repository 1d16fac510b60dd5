//! What is left after a crash at any point: of the process, and of the machine.

use super::{
    memory::{Image, MemoryDisk, Op, now, open_here, open_on},
    sample::{Dice, Held, evictions, options, registering},
};
use crate::{
    config::Durability,
    store::{Batch, Condition, Options, Prune},
    types::{Epoch, LeaseId, Revision},
};

/// What a run did: the disk's changes, and what was acknowledged when so many were done.
struct Run {
    log: Vec<Op>,
    /// What the store holds after each batch, the empty one first.
    states: Vec<Held>,
    /// By batch: how many changes were done when it was acknowledged.
    acknowledged: Vec<usize>,
}

/// Batches of every kind, some without a revision, enough for the file to grow.
pub(super) fn batches() -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut revision = 0;
    for round in 0..14_u64 {
        revision += 1;
        let ids = (0..3).map(|i| u128::from(round * 3 + i + 1));
        batches.push(registering(revision, ids, if round == 6 { 60_000 } else { 200 }));
        if round % 3 == 2 {
            // What has no revision is acknowledged, too: a fresh token, somebody forgotten.
            let forgotten = LeaseId(u128::from(round));
            batches.push(Batch { records: vec![(forgotten, None)], ..Batch::default() });
        }
        if round % 5 == 4 {
            let prune = Prune { through: Revision(revision - 2), evicted: evictions(round * 1000) };
            batches.push(Batch { prune: Some(prune), ..Batch::default() });
        }
    }
    batches
}

/// Three lives of one store, of which the first one ends with a kill.
fn run(options: &Options) -> Run {
    let disk = MemoryDisk::new(Image::default());
    let mut run = Run { log: Vec::new(), states: vec![Held::default()], acknowledged: Vec::new() };
    let mut held = Held::default();
    let batches = batches();
    for (life, batches) in batches.chunks(batches.len().div_ceil(3)).enumerate() {
        let (store, loaded) = open_on(&disk, options).unwrap();
        if life == 0 {
            run.acknowledged.push(disk.done());
        } else if options.durability == Durability::Sync {
            assert_eq!(Held::of(&loaded), held);
        } else {
            held = Held::of(&loaded);
        }
        for batch in batches {
            held.apply(batch);
            now(store.commit(batch.clone())).unwrap();
            run.states.push(held.clone());
            run.acknowledged.push(disk.done());
        }
        if life > 0 {
            now(store.close()).unwrap();
        }
    }
    run.log = disk.log();
    run
}

impl Run {
    /// The last batch that was acknowledged when so many changes were done, if the store was
    /// there at all.
    fn acknowledged(&self, done: usize) -> Option<usize> {
        self.acknowledged.iter().rposition(|at| *at <= done)
    }

    /// Opens an image: nothing that was acknowledged may be missing.
    fn check(&self, image: Image, done: usize, what: &str) {
        let Some(acknowledged) = self.acknowledged(done) else { return };
        let disk = MemoryDisk::new(image);
        let fresh = Options { fresh_epoch: Epoch(1234), ..options(Durability::Sync) };
        let (_live, loaded) =
            open_here(&disk, &fresh).unwrap_or_else(|error| panic!("{what}, {done} changes: {error}"));
        let held = Held::of(&loaded);
        let batch = self.states.iter().position(|state| *state == held);
        let batch = batch.unwrap_or_else(|| panic!("{what}, {done} changes: no batch ends like this"));
        assert!(batch >= acknowledged, "{what}, {done} changes: batch {acknowledged} was lost");
        assert!(batch <= acknowledged + 1, "{what}, {done} changes: batch {batch} came from nowhere");
        assert_eq!(loaded.epoch, Epoch(77), "{what}, {done} changes");
        assert!(matches!(loaded.condition, Condition::Clean | Condition::Unclean), "{:?}", loaded.condition);
    }
}

#[test]
fn a_process_that_dies_at_any_point_loses_nothing_acknowledged() {
    let run = run(&options(Durability::Sync));
    let mut image = Image::default();
    for (done, op) in run.log.iter().enumerate() {
        run.check(image.clone(), done, "killed");
        image.apply(op);
    }
    run.check(image, run.log.len(), "stopped");
}

#[test]
fn a_machine_that_dies_at_any_point_loses_nothing_acknowledged() {
    let run = run(&options(Durability::Sync));
    let mut dice = Dice::new(0x5eed);
    let mut synced = Image::default();
    let mut since = 0;
    for done in 0..=run.log.len() {
        for _ in 0..10 {
            let mut image = synced.clone();
            for op in &run.log[since..done] {
                apply_some(&mut image, op, &mut dice);
            }
            run.check(image, done, "without power");
        }
        if run.log.get(done) == Some(&Op::Sync) {
            run.log[since..=done].iter().for_each(|op| synced.apply(op));
            since = done + 1;
        }
    }
}

/// What a disk may hold after so many changes, should the power fail then.
pub(super) fn without_power(log: &[Op], dice: &mut Dice) -> Image {
    let synced = log.iter().rposition(|op| *op == Op::Sync).map_or(0, |last| last + 1);
    let mut image = Image::default();
    log[..synced].iter().for_each(|op| image.apply(op));
    log[synced..].iter().for_each(|op| apply_some(&mut image, op, dice));
    image
}

/// A write that was not synced may have reached the disk, or not, or in part, by sectors.
fn apply_some(image: &mut Image, op: &Op, dice: &mut Dice) {
    match (dice.below(3), op) {
        (0, _) | (_, Op::Sync) => {}
        (1, op) | (_, op @ Op::SetLen(_)) => image.apply(op),
        (_, Op::Write(offset, bytes)) => {
            for (number, sector) in (0..).zip(bytes.chunks(512)) {
                if dice.below(2) == 0 {
                    image.write(offset + number * 512, sector);
                }
            }
        }
    }
}
