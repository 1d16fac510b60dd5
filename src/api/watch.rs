//! Watch: a reader of the history, and what it has not read.
//!
//! Each watch is a stream without a queue or a task of its own: the connection polls it when
//! the client can take something, and the view wakes it when something may match. What is to be
//! said next is found out then, so a client that reads slowly costs a cursor.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    task::coop,
    time::{Instant, Sleep, sleep_until},
};
use tokio_stream::Stream;
use tonic::Status;

use crate::{
    call::Caller,
    catalog::{Commit, Cursor, Snapshot},
    engine::{Encoded, Engine, Reader, Reading},
    limits::Guard,
    metrics::Open,
    proto::{self, watch_response::Type, wire::WatchResponse},
    types::{Epoch, Filter, Instance, Moment, Revision},
    wire::Encoder,
};

use super::{
    Registry, convert,
    encode::{self, Told},
    refuse::invalid,
    scope,
    token::ResumeToken,
};

/// A message tells of about so many bytes of history, as memory counts them, unless one
/// revision alone holds more.
const HISTORY_BYTES: usize = 256 << 10;
/// A part of a snapshot holds about so many bytes of events, unless one alone is larger.
const SNAPSHOT_BYTES: usize = 64 << 10;

const DEFAULT_BOOKMARK: Duration = Duration::from_secs(15);
const LEAST_BOOKMARK: Duration = Duration::from_millis(100);
const LONGEST_BOOKMARK: Duration = Duration::from_hours(1);

impl Registry {
    pub(super) fn start_watch(&self, request: proto::WatchRequest, caller: &Caller) -> Result<Watch, Status> {
        let within = self.limits.watcher(caller.peer.ip()).map_err(|exceeded| self.too_much(exceeded))?;
        let filter = convert::filter(&request.service, request.labels).map_err(invalid)?;
        let filter = self.check_filter(caller, filter)?;
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
        let place = Place { epoch: self.engine.view().read().epoch(), filter: filter.digest() };
        let reader = self.engine.view().reader(filter);
        let (connection, grant) = (Arc::clone(&caller.connection), caller.grant.clone());
        let idle_since = Instant::now();
        Ok(Watch {
            engine: Arc::clone(&self.engine),
            reader,
            place,
            phase: Phase::Begin(resume),
            bookmark,
            idle_since,
            timer: Box::pin(sleep_until(idle_since + bookmark)),
            leaving: Box::pin(async move { connection.wait_leaving().await }),
            revoked: grant.map(|grant| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(scope::revoked(Some(grant)))
            }),
            resets: self.metrics.watch_resets.clone(),
            _open: Open::of(&self.metrics.watchers),
            _within: within,
        })
    }
}

/// One watch, as the messages that its client is sent.
pub struct Watch {
    engine: Arc<dyn Engine>,
    reader: Reader,
    place: Place,
    phase: Phase,
    bookmark: Duration,
    /// When the last message was sent.
    idle_since: Instant,
    /// Fires no later than the next bookmark is due.
    timer: Pin<Box<Sleep>>,
    /// Done when the client has been told to go.
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Done when the key that the client showed is good no more; none without one.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    resets: Counter,
    _open: Open,
    _within: Guard,
}

/// What a resume token says beside the revision.
#[derive(Clone, Copy)]
struct Place {
    epoch: Epoch,
    filter: u64,
}

/// What is said next. However a watch ends, its client may resume.
enum Phase {
    Begin(Option<ResumeToken>),
    /// What lives is to be told.
    Take,
    Snapshot(Listing),
    Follow,
    End,
}

/// A snapshot that is being told, with what changed meanwhile.
struct Listing {
    latest: Arc<Snapshot>,
    parts: VecDeque<Part>,
    /// How much of the first part was told.
    told: usize,
}

/// Instances that are told in one way.
struct Part {
    instances: Instances,
    told: fn(&Instance) -> Told,
}

enum Instances {
    All(Arc<Snapshot>),
    Some(Vec<Instance>),
}

type Item = Result<WatchResponse, Status>;

impl Stream for Watch {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = &mut *self;
        if matches!(this.phase, Phase::End) {
            return Poll::Ready(None);
        }
        // A long way to the head must not keep everything else of this thread waiting.
        let coop = ready!(coop::poll_proceed(context));
        if this.leaving.as_mut().poll(context).is_ready() {
            this.phase = Phase::End;
            let text = "the server is draining; resume with the last resume_token";
            return Poll::Ready(Some(Err(Status::unavailable(text))));
        }
        if this.revoked.as_mut().is_some_and(|revoked| revoked.as_mut().poll(context).is_ready()) {
            this.phase = Phase::End;
            return Poll::Ready(Some(Err(scope::key_is_gone())));
        }
        let message = ready!(this.poll_message(context));
        coop.made_progress();
        this.idle_since = Instant::now();
        if message.is_err() {
            this.phase = Phase::End;
        }
        Poll::Ready(Some(message))
    }
}

impl Watch {
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Item> {
        loop {
            match &mut self.phase {
                Phase::Begin(resume) => match resume.take() {
                    None => self.phase = Phase::Take,
                    Some(token) if self.place.of(token.revision) == token => {
                        self.reader.start(Cursor(token.revision));
                        self.phase = Phase::Follow;
                    }
                    // It says nothing of what this client has seen.
                    Some(_) => return Poll::Ready(Ok(self.reset())),
                },
                Phase::Take => match self.engine.view().snapshot(self.reader.filter()) {
                    Ok(snapshot) => self.phase = Phase::Snapshot(Listing::of(snapshot)),
                    Err(error) => return Poll::Ready(Err(Status::unavailable(error.to_string()))),
                },
                Phase::Snapshot(listing) => {
                    if let Some(message) = listing.next(&*self.engine, self.reader.filter()) {
                        return Poll::Ready(Ok(message));
                    }
                    let cursor = Cursor(listing.latest.revision());
                    if self.engine.view().read().reaches(cursor, self.reader.filter()) {
                        self.reader.start(cursor);
                        self.phase = Phase::Follow;
                        return Poll::Ready(Ok(self.place.message(Type::Synced, cursor.0)));
                    }
                    match self.engine.view().snapshot(self.reader.filter()) {
                        Ok(later) => listing.go_on(later, self.reader.filter()),
                        Err(error) => return Poll::Ready(Err(Status::unavailable(error.to_string()))),
                    }
                }
                Phase::Follow => return self.poll_history(context).map(Ok),
                Phase::End => return Poll::Pending,
            }
        }
    }

    fn poll_history(&mut self, context: &mut Context<'_>) -> Poll<WatchResponse> {
        let (engine, place) = (&*self.engine, self.place);
        let encode =
            |filter: &Filter, commits: &[Arc<Commit>], to| changes(engine, place, filter, commits, to);
        match self.reader.poll_next(context, engine.view(), HISTORY_BYTES, encode) {
            Poll::Ready(Reading::Next(message)) => Poll::Ready(WatchResponse(message)),
            Poll::Ready(Reading::Gone) => Poll::Ready(self.reset()),
            // Nothing is unread up to the head.
            Poll::Pending => self.poll_bookmark(context),
        }
    }

    fn poll_bookmark(&mut self, context: &mut Context<'_>) -> Poll<WatchResponse> {
        // Messages do not set the timer: when it fires, they are asked how long ago they were.
        loop {
            ready!(self.timer.as_mut().poll(context));
            let due = self.idle_since + self.bookmark;
            if due <= Instant::now() {
                let next = Instant::now() + self.bookmark;
                self.timer.as_mut().reset(next);
                return Poll::Ready(self.place.message(Type::Bookmark, self.reader.cursor().0));
            }
            self.timer.as_mut().reset(due);
        }
    }

    fn reset(&mut self) -> WatchResponse {
        self.phase = Phase::Take;
        self.resets.inc();
        let revision = self.engine.view().read().revision();
        finish(step(Type::Reset, 0), revision)
    }
}

/// What commits come to for a filter; none if nothing matches.
fn changes(
    engine: &dyn Engine,
    place: Place,
    filter: &Filter,
    commits: &[Arc<Commit>],
    to: Revision,
) -> Option<Encoded> {
    let mut first = None;
    let capacity = commits.iter().map(|commit| commit.bytes()).sum();
    let anchor = engine.wall(Moment(0));
    let mut message = step(Type::Changes, capacity);
    for commit in commits {
        for event in commit.changes.iter().filter_map(|change| change.seen_through(filter)) {
            first.get_or_insert(commit.revision);
            let told = convert::told(&event, commit.revision);
            encode::event(&mut message, told, &event.instance, event.times, anchor);
        }
    }
    let message = place.finish(message, to).0;
    Some(Encoded { message, first: first? })
}

impl Place {
    fn of(self, revision: Revision) -> ResumeToken {
        ResumeToken { epoch: self.epoch, revision, filter: self.filter }
    }

    fn message(self, kind: Type, revision: Revision) -> WatchResponse {
        self.finish(step(kind, 0), revision)
    }

    fn finish(self, mut message: Encoder, revision: Revision) -> WatchResponse {
        encode::text(&mut message, 3, &self.of(revision).encode());
        finish(message, revision)
    }
}

/// Begins a `leasehold.v1.WatchResponse` of about so many bytes.
fn step(kind: Type, bytes: usize) -> Encoder {
    let mut message = Encoder::with_capacity(bytes + 64);
    encode::number(&mut message, 1, kind as u64);
    message
}

/// Ends one: everything up to this revision has been told.
fn finish(mut message: Encoder, revision: Revision) -> WatchResponse {
    encode::number(&mut message, 4, revision.0);
    WatchResponse(message.finish().into())
}

// === impl Listing ===

impl Listing {
    fn of(snapshot: Arc<Snapshot>) -> Self {
        let all = Part { instances: Instances::All(Arc::clone(&snapshot)), told: convert::listed };
        Self { latest: snapshot, parts: VecDeque::from([all]), told: 0 }
    }

    /// Goes on with how a later snapshot differs from what was told.
    fn go_on(&mut self, later: Arc<Snapshot>, filter: &Filter) {
        let (put, removed) = self.latest.difference(&later, filter);
        self.parts.push_back(Part { instances: Instances::Some(removed), told: convert::gone });
        self.parts.push_back(Part { instances: Instances::Some(put), told: convert::listed });
        self.latest = later;
    }

    /// The next message, while there is one.
    fn next(&mut self, engine: &dyn Engine, filter: &Filter) -> Option<WatchResponse> {
        loop {
            let part = self.parts.front()?;
            let mut rest = &part.instances.all()[self.told..];
            let before = rest.len();
            let some = portion(&mut rest, filter);
            self.told += before - rest.len();
            if some.is_empty() {
                self.parts.pop_front();
                self.told = 0;
                continue;
            }
            let anchor = engine.wall(Moment(0));
            let mut message = step(Type::Snapshot, some.iter().map(Instance::event_bytes).sum());
            for (one, times) in some.iter().zip(convert::times(engine, &some)) {
                encode::event(&mut message, (part.told)(one), one, times, anchor);
            }
            return Some(finish(message, self.latest.revision()));
        }
    }
}

impl Instances {
    fn all(&self) -> &[Instance] {
        match self {
            Self::All(snapshot) => snapshot.instances(),
            Self::Some(some) => some,
        }
    }
}

/// Takes the next matching instances off, about a message full; one that is larger makes a
/// portion of its own. None are left if it takes none.
fn portion(rest: &mut &[Instance], filter: &Filter) -> Vec<Instance> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while let Some((next, after)) = rest.split_first() {
        if filter.matches(next.content()) {
            bytes += next.event_bytes();
            if bytes > SNAPSHOT_BYTES && !part.is_empty() {
                break;
            }
            part.push(next.clone());
        }
        *rest = after;
    }
    part
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
