//! The embedded engine: in memory, and over a store with each of its durabilities.
//!
//! It runs on a runtime of its own, which stands for its process. A kill cannot be that
//! runtime's end: the store's thread would finish what it has been told, which a dead
//! process does not. Instead the files are read at one instant while the engine runs; what
//! a killed process leaves is what the files hold then, synced or not. The next start
//! ends the runtime and puts these bytes back into the same files: a file with another inode
//! would rightly count as a copy. (What a machine leaves that loses its power is another
//! matter: the store's own tests drop writes that were not synced.)

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    config::{Durability, Quotas, StoreConfig},
    engine::{Engine, embedded::Embedded},
    metrics::Metrics,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    rig::SOON,
    subject::{Remembers, Settings, Subject},
};

/// The embedded engine in memory.
#[derive(Default)]
pub struct InMemory {
    running: Option<Process>,
}

/// The embedded engine over a store.
pub struct OnDisk<D: Mode> {
    dir: PathBuf,
    running: Option<Process>,
    /// What the engine that was killed has left.
    image: Option<Image>,
    mode: PhantomData<D>,
}

/// A durability, and what follows from it.
pub trait Mode {
    /// Which.
    const DURABILITY: Durability;
    /// What there is again.
    const REMEMBERS: Remembers;
}

/// Acknowledged when synced.
pub struct DurabilitySync;
/// Acknowledged when decided, synced within a second.
pub struct DurabilityOs;
/// Acknowledged when decided, synced at the stop.
pub struct DurabilityNone;

impl Mode for DurabilitySync {
    const DURABILITY: Durability = Durability::Sync;
    const REMEMBERS: Remembers = Remembers::Always;
}

impl Mode for DurabilityOs {
    const DURABILITY: Durability = Durability::Os;
    const REMEMBERS: Remembers = Remembers::AfterStop;
}

impl Mode for DurabilityNone {
    const DURABILITY: Durability = Durability::None;
    const REMEMBERS: Remembers = Remembers::AfterStop;
}

// === impl InMemory ===

impl Subject for InMemory {
    const REMEMBERS: Remembers = Remembers::Nothing;
    const KEEPS_EPOCH_AFTER_KILL: bool = false;

    fn new() -> Self {
        Self::default()
    }

    async fn start(&mut self, settings: &Settings) -> Arc<dyn Engine> {
        self.kill().await;
        let Settings { leases, history_bytes } = settings.clone();
        let process = Process::start(move || {
            Embedded::in_memory(&leases, &Quotas::default(), history_bytes, metrics())
        })
        .await;
        let engine = process.engine.clone();
        self.running = Some(process);
        engine
    }

    async fn stop(&mut self) {
        self.running.take().expect("it runs").stop().await;
    }

    async fn kill(&mut self) {
        if let Some(process) = self.running.take() {
            process.end().await;
        }
    }
}

// === impl OnDisk ===

impl<D: Mode> Subject for OnDisk<D> {
    const REMEMBERS: Remembers = D::REMEMBERS;
    const KEEPS_EPOCH_AFTER_KILL: bool = matches!(D::REMEMBERS, Remembers::Always);

    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("leasehold-engine-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("cannot create {}: {error}", dir.display()));
        Self { dir, running: None, image: None, mode: PhantomData }
    }

    async fn start(&mut self, settings: &Settings) -> Arc<dyn Engine> {
        if let Some(killed) = self.running.take() {
            killed.end().await;
        }
        if let Some(image) = self.image.take() {
            image.put_back(&self.dir);
        }
        let dir = self.dir.clone();
        let Settings { leases, history_bytes } = settings.clone();
        let process = Process::start(move || {
            let store = StoreConfig { durability: D::DURABILITY, ..StoreConfig::default() };
            let (engine, _) =
                Embedded::open(&dir, &store, &leases, &Quotas::default(), history_bytes, metrics())
                    .unwrap_or_else(|error| panic!("the store opens: {error}"));
            engine
        })
        .await;
        let engine = process.engine.clone();
        self.running = Some(process);
        engine
    }

    async fn stop(&mut self) {
        self.running.take().expect("it runs").stop().await;
    }

    async fn kill(&mut self) {
        assert!(self.running.is_some(), "it runs");
        let dir = self.dir.clone();
        self.image = Some(tokio::task::spawn_blocking(move || Image::of(&dir)).await.unwrap());
    }
}

impl<D: Mode> Drop for OnDisk<D> {
    fn drop(&mut self) {
        // It holds files open until it is gone.
        self.running = None;
        let _ = fs::remove_dir_all(&self.dir);
    }
}

// === the files ===

/// What was in a directory at one instant, but for the lock.
#[derive(PartialEq)]
struct Image(BTreeMap<PathBuf, Vec<u8>>);

const LOCK: &str = "lock";

impl Image {
    /// Two readings after each other that are equal are what was there between them.
    fn of(dir: &Path) -> Self {
        let start = Instant::now();
        let mut last = Self::read(dir);
        loop {
            let next = Self::read(dir);
            if next == last {
                return last;
            }
            assert!(start.elapsed() < SOON, "the store's files do not stand still for {SOON:?}");
            last = next;
        }
    }

    fn read(dir: &Path) -> Self {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        // One may be renamed right now: then the next reading differs.
        let read = files.filter_map(|file| Some((file.clone(), fs::read(file).ok()?)));
        Self(read.filter(|(file, _)| !file.ends_with(LOCK)).collect())
    }

    /// Makes the directory what it was, in the same files as far as they are there still.
    fn put_back(&self, dir: &Path) {
        let lock = File::open(dir.join(LOCK)).unwrap();
        lock.try_lock().expect("nobody uses the directory");
        for entry in fs::read_dir(dir).unwrap() {
            let file = entry.unwrap().path();
            if !self.0.contains_key(&file) && !file.ends_with(LOCK) {
                fs::remove_file(file).unwrap();
            }
        }
        for (file, bytes) in &self.0 {
            let mut file = File::options().write(true).create(true).truncate(true).open(file).unwrap();
            file.write_all(bytes).unwrap();
        }
    }
}

// === the process ===

/// An engine on a runtime of its own.
struct Process {
    engine: Arc<dyn Engine>,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

impl Process {
    async fn start(make: impl FnOnce() -> Embedded + Send + 'static) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // Its threads know the runtime, and may block.
        let engine: Arc<dyn Engine> = match runtime.spawn_blocking(move || Arc::new(make())).await {
            Ok(engine) => engine,
            Err(error) => {
                runtime.shutdown_background();
                std::panic::resume_unwind(error.into_panic());
            }
        };
        Self { engine, runtime: Some(runtime) }
    }

    async fn stop(self) {
        self.engine.freeze();
        let closed = self.engine.close().await;
        self.end().await;
        closed.unwrap_or_else(|error| panic!("everything is safe at the end: {error}"));
    }

    async fn end(self) {
        tokio::task::spawn_blocking(|| drop(self)).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        const LIMIT: Duration = SOON;
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be waited for on a thread of another one.
            let _ = thread::spawn(move || runtime.shutdown_timeout(LIMIT)).join();
        }
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::default())
}
