//! The task behind a watch: one stream after the other, each going on where the last one broke.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, watch},
    time::{sleep, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Change, Freshness, Snapshot, View, Watch,
    changes::{self, Update},
    set::{Set, Told},
};
use crate::{
    client::{
        backoff::Backoff,
        cause::{is_transient, reason},
        connect::Dial,
    },
    proto::WatchRequest,
};

/// So long after its last word the registry says that nothing changed.
const BOOKMARK: Duration = Duration::from_secs(5);
/// After so long without a word the connection is given up, for one that is new: two bookmarks did not come.
const SILENCE: Duration = Duration::from_secs(11);
/// The longest wait between two tries is this and the registry's own wish.
const RETRY_CAP: Duration = Duration::from_secs(10);
/// What it wishes counts up to this.
const LONGEST_ASKED: Duration = Duration::from_mins(1);
/// Where the registry refused, it is asked again after so long: its keys may change.
const REFUSED: Duration = Duration::from_secs(15);

/// Where the view is written.
pub(super) struct Publisher {
    view: watch::Sender<View>,
    told: broadcast::Sender<changes::Told>,
}

/// How a stream ended.
struct End {
    why: String,
    /// The next one not before this.
    wait: Duration,
    /// The token is of no use.
    start_over: bool,
}

/// Keeps the view up to date until nobody looks at it any more.
pub(super) async fn follow(dial: Dial, request: WatchRequest, publisher: Publisher) {
    let request =
        WatchRequest { bookmark_interval: prost_types::Duration::try_from(BOOKMARK).ok(), ..request };
    let mut set = Set::default();
    let mut backoff = Backoff::new(RETRY_CAP);
    loop {
        let end = tokio::select! {
            end = stream(&dial, &request, &mut set, &publisher, &mut backoff) => end,
            () = publisher.view.closed() => return,
        };
        if end.start_over {
            set.start_over();
        }
        tracing::debug!(why = end.why, "the watch broke off");
        publisher.stale(end.why);
        tokio::select! {
            () = sleep(backoff.next(end.wait)) => {}
            () = publisher.view.closed() => return,
        }
    }
}

/// One stream, from its start to its end. It has a connection of its own: one that died without a word is
/// not used again.
async fn stream(
    dial: &Dial,
    request: &WatchRequest,
    set: &mut Set,
    publisher: &Publisher,
    backoff: &mut Backoff,
) -> End {
    let mut registry = dial.registry();
    set.begin();
    let request = WatchRequest { resume_token: set.token().to_owned(), ..request.clone() };
    let mut messages = match timeout(SILENCE, registry.watch(request)).await {
        Ok(Ok(opened)) => opened.into_inner(),
        Ok(Err(status)) => return End::of(&status),
        Err(_) => return End::silent(),
    };
    publisher.stale("connected; the registry has not told yet what changed meanwhile".to_owned());
    loop {
        let message = match timeout(SILENCE, messages.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return End::broken("the registry ended the watch"),
            Ok(Err(status)) => return End::of(&status),
            Err(_) => return End::silent(),
        };
        match set.take(message) {
            Ok(Told::Part) => {
                publisher.stale("the registry has begun to tell all that lives, and is not done".to_owned());
                continue;
            }
            Ok(Told::Replaced) => publisher.replaced(set),
            Ok(Told::Changed(changes)) => publisher.changed(set, changes),
            Err(nonsense) => return End { start_over: true, ..End::broken(nonsense.0) },
        }
        backoff.reset();
    }
}

impl End {
    fn broken(why: &str) -> Self {
        Self { why: why.to_owned(), wait: Duration::ZERO, start_over: false }
    }

    fn silent() -> Self {
        Self::broken("the registry is silent")
    }

    fn of(status: &Status) -> Self {
        let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let asked = asked.map(|asked| asked.min(LONGEST_ASKED));
        let why = reason(status);
        if is_transient(status) {
            return Self { wait: asked.unwrap_or_default(), ..Self::broken(&why) };
        }
        Self {
            why: format!("the registry refuses ({:?}): {why}", status.code()),
            wait: asked.unwrap_or(REFUSED),
            // It may be the token that is refused.
            start_over: status.code() == Code::InvalidArgument,
        }
    }
}

impl Publisher {
    /// A watch, and where what it shows is written.
    pub(super) fn unattended() -> (Self, Watch) {
        let (view, seen) = watch::channel(View {
            snapshot: Arc::default(),
            version: 0,
            freshness: Freshness::Empty { why: None },
            heard: Instant::now(),
        });
        let told = broadcast::Sender::new(changes::BACKLOG);
        (Self { view, told: told.clone() }, Watch { view: seen, told })
    }

    pub(super) fn replaced(&self, set: &Set) {
        let snapshot = Arc::new(set.shown().clone());
        let version = self.show(&snapshot, true);
        self.tell(version, Update::Snapshot(snapshot));
    }

    pub(super) fn changed(&self, set: &Set, changes: Vec<Change>) {
        let version = self.show(&Arc::new(set.shown().clone()), !changes.is_empty());
        if !changes.is_empty() {
            self.tell(version, Update::Changes(changes.into()));
        }
    }

    /// The version that is shown then.
    fn show(&self, snapshot: &Arc<Snapshot>, changed: bool) -> u64 {
        self.view.send_if_modified(|view| {
            let was_live = view.freshness == Freshness::Live;
            *view = View {
                snapshot: Arc::clone(snapshot),
                version: view.version + u64::from(changed),
                freshness: Freshness::Live,
                heard: Instant::now(),
            };
            changed || !was_live
        });
        self.view.borrow().version
    }

    /// After the view was written: whoever reads it finds nothing older than what was told.
    fn tell(&self, version: u64, update: Update) {
        // An error: nobody listens.
        let _ = self.told.send(changes::Told { version, update });
    }

    fn stale(&self, why: String) {
        self.view.send_if_modified(|view| {
            let freshness = match view.version {
                0 => Freshness::Empty { why: Some(why) },
                _ => Freshness::Stale { since: view.heard, why },
            };
            let changed = view.freshness != freshness;
            view.freshness = freshness;
            changed
        });
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stale("no tokio runtime keeps it up to date".to_owned());
    }
}
