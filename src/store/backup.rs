//! Backups: a consistent view of a store that is in use, and a file made of one that a
//! server can be started on. Start with [`Export`] and [`BackupFile`].

use std::{
    ffi::OsString,
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use redb::{Database, OwnedRange, ReadableDatabase, WriteTransaction};

use crate::{
    config::Durability,
    types::{Epoch, LeaseId, Revision},
};

use super::{
    StoreError,
    backend::Backend,
    file::{self, Opened},
    head::{State, VERSION},
    open,
    tables::{self, Fault},
    value::Meta,
};

/// About how many bytes go together.
const PORTION: usize = 256 << 10;

/// All registrations of a store as they were after one batch, in portions: ids, and values
/// for [`BackupFile::push`], each checked as it is read. Reading blocks.
pub struct Export {
    epoch: Epoch,
    revision: Revision,
    count: u64,
    path: PathBuf,
    /// None after the last, and after an error.
    rest: Option<OwnedRange<u128, &'static [u8]>>,
    read: u64,
}

/// Some registrations: ids and values.
pub type Portion = Vec<(LeaseId, Bytes)>;

impl Export {
    pub(super) fn begin(db: &Database, path: &Path) -> Result<Self, StoreError> {
        let begin = || {
            let txn = db.begin_read()?;
            let meta = tables::meta(&txn)?;
            let rest = txn.open_table(tables::REGISTRATIONS)?.range_owned::<u128>(..)?;
            Ok((meta, rest))
        };
        let (meta, rest) = begin().map_err(|fault| unreadable(path, fault))?;
        Ok(Self {
            epoch: Epoch(meta.epoch),
            revision: Revision(meta.revision),
            count: meta.registrations,
            path: path.to_owned(),
            rest: Some(rest),
            read: 0,
        })
    }

    /// The format of the values.
    pub fn format(&self) -> u32 {
        VERSION
    }

    /// The epoch of `revision`.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The revision it is of.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many registrations it has in all.
    pub fn registrations(&self) -> u64 {
        self.count
    }

    fn portion(&mut self) -> Result<Option<Portion>, Fault> {
        let Some(rest) = &mut self.rest else { return Ok(None) };
        let mut portion = Vec::new();
        let mut bytes = 0;
        while bytes < PORTION {
            let Some(entry) = rest.next() else { break };
            let (key, value) = entry?;
            let id = LeaseId(key.value());
            check(id, value.value())?;
            let value = Bytes::copy_from_slice(value.value());
            bytes += size_of::<LeaseId>() + value.len();
            portion.push((id, value));
        }
        self.read += portion.len() as u64;
        if portion.is_empty() && self.read != self.count {
            let what = format!("it has {} registrations, not {}", self.read, self.count);
            return Err(Fault::Damaged(what));
        }
        Ok(Some(portion).filter(|portion| !portion.is_empty()))
    }
}

impl Iterator for Export {
    type Item = Result<Portion, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        // redb trusts the pages that it verified once, and panics on some that have changed.
        let portion = catch_unwind(AssertUnwindSafe(|| self.portion()));
        let portion =
            portion.unwrap_or_else(|_| Err(Fault::Damaged("its pages contradict each other".to_owned())));
        if !matches!(portion, Ok(Some(_))) {
            self.rest = None;
        }
        portion.map_err(|fault| unreadable(&self.path, fault)).transpose()
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, revision, count, path, rest: _, read } = self;
        f.debug_struct("Export")
            .field("epoch", epoch)
            .field("revision", revision)
            .field("count", count)
            .field("path", path)
            .field("read", read)
            .finish_non_exhaustive()
    }
}

/// A backup that is being written. It has its name once it is whole; one that is dropped
/// before leaves nothing. Each call blocks.
pub struct BackupFile {
    path: PathBuf,
    partial: PathBuf,
    backend: Arc<Backend>,
    /// None once it is finished.
    open: Option<(Database, WriteTransaction)>,
    meta: Meta,
    portion: Portion,
    bytes: usize,
}

impl BackupFile {
    /// Begins one that will be at `path`, where nothing may be yet. Until then it is beside it,
    /// with the process's id and `.partial` after its name.
    pub fn create(path: &Path, epoch: Epoch, revision: Revision) -> Result<Self, StoreError> {
        refuse_to_replace(path)?;
        let mut name = OsString::from(path);
        name.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(name);
        let Opened { disk, identity } = file::create_alone(&partial)?;
        let head = open::first_head(State::Backup, Durability::Sync, epoch, identity);
        let mut file = Self {
            path: path.to_owned(),
            partial,
            backend: Arc::new(Backend::new(disk, head)),
            open: None,
            meta: Meta { revision: revision.0, ..Meta::new(epoch) },
            portion: Vec::new(),
            bytes: 0,
        };
        file.begin().map_err(|fault| file.failed(fault))?;
        Ok(file)
    }

    /// Adds a registration: what an [`Export`] gave, of one and the same.
    pub fn push(&mut self, id: LeaseId, value: Bytes) -> Result<(), StoreError> {
        check(id, &value).map_err(|fault| unreadable(&self.partial, fault))?;
        self.bytes += value.len();
        self.portion.push((id, value));
        if self.bytes < PORTION { Ok(()) } else { self.flush().map_err(|fault| self.failed(fault)) }
    }

    /// Gives it its name, if it has so many registrations; it is synced before.
    pub fn finish(mut self, registrations: u64) -> Result<(), StoreError> {
        self.flush().map_err(|fault| self.failed(fault))?;
        let found = self.meta.registrations;
        if found != registrations {
            let what = format!("it was to have {registrations} registrations, and has {found}");
            return Err(open::cannot("complete", &self.partial, io::Error::other(what)));
        }
        self.seal().map_err(|fault| self.failed(fault))?;
        refuse_to_replace(&self.path)?;
        file::rename_alone(&self.partial, &self.path)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.backend.write_first_page()?;
        let db = open::create_redb(&self.backend)?;
        let txn = tables::initialize(&db)?;
        self.open = Some((db, txn));
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Fault> {
        if let Some((db, txn)) = self.open.take() {
            tables::finish(txn, &self.meta)?;
            db.close()?;
        }
        self.backend.acknowledge(self.meta.mark())?;
        Ok(self.backend.sync()?)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if let Some((_, txn)) = &self.open {
            tables::copy(txn, &mut self.meta, &self.portion)?;
        }
        self.portion.clear();
        self.bytes = 0;
        Ok(())
    }

    fn failed(&self, fault: Fault) -> StoreError {
        open::refusal(fault, &self.backend, &self.partial)
    }
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        self.backend.abandon();
        self.open = None;
        // After a rename there is none of this name.
        let _ = fs::remove_file(&self.partial);
    }
}

impl fmt::Debug for BackupFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn refuse_to_replace(path: &Path) -> Result<(), StoreError> {
    // Whatever it is: a link that leads nowhere, too.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(open::cannot("create", path, error)),
        Ok(_) => Err(open::cannot("create", path, io::ErrorKind::AlreadyExists.into())),
    }
}

fn check(id: LeaseId, value: &[u8]) -> Result<(), Fault> {
    let whole = tables::place_of_registration(&id.0.to_le_bytes()).unseal(value).is_some();
    let what = || Fault::Damaged(format!("registration {id}: its checksum does not match"));
    if whole { Ok(()) } else { Err(what()) }
}

fn unreadable(path: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Damaged(what) => open::damaged(path, &what),
        Fault::Redb(redb::Error::Io(error)) => open::cannot("read", path, error),
        fault => open::cannot("read", path, io::Error::other(fault.to_string())),
    }
}
