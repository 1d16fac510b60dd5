//! The thread that a store is written on. Start with [`Keeper`].

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use redb::Database;
use tokio::sync::oneshot;

use crate::config::Durability;

use super::{
    Batch, StoreError,
    backend::{Backend, Failure},
    disk::Disk,
    file::Directory,
    head::{Mark, State},
    open::{self, Examined, Live},
    tables::{self, Fault},
    value::Meta,
};

/// How long what is acknowledged may wait for the disk, where nobody waits for it.
const SYNC_WITHIN: Duration = Duration::from_secs(1);
/// How many bytes may wait for the disk, where nobody waits for it.
const UNSYNCED_BYTES: usize = 64 << 20;

pub(super) type Answer = oneshot::Sender<Result<(), StoreError>>;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Commit(Batch, Answer),
    Retry(Answer),
    Close(Answer),
}

/// The database while there is one, for readers on other threads.
pub(super) type Readable = Arc<RwLock<Option<Database>>>;

/// What stands in the way of the next batch, for whoever asks.
pub(super) type Shown = Arc<Mutex<Option<Trouble>>>;

/// What stands in the way of the next batch.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// There was no room.
    Full(Failure),
    /// Nothing is written any more, for this reason.
    Over(String),
}

/// What a keeper works on.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) path: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    /// Held for as long as the file is used.
    pub(super) directory: Option<Directory>,
    pub(super) durability: Durability,
}

/// Writes batches one after the other.
#[derive(Debug)]
pub(super) struct Keeper {
    ground: Ground,
    backend: Arc<Backend>,
    readable: Readable,
    shown: Shown,
    /// What holds after the last batch.
    meta: Meta,
    /// What is synced for certain.
    synced: Mark,
    /// The batches that were acknowledged since, and how many bytes they took.
    unsynced: Vec<Batch>,
    unsynced_bytes: usize,
    /// The batch for which there was no room.
    waiting: Option<Batch>,
    /// When to sync, or to see whether there is room for what is not synced.
    due: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(ground: Ground, live: Live, readable: Readable, shown: Shown) -> Self {
        let Live { backend, db, meta } = live;
        *readable.write() = Some(db);
        Self {
            ground,
            backend,
            readable,
            shown,
            meta,
            synced: meta.mark(),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            waiting: None,
            due: None,
        }
    }

    /// Serves until everybody who could ask is gone. Who has not closed the store by then
    /// finds it as if the process had been killed.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let next = match self.due {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => requests.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            // Whoever asked may have gone meanwhile.
            let _ = match next {
                Ok(Request::Commit(batch, answer)) => answer.send(self.commit(batch)),
                Ok(Request::Retry(answer)) => answer.send(self.retry()),
                Ok(Request::Close(answer)) => answer.send(self.close()),
                Err(RecvTimeoutError::Timeout) => {
                    self.sync_due();
                    Ok(())
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
        }
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return self.usable();
        }
        let full = matches!(*self.shown.lock(), Some(Trouble::Full(_)));
        if full && self.waiting.is_none() {
            self.waiting = Some(batch);
            return self.recover();
        }
        self.usable()?;
        let synced = self.ground.durability == Durability::Sync;
        let written = self.with_db(|db| {
            let (meta, bytes) = tables::apply(db, &self.meta, &[&batch], synced)?;
            self.backend.acknowledge(meta.mark())?;
            Ok((meta, bytes))
        });
        match written {
            Ok((meta, bytes)) => {
                self.meta = meta;
                if synced {
                    self.synced = meta.mark();
                } else {
                    self.unsynced.push(batch);
                    self.unsynced_bytes += bytes;
                    self.plan_sync();
                }
                Ok(())
            }
            Err(fault) => {
                self.waiting = Some(batch);
                Err(self.fail(&fault))
            }
        }
    }

    /// Decides when what was acknowledged is synced.
    fn plan_sync(&mut self) {
        if self.unsynced_bytes >= UNSYNCED_BYTES {
            self.due = Some(Instant::now());
        } else if self.ground.durability == Durability::Os {
            self.due.get_or_insert_with(|| Instant::now() + SYNC_WITHIN);
        }
    }

    fn sync_due(&mut self) {
        self.due = None;
        let trouble = self.shown.lock().clone();
        match trouble {
            None => match self.with_db(tables::sync) {
                Ok(()) => self.all_synced(),
                Err(fault) => {
                    self.fail(&fault);
                }
            },
            // Nobody waits for it, so nobody will ask.
            Some(Trouble::Full(_)) if self.waiting.is_none() => {
                let _ = self.recover();
            }
            Some(_) => {}
        }
    }

    fn all_synced(&mut self) {
        self.synced = self.meta.mark();
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.due = None;
    }

    fn retry(&mut self) -> Result<(), StoreError> {
        let full = matches!(*self.shown.lock(), Some(Trouble::Full(_)));
        if full { self.recover() } else { self.usable() }
    }

    /// Opens the file anew after it was full, and writes what is not in it yet. The failed
    /// batch may be: there was no room for what comes after it.
    fn recover(&mut self) -> Result<(), StoreError> {
        let examined = match open::examine(&self.ground.disk, &self.ground.path, tables::load_meta) {
            Ok(examined) => examined,
            Err(error) => return Err(self.give_up(error.to_string())),
        };
        let Examined { backend, db, contents: found, .. } = examined;
        self.backend = backend;
        if found.mark().lacks(self.synced) {
            return Err(self.give_up("it lost what was synced".to_owned()));
        }
        let again = self.backend.promote().map_err(Fault::from).and_then(|()| {
            let there = found.batch - self.synced.batch;
            let missing = self.unsynced.iter().chain(&self.waiting).skip(there as usize);
            let (meta, _) = tables::apply(&db, &found, &missing.collect::<Vec<_>>(), true)?;
            self.backend.acknowledge(meta.mark())?;
            Ok(meta)
        });
        match again {
            Ok(meta) => {
                *self.readable.write() = Some(db);
                *self.shown.lock() = None;
                self.meta = meta;
                self.waiting = None;
                self.all_synced();
                Ok(())
            }
            Err(fault) => {
                drop(db);
                Err(self.fail(&fault))
            }
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.retry()?;
        let db = self.readable.write().take();
        let closed = db.map_or(Ok(()), |db| db.close().map_err(Fault::from)).and_then(|()| {
            self.backend.write_head(|head| head.state = State::Clean)?;
            Ok(self.backend.sync()?)
        });
        if let Err(fault) = closed {
            return Err(self.fail(&fault));
        }
        self.all_synced();
        self.backend.abandon();
        self.ground.directory = None;
        *self.shown.lock() = Some(Trouble::Over("it was closed".to_owned()));
        Ok(())
    }

    fn with_db<T>(&self, run: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        // Readers only begin under the lock, and it is free to be shared but while the database
        // is let go.
        match &*self.readable.read() {
            Some(db) => run(db),
            None => Err(Fault::from(redb::Error::DatabaseClosed)),
        }
    }

    fn usable(&self) -> Result<(), StoreError> {
        let trouble = self.shown.lock().clone();
        trouble.map_or(Ok(()), |trouble| Err(trouble.error(&self.ground.path)))
    }

    /// Lets go of the database: what it has in memory is not what the file holds.
    fn fail(&mut self, fault: &Fault) -> StoreError {
        match self.backend.failure() {
            Some(failure) if failure.is_full() => {
                // Nobody asks again for what was acknowledged long ago.
                let overdue = self.waiting.is_none() && !self.unsynced.is_empty();
                self.due = overdue.then(|| Instant::now() + SYNC_WITHIN);
                self.stop(Trouble::Full(failure))
            }
            Some(failure) => self.give_up(failure.to_string()),
            None => self.give_up(fault.to_string()),
        }
    }

    fn give_up(&mut self, cause: String) -> StoreError {
        self.waiting = None;
        self.due = None;
        self.stop(Trouble::Over(cause))
    }

    fn stop(&mut self, trouble: Trouble) -> StoreError {
        self.backend.abandon();
        *self.readable.write() = None;
        let error = trouble.error(&self.ground.path);
        *self.shown.lock() = Some(trouble);
        error
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Before the directory is free to others.
        self.backend.abandon();
        *self.readable.write() = None;
    }
}

impl Trouble {
    pub(super) fn error(&self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Full(failure) => StoreError::Full { path, source: failure.error() },
            Self::Over(cause) => StoreError::Failed { path, cause: cause.clone() },
        }
    }
}
