//! What redb writes on: the part of the file after our page. Start with [`Backend`].
//!
//! At first it is on trial: what redb writes, be it a repair, stays in memory. Only once
//! everything was verified the same is done to the file, in the same order, with a sync
//! wherever redb asked for one.
//!
//! It remembers the first failure, and does nothing from then on: redb tries to write on
//! its way out, and a second sync after a failed one would succeed without having written
//! what the kernel has dropped.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use redb::StorageBackend;

use super::{
    disk::Disk,
    head::{self, Head, Mark, PAGE, State},
    trial::Trial,
};

/// A disk, as redb and the head share it.
#[derive(Debug)]
pub(super) struct Backend {
    disk: Arc<dyn Disk>,
    trial: RwLock<Option<Trial>>,
    /// Whether the trial is over: then nobody waits for its lock.
    direct: AtomicBool,
    head: Mutex<Head>,
    /// Held by whoever changes the disk, so that nothing is on its way when something fails.
    changing: Mutex<()>,
    failure: OnceLock<Failure>,
}

/// The first operation that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) op: Op,
    pub(super) kind: io::ErrorKind,
    code: Option<i32>,
    text: String,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Read,
    Write,
    SetLen,
    Sync,
    /// Somebody wants nothing to be written any more.
    Abandoned,
}

impl Backend {
    /// A disk on trial, whose head was read.
    pub(super) fn on_trial(disk: Arc<dyn Disk>, head: Head) -> io::Result<Self> {
        let len = disk.len()?.saturating_sub(PAGE as u64);
        let trial = RwLock::new(Some(Trial::new(len)));
        Ok(Self { trial, direct: AtomicBool::new(false), ..Self::new(disk, head) })
    }

    /// A disk that is written at once.
    pub(super) fn new(disk: Arc<dyn Disk>, head: Head) -> Self {
        Self {
            disk,
            trial: RwLock::new(None),
            direct: AtomicBool::new(true),
            head: Mutex::new(head),
            changing: Mutex::new(()),
            failure: OnceLock::new(),
        }
    }

    /// Ends the trial: what was written is written.
    pub(super) fn promote(&self) -> io::Result<()> {
        if let Some(done) = self.trial.write().take() {
            done.redo(self)?;
        }
        self.direct.store(true, Ordering::Release);
        Ok(())
    }

    /// Begins a new file: its first page, with no slot yet.
    pub(super) fn write_first_page(&self) -> io::Result<()> {
        self.checked(Op::Write, || self.disk.write_at(0, &head::page()))
    }

    /// Has the first page say that the file is of the newest format.
    pub(super) fn write_version(&self) -> io::Result<()> {
        self.checked(Op::Write, || self.disk.write_at(0, &head::start()))
    }

    /// Writes the head with what `change` makes of it, in the slot whose turn it is.
    pub(super) fn write_head(&self, change: impl FnOnce(&mut Head)) -> io::Result<()> {
        let mut head = self.head.lock();
        let mut next = *head;
        change(&mut next);
        next.sequence += 1;
        let (at, slot) = next.encode();
        self.checked(Op::Write, || self.disk.write_at(at, &slot))?;
        *head = next;
        Ok(())
    }

    /// Notes what is acknowledged from now on. The next sync of anything keeps it.
    pub(super) fn acknowledge(&self, mark: Mark) -> io::Result<()> {
        self.write_head(|head| head.acknowledged = mark)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let result = self.checked(Op::Sync, || self.disk.sync());
        if result.is_err() {
            self.brand();
        }
        result
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }

    /// Does nothing any more, as if the process had died here.
    pub(super) fn abandon(&self) {
        let why = io::Error::other("nobody uses it any more");
        let _held = self.changing.lock();
        self.failure.get_or_init(|| Failure::of(Op::Abandoned, &why));
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.checked(Op::Write, || self.disk.write_at(offset + PAGE as u64, data))
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.checked(Op::SetLen, || self.disk.set_len(len + PAGE as u64))
    }

    /// Has the next opening know that a sync failed. It is written once, whatever comes of
    /// it, and the only thing that ever is after a failure.
    fn brand(&self) {
        let mut head = self.head.lock();
        let synced = self.failure.get().is_none_or(|failure| failure.op != Op::Sync);
        if synced || head.state == State::SyncFailed {
            return;
        }
        head.state = State::SyncFailed;
        head.sequence += 1;
        let (at, slot) = head.encode();
        // There is nobody to tell: the failure that led here is what callers get.
        let _ = self.disk.write_at(at, &slot);
    }

    fn checked<T>(&self, op: Op, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _held = self.changing.lock();
        self.unlocked(op, run)
    }

    fn unlocked<T>(&self, op: Op, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(earlier) = self.failure.get() {
            return Err(earlier.error());
        }
        run().inspect_err(|error| {
            self.failure.get_or_init(|| Failure::of(op, error));
        })
    }

    fn read_disk(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset + PAGE as u64, out)
    }

    /// Looks at the trial, or says that there is none any more. Several may at a time.
    fn look_at_trial<T>(&self, look: impl FnOnce(&Trial) -> T) -> Option<T> {
        if self.direct.load(Ordering::Acquire) {
            return None;
        }
        self.trial.read().as_ref().map(look)
    }

    /// Changes the trial, or says that there is none any more.
    fn change_trial<T>(&self, change: impl FnOnce(&mut Trial) -> T) -> Option<T> {
        if self.direct.load(Ordering::Acquire) {
            return None;
        }
        self.trial.write().as_mut().map(change)
    }
}

// === impl Failure ===

impl Failure {
    fn of(op: Op, error: &io::Error) -> Self {
        Self { op, kind: error.kind(), code: error.raw_os_error(), text: error.to_string() }
    }

    /// Whether there was no room: the same can succeed later. Not so for a sync: what the
    /// kernel has taken and then found no room for, it may have dropped.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.op, Op::Write | Op::SetLen) && is_full(self.kind)
    }

    /// The same error once more.
    pub(super) fn error(&self) -> io::Error {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.kind, self.text.clone()),
        }
    }

    /// What was tried.
    pub(super) fn what(&self) -> &'static str {
        match self.op {
            Op::Read => "read",
            Op::Write => "write",
            Op::SetLen => "change the length of",
            Op::Sync => "sync",
            Op::Abandoned => "use",
        }
    }
}

/// Whether an error says that there is no room.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The backend in redb's hands.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Backend>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        let Self(it) = self;
        it.look_at_trial(|trial| Ok(trial.len()))
            .unwrap_or_else(|| it.unlocked(Op::Read, || Ok(it.disk.len()?.saturating_sub(PAGE as u64))))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Self(it) = self;
        let tried = it.look_at_trial(|trial| trial.read(offset, out, &|at, out| it.read_disk(at, out)));
        tried.unwrap_or_else(|| it.unlocked(Op::Read, || it.read_disk(offset, out)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let Self(it) = self;
        it.change_trial(|trial| trial.set_len(len)).map_or_else(|| it.set_len(len), Ok)
    }

    fn sync_data(&self) -> io::Result<()> {
        let Self(it) = self;
        it.change_trial(Trial::sync).map_or_else(|| it.sync(), Ok)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Self(it) = self;
        let tried = it.change_trial(|trial| trial.write(offset, data, &|at, out| it.read_disk(at, out)));
        tried.unwrap_or_else(|| it.write(offset, data))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {} it: {}", self.what(), self.text)
    }
}
