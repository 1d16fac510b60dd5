//! Damage anywhere in the file: it is refused, or it is of no consequence.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    memory::{Image, MemoryDisk, now, open_here, open_on},
    sample::{Dice, Held, evictions, options, registering},
};
use crate::{
    config::Durability,
    store::{Batch, Options, Prune, StoreError, disk::Disk, open, tables},
    types::{Epoch, LeaseId, Revision},
};

/// A file, and what is in it.
struct Sample {
    name: &'static str,
    image: Image,
    /// The blocks of it that something was written to.
    used: Vec<u64>,
    held: Held,
}

/// A file of every kind of content, as a stop leaves it or as a kill does.
fn sample(stopped: bool) -> Sample {
    let disk = MemoryDisk::new(Image::default());
    let options = options(Durability::Sync);
    let (store, loaded) = open_on(&disk, &options).unwrap();
    let mut held = Held::of(&loaded);
    let mut commit = |batch: Batch| {
        held.apply(&batch);
        now(store.commit(batch)).unwrap();
    };
    for revision in 1..=20_u64 {
        let ids = (0..10).map(|i| u128::from(revision * 10 + i));
        commit(registering(revision, ids, 100));
    }
    let prune = Prune { through: Revision(16), evicted: evictions(1) };
    commit(Batch { prune: Some(prune), ..Batch::default() });
    commit(Batch { records: vec![(LeaseId(17), None)], ..Batch::default() });
    let image = if stopped {
        now(store.close()).unwrap();
        disk.image()
    } else {
        disk.image()
    };
    let used = image.used();
    Sample { name: if stopped { "stopped" } else { "killed" }, image, used, held }
}

/// How damaged files fared.
#[derive(Debug, Default)]
struct Tally {
    refused: AtomicUsize,
    recovered: AtomicUsize,
}

impl Sample {
    fn check(&self, image: Image, tally: &Tally, what: &dyn Fn() -> String) {
        let disk = MemoryDisk::new(image);
        let options = Options { fresh_epoch: Epoch(1234), ..options(Durability::Sync) };
        match open_here(&disk, &options) {
            Err(error) => {
                let expected = matches!(
                    error,
                    StoreError::Damaged { .. }
                        | StoreError::Lost { .. }
                        | StoreError::Foreign { .. }
                        | StoreError::Newer { .. }
                );
                assert!(expected, "{} {}: {error}", self.name, what());
                assert_eq!(disk.done(), 0, "{} {}: changed, and refused: {error}", self.name, what());
                tally.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok((_live, loaded)) => {
                assert!(Held::of(&loaded) == self.held, "{} {}: other content", self.name, what());
                assert_eq!(loaded.epoch, Epoch(77), "{} {}", self.name, what());
                tally.recovered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A place for a flip: anywhere, in the first pages, or in a page that is in use.
    fn place(&self, dice: &mut Dice) -> u64 {
        match dice.below(4) {
            0 | 1 => dice.below(self.image.len()),
            2 => dice.below(12 << 10),
            _ => (self.used[dice.below(self.used.len() as u64) as usize] * 4096 + dice.below(4096))
                .min(self.image.len() - 1),
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_or_of_no_consequence() {
    const SEED: u64 = 0x1ea5_e401d;
    std::thread::scope(|scope| {
        for stopped in [true, false] {
            scope.spawn(move || {
                let sample = sample(stopped);
                let tally = Tally::default();
                let mut dice = Dice::new(SEED + u64::from(stopped));
                for _ in 0..10_000 {
                    let (place, bit) = (sample.place(&mut dice), dice.below(8) as u32);
                    let mut image = sample.image.clone();
                    image.flip(place, bit);
                    sample.check(image, &tally, &|| format!("with bit {bit} of byte {place} flipped"));
                }
                assert!(tally.refused.into_inner() > 1000);
                assert!(tally.recovered.into_inner() > 1000);
            });
        }
    });
}

#[test]
fn a_file_that_is_cut_short_is_refused_or_of_no_consequence() {
    for stopped in [true, false] {
        let sample = sample(stopped);
        let tally = Tally::default();
        for cut in 1..=4096 {
            let mut image = sample.image.clone();
            image.set_len(image.len() - cut);
            sample.check(image, &tally, &|| format!("cut by {cut} bytes"));
        }
        assert!(tally.refused.into_inner() >= 4095);
        // Nor is any other end of it a store, the empty one least of all.
        let lengths = [0, 1, 23, 24, 511, 512, 600, 1024, 1088, 4095, 4096, 4097, 8192, 12287, 12288, 16384];
        for len in lengths {
            let mut image = sample.image.clone();
            image.set_len(len);
            let disk = MemoryDisk::new(image);
            let path = std::path::Path::new("memory");
            let disk: std::sync::Arc<dyn Disk> = disk;
            let error = open::examine(&disk, path, tables::load_meta).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{len}: {error}");
        }
    }
}

#[test]
fn a_page_in_anothers_place_is_refused_or_of_no_consequence() {
    for stopped in [true, false] {
        let sample = sample(stopped);
        let tally = Tally::default();
        let mut dice = Dice::new(3);
        let used = &sample.used;
        for block in used {
            for _ in 0..4 {
                let other = used[dice.below(used.len() as u64) as usize];
                let mut bytes = vec![0; 4096];
                sample.image.read(other * 4096, &mut bytes);
                let mut image = sample.image.clone();
                image.write(block * 4096, &bytes);
                sample.check(image, &tally, &|| format!("with page {other} in the place of {block}"));
            }
            let mut image = sample.image.clone();
            image.write(block * 4096, &[0; 4096]);
            image.set_len(sample.image.len());
            sample.check(image, &tally, &|| format!("with page {block} empty"));
        }
        assert!(tally.refused.into_inner() > 50);
    }
}
