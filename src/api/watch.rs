//! Watch: a cursor into the catalog's history, and what it has not seen.
//!
//! Each watch is a task with no queue of its own. It reads what came after its cursor,
//! sends it, and waits for the bell. While its client is slow it moves the cursor over
//! what does not match, so that only a change which matters to it can leave it behind.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch::Receiver},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    call::Connection,
    catalog::{Cursor, Delta, Since},
    engine::{Engine, SnapshotError},
    metrics::Open,
    proto::{self, watch_response::Type},
    types::{Epoch, Filter, Instance, Revision},
};

use super::{Registry, convert, refuse::invalid, token::ResumeToken};

/// A message holds about so many bytes of events, unless one revision alone holds more.
const MESSAGE_BYTES: usize = 64 << 10;
/// Messages that wait for a client that does not read; beyond them the cursor waits.
const BUFFER: usize = 2;

const DEFAULT_BOOKMARK: Duration = Duration::from_secs(15);
const LEAST_BOOKMARK: Duration = Duration::from_millis(100);
const LONGEST_BOOKMARK: Duration = Duration::from_hours(1);

impl Registry {
    pub(super) fn start_watch(
        &self,
        request: proto::WatchRequest,
        connection: Arc<Connection>,
    ) -> Result<ReceiverStream<Result<proto::WatchResponse, Status>>, Status> {
        let filter = convert::filter(&request.service, request.labels).map_err(invalid)?;
        let bookmark = request.bookmark_interval.map(convert::duration).transpose();
        let bookmark = bookmark
            .map_err(|text| invalid(vec![convert::violation("bookmark_interval", text)]))?
            .unwrap_or(DEFAULT_BOOKMARK)
            .clamp(LEAST_BOOKMARK, LONGEST_BOOKMARK);
        let resume = match request.resume_token.as_str() {
            "" => None,
            text => Some(ResumeToken::decode(text).ok_or_else(|| {
                let text = "is no token of a Watch or List answer; send none to start with a snapshot";
                invalid(vec![convert::violation("resume_token", text)])
            })?),
        };
        let (out, messages) = mpsc::channel(BUFFER);
        let head = self.engine.view().subscribe();
        let epoch = self.engine.view().read().epoch();
        let digest = filter.digest();
        let watcher = Watcher {
            engine: Arc::clone(&self.engine),
            filter,
            digest,
            epoch,
            head,
            out,
            cursor: None,
            bookmark,
            _open: Open::of(&self.metrics.watchers),
        };
        tokio::spawn(watcher.run(resume, connection));
        Ok(ReceiverStream::new(messages))
    }
}

struct Watcher {
    engine: Arc<dyn Engine>,
    filter: Filter,
    digest: u64,
    epoch: Epoch,
    /// The bell.
    head: Receiver<Revision>,
    out: mpsc::Sender<Result<proto::WatchResponse, Status>>,
    /// Up to where the client has been told; none before its snapshot.
    cursor: Option<Cursor>,
    bookmark: Duration,
    _open: Open,
}

/// Why a watch ends: in all cases the client may resume.
enum End {
    /// The client is gone.
    Closed,
    /// There is no room for its snapshot.
    NoSnapshot(SnapshotError),
}

impl Watcher {
    async fn run(mut self, resume: Option<ResumeToken>, connection: Arc<Connection>) {
        let out = self.out.clone();
        let end = tokio::select! {
            end = self.follow(resume) => end,
            () = connection.wait_leaving() => {
                let status = Status::unavailable("the server is draining; resume with the last resume_token");
                let _ = out.send(Err(status)).await;
                return;
            }
            () = out.closed() => return,
        };
        if let Err(End::NoSnapshot(error)) = end {
            let _ = out.send(Err(Status::unavailable(error.to_string()))).await;
        }
    }

    async fn follow(&mut self, resume: Option<ResumeToken>) -> Result<(), End> {
        if let Some(token) = resume {
            // A token of another epoch or filter says nothing of what this client has seen.
            if token.epoch == self.epoch && token.filter == self.digest {
                self.cursor = Some(Cursor(token.revision));
            } else {
                self.reset().await?;
            }
        }
        let mut idle_since = Instant::now();
        loop {
            let Some(cursor) = self.cursor else {
                self.snapshot().await?;
                idle_since = Instant::now();
                continue;
            };
            self.head.mark_unchanged();
            match self.since(cursor, MESSAGE_BYTES) {
                Since::Gone => self.reset().await?,
                Since::Deltas(deltas, seen) if deltas.is_empty() => {
                    self.cursor = Some(seen);
                    if seen == cursor && self.wait(idle_since + self.bookmark).await {
                        self.send(self.message(Type::Bookmark, Vec::new(), seen.0)).await?;
                        idle_since = Instant::now();
                    }
                }
                Since::Deltas(deltas, seen) => {
                    self.cursor = Some(seen);
                    let message = self.message(Type::Changes, self.events(&deltas), seen.0);
                    self.send(message).await?;
                    idle_since = Instant::now();
                }
            }
        }
    }

    /// Waits for the bell. Says whether the stream has been idle until `bookmark` instead.
    async fn wait(&mut self, bookmark: Instant) -> bool {
        tokio::select! {
            changed = self.head.changed() => {
                if changed.is_err() {
                    // The engine is gone, and the server with it.
                    std::future::pending::<()>().await;
                }
                false
            }
            () = tokio::time::sleep_until(bookmark) => true,
        }
    }

    async fn reset(&mut self) -> Result<(), End> {
        self.cursor = None;
        let revision = self.engine.view().read().revision();
        self.send(proto::WatchResponse {
            r#type: Type::Reset.into(),
            events: Vec::new(),
            resume_token: String::new(),
            revision: revision.0,
        })
        .await
    }

    /// Sends what lives, and what changed while it was read, until the history takes over.
    async fn snapshot(&mut self) -> Result<(), End> {
        let mut snapshot = self.engine.view().snapshot(&self.filter).map_err(End::NoSnapshot)?;
        self.send_snapshot(snapshot.instances(), convert::listed, snapshot.revision()).await?;
        loop {
            let cursor = Cursor(snapshot.revision());
            if !matches!(self.since(cursor, 1), Since::Gone) {
                self.cursor = Some(cursor);
                return self.send(self.message(Type::Synced, Vec::new(), cursor.0)).await;
            }
            let later = self.engine.view().snapshot(&self.filter).map_err(End::NoSnapshot)?;
            let (put, removed) = snapshot.difference(&later, &self.filter);
            self.send_snapshot(&removed, convert::gone, later.revision()).await?;
            self.send_snapshot(&put, convert::listed, later.revision()).await?;
            snapshot = later;
        }
    }

    async fn send_snapshot(
        &mut self,
        mut instances: &[Instance],
        event: fn(proto::Instance) -> proto::Event,
        revision: Revision,
    ) -> Result<(), End> {
        while let Some(part) = self.portion(&mut instances) {
            let events = convert::instances(&*self.engine, &part).into_iter().map(event).collect();
            self.send(proto::WatchResponse {
                r#type: Type::Snapshot.into(),
                events,
                resume_token: String::new(),
                revision: revision.0,
            })
            .await?;
        }
        Ok(())
    }

    /// Takes the next matching instances off, about a message full; one that is larger
    /// makes a portion of its own.
    fn portion(&self, rest: &mut &[Instance]) -> Option<Vec<Instance>> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while let Some((next, after)) = rest.split_first() {
            if self.filter.matches(next.content()) {
                bytes += next.event_bytes();
                if bytes > MESSAGE_BYTES && !part.is_empty() {
                    break;
                }
                part.push(next.clone());
            }
            *rest = after;
        }
        (!part.is_empty()).then_some(part)
    }

    fn since(&self, cursor: Cursor, max_bytes: usize) -> Since {
        self.engine.view().read().since(cursor, &self.filter, max_bytes)
    }

    fn events(&self, deltas: &[Delta]) -> Vec<proto::Event> {
        let events = deltas.iter().flat_map(|delta| delta.events.iter().map(|event| (event, delta.revision)));
        events.map(|(event, revision)| convert::event(&*self.engine, event, revision.0)).collect()
    }

    fn message(&self, kind: Type, events: Vec<proto::Event>, revision: Revision) -> proto::WatchResponse {
        let token = ResumeToken { epoch: self.epoch, revision, filter: self.digest };
        proto::WatchResponse {
            r#type: kind.into(),
            events,
            resume_token: token.encode(),
            revision: revision.0,
        }
    }

    /// Sends a message when there is room; until then moves the cursor over what does not
    /// match.
    async fn send(&mut self, message: proto::WatchResponse) -> Result<(), End> {
        let out = self.out.clone();
        let room = out.reserve();
        tokio::pin!(room);
        // Once a change that matches waits, there is nothing to move over any more.
        let mut stuck = false;
        loop {
            tokio::select! {
                biased;
                permit = &mut room => {
                    permit.map_err(|_| End::Closed)?.send(Ok(message));
                    return Ok(());
                }
                Ok(()) = self.head.changed(), if !stuck => {
                    match self.cursor.map(|cursor| self.since(cursor, 1)) {
                        Some(Since::Deltas(deltas, seen)) if deltas.is_empty() => self.cursor = Some(seen),
                        _ => stuck = true,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
