//! Each change, for those who want to hear of them rather than look at what there is.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Change, Snapshot, Watch};

/// So many messages of the registry wait for a consumer that is slow; with more, it is told the whole set
/// instead.
pub(super) const BACKLOG: usize = 256;

/// The changes of a [`Watch`], one after the other. Keeps it going.
#[derive(Debug)]
pub struct Changes {
    watch: Watch,
    told: broadcast::Receiver<Told>,
    /// What the consumer knows; 0: nothing.
    version: u64,
}

/// What a consumer is told.
#[derive(Clone, Debug)]
pub enum Update {
    /// All that lives: in place of whatever was told before. It comes first, and again when the registry could
    /// not go on where it was (a RESET), or the consumer was so slow that changes had to be let go.
    Snapshot(Arc<Snapshot>),
    /// What changed since, in order.
    Changes(Arc<[Change]>),
}

/// An update, and the view's version that it leads to.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub version: u64,
    pub update: Update,
}

impl Changes {
    pub(super) fn of(watch: Watch) -> Self {
        let told = watch.told.subscribe();
        Self { watch, told, version: 0 }
    }

    /// Waits for the next update. Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Update {
        if self.version == 0 {
            self.watch.ready().await;
            return self.whole();
        }
        loop {
            match self.told.recv().await {
                // It was in a set that was told whole.
                Ok(told) if told.version <= self.version => {}
                Ok(told) => {
                    self.version = told.version;
                    return told.update;
                }
                Err(RecvError::Lagged(_)) => return self.whole(),
                // Never: the watch holds a sender.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    fn whole(&mut self) -> Update {
        // What waits is in the set. First, for what is told from here on may not be.
        self.told = self.told.resubscribe();
        let view = self.watch.view.borrow();
        self.version = view.version;
        Update::Snapshot(Arc::clone(&view.snapshot))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{super::follow::Publisher, *};
    use crate::{
        client::watch::set::{self, Set},
        proto::{Event, Instance, WatchResponse, event, watch_response::Type as Step},
    };

    /// A registry that registers one instance after the other.
    struct Registry {
        set: Set,
        publisher: Publisher,
        revision: u64,
    }

    impl Registry {
        fn start() -> (Self, Watch) {
            let (publisher, watch) = Publisher::unattended();
            let mut set = Set::default();
            set.begin();
            (Self { set, publisher, revision: 0 }, watch)
        }

        fn say(&mut self, step: Step) {
            self.revision += 1;
            let instance = Instance { id: self.revision.to_string(), ..Instance::default() };
            let event = Event {
                r#type: event::Type::Registered.into(),
                instance: Some(instance),
                revision: self.revision,
                ..Event::default()
            };
            let events = if step == Step::Changes { vec![event] } else { vec![] };
            let message = WatchResponse {
                r#type: step.into(),
                events,
                resume_token: "t".to_owned(),
                revision: self.revision,
            };
            match self.set.take(message).unwrap() {
                set::Told::Part => {}
                set::Told::Replaced => self.publisher.replaced(&self.set),
                set::Told::Changed(changes) => self.publisher.changed(&self.set, changes),
            }
        }
    }

    /// The revisions of the next update's changes; of a snapshot, how many live.
    async fn next(changes: &mut Changes) -> Result<Vec<u64>, usize> {
        match timeout(Duration::from_secs(10), changes.next()).await.expect("an update waits") {
            Update::Snapshot(snapshot) => Err(snapshot.len()),
            Update::Changes(changes) => Ok(changes.iter().map(|change| change.revision).collect()),
        }
    }

    #[tokio::test]
    async fn each_is_told_once_whenever_one_begins_to_listen() {
        let (mut registry, watch) = Registry::start();
        let mut early = watch.changes();
        registry.say(Step::Synced);
        registry.say(Step::Changes);
        let mut late = watch.changes();
        registry.say(Step::Bookmark);
        registry.say(Step::Changes);
        // The set of the moment it is first asked for holds everything.
        assert_eq!(next(&mut early).await, Err(2));
        assert_eq!(next(&mut late).await, Err(2));
        registry.say(Step::Changes);
        registry.say(Step::Changes);
        for changes in [&mut early, &mut late] {
            assert_eq!(next(changes).await, Ok(vec![5]));
            assert_eq!(next(changes).await, Ok(vec![6]));
            assert!(timeout(Duration::ZERO, changes.next()).await.is_err(), "that is all");
        }
        registry.say(Step::Reset);
        registry.say(Step::Synced);
        registry.say(Step::Changes);
        assert_eq!(next(&mut late).await, Err(0));
        assert_eq!(next(&mut late).await, Ok(vec![9]));
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_the_whole_set() {
        let (mut registry, watch) = Registry::start();
        let mut changes = watch.changes();
        registry.say(Step::Synced);
        assert_eq!(next(&mut changes).await, Err(0));
        for _ in 0..=BACKLOG {
            registry.say(Step::Changes);
        }
        assert_eq!(next(&mut changes).await, Err(BACKLOG + 1));
        registry.say(Step::Changes);
        assert_eq!(next(&mut changes).await, Ok(vec![registry.revision]));
    }
}
