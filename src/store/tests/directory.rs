//! Stores in directories of a real file system.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::sample::{Held, options, registering};
use crate::{
    config::Durability,
    store::{
        Condition, Options, Store, StoreError,
        head::{self, Head, Mark, State},
        inspect,
    },
    types::{Epoch, Revision},
};

/// A directory that is gone when this is.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leasehold-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_is_committed_is_there_again() {
    for durability in [Durability::Sync, Durability::Os, Durability::None] {
        let scratch = Scratch::new();
        let dir = scratch.path().join("a/b");
        let (store, loaded) = Store::open(&dir, &options(durability)).unwrap();
        assert_eq!(loaded.condition, Condition::Created);
        let mut held = Held::of(&loaded);
        for revision in 1..=20 {
            let batch = registering(revision, [u128::from(revision), 1000 + u128::from(revision)], 50);
            held.apply(&batch);
            store.commit(batch).await.unwrap();
        }
        store.close().await.unwrap();
        let (_store, loaded) = Store::open(&dir, &options(durability)).unwrap();
        assert_eq!(loaded.condition, Condition::Clean);
        assert_eq!(loaded.epoch, Epoch(77));
        assert_eq!(Held::of(&loaded), held);
    }
}

#[tokio::test]
async fn a_directory_is_one_stores() {
    let scratch = Scratch::new();
    let options = options(Durability::Sync);
    let (store, _) = Store::open(scratch.path(), &options).unwrap();
    match Store::open(scratch.path(), &options) {
        Err(StoreError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    store.close().await.unwrap();
    Store::open(scratch.path(), &options).unwrap();
}

/// A directory with a store that was closed after some batches, and what it holds.
async fn filled(durability: Durability) -> (Scratch, Held) {
    let scratch = Scratch::new();
    let (store, loaded) = Store::open(scratch.path(), &options(durability)).unwrap();
    let mut held = Held::of(&loaded);
    for revision in 1..=5 {
        let batch = registering(revision, [u128::from(revision)], 50);
        held.apply(&batch);
        store.commit(batch).await.unwrap();
    }
    store.close().await.unwrap();
    (scratch, held)
}

/// Has the first page tell something else, as if a server had written it last.
fn rewrite_head(file: &Path, change: impl FnOnce(&mut Head)) {
    let mut bytes = fs::read(file).unwrap();
    let mut head = head::decode(&bytes[..head::PAGE]).unwrap().head;
    change(&mut head);
    head.sequence += 1;
    let (at, slot) = head.encode();
    bytes[at as usize..][..slot.len()].copy_from_slice(&slot);
    // In place, so that it stays the same file.
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all(&bytes).unwrap();
}

fn db(scratch: &Scratch) -> PathBuf {
    scratch.path().join("registry.db")
}

#[cfg(unix)]
#[tokio::test]
async fn what_it_makes_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let dir = scratch.path().join("data");
    let (store, _) = Store::open(&dir, &options(Durability::Sync)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("registry.db")), 0o600);
    assert_eq!(mode(&dir.join("lock")), 0o600);
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    drop(store);
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_alone() {
    let check = |bytes: &[u8], expect: fn(&StoreError) -> bool| {
        let scratch = Scratch::new();
        fs::write(db(&scratch), bytes).unwrap();
        let error = Store::open(scratch.path(), &options(Durability::Sync)).unwrap_err();
        assert!(expect(&error), "{error}");
        assert!(error.to_string().contains("registry.db"), "{error}");
        let error = inspect(scratch.path()).unwrap_err();
        assert!(expect(&error), "{error}");
        assert_eq!(fs::read(db(&scratch)).unwrap(), bytes);
    };
    check(b"", |error| matches!(error, StoreError::Damaged { .. }));
    check(&[b'x'; 10_000], |error| matches!(error, StoreError::Foreign { .. }));
    check(&head::page(), |error| matches!(error, StoreError::Damaged { .. }));
    let mut newer = head::page();
    newer[16..20].copy_from_slice(&99_u32.to_le_bytes());
    let crc = crc32fast::hash(&newer[..20]);
    newer[20..24].copy_from_slice(&crc.to_le_bytes());
    check(&newer, |error| matches!(error, StoreError::Newer { version: 99, known: head::VERSION, .. }));
    // A database of redb's own.
    let scratch = Scratch::new();
    drop(redb::Database::create(db(&scratch)).unwrap());
    let error = Store::open(scratch.path(), &options(Durability::Sync)).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_kill_keeps_the_epoch_where_everybody_waited() {
    for durability in [Durability::Sync, Durability::Os, Durability::None] {
        let (scratch, mut held) = filled(durability).await;
        let (store, _) = Store::open(scratch.path(), &options(durability)).unwrap();
        let batch = registering(6, [6], 50);
        store.commit(batch.clone()).await.unwrap();
        drop(store);
        let fresh = Options { fresh_epoch: Epoch(78), ..options(durability) };
        let (_store, loaded) = Store::open(scratch.path(), &fresh).unwrap();
        if durability == Durability::Sync {
            held.apply(&batch);
            assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Unclean, Epoch(77)));
            assert_eq!(Held::of(&loaded), held);
        } else {
            // What nobody waited for is gone, and is known to be.
            assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Lost(1), Epoch(78)));
            assert_eq!(Held::of(&loaded), held.afresh());
        }
    }
}

#[tokio::test]
async fn a_copy_begins_an_epoch_and_a_move_does_not() {
    let (scratch, held) = filled(Durability::Sync).await;
    let other = Scratch::new();
    fs::copy(db(&scratch), db(&other)).unwrap();
    let fresh = Options { fresh_epoch: Epoch(78), ..options(Durability::Sync) };
    assert_eq!(inspect(other.path()).unwrap().condition, Condition::Copy);
    let (store, loaded) = Store::open(other.path(), &fresh).unwrap();
    assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Copy, Epoch(78)));
    assert_eq!(Held::of(&loaded), held.clone().afresh());
    store.close().await.unwrap();
    drop(store);
    // From now on it is an original.
    let (_store, loaded) = Store::open(other.path(), &options(Durability::Sync)).unwrap();
    assert_eq!((loaded.condition, loaded.epoch), (Condition::Clean, Epoch(78)));

    let moved = Scratch::new();
    fs::rename(db(&scratch), db(&moved)).unwrap();
    let (_store, loaded) = Store::open(moved.path(), &fresh).unwrap();
    assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Clean, Epoch(77)));
    assert_eq!(Held::of(&loaded), held);
}

#[tokio::test]
async fn what_lost_acknowledged_batches_is_refused_unless_told() {
    let (scratch, held) = filled(Durability::Sync).await;
    rewrite_head(&db(&scratch), |head| {
        head.state = State::Open;
        head.acknowledged = Mark { batch: 9, revision: 8 };
    });
    let before = fs::read(db(&scratch)).unwrap();
    let error = Store::open(scratch.path(), &options(Durability::Sync)).unwrap_err();
    assert!(matches!(error, StoreError::Lost { found: 5, acknowledged: 8, .. }), "{error}");
    let report = inspect(scratch.path()).unwrap();
    assert_eq!((report.condition, report.refused), (Condition::Lost(3), true));
    assert_eq!((report.revision, report.acknowledged), (Revision(5), Revision(8)));
    assert!(fs::read(db(&scratch)).unwrap() == before);

    let accept = Options { accept_loss: true, fresh_epoch: Epoch(78), ..options(Durability::Sync) };
    let (store, loaded) = Store::open(scratch.path(), &accept).unwrap();
    assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Lost(3), Epoch(78)));
    assert_eq!(Held::of(&loaded), held.afresh());
    // The revision goes on where the file ended.
    store.commit(registering(6, [6], 10)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let (_store, loaded) = Store::open(scratch.path(), &options(Durability::Sync)).unwrap();
    assert_eq!((loaded.condition, loaded.epoch, loaded.revision), (Condition::Clean, Epoch(78), Revision(6)));
}

#[tokio::test]
async fn after_a_failed_sync_all_of_it_is_written_anew() {
    let (scratch, held) = filled(Durability::Sync).await;
    rewrite_head(&db(&scratch), |head| head.state = State::SyncFailed);
    let old = fs::File::open(db(&scratch)).unwrap();
    let (store, loaded) = Store::open(scratch.path(), &options(Durability::Sync)).unwrap();
    assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::SyncFailed, Epoch(77)));
    assert_eq!(Held::of(&loaded), held);
    // The old file has no name any more; what is there is another one.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(old.metadata().unwrap().nlink(), 0);
    }
    drop(old);
    store.commit(registering(6, [6], 10)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let (_store, loaded) = Store::open(scratch.path(), &options(Durability::Sync)).unwrap();
    assert_eq!((loaded.condition, loaded.revision), (Condition::Clean, Revision(6)));
}

#[tokio::test]
async fn what_a_creation_left_unfinished_is_begun_anew() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("registry.db.new"), b"half of it").unwrap();
    let (_store, loaded) = Store::open(scratch.path(), &options(Durability::Sync)).unwrap();
    assert_eq!(loaded.condition, Condition::Created);
    assert!(!scratch.path().join("registry.db.new").exists());
}

#[tokio::test]
async fn a_copy_of_what_failed_to_sync_is_a_copy() {
    let (scratch, held) = filled(Durability::Sync).await;
    rewrite_head(&db(&scratch), |head| head.state = State::SyncFailed);
    let other = Scratch::new();
    fs::copy(db(&scratch), db(&other)).unwrap();
    let fresh = Options { fresh_epoch: Epoch(78), ..options(Durability::Sync) };
    let (_store, loaded) = Store::open(other.path(), &fresh).unwrap();
    assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Copy, Epoch(78)));
    assert_eq!(Held::of(&loaded), held.afresh());
}
