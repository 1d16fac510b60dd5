//! A reader that follows the history of an engine. Start with [`Follower`].

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold::{
    catalog::{Cursor, Delta, Event, Kind, Reason, Since},
    engine::{Engine, Outcome},
    types::{Filter, Instance, LeaseId, Moment, Revision, Status},
};

use crate::rig::{Rig, SOON, replica};

/// What is told of an instance, and why.
pub type What = (Kind, Reason);

pub const NEW: What = (Kind::Registered, Reason::New);
pub const REVIVED: What = (Kind::Registered, Reason::Revived);
pub const CONTENT: What = (Kind::Updated, Reason::Content);
pub const RECOVERED: What = (Kind::Updated, Reason::Recovered);
pub const SUSPECT: What = (Kind::Suspect, Reason::StreamDropped);
pub const DROPPED: What = (Kind::Expired, Reason::StreamDropped);
pub const LAPSED: What = (Kind::Expired, Reason::TtlLapsed);
pub const LEFT: What = (Kind::Deregistered, Reason::Client);
pub const REPLACED: What = (Kind::Deregistered, Reason::Replaced);

/// A change as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its revision.
    pub revision: Revision,
    /// What was told.
    pub event: Event,
    /// When it was read: it happened before.
    pub at: Instant,
    /// The same on the engine's clock.
    pub moment: Moment,
}

impl Seen {
    /// Whom it is about.
    pub fn id(&self) -> LeaseId {
        self.event.instance.id
    }

    /// What, and why.
    pub fn what(&self) -> What {
        (self.event.kind, self.event.reason)
    }

    /// It may not be early: a TTL must have passed since a renewal that was sent at `renewed`.
    pub fn not_early(&self, renewed: Instant, ttl: Duration) {
        let times = self.event.times;
        let passed = self.at.saturating_duration_since(renewed);
        assert!(passed >= ttl, "{passed:?} after the last renewal: {self:?}");
        assert!(times.deadline >= times.renewed.plus(ttl), "it tells of its TTL: {self:?}");
        assert!(self.moment >= times.deadline, "it tells when it was due: {self:?}");
    }
}

/// A reader that follows the whole history, and checks what holds of any history: revisions
/// rise, an instance bears the revision that made it, one ends that was there, and what was
/// told adds up to what is listed.
pub struct Follower {
    engine: Arc<dyn Engine>,
    cursor: Cursor,
    live: BTreeMap<LeaseId, Instance>,
    /// All that was read.
    pub seen: Vec<Seen>,
    /// How many of these a test has taken note of.
    noted: usize,
}

impl Follower {
    /// From now on.
    pub fn of(engine: &Arc<dyn Engine>) -> Self {
        let catalog = engine.view().read();
        let cursor = Cursor(catalog.revision());
        let live =
            catalog.matching(&Filter::default()).map(|instance| (instance.id, instance.clone())).collect();
        drop(catalog);
        Self { engine: engine.clone(), cursor, live, seen: Vec::new(), noted: 0 }
    }

    /// Goes on with the engine that came after the one it followed.
    pub fn resume(&mut self, engine: &Arc<dyn Engine>) {
        self.engine = engine.clone();
    }

    /// Reads all that is there.
    pub fn read(&mut self) -> &[Seen] {
        let filter = Filter::default();
        let catalog = self.engine.view().read();
        loop {
            let since = catalog.since(self.cursor, &filter, usize::MAX);
            let Since::Deltas(deltas, cursor) = since else {
                panic!("nothing has left the history after {:?}", self.cursor)
            };
            for delta in deltas {
                take(&mut self.live, &delta, self.cursor);
                self.cursor = Cursor(delta.revision);
                let (at, moment) = (Instant::now(), self.engine.now());
                let Delta { revision, events } = delta;
                self.seen.extend(events.into_iter().map(|event| Seen { revision, event, at, moment }));
            }
            self.cursor = cursor;
            if cursor.0 == catalog.revision() {
                break;
            }
        }
        let listed: Vec<&Instance> = catalog.matching(&filter).collect();
        let mut live: Vec<&Instance> = self.live.values().collect();
        live.sort_by_key(|instance| (instance.content().service(), instance.id));
        assert_eq!(live, listed, "what was told adds up to the list at {:?}", self.cursor);
        &self.seen
    }

    /// The first one of these that was not noted yet.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        self.within(SOON, wanted).await.unwrap_or_else(|| {
            panic!(
                "waited {SOON:?} for {what}; seen: {:?}",
                self.seen.iter().map(Seen::what).collect::<Vec<_>>()
            )
        })
    }

    /// The same, of one kind, of one instance.
    pub async fn until_kind(&mut self, what: &str, id: LeaseId, kind: Kind) -> Seen {
        self.until(what, |seen| seen.id() == id && seen.event.kind == kind).await
    }

    /// The same if it comes within `limit`.
    pub async fn within(&mut self, limit: Duration, wanted: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let engine = self.engine.clone();
        let mut bell = engine.view().subscribe();
        let end = tokio::time::Instant::now() + limit;
        loop {
            bell.borrow_and_update();
            self.read();
            while self.noted < self.seen.len() {
                self.noted += 1;
                if wanted(&self.seen[self.noted - 1]) {
                    return Some(self.seen[self.noted - 1].clone());
                }
            }
            if !matches!(tokio::time::timeout_at(end, bell.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    /// The first one of these, whether it was noted or not.
    pub async fn ever(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        self.noted = 0;
        self.until(what, wanted).await
    }

    /// Returns when all that the engine was told so far is decided, and read.
    pub async fn settle<S>(&mut self, rig: &Rig<S>) {
        let marker = rig.registered(replica("marker", &format!("http://marker/{}", self.seen.len()))).await;
        assert_ne!(marker.outcome, Outcome::Revived, "a marker does not lapse");
        self.read();
    }

    /// All that was told of one instance so far.
    pub fn told_of(&mut self, id: LeaseId) -> Vec<What> {
        self.read();
        self.seen.iter().filter(|seen| seen.id() == id).map(Seen::what).collect()
    }
}

/// Applies a delta to what lived before it.
pub fn take(live: &mut BTreeMap<LeaseId, Instance>, delta: &Delta, after: Cursor) {
    assert!(delta.revision > after.0, "{:?} comes after {after:?}", delta.revision);
    assert!(!delta.events.is_empty(), "{:?} tells something", delta.revision);
    for Event { kind, reason, instance, .. } in &delta.events {
        let there = live.get(&instance.id);
        match kind {
            Kind::Registered | Kind::Updated | Kind::Suspect => {
                assert_eq!(
                    there.is_some(),
                    *kind != Kind::Registered,
                    "{kind:?}, {reason:?} of {instance:?}"
                );
                assert_eq!(instance.revision, delta.revision, "{instance:?} bears its revision");
                let suspect = *kind == Kind::Suspect;
                assert_eq!(
                    instance.status == Status::Suspect,
                    suspect,
                    "{kind:?}, {reason:?} of {instance:?}"
                );
                live.insert(instance.id, instance.clone());
            }
            Kind::Deregistered | Kind::Expired => {
                assert_eq!(there, Some(instance), "{kind:?}, {reason:?} of what was there, as it was");
                live.remove(&instance.id);
            }
        }
    }
}
