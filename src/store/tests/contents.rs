//! Tables whose pages are whole, and which still do not say what was once written.

use std::{path::Path, sync::Arc};

use prost::Message;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{
    former::{CommitValue, InstanceValue, RecordValue},
    memory::{Image, MemoryDisk, now, open_here, open_on},
    sample::{ANCHOR, Held, evictions, instance, options, record, registering},
};
use crate::{
    config::Durability,
    store::{
        Batch, Condition, Prune, StoreError,
        disk::Disk,
        head, open, tables,
        value::{ContentValue, EvictionsValue, Meta, Place},
    },
    types::{Head, Instance, LeaseId, Revision},
};

const REGISTRATIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("registrations");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const EVICTED: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("evicted");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const WHOLE: Meta = Meta {
    format: head::VERSION,
    epoch: 77,
    revision: 6,
    batch: 7,
    registrations: 6,
    commits: 4,
    evictions: 5000,
};

/// Ids 1 to 6 at revisions 1 to 6, of which the history knows 3 to 6, and 5,000 evictions.
fn image() -> Image {
    let disk = MemoryDisk::new(Image::default());
    let (store, _) = open_on(&disk, &options(Durability::Sync)).unwrap();
    for revision in 1..=6 {
        now(store.commit(registering(revision, [revision.into()], 20))).unwrap();
    }
    let evicted = (0..50).flat_map(|i| evictions(i * 100)).collect();
    let prune = Prune { through: Revision(2), evicted };
    now(store.commit(Batch { prune: Some(prune), ..Batch::default() })).unwrap();
    now(store.close()).unwrap();
    disk.image()
}

/// Where a value is.
#[derive(Clone, Copy)]
enum At {
    Registration(u128),
    Commit(u64),
    Evictions(u32),
    Meta,
}

impl At {
    fn read(self, txn: &WriteTransaction) -> Vec<u8> {
        macro_rules! read {
            ($table:expr, $key:expr) => {
                txn.open_table($table).unwrap().get($key).unwrap().unwrap().value().to_vec()
            };
        }
        match self {
            Self::Registration(key) => read!(REGISTRATIONS, key),
            Self::Commit(key) => read!(HISTORY, key),
            Self::Evictions(key) => read!(EVICTED, key),
            Self::Meta => read!(META, "store"),
        }
    }

    fn write(self, txn: &WriteTransaction, value: Option<&[u8]>) {
        macro_rules! write {
            ($table:expr, $key:expr) => {{
                let mut table = txn.open_table($table).unwrap();
                match value {
                    Some(value) => drop(table.insert($key, value).unwrap()),
                    None => drop(table.remove($key).unwrap()),
                }
            }};
        }
        match self {
            Self::Registration(key) => write!(REGISTRATIONS, key),
            Self::Commit(key) => write!(HISTORY, key),
            Self::Evictions(key) => write!(EVICTED, key),
            Self::Meta => write!(META, "store"),
        }
    }

    fn seal(self, message: &impl Message) -> Option<Vec<u8>> {
        let seal = |table, key: &[u8]| Some(Place { table, key }.seal(message));
        match self {
            Self::Registration(key) => seal("registrations", &key.to_le_bytes()),
            Self::Commit(key) => seal("history", &key.to_le_bytes()),
            Self::Evictions(key) => seal("evicted", &key.to_le_bytes()),
            Self::Meta => seal("meta", b"store"),
        }
    }
}

/// A disk whose tables were changed behind the store's back.
fn changed(image: Image, change: impl FnOnce(&WriteTransaction)) -> Arc<MemoryDisk> {
    let disk = MemoryDisk::new(image);
    let on_trial: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let examined = open::examine(&on_trial, Path::new("memory"), tables::load_meta).unwrap();
    examined.backend.promote().unwrap();
    let txn = examined.db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
    drop(examined);
    disk
}

/// Changes tables behind the store's back, and opens it.
fn opened_after(change: impl FnOnce(&WriteTransaction)) -> Option<String> {
    let disk = changed(image(), change);
    let done = disk.done();
    match open_here(&disk, &options(Durability::Sync)) {
        Ok(_) => None,
        Err(StoreError::Damaged { what, .. }) => {
            assert_eq!(disk.done(), done, "changed, and refused: {what}");
            Some(what)
        }
        Err(error) => panic!("{error}"),
    }
}

/// What is said of a store whose value was replaced, or removed.
fn check(at: At, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>, expect: &str) {
    let what = opened_after(|txn| at.write(txn, change(at.read(txn)).as_deref()));
    assert_eq!(what.as_deref(), Some(expect));
}

fn flip(at: usize) -> impl FnOnce(Vec<u8>) -> Option<Vec<u8>> {
    move |mut value| {
        value[at] ^= 1;
        Some(value)
    }
}

#[test]
fn what_was_written_is_taken() {
    assert_eq!(opened_after(|txn| At::Meta.write(txn, At::Meta.seal(&WHOLE).as_deref())), None);
}

fn in_it(value: &mut RecordValue) -> &mut InstanceValue {
    value.instance.as_mut().unwrap()
}

fn content(value: &mut RecordValue) -> &mut ContentValue {
    in_it(value).content.as_mut().unwrap()
}

#[test]
fn what_registrations_must_not_say() {
    let at = At::Registration(2);
    let of = |id: u128, what: &str| format!("registration {}: {what}", LeaseId(id));
    let changed = of(2, "its checksum does not match");
    check(at, flip(0), &changed);
    check(at, flip(60), &changed);
    check(at, |_| Some(vec![1, 2, 3]), &changed);
    check(at, |_| At::Registration(3).seal(&RecordValue::from(&record(&instance(2, 1, 20)))), &changed);
    check(at, |_| None, "it has 5 registrations, not 6");

    let sealed = |instance: Instance| at.seal(&RecordValue::from(&record(&instance)));
    let whole = instance(2, 1, 20);
    check(at, |_| sealed(whole.with(|head| head.id = LeaseId(9))), &of(2, "it has another one's id"));
    let early = whole.with(|head| head.revision = Revision(7));
    check(at, |_| sealed(early.clone()), &of(2, "its revision is yet to come"));
    let other = instance(3, 1, 20);
    let head = Head { service: other.service.clone(), ..whole.clone_head() };
    let twin = Instance::new(head, other.content());
    check(at, |_| sealed(twin.clone()), &of(3, "another one has its service and url"));

    let malformed = |change: fn(&mut RecordValue), expect: &str| {
        let mut value = RecordValue::from(&record(&instance(2, 1, 20)));
        change(&mut value);
        check(at, |_| at.seal(&value), &of(2, expect));
    };
    malformed(|value| value.instance = None, "it has no instance");
    malformed(|value| in_it(value).content = None, "it has no content");
    malformed(|value| in_it(value).status = 0, "it has no known status");
    malformed(|value| in_it(value).id = vec![1; 15].into(), "its id has no 16 bytes");
    malformed(|value| value.standing = 9, "it stands in no known way");
    malformed(|value| value.peer = vec![1; 5].into(), "its peer has neither 4 nor 16 bytes");
    malformed(|value| value.token = vec![1; 5].into(), "its token's hash has no 16 bytes");
    malformed(|value| content(value).service = "Not Folded".to_owned(), "its service's name is none");
    malformed(|value| content(value).url = "not a url".to_owned(), "its url is none");
    check(at, |_| at.seal(&"text".to_owned()), &of(2, "it is malformed"));

    // The same with a content that is packed.
    let malformed = |service: &str, packed: &[u8], expect: &str| {
        let mut value = RecordValue::from(&record(&instance(2, 1, 20)));
        let it = in_it(&mut value);
        (it.content, it.service, it.packed) = (None, Some(service.to_owned()), Some(packed.to_vec().into()));
        check(at, |_| at.seal(&value), &of(2, expect));
    };
    malformed("Not Folded", b"\x1a\x08http://h\x22\x00", "its service's name is none");
    malformed("s", b"\x1a\x08not url!\x22\x00", "its url is none");
    malformed("s", b"\x1a\x08http://h", "its content is malformed");
}

#[test]
fn what_the_history_must_not_say() {
    let of = |revision: u64, what: &str| format!("revision {revision} of the history: {what}");
    check(At::Commit(4), flip(10), &of(4, "its checksum does not match"));
    check(At::Commit(3), |_| None, &of(4, "it does not follow the one before"));
    check(At::Commit(5), |_| None, &of(6, "it does not follow the one before"));
    check(At::Commit(6), |_| None, "it has 3 commits in its history, not 4");
    check(At::Commit(4), |_| At::Commit(4).seal(&CommitValue::default()), &of(4, "it has no change"));

    let of = |part: u32, what: &str| format!("part {part} of what left the history: {what}");
    let at = At::Evictions(1);
    check(at, flip(10), &of(1, "its checksum does not match"));
    check(At::Evictions(0), |_| None, &of(1, "it does not follow the one before"));
    check(at, |_| None, "it knows 4096 evictions, not 5000");
    let uneven = EvictionsValue { keys: vec![1, 2], revisions: vec![1] };
    check(at, |_| at.seal(&uneven), &of(1, "it has not as many keys as revisions"));
}

#[test]
fn what_all_of_it_must_not_say() {
    check(At::Meta, flip(3), "meta: its checksum does not match");
    check(At::Meta, |_| None, "meta: what holds for all of it is missing");
    let meta = |meta: Meta, expect: &str| check(At::Meta, |_| At::Meta.seal(&meta), expect);
    meta(Meta { format: head::VERSION + 1, ..WHOLE }, "meta: it is of another format");
    let gap = "revision 3 of the history: it does not follow the one before";
    meta(Meta { commits: 5, ..WHOLE }, gap);
    meta(Meta { commits: 7, ..WHOLE }, gap);
    meta(Meta { registrations: 7, ..WHOLE }, "it has 6 registrations, not 7");
    let gone = opened_after(|txn| assert!(txn.delete_table(HISTORY).unwrap()));
    assert_eq!(gone.as_deref(), Some("Table 'history' does not exist"));
}

/// A file as format 1 was, and what is in it.
fn former_image() -> (Image, Held) {
    let disk = MemoryDisk::new(Image::default());
    let (store, loaded) = open_on(&disk, &options(Durability::Sync)).unwrap();
    let mut held = Held::of(&loaded);
    for revision in 1..=3 {
        let batch = registering(revision, [revision.into(), 10 + u128::from(revision)], 20);
        held.apply(&batch);
        now(store.commit(batch)).unwrap();
    }
    now(store.close()).unwrap();
    let disk = changed(disk.image(), |txn| {
        for (id, record) in &held.records {
            let at = At::Registration(*id);
            at.write(txn, at.seal(&RecordValue::from(record)).as_deref());
        }
        for commit in &held.commits {
            let at = At::Commit(commit.revision.0);
            at.write(txn, at.seal(&CommitValue::of(commit, ANCHOR)).as_deref());
        }
        let meta =
            Meta { format: 1, epoch: 77, revision: 3, batch: 3, registrations: 6, commits: 3, evictions: 0 };
        At::Meta.write(txn, At::Meta.seal(&meta).as_deref());
    });
    let mut image = disk.image();
    let mut start = head::start();
    start[16] = 1;
    let crc = crc32fast::hash(&start[..20]);
    start[20..].copy_from_slice(&crc.to_le_bytes());
    image.write(0, &start);
    (image, held)
}

fn version(image: &Image) -> u32 {
    let mut page = [0; head::PAGE];
    image.read(0, &mut page);
    head::decode(&page).unwrap().version
}

/// What the former format wrote is read, and goes on in this one.
#[test]
fn the_former_format_is_read() {
    let (image, mut held) = former_image();
    assert_eq!(version(&image), 1);
    let disk = MemoryDisk::new(image);
    let (store, loaded) = open_on(&disk, &options(Durability::Sync)).unwrap();
    assert_eq!((Held::of(&loaded), &loaded.condition), (held.clone(), &Condition::Clean));
    assert_eq!(version(&disk.image()), head::VERSION);
    let batch = registering(4, [3, 9], 20);
    held.apply(&batch);
    now(store.commit(batch)).unwrap();
    now(store.close()).unwrap();
    let (_, loaded) = open_on(&disk, &options(Durability::Sync)).unwrap();
    assert_eq!((Held::of(&loaded), &loaded.condition), (held, &Condition::Clean));
    // History and records share what is one instance.
    let last = loaded.commits.last().and_then(|commit| commit.changes[0].after.as_ref()).unwrap();
    assert!(loaded.records.iter().any(|record| record.instance.is(last)));
}
