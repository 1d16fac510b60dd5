//! How a store is opened: verified first, then judged, and only then changed. Start with
//! [`examine`] and [`admit`].

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use redb::Database;

use crate::{
    config::Durability,
    types::{Epoch, Revision},
};

use super::{
    Condition, Loaded, Options, StoreError,
    backend::{Backend, Shared, is_full},
    disk::Disk,
    file::{self, Directory, Opened},
    head::{self, Found, Head, HeadFault, Identity, Mark, PAGE, State},
    layout,
    tables::{self, Contents, Fault},
    thread::Ground,
    value::Meta,
};

/// How much redb may keep in memory.
const CACHE: usize = 32 << 20;

/// A store that can be written.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) backend: Arc<Backend>,
    pub(super) db: Database,
    pub(super) meta: Meta,
}

/// A store that was read and verified, and is still on trial.
#[derive(Debug)]
pub(super) struct Examined<T> {
    pub(super) backend: Arc<Backend>,
    pub(super) db: Database,
    /// What its first page said.
    pub(super) found: Found,
    pub(super) contents: T,
}

/// Verifies a store's file without a change to it; `load` reads what is in it.
pub(super) fn examine<T>(
    disk: &Arc<dyn Disk>,
    path: &Path,
    load: impl FnOnce(&Database) -> Result<T, Fault>,
) -> Result<Examined<T>, StoreError> {
    let found = read_head(&**disk, path)?;
    let backend =
        Backend::on_trial(Arc::clone(disk), found.head).map_err(|error| cannot("read", path, error))?;
    let backend = Arc::new(backend);
    // Damage that checksums cannot see is rare, and redb panics on some of it.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let db = open_redb(Shared(Arc::clone(&backend)))?;
        let contents = load(&db)?;
        Ok((db, contents))
    }));
    match opened {
        Ok(Ok((db, contents))) => Ok(Examined { backend, db, found, contents }),
        Ok(Err(fault)) => Err(refusal(fault, &backend, path)),
        Err(_panic) => Err(damaged(path, "its pages contradict each other")),
    }
}

/// What becomes of a store that was found like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) condition: Condition,
    /// Whether a revision could be given twice.
    pub(super) new_epoch: bool,
    /// Whether something is missing that was synced when it was acknowledged.
    pub(super) broken: bool,
}

/// Judges by what the first page promises, and what was found.
pub(super) fn judge(found: &Found, identity: Identity, meta: &Meta) -> Judgement {
    let Found { head, whole, version: _ } = found;
    let missing = meta.mark().lacks(head.acknowledged);
    let waited = head.durability == Durability::Sync || matches!(head.state, State::Clean | State::Backup);
    let copy = head.state == State::Backup || head.identity.differs(identity);
    let in_order = head.state == State::Clean && *whole;
    // Whoever did not wait for the disk may have given revisions that left no trace.
    let guessed = head.durability != Durability::Sync && !in_order;
    let condition = if missing {
        Condition::Lost(head.acknowledged.revision.saturating_sub(meta.revision))
    } else if copy {
        Condition::Copy
    } else if head.state == State::SyncFailed {
        Condition::SyncFailed
    } else if in_order {
        Condition::Clean
    } else {
        Condition::Unclean
    };
    Judgement {
        condition,
        new_epoch: missing || copy || guessed || head.epoch.0 != meta.epoch,
        broken: missing && waited,
    }
}

/// Refuses a store that lost what it must not lose.
fn check_loss(
    examined: &Examined<Contents>,
    path: &Path,
    identity: Identity,
    options: &Options,
) -> Result<Judgement, StoreError> {
    let Examined { found, contents, .. } = examined;
    let judgement = judge(found, identity, &contents.meta);
    if judgement.broken && !options.accept_loss {
        return Err(StoreError::Lost {
            path: path.to_owned(),
            found: contents.meta.revision,
            acknowledged: found.head.acknowledged.revision,
        });
    }
    Ok(judgement)
}

/// Opens a store that was verified: what the trial held is written, and the first page says
/// that a run goes on.
pub(super) fn admit(
    examined: Examined<Contents>,
    path: &Path,
    identity: Identity,
    options: &Options,
) -> Result<(Live, Loaded), StoreError> {
    let judgement = check_loss(&examined, path, identity, options)?;
    let Examined { backend, db, found, contents } = examined;
    let Contents { mut meta, records, mut commits, mut evicted } = contents;
    let failed = |fault: Fault| refusal(fault, &backend, path);
    backend.promote().map_err(|error| failed(Fault::from(error)))?;
    if judgement.new_epoch {
        meta = tables::begin_epoch(&db, &meta, options.fresh_epoch).map_err(failed)?;
        commits.clear();
        evicted.clear();
    }
    if found.version != head::VERSION {
        // The first sync of the run keeps it, before anything else is written.
        backend.write_version().map_err(|error| failed(Fault::from(error)))?;
    }
    begin_run(&backend, &meta, identity, options.durability).map_err(|error| failed(Fault::from(error)))?;
    let loaded = Loaded {
        epoch: Epoch(meta.epoch),
        revision: Revision(meta.revision),
        records,
        commits,
        evicted,
        condition: judgement.condition,
    };
    Ok((Live { backend, db, meta }, loaded))
}

/// Opens what a directory holds, or makes it.
pub(super) fn open_directory(dir: &Path, options: &Options) -> Result<(Ground, Live, Loaded), StoreError> {
    let directory = Directory::take(dir)?;
    let path = directory.store();
    let (opened, (live, loaded)) = match file::open(&path)? {
        Some(opened) => open_file(&directory, opened, &path, options)?,
        None => directory.replace(|unfinished, opened| {
            create(Arc::clone(&opened.disk), unfinished, opened.identity, options)
        })?,
    };
    directory.tidy();
    let directory = Some(directory);
    Ok((Ground { path, disk: opened.disk, directory, durability: options.durability }, live, loaded))
}

fn open_file(
    directory: &Directory,
    mut opened: Opened,
    path: &Path,
    options: &Options,
) -> Result<(Opened, (Live, Loaded)), StoreError> {
    let load =
        |opened: &Opened, path: &Path| examine(&opened.disk, path, |db| tables::load(db, options.anchor));
    let mut examined = load(&opened, path)?;
    if examined.found.head.state == State::SyncFailed {
        check_loss(&examined, path, opened.identity, options)?;
        let head = examined.found.head;
        (opened, examined) = directory.replace(|unfinished, new| {
            rewrite(&opened, head, new, unfinished)?;
            load(new, unfinished)
        })?;
    }
    let admitted = admit(examined, path, opened.identity, options)?;
    Ok((opened, admitted))
}

/// Writes a store's file anew, after a sync of it failed: the kernel may show pages that
/// never reached the disk, and count them as written.
fn rewrite(old: &Opened, head: Head, new: &Opened, path: &Path) -> Result<(), StoreError> {
    let copied_before = head.identity.differs(old.identity);
    let identity = if copied_before { head.identity } else { new.identity };
    let head = Head { sequence: head.sequence + 1, identity, ..head };
    let (at, slot) = head.encode();
    file::copy(&*old.disk, &*new.disk)
        .and_then(|()| new.disk.write_at(at, &slot))
        .and_then(|()| new.disk.sync())
        .map_err(|error| cannot_write(path, error))
}

/// Makes a new store on an empty disk.
pub(super) fn create(
    disk: Arc<dyn Disk>,
    path: &Path,
    identity: Identity,
    options: &Options,
) -> Result<(Live, Loaded), StoreError> {
    let meta = Meta::new(options.fresh_epoch);
    let head = first_head(State::Open, options.durability, options.fresh_epoch, identity);
    let backend = Arc::new(Backend::new(disk, head));
    let make = || {
        backend.write_first_page()?;
        let db = create_redb(&backend)?;
        tables::finish(tables::initialize(&db)?, &meta)?;
        begin_run(&backend, &meta, identity, options.durability)?;
        Ok(db)
    };
    let db = make().map_err(|fault| refusal(fault, &backend, path))?;
    let loaded = Loaded {
        epoch: options.fresh_epoch,
        revision: Revision(0),
        records: Vec::new(),
        commits: Vec::new(),
        evicted: Vec::new(),
        condition: Condition::Created,
    };
    Ok((Live { backend, db, meta }, loaded))
}

pub(super) fn first_head(state: State, durability: Durability, epoch: Epoch, identity: Identity) -> Head {
    Head { sequence: 0, state, durability, epoch, acknowledged: Mark::default(), identity }
}

/// Makes redb's part of an empty disk.
pub(super) fn create_redb(backend: &Arc<Backend>) -> Result<Database, Fault> {
    Ok(builder().create_with_backend(Shared(Arc::clone(backend)))?)
}

/// Writes both slots of the first page, so that neither tells of an earlier run. The second
/// one is kept by the sync of the first batch.
fn begin_run(backend: &Backend, meta: &Meta, identity: Identity, durability: Durability) -> io::Result<()> {
    let begin = |head: &mut Head| {
        head.state = State::Open;
        head.durability = durability;
        head.epoch = Epoch(meta.epoch);
        head.acknowledged = meta.mark();
        head.identity = identity;
    };
    backend.write_head(begin)?;
    backend.sync()?;
    backend.write_head(begin)
}

/// Opens redb on what a file holds already.
fn open_redb(shared: Shared) -> Result<Database, Fault> {
    layout::check(&shared)?;
    Ok(builder().create_with_backend(shared)?)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn read_head(disk: &dyn Disk, path: &Path) -> Result<Found, StoreError> {
    let read = || {
        let there = usize::try_from(disk.len()?).unwrap_or(usize::MAX).min(PAGE);
        let mut page = vec![0; there];
        disk.read_at(0, &mut page)?;
        Ok(page)
    };
    let page = read().map_err(|error| cannot("read", path, error))?;
    head::decode(&page).map_err(|fault| match fault {
        HeadFault::Foreign => StoreError::Foreign { path: path.to_owned() },
        HeadFault::Newer(version) => {
            StoreError::Newer { path: path.to_owned(), version, known: head::VERSION }
        }
        HeadFault::Damaged(what) => damaged(path, what),
    })
}

/// Why a store cannot be opened, or made.
pub(super) fn refusal(fault: Fault, backend: &Backend, path: &Path) -> StoreError {
    if let Some(failure) = backend.failure() {
        return if failure.is_full() {
            cannot_write(path, failure.error())
        } else {
            cannot(failure.what(), path, failure.error())
        };
    }
    match fault {
        Fault::Redb(redb::Error::Io(error)) => match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, "it is cut short"),
            // As redb says of what is no database.
            io::ErrorKind::InvalidData => damaged(path, &error.to_string()),
            _ => cannot("read", path, error),
        },
        fault => damaged(path, &fault.to_string()),
    }
}

pub(super) fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

pub(super) fn cannot(what: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what, path: path.to_owned(), source }
}

fn cannot_write(path: &Path, source: io::Error) -> StoreError {
    if is_full(source.kind()) {
        StoreError::Full { path: path.to_owned(), source }
    } else {
        cannot("write", path, source)
    }
}
