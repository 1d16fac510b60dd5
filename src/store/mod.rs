//! The durable store: what the embedded engine remembers across restarts. One file in
//! a data directory, `registry.db`: a page of ours (format, and the last revision that
//! was acknowledged), then a redb database. Start with [`Store::open`] and [`Batch`].
//!
//! The rules that everything here keeps:
//!
//! - A batch is in the file, and synced as [`Durability`] says, before
//!   [`Store::commit`] returns; all of it or nothing is there after a crash.
//! - Nothing in the file is changed before all of it was read and verified.
//! - After an fsync that failed nothing is written any more: the kernel may have dropped
//!   what it could not write, and a second fsync would call that a success.
//! - A file that lost what was acknowledged is refused, whatever its checksums say.
//!
//! `head.rs` is our page, `backend.rs` what redb writes on (`trial.rs` until all is verified),
//! `tables.rs` what is in redb, `open.rs` what becomes of a file that is found, and `thread.rs`
//! the life of an open store. Only `file.rs` and `disk.rs` know the file system.

mod backend;
mod backup;
mod disk;
mod error;
mod file;
mod head;
mod inspect;
mod layout;
mod open;
mod place;
mod record;
mod tables;
mod thread;
mod trial;
mod value;

#[cfg(test)]
mod tests;

pub use backup::{BackupFile, Export};
pub use error::StoreError;
pub use head::VERSION as FORMAT;
pub use inspect::{Report, inspect};
pub use place::default_dir;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::oneshot;

pub use crate::config::Durability;

use crate::{
    catalog::{Commit, Eviction},
    types::{Epoch, Instance, LeaseId, Revision, WallTime},
};

use thread::{Answer, Ground, Keeper, Readable, Request, Shown};

/// What is written together: all of it is there after a crash, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What becomes of registrations; of two that name one id the later one holds.
    pub records: Vec<(LeaseId, Option<Record>)>,
    /// The history goes on with these, which come right after the last batch's.
    pub commits: Vec<Arc<Commit>>,
    /// What people called moment 0, for the moments in the commits.
    pub anchor: WallTime,
    /// The history forgets what left the one in memory.
    pub prune: Option<Prune>,
}

/// What the history in memory forgot.
#[derive(Clone, Debug)]
pub struct Prune {
    /// Commits up to this one are needed no more.
    pub through: Revision,
    /// What is still known of them; takes the place of what was known.
    pub evicted: Vec<Eviction>,
}

/// One registration, as far as it outlives the process. Renewals are not kept: they are
/// no changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// As last shown; what is dead has no labels, info, zone or weight any more.
    pub instance: Instance,
    /// How its lease stood.
    pub standing: Standing,
    /// The grace it asked for.
    pub drop_grace: Option<Duration>,
    /// The hash of its lease token.
    pub token: [u8; 16],
    /// Where its last Register came from.
    pub peer: IpAddr,
    /// The id that the client gave its service, where that is of use.
    pub client_id: Option<Arc<str>>,
    /// The named key that its last Register showed.
    pub key: Option<Arc<str>>,
    /// Whether its service's name means it still: one that was replaced is meant no more.
    pub named: bool,
}

/// How a lease stood when its record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lived; its instance says whether it was suspect.
    Live,
    /// It had lapsed at this time, and could be revived.
    Lapsed(WallTime),
    /// It had been ended for good at this time.
    Dead(WallTime),
}

/// What a store held when it was opened.
#[derive(Debug)]
pub struct Loaded {
    /// The epoch to go on in; a new one where a revision could be given twice.
    pub epoch: Epoch,
    /// The last revision.
    pub revision: Revision,
    /// Every registration.
    pub records: Vec<Record>,
    /// The history, without a gap up to `revision`; empty in a new epoch.
    pub commits: Vec<Arc<Commit>>,
    /// What is known of commits before the history; empty in a new epoch.
    pub evicted: Vec<Eviction>,
    /// How it was found.
    pub condition: Condition,
}

/// How a store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was not there, and is now.
    Created,
    /// The last server on it had stopped in order.
    Clean,
    /// The last server on it had not, but nothing acknowledged is missing.
    Unclean,
    /// So many acknowledged revisions are missing: the last server on it did not wait
    /// for the disk, or it was opened with [`Options::accept_loss`]. It is 0 where only batches
    /// without a revision are.
    Lost(u64),
    /// It is a backup, or a copy: the original may have gone on.
    Copy,
    /// A sync of the last server on it had failed: it was written anew. Nothing acknowledged is
    /// missing.
    SyncFailed,
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a batch counts as written.
    pub durability: Durability,
    /// The epoch, should a new one begin: a random number.
    pub fresh_epoch: Epoch,
    /// What people called moment 0, for the moments in [`Loaded::commits`].
    pub anchor: WallTime,
    /// Open it even if it lost acknowledged revisions, in a new epoch.
    pub accept_loss: bool,
}

/// An open store: a thread of its own that writes. One that is dropped without having been
/// closed is found as if the process had been killed.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// None only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    readable: Readable,
    shown: Shown,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Takes the directory, which is made where it is missing, verifies and reads all that is
    /// in it. Blocks.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Loaded), StoreError> {
        let (dir, options) = (dir.to_owned(), options.clone());
        let path = file::store_in(&dir);
        Self::start(path, move || open::open_directory(&dir, &options))
    }

    /// Opens on a thread of its own, and serves there.
    fn start(
        path: PathBuf,
        open: impl FnOnce() -> Result<(Ground, open::Live, Loaded), StoreError> + Send + 'static,
    ) -> Result<(Self, Loaded), StoreError> {
        let (requests, queue) = mpsc::channel();
        let (opened, outcome) = mpsc::channel();
        let (readable, shown) = (Readable::default(), Shown::default());
        let shared = (Arc::clone(&readable), Arc::clone(&shown));
        let thread = std::thread::Builder::new()
            .name("leasehold-store".to_owned())
            .spawn(move || match open() {
                Ok((ground, live, loaded)) => {
                    let keeper = Keeper::new(ground, live, shared.0, shared.1);
                    if opened.send(Ok(loaded)).is_ok() {
                        keeper.run(&queue);
                    }
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|error| open::cannot("start a thread for", &path, error))?;
        let outcome = outcome.recv().unwrap_or_else(|_| Err(open::damaged(&path, "reading it failed")));
        let store = Self { path, requests: Some(requests), readable, shown, thread: Some(thread) };
        // On an error the thread is waited for: it may hold the directory still.
        outcome.map(|loaded| (store, loaded))
    }

    /// Writes a batch, and returns when it counts as written. After [`StoreError::Full`] the
    /// same batch is tried again by [`Store::retry`], and no other one before it; after any
    /// other error nothing is written any more.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.ask(|answer| Request::Commit(batch, answer)).await
    }

    /// Tries the batch again for which there was no room.
    pub async fn retry(&self) -> Result<(), StoreError> {
        self.ask(Request::Retry).await
    }

    /// What stands in the way of the next batch: where nobody waits for the disk, it may fail
    /// between two batches.
    pub fn trouble(&self) -> Option<StoreError> {
        self.shown.lock().as_ref().map(|trouble| trouble.error(&self.path))
    }

    /// A consistent view of all registrations after the last batch, to be read on any thread
    /// while batches go on.
    pub fn export(&self) -> Result<Export, StoreError> {
        match &*self.readable.read() {
            Some(db) => Export::begin(db, &self.path),
            None => Err(self.trouble().unwrap_or_else(|| self.gone())),
        }
    }

    /// Syncs everything, and notes that the server stopped in order. Nothing can be written
    /// afterwards.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.ask(Request::Close).await
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<(), StoreError> {
        let (answer, outcome) = oneshot::channel();
        if let Some(requests) = &self.requests {
            // Should the thread be gone, so is the answer.
            let _ = requests.send(request(answer));
        }
        outcome.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> StoreError {
        let cause = "its thread ended unexpectedly".to_owned();
        StoreError::Failed { path: self.path.clone(), cause }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It panicked, if it did, in front of whoever had asked it for something.
            let _ = thread.join();
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.commits.is_empty() && self.prune.is_none()
    }
}
