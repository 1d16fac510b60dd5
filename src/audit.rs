//! The audit file: a line of JSON for each change and each refusal, with who asked for it. Unlike
//! the log it leaves none out, however many there are in a second.
//!
//! Nobody waits for its disk. Lines are queued and written by a thread of their own; those that
//! find the queue full are lost, and the file and a metric say how many.

use std::{
    collections::VecDeque,
    fmt,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    warn,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::Context,
    registry::LookupSpan,
};

use crate::{
    call::AUDITED,
    catalog::{Change, Commit},
    types::{Actor, Actors, WallTime},
};

/// So many lines may wait for the disk.
const WAITING: usize = 1_000_000;
/// How often a file that cannot be written is complained about at most.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Where changes and refusals are told; to nobody, where there is no audit file.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Shared>>);

/// The audit file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {path} cannot be opened: {error}", path = path.display())]
pub struct AuditError {
    path: PathBuf,
    error: io::Error,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Rings when there is something to do for the thread.
    work: Condvar,
    /// Rings when the thread has ended.
    ended: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// How many lines they make.
    lines: usize,
    /// Lines that found no room since the file was told so last.
    lost: u64,
    /// The file is to be opened anew.
    reopen: bool,
    closed: bool,
    ended: bool,
}

#[derive(Debug)]
enum Entry {
    Changes(WallTime, Arc<Commit>, Actors),
    Refusal(SystemTime, Map<String, Value>),
}

impl Audit {
    /// Appends to this file, which is made where there is none; tells nobody if none is named.
    pub fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let failed = |error| AuditError { path: path.to_owned(), error };
        let file = append(path).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let mut scribe = Scribe {
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            file: BufWriter::with_capacity(64 << 10, file),
            complained: None,
        };
        thread::Builder::new().name("audit".to_owned()).spawn(move || scribe.run()).map_err(failed)?;
        Ok(Self(Some(shared)))
    }

    /// Tells of what was committed at `at`, and of who asked for each change.
    pub fn changed(&self, at: WallTime, commit: &Arc<Commit>, by: &Actors) {
        if let Some(shared) = &self.0 {
            shared.push(commit.changes.len(), || Entry::Changes(at, Arc::clone(commit), by.clone()));
        }
    }

    /// Takes the refusals that are logged.
    pub fn refusals<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> Option<impl Layer<S> + use<S>> {
        let only = Targets::new().with_target(AUDITED, LevelFilter::INFO);
        Some(Refusals(Arc::clone(self.0.as_ref()?)).with_filter(only))
    }

    /// Opens the file by its name again, for whoever rotates logs has moved it away.
    pub fn reopen(&self) {
        if let Some(shared) = &self.0 {
            shared.queue.lock().reopen = true;
            shared.work.notify_one();
        }
    }

    /// How many lines were lost so far.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.lost.load(Ordering::Relaxed))
    }

    /// Writes what waits, for so long at most; nothing is taken any more. Blocks.
    pub fn close(&self, limit: Duration) {
        let Some(shared) = &self.0 else { return };
        let mut queue = shared.queue.lock();
        queue.closed = true;
        shared.work.notify_one();
        shared.ended.wait_while_for(&mut queue, |queue| !queue.ended, limit);
    }
}

impl Shared {
    fn push(&self, lines: usize, entry: impl FnOnce() -> Entry) {
        let mut queue = self.queue.lock();
        if queue.closed || queue.lines + lines > WAITING {
            queue.lost += lines as u64;
            self.lost.fetch_add(lines as u64, Ordering::Relaxed);
            return;
        }
        queue.lines += lines;
        queue.entries.push_back(entry());
        drop(queue);
        self.work.notify_one();
    }

    fn lose(&self, lines: u64) {
        self.queue.lock().lost += lines;
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

// === impl Scribe ===

/// Writes the file.
struct Scribe {
    shared: Arc<Shared>,
    path: PathBuf,
    file: BufWriter<File>,
    complained: Option<SystemTime>,
}

impl Scribe {
    fn run(&mut self) {
        loop {
            let (entries, lost, reopen, closed) = self.wait();
            // What was told before the file was moved away is looked for in it.
            let lines: u64 = entries.iter().map(Entry::lines).sum();
            let told = entries.iter().try_for_each(|entry| entry.write(&mut self.file));
            let told = told.and_then(|()| if lost > 0 { say_lost(&mut self.file, lost) } else { Ok(()) });
            if let Err(error) = told.and_then(|()| self.file.flush()) {
                self.shared.lose(lines + lost);
                self.failed(&error);
            }
            if reopen {
                self.reopen();
            }
            if closed {
                self.shared.queue.lock().ended = true;
                self.shared.ended.notify_all();
                return;
            }
        }
    }

    /// Returns when there is something to do: what is to be written, how many lines were lost,
    /// whether the file is to be opened anew, and whether that is all.
    fn wait(&self) -> (VecDeque<Entry>, u64, bool, bool) {
        let mut queue = self.shared.queue.lock();
        let idle = |queue: &mut Queue| queue.entries.is_empty() && !queue.reopen && !queue.closed;
        self.shared.work.wait_while(&mut queue, idle);
        queue.lines = 0;
        let entries = std::mem::take(&mut queue.entries);
        let (lost, reopen) = (std::mem::take(&mut queue.lost), std::mem::take(&mut queue.reopen));
        (entries, lost, reopen, queue.closed)
    }

    fn reopen(&mut self) {
        match append(&self.path) {
            Ok(file) => self.file = BufWriter::with_capacity(64 << 10, file),
            Err(error) => self.failed(&error),
        }
    }

    /// Says so, and starts anew with an empty buffer: what it held is counted as lost.
    fn failed(&mut self, error: &io::Error) {
        let now = SystemTime::now();
        let lately = |at: SystemTime| now.duration_since(at).is_ok_and(|since| since < COMPLAIN_EVERY);
        if !self.complained.is_some_and(lately) {
            self.complained = Some(now);
            warn!(path = %self.path.display(), %error, "the audit log cannot be written: lines are lost");
        }
        if let Ok(file) = self.file.get_ref().try_clone() {
            let broken = std::mem::replace(&mut self.file, BufWriter::with_capacity(64 << 10, file));
            drop(broken.into_parts());
        }
    }
}

// === impl Entry ===

/// A change, as its line tells it.
#[derive(Serialize)]
struct ChangeLine<'a> {
    time: String,
    event: &'static str,
    reason: &'static str,
    id: String,
    service: &'a str,
    url: &'a str,
    revision: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    braked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// A refusal, as its line tells it.
#[derive(Serialize)]
struct RefusalLine<'a> {
    time: String,
    event: &'static str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

impl Entry {
    fn lines(&self) -> u64 {
        match self {
            Self::Changes(_, commit, _) => commit.changes.len() as u64,
            Self::Refusal(..) => 1,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Changes(at, commit, by) => {
                let at = SystemTime::UNIX_EPOCH + Duration::from_micros(at.0);
                let mut told = commit.changes.iter().zip(by.iter());
                told.try_for_each(|(change, by)| write_change(out, at, commit, change, by))
            }
            Self::Refusal(at, fields) => {
                write_line(out, &RefusalLine { time: time(*at), event: "refused", fields })
            }
        }
    }
}

fn write_change(
    out: &mut impl Write,
    at: SystemTime,
    commit: &Commit,
    change: &Change,
    by: Option<&Actor>,
) -> io::Result<()> {
    let Some(instance) = change.instance() else { return Ok(()) };
    let content = instance.content();
    write_line(
        out,
        &ChangeLine {
            time: time(at),
            event: change.kind.name(),
            reason: change.reason.name(),
            id: instance.id.to_string(),
            service: instance.service.as_str(),
            url: content.url(),
            revision: commit.revision.0,
            braked: change.braked,
            key: by.and_then(|by| by.key.as_deref()),
            peer: by.map(|by| by.peer.to_string()),
            trace_id: by.and_then(|by| by.trace).map(|trace| trace.to_string()),
        },
    )
}

fn say_lost(out: &mut impl Write, lines: u64) -> io::Result<()> {
    let line = serde_json::json!({ "time": time(SystemTime::now()), "event": "lost", "lines": lines });
    write_line(out, &line)
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string()
}

// === impl Refusals ===

/// Hands on the refusals that are logged.
struct Refusals(Arc<Shared>);

impl<S: Subscriber> Layer<S> for Refusals {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        self.0.push(1, || Entry::Refusal(SystemTime::now(), fields.0));
    }
}

/// The fields of an event, but for its text.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() != "message" {
            self.0.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
