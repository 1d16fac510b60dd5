//! Backups, and what inspection says of stores and of them.

use std::{fs, io};

use super::{
    directory::Scratch,
    memory::{Image, MemoryDisk, now, open_on},
    sample::{Held, options, record, registering},
};
use crate::{
    config::Durability,
    store::{BackupFile, Batch, Condition, Export, FORMAT, Options, Standing, Store, StoreError, inspect},
    types::{Epoch, LeaseId, Revision, Status, WallTime},
};

fn write(export: Export, path: &std::path::Path) -> Result<(), StoreError> {
    let count = export.registrations();
    let mut file = BackupFile::create(path, export.epoch(), export.revision())?;
    for portion in export {
        for (id, value) in portion? {
            file.push(id, value)?;
        }
    }
    file.finish(count)
}

#[tokio::test]
async fn a_backup_restores_what_was_there_when_it_began() {
    for durability in [Durability::Sync, Durability::Os, Durability::None] {
        let scratch = Scratch::new();
        let (store, loaded) = Store::open(&scratch.path().join("a"), &options(durability)).unwrap();
        let mut held = Held::of(&loaded);
        // Several portions of it.
        for revision in 1..=20 {
            let ids = (0..20).map(|i| u128::from(revision * 100 + i));
            let batch = registering(revision, ids, 2000);
            held.apply(&batch);
            store.commit(batch).await.unwrap();
        }
        let export = store.export().unwrap();
        assert_eq!(
            (export.registrations(), export.revision(), export.epoch()),
            (400, Revision(20), Epoch(77))
        );
        // What happens from now on is not in it.
        for revision in 21..=40 {
            let gone = (LeaseId(u128::from((revision - 20) * 100)), None);
            let batch = Batch { records: vec![gone], ..registering(revision, [revision.into()], 2000) };
            store.commit(batch).await.unwrap();
        }
        let path = scratch.path().join("backup");
        write(export, &path).unwrap();
        let names = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
        store.close().await.unwrap();

        let report = inspect(&path).unwrap();
        assert_eq!((report.condition, report.refused, report.live), (Condition::Copy, false, 400));
        assert_eq!((report.revision, report.epoch, report.history), (Revision(20), Epoch(77), None));

        let dir = scratch.path().join("b");
        fs::create_dir(&dir).unwrap();
        fs::copy(&path, dir.join("registry.db")).unwrap();
        let fresh = Options { fresh_epoch: Epoch(78), ..options(durability) };
        let (_store, loaded) = Store::open(&dir, &fresh).unwrap();
        assert_eq!((loaded.condition.clone(), loaded.epoch), (Condition::Copy, Epoch(78)));
        assert_eq!(Held::of(&loaded), held.afresh());
        // The backup itself may be moved there as well.
        let dir = scratch.path().join("c");
        fs::create_dir(&dir).unwrap();
        fs::rename(&path, dir.join("registry.db")).unwrap();
        let (_store, loaded) = Store::open(&dir, &fresh).unwrap();
        assert_eq!((loaded.condition, loaded.epoch), (Condition::Copy, Epoch(78)));
    }
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_leaves_no_half_of_itself() {
    let scratch = Scratch::new();
    let (store, _) = Store::open(&scratch.path().join("a"), &options(Durability::Sync)).unwrap();
    store.commit(registering(1, [1, 2], 10)).await.unwrap();
    let path = scratch.path().join("backup");
    let begin = || BackupFile::create(&path, Epoch(1), Revision(1)).unwrap();
    let push_all = |file: &mut BackupFile| {
        for (id, value) in store.export().unwrap().flat_map(Result::unwrap) {
            file.push(id, value).unwrap();
        }
    };
    let names = || fs::read_dir(scratch.path()).unwrap().count();

    // One that was given up.
    let mut file = begin();
    push_all(&mut file);
    drop(file);
    assert_eq!(names(), 1);
    // One that is not all of it.
    let mut file = begin();
    push_all(&mut file);
    let error = file.finish(3).unwrap_err();
    assert!(error.to_string().contains("it was to have 3 registrations, and has 2"), "{error}");
    assert_eq!(names(), 1);
    // One whose bytes changed on their way.
    let mut file = begin();
    let (id, value) = store.export().unwrap().flat_map(Result::unwrap).next().unwrap();
    let mut changed = value.to_vec();
    changed[3] ^= 1;
    assert!(matches!(file.push(id, changed.into()), Err(StoreError::Damaged { .. })));
    assert!(matches!(file.push(LeaseId(9), value), Err(StoreError::Damaged { .. })));
    drop(file);
    // One whose name is taken, before or meanwhile.
    let mut file = begin();
    push_all(&mut file);
    fs::write(&path, b"mine").unwrap();
    let taken = |error: StoreError| match error {
        StoreError::Io { source, .. } => assert_eq!(source.kind(), io::ErrorKind::AlreadyExists),
        error => panic!("{error}"),
    };
    taken(file.finish(2).unwrap_err());
    taken(BackupFile::create(&path, Epoch(1), Revision(1)).unwrap_err());
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(names(), 2);
    // And one of a store that is closed meanwhile.
    let export = store.export().unwrap();
    store.close().await.unwrap();
    for portion in export {
        assert!(matches!(portion, Ok(_) | Err(StoreError::Io { .. })), "{portion:?}");
    }
    assert!(matches!(store.export(), Err(StoreError::Failed { .. })));
}

#[tokio::test]
async fn a_store_is_inspected_when_nobody_uses_it() {
    let scratch = Scratch::new();
    let absent = |path: &std::path::Path| assert!(matches!(inspect(path), Err(StoreError::Absent { .. })));
    absent(scratch.path());
    absent(&scratch.path().join("elsewhere"));
    let (store, _) = Store::open(scratch.path(), &options(Durability::Os)).unwrap();
    let mut batch = registering(1, 1..=10, 100);
    for (at, (_, entry)) in batch.records.iter_mut().enumerate() {
        let mut changed = entry.clone().unwrap();
        match at {
            0 => changed.standing = Standing::Dead(WallTime(5)),
            1 | 2 => changed.standing = Standing::Lapsed(WallTime(6)),
            3 => {
                changed = record(&changed.instance.with(|head| head.status = Status::Suspect));
            }
            _ => {}
        }
        *entry = Some(changed);
    }
    store.commit(batch).await.unwrap();
    store.commit(registering(2, [11], 100)).await.unwrap();
    let file = scratch.path().join("registry.db");
    assert!(matches!(inspect(scratch.path()), Err(StoreError::InUse { .. })));
    assert!(matches!(inspect(&file), Err(StoreError::InUse { .. })));
    store.close().await.unwrap();
    let before = fs::read(&file).unwrap();
    let report = inspect(scratch.path()).unwrap();
    assert_eq!(report, inspect(&file).unwrap());
    assert_eq!((report.bytes, report.format, &report.path), (before.len() as u64, FORMAT, &file));
    assert_eq!((report.condition.clone(), report.refused), (Condition::Clean, false));
    assert_eq!((report.durability, report.epoch), (Durability::Os, Epoch(77)));
    assert_eq!((report.revision, report.acknowledged), (Revision(2), Revision(2)));
    assert_eq!((report.live, report.suspect, report.lapsed, report.dead), (8, 1, 2, 1));
    // Ids 4 to 11 are of seven services.
    assert_eq!(report.services, 7);
    assert_eq!((report.history, report.commits), (Some((Revision(1), Revision(2))), 2));
    assert!(fs::read(&file).unwrap() == before);
}

#[test]
fn a_view_is_whole_while_batches_go_on() {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::Sync)).unwrap();
    now(store.commit(registering(1, 1..=3000, 300))).unwrap();
    let export = store.export().unwrap();
    let reader = std::thread::spawn(move || {
        let portions: Vec<_> = export.map(Result::unwrap).collect();
        assert!(portions.len() > 2);
        portions.into_iter().flatten().map(|(id, _)| id.0).collect::<Vec<_>>()
    });
    for revision in 2..=60 {
        let records = (0..50).map(|i| (LeaseId(u128::from(revision * 50 + i)), None)).collect();
        now(store.commit(Batch { records, ..registering(revision, [9999], 10) })).unwrap();
    }
    assert_eq!(reader.join().unwrap(), (1..=3000).collect::<Vec<_>>());
}
