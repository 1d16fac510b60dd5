//! The tables inside redb: what is written to them, and how all of it is read and verified.
//! Start with [`apply`] and [`load`].

use std::{
    hash::BuildHasher as _,
    panic::resume_unwind,
    sync::{Arc, mpsc},
    thread,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use prost::Message;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use crate::{
    catalog::{Commit, Eviction},
    types::{Epoch, LeaseId, Revision, WallTime},
};

use super::{
    Batch, Prune, Record,
    head::{Mark, VERSION},
    record::{Known, Wrong, read_commit, write_commit},
    value::{EvictionsValue, Meta, Place},
};

pub(super) const REGISTRATIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("registrations");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const EVICTED: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("evicted");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The one key of `meta`.
const STORE: &str = "store";
/// How many evictions a value of `evicted` holds.
const CHUNK: usize = 4096;

/// Why the tables did not do what they were asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// They do not say what they once said.
    Damaged(String),
    /// A batch does not go on where the last one ended.
    OutOfOrder { expected: Revision, found: Revision },
    /// What redb says; the backend knows whether the disk was to blame.
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Corrupted(what) => Self::Damaged(what),
            error @ (redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted) => Self::Damaged(error.to_string()),
            error => Self::Redb(error),
        }
    }
}

/// Everything in the tables.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) meta: Meta,
    pub(super) records: Vec<Record>,
    pub(super) commits: Vec<Arc<Commit>>,
    pub(super) evicted: Vec<Eviction>,
}

impl Meta {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { format: VERSION, epoch: epoch.0, ..Self::default() }
    }

    /// The batch it was written with.
    pub(super) fn mark(&self) -> Mark {
        Mark { batch: self.batch, revision: self.revision }
    }
}

pub(super) fn place_of_registration(key: &[u8; 16]) -> Place<'_> {
    Place { table: "registrations", key }
}

// === Writing ===

/// Makes the tables, to be filled and finished.
pub(super) fn initialize(db: &Database) -> Result<WriteTransaction, Fault> {
    let txn = write(db, true)?;
    txn.open_table(REGISTRATIONS)?;
    txn.open_table(HISTORY)?;
    txn.open_table(EVICTED)?;
    Ok(txn)
}

/// Adds registrations whose values are at hand.
pub(super) fn copy(
    txn: &WriteTransaction,
    meta: &mut Meta,
    registrations: &[(LeaseId, Bytes)],
) -> Result<(), Fault> {
    let mut table = txn.open_table(REGISTRATIONS)?;
    for (id, value) in registrations {
        let is_new = table.insert(id.0, &**value)?.is_none();
        meta.registrations += u64::from(is_new);
    }
    Ok(())
}

/// Notes what holds for the whole store, and waits for the disk.
pub(super) fn finish(txn: WriteTransaction, meta: &Meta) -> Result<(), Fault> {
    write_meta(&txn, meta)?;
    Ok(txn.commit()?)
}

/// Begins a new epoch: what came before it can be resumed no more.
pub(super) fn begin_epoch(db: &Database, meta: &Meta, epoch: Epoch) -> Result<Meta, Fault> {
    let txn = write(db, true)?;
    txn.delete_table(HISTORY)?;
    txn.delete_table(EVICTED)?;
    txn.open_table(HISTORY)?;
    txn.open_table(EVICTED)?;
    let meta = Meta { epoch: epoch.0, commits: 0, evictions: 0, ..*meta };
    finish(txn, &meta)?;
    Ok(meta)
}

/// Writes batches, all or none of them, and waits for the disk if `synced`. Returns what
/// holds afterwards, and how many bytes were written at least.
pub(super) fn apply(
    db: &Database,
    meta: &Meta,
    batches: &[&Batch],
    synced: bool,
) -> Result<(Meta, usize), Fault> {
    let mut meta = Meta { format: VERSION, ..*meta };
    let mut bytes = 0;
    let txn = write(db, synced)?;
    {
        let mut registrations = txn.open_table(REGISTRATIONS)?;
        let mut history = txn.open_table(HISTORY)?;
        for batch in batches {
            for (id, record) in &batch.records {
                bytes += write_record(&mut registrations, &mut meta, *id, record.as_ref())?;
            }
            for commit in &batch.commits {
                bytes += add_commit(&mut history, &mut meta, commit, batch.anchor)?;
            }
            if let Some(prune) = &batch.prune {
                let mut evicted = txn.open_table(EVICTED)?;
                bytes += write_prune(&mut history, &mut evicted, &mut meta, prune)?;
            }
            meta.batch += 1;
        }
    }
    finish(txn, &meta)?;
    Ok((meta, bytes))
}

/// Has everything synced that was written before.
pub(super) fn sync(db: &Database) -> Result<(), Fault> {
    Ok(write(db, true)?.commit()?)
}

fn write(db: &Database, synced: bool) -> Result<WriteTransaction, Fault> {
    let mut txn = db.begin_write()?;
    txn.set_durability(if synced { Durability::Immediate } else { Durability::None })?;
    Ok(txn)
}

fn write_meta(txn: &WriteTransaction, meta: &Meta) -> Result<(), Fault> {
    let value = Place { table: "meta", key: STORE.as_bytes() }.seal(meta);
    txn.open_table(META)?.insert(STORE, &*value)?;
    Ok(())
}

fn write_record(
    registrations: &mut Table<'_, u128, &'static [u8]>,
    meta: &mut Meta,
    id: LeaseId,
    record: Option<&Record>,
) -> Result<usize, Fault> {
    if let Some(record) = record {
        let bytes = record.instance.event_bytes();
        let value = place_of_registration(&id.0.to_le_bytes()).seal_written(bytes, |out| record.write(out));
        let is_new = registrations.insert(id.0, &*value)?.is_none();
        meta.registrations += u64::from(is_new);
        Ok(value.len())
    } else {
        let was_there = registrations.remove(id.0)?.is_some();
        meta.registrations -= u64::from(was_there);
        Ok(size_of::<u128>())
    }
}

fn add_commit(
    history: &mut Table<'_, u64, &'static [u8]>,
    meta: &mut Meta,
    commit: &Commit,
    anchor: WallTime,
) -> Result<usize, Fault> {
    let key = commit.revision.0;
    if key != meta.revision + 1 {
        return Err(Fault::OutOfOrder { expected: Revision(meta.revision + 1), found: commit.revision });
    }
    // Some changes have two instances.
    let bytes = 2 * commit.bytes();
    let value = Place { table: "history", key: &key.to_le_bytes() }
        .seal_written(bytes, |out| write_commit(out, commit, anchor));
    history.insert(key, &*value)?;
    meta.revision = key;
    meta.commits += 1;
    Ok(value.len())
}

fn write_prune(
    history: &mut Table<'_, u64, &'static [u8]>,
    evicted: &mut Table<'_, u32, &'static [u8]>,
    meta: &mut Meta,
    prune: &Prune,
) -> Result<usize, Fault> {
    for gone in history.extract_from_if(..=prune.through.0, |_, _| true)? {
        gone?;
        meta.commits -= 1;
    }
    let mut bytes = 0;
    let mut number: u32 = 0;
    for chunk in prune.evicted.chunks(CHUNK) {
        let value = Place { table: "evicted", key: &number.to_le_bytes() }.seal(&EvictionsValue::of(chunk));
        evicted.insert(number, &*value)?;
        bytes += value.len();
        number += 1;
    }
    for gone in evicted.extract_from_if(number.., |_, _| true)? {
        gone?;
    }
    meta.evictions = prune.evicted.len() as u64;
    Ok(bytes)
}

// === Reading ===

/// What holds for the whole store.
pub(super) fn meta(txn: &ReadTransaction) -> Result<Meta, Fault> {
    let table = txn.open_table(META)?;
    let value = table.get(STORE)?.ok_or_else(|| damaged("meta", "what holds for all of it is missing"))?;
    let meta: Meta = decode(Place { table: "meta", key: STORE.as_bytes() }, value.value())
        .map_err(|what| damaged("meta", what))?;
    if (1..=VERSION).contains(&meta.format) {
        Ok(meta)
    } else {
        Err(damaged("meta", "it is of another format"))
    }
}

/// Reads only what holds for the whole store.
pub(super) fn load_meta(db: &Database) -> Result<Meta, Fault> {
    meta(&db.begin_read()?)
}

/// Reads everything, and checks all that can be checked.
pub(super) fn load(db: &Database, anchor: WallTime) -> Result<Contents, Fault> {
    let txn = db.begin_read()?;
    let meta = meta(&txn)?;
    let mut known = Known::default();
    let commits = load_history(&txn, &meta, anchor, &mut known)?;
    let evicted = load_evicted(&txn, &meta)?;
    let records = load_registrations(&txn, &meta, &mut known)?;
    Ok(Contents { meta, records, commits, evicted })
}

/// Reads the table on this thread, while another one makes records of what was read.
fn load_registrations(txn: &ReadTransaction, meta: &Meta, known: &mut Known) -> Result<Vec<Record>, Fault> {
    let table = txn.open_table(REGISTRATIONS)?;
    let (read, portions) = mpsc::sync_channel(PORTIONS);
    let records = thread::scope(|scope| {
        let decode = thread::Builder::new()
            .name("leasehold-load".to_owned())
            .spawn_scoped(scope, move || decode_portions(&portions, meta, known))?;
        let iterated = read_portions(&table, &read);
        drop(read);
        let records = decode.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        iterated.map(|()| records)
    })?;
    if records.len() as u64 != meta.registrations {
        let what = format!("it has {} registrations, not {}", records.len(), meta.registrations);
        return Err(Fault::Damaged(what));
    }
    Ok(records)
}

/// Some registrations: each one's id, and where in `values` its value ends.
#[derive(Debug, Default)]
struct Portion {
    ends: Vec<(LeaseId, usize)>,
    values: Vec<u8>,
}

/// About how many bytes of values go together.
const PORTION: usize = 64 << 10;
/// How many portions may wait.
const PORTIONS: usize = 8;

fn read_portions(
    table: &impl ReadableTable<u128, &'static [u8]>,
    read: &mpsc::SyncSender<Portion>,
) -> Result<(), Fault> {
    let mut portion = Portion::default();
    for entry in table.iter()? {
        let (key, value) = entry?;
        portion.values.extend_from_slice(value.value());
        portion.ends.push((LeaseId(key.value()), portion.values.len()));
        if portion.values.len() >= PORTION {
            let rest = Portion { values: Vec::with_capacity(2 * PORTION), ..Portion::default() };
            if read.send(std::mem::replace(&mut portion, rest)).is_err() {
                // One of them was refused already.
                return Ok(());
            }
        }
    }
    let _ = read.send(portion);
    Ok(())
}

fn decode_portions(
    portions: &mpsc::Receiver<Portion>,
    meta: &Meta,
    known: &mut Known,
) -> Result<Vec<Record>, Fault> {
    let mut records: Vec<Record> = Vec::new();
    let mut pairs = Pairs::default();
    // What a file says of itself is no more than a hint here.
    let expected = usize::try_from(meta.registrations).unwrap_or(0);
    let _ = records.try_reserve_exact(expected).and_then(|()| pairs.hashes.try_reserve_exact(expected));
    for portion in portions {
        let mut start = 0;
        for (id, end) in portion.ends {
            let record = unseal(place_of_registration(&id.0.to_le_bytes()), &portion.values[start..end])
                .and_then(|value| Record::read(id, value, known))
                .and_then(|record| check_record(id, &record, meta).map(|()| record))
                .map_err(|what| damaged(&format!("registration {id}"), what))?;
            pairs.add(records.len(), &record);
            records.push(record);
            start = end;
        }
    }
    if let Some(second) = pairs.met(&records) {
        let id = records[second].instance.id;
        return Err(damaged(&format!("registration {id}"), "another one has its service and url"));
    }
    Ok(records)
}

/// Hashes of services and urls, with the places of their records: to sort them takes less than a
/// table does.
#[derive(Debug, Default)]
struct Pairs {
    hasher: RandomState,
    hashes: Vec<(u64, usize)>,
}

impl Pairs {
    fn add(&mut self, place: usize, record: &Record) {
        let content = record.instance.content();
        self.hashes.push((self.hasher.hash_one((content.service().as_str(), content.url())), place));
    }

    /// The place of a record whose pair an earlier one has.
    fn met(mut self, records: &[Record]) -> Option<usize> {
        let pair = |(_, place): &(u64, usize)| {
            let content = records[*place].instance.content();
            (content.service(), content.url())
        };
        self.hashes.sort_unstable();
        let alike = self.hashes.chunk_by(|one, next| one.0 == next.0);
        let mut later = alike.flat_map(|alike| {
            (1..alike.len())
                .filter(|at| alike[..*at].iter().any(|one| pair(one) == pair(&alike[*at])))
                .map(|at| alike[at].1)
        });
        later.next()
    }
}

fn check_record(id: LeaseId, record: &Record, meta: &Meta) -> Result<(), Wrong> {
    if record.instance.id != id {
        Err("it has another one's id")
    } else if record.instance.revision.0 > meta.revision {
        Err("its revision is yet to come")
    } else {
        Ok(())
    }
}

fn load_history(
    txn: &ReadTransaction,
    meta: &Meta,
    anchor: WallTime,
    known: &mut Known,
) -> Result<Vec<Arc<Commit>>, Fault> {
    let table = txn.open_table(HISTORY)?;
    let mut commits: Vec<Arc<Commit>> = Vec::new();
    // They end with the last revision, so where they begin follows from their number.
    let end = meta.revision.checked_add(1);
    let mut expected = end.and_then(|end| end.checked_sub(meta.commits)).filter(|first| *first > 0);
    for entry in table.iter()? {
        let (key, value) = entry?;
        let revision = key.value();
        let at = || format!("revision {revision} of the history");
        if expected != Some(revision) {
            return Err(damaged(&at(), "it does not follow the one before"));
        }
        let commit = unseal(Place { table: "history", key: &revision.to_le_bytes() }, value.value())
            .and_then(|value| read_commit(Revision(revision), value, anchor, known))
            .map_err(|what| damaged(&at(), what))?;
        commits.push(Arc::new(commit));
        expected = revision.checked_add(1);
    }
    if commits.len() as u64 != meta.commits {
        let what = format!("it has {} commits in its history, not {}", commits.len(), meta.commits);
        return Err(Fault::Damaged(what));
    }
    Ok(commits)
}

fn load_evicted(txn: &ReadTransaction, meta: &Meta) -> Result<Vec<Eviction>, Fault> {
    let table = txn.open_table(EVICTED)?;
    let mut evicted = Vec::new();
    for (expected, entry) in (0..).zip(table.iter()?) {
        let (key, value) = entry?;
        let number = key.value();
        let at = || format!("part {number} of what left the history");
        if number != expected {
            return Err(damaged(&at(), "it does not follow the one before"));
        }
        let value: EvictionsValue =
            decode(Place { table: "evicted", key: &number.to_le_bytes() }, value.value())
                .map_err(|what| damaged(&at(), what))?;
        evicted.extend(value.to_evictions().map_err(|what| damaged(&at(), what))?);
    }
    if evicted.len() as u64 != meta.evictions {
        let what = format!("it knows {} evictions, not {}", evicted.len(), meta.evictions);
        return Err(Fault::Damaged(what));
    }
    Ok(evicted)
}

fn decode<M: Message + Default>(place: Place<'_>, bytes: &[u8]) -> Result<M, Wrong> {
    M::decode(unseal(place, bytes)?).map_err(|_| "it is malformed")
}

fn unseal<'a>(place: Place<'_>, bytes: &'a [u8]) -> Result<&'a [u8], Wrong> {
    place.unseal(bytes).ok_or("its checksum does not match")
}

fn damaged(at: &str, what: &str) -> Fault {
    Fault::Damaged(format!("{at}: {what}"))
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(what) => f.write_str(what),
            Self::OutOfOrder { expected, found } => {
                write!(f, "a batch goes on with revision {}, not {}", found.0, expected.0)
            }
            Self::Redb(error) => error.fmt(f),
        }
    }
}
