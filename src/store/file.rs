//! The data directory: the file, the lock beside it, and how a file comes into being whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use super::{
    StoreError,
    disk::{Disk, FileDisk},
    head::Identity,
    open::cannot,
};

/// Where a directory's store is.
pub(super) fn store_in(dir: &Path) -> PathBuf {
    dir.join(STORE)
}

/// The store's file.
pub(super) const STORE: &str = "registry.db";

/// A directory that nobody else holds until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Takes a directory, which is made where it is missing.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        make(path).map_err(|error| cannot("create", path, error))?;
        let lock = path.join("lock");
        let mut file = private(OpenOptions::new().read(true).write(true).create(true))
            .truncate(false)
            .open(&lock)
            .map_err(|error| cannot("open", &lock, error))?;
        let taken = file.try_lock();
        held(taken, &mut file, path, &lock)?;
        // For the message of whoever comes next; nothing depends on it.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), lock: file })
    }

    /// Takes a directory to read what is in it, without a change to it. Where no server ever
    /// was there is nothing to hold.
    pub(super) fn borrow(path: &Path) -> Result<Option<Lent>, StoreError> {
        let lock = path.join("lock");
        match File::open(&lock) {
            Ok(mut file) => {
                let taken = file.try_lock_shared();
                held(taken, &mut file, path, &lock).map(|()| Some(Lent { _lock: file }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("open", &lock, error)),
        }
    }

    /// Where its store is.
    pub(super) fn store(&self) -> PathBuf {
        store_in(&self.path)
    }

    /// Makes a file beside the store, and the store of it once it is whole.
    pub(super) fn replace<T>(
        &self,
        fill: impl FnOnce(&Path, &Opened) -> Result<T, StoreError>,
    ) -> Result<(Opened, T), StoreError> {
        let unfinished = self.unfinished();
        let made = create(&unfinished).and_then(|opened| {
            let filled = fill(&unfinished, &opened)?;
            rename(&unfinished, &self.store())?;
            Ok((opened, filled))
        });
        if made.is_err() {
            // It is of no use to anybody, and the next one is made from nothing.
            let _ = fs::remove_file(&unfinished);
        }
        made
    }

    fn unfinished(&self) -> PathBuf {
        self.path.join("registry.db.new")
    }

    /// Removes what somebody who died left unfinished.
    pub(super) fn tidy(&self) {
        // It may take as much room as the store; but that is all it does.
        let _ = fs::remove_file(self.unfinished());
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The process that held it does so no more.
        let _ = self.lock.set_len(0);
    }
}

/// Gives a file that is synced its name, and has the directory keep that.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| cannot("create", to, error))?;
    let dir = parent(to);
    sync_directory(dir).map_err(|error| cannot("sync", dir, error))
}

/// The same, where nothing may have that name yet.
pub(super) fn rename_alone(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::hard_link(from, to) {
        Ok(()) => {
            let dir = parent(to);
            fs::remove_file(from).map_err(|error| cannot("remove", from, error))?;
            sync_directory(dir).map_err(|error| cannot("sync", dir, error))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(cannot("create", to, error)),
        // A file system without links.
        Err(_) => rename(from, to),
    }
}

/// Writes all of a file to another one, and syncs that. Where it is empty it stays so.
pub(super) fn copy(from: &dyn Disk, to: &dyn Disk) -> io::Result<()> {
    let len = from.len()?;
    to.set_len(len)?;
    let mut chunk = vec![0; 1 << 16];
    let mut at = 0;
    while at < len {
        let now = usize::try_from(len - at).unwrap_or(usize::MAX).min(chunk.len());
        from.read_at(at, &mut chunk[..now])?;
        if chunk[..now].iter().any(|byte| *byte != 0) {
            to.write_at(at, &chunk[..now])?;
        }
        at += now as u64;
    }
    to.sync()
}

/// A directory that nobody writes to until this is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    _lock: File,
}

/// A file, and what tells it from its copies.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) identity: Identity,
}

/// Opens a file to read and write; none if there is none.
pub(super) fn open(path: &Path) -> Result<Option<Opened>, StoreError> {
    existing(path, OpenOptions::new().read(true).write(true))
}

/// Opens a file to read it; none if there is none.
pub(super) fn open_to_read(path: &Path) -> Result<Option<Opened>, StoreError> {
    existing(path, OpenOptions::new().read(true))
}

/// Makes a file anew, whatever was there.
pub(super) fn create(path: &Path) -> Result<Opened, StoreError> {
    private(OpenOptions::new().read(true).write(true).create(true).truncate(true))
        .open(path)
        .and_then(opened)
        .map_err(|error| cannot("create", path, error))
}

/// Makes a file where there was nothing, not even a link.
pub(super) fn create_alone(path: &Path) -> Result<Opened, StoreError> {
    private(OpenOptions::new().read(true).write(true).create_new(true))
        .open(path)
        .and_then(opened)
        .map_err(|error| cannot("create", path, error))
}

fn existing(path: &Path, options: &OpenOptions) -> Result<Option<Opened>, StoreError> {
    match options.open(path).and_then(opened) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("open", path, error)),
    }
}

fn opened(file: File) -> io::Result<Opened> {
    let identity = identity(&file.metadata()?);
    Ok(Opened { disk: Arc::new(FileDisk::new(file)), identity })
}

fn identity(metadata: &fs::Metadata) -> Identity {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    Identity { inode, born }
}

/// Whether a lock was taken, and if not, who has it.
fn held(taken: Result<(), TryLockError>, file: &mut File, dir: &Path, lock: &Path) -> Result<(), StoreError> {
    match taken {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(StoreError::InUse { dir: dir.to_owned(), pid })
        }
        Err(TryLockError::Error(error)) => Err(cannot("lock", lock, error)),
    }
}

/// What others on the machine need not read.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    make(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync_directory(parent)
}

/// The directory that a name is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Has a directory keep the names in it.
#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
