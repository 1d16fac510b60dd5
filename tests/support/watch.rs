//! A consumer: a Watch that is read message by message and remembers what it saw.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use leasehold::proto::{
    Event, Instance, ListRequest, ListResponse, WatchRequest, WatchResponse,
    event::{Reason, Type as Kind},
    registry_client::RegistryClient,
    watch_response::Type as Step,
};
use tonic::{Status, Streaming, transport::Channel};

use super::{SOON, Server, replica, within};

/// An open Watch.
pub struct Watch {
    stream: Streaming<WatchResponse>,
    waiting: VecDeque<Event>,
    /// Every event of CHANGES that was given out, in order.
    pub seen: Vec<Event>,
    /// The token of the last message that carried one.
    pub token: String,
    /// How often the server began anew.
    pub resets: usize,
}

impl Watch {
    /// Opens it; nothing is read.
    pub async fn open(client: &mut RegistryClient<Channel>, request: WatchRequest) -> Self {
        Self::of(client.watch(request).await.expect("a good request").into_inner())
    }

    /// One that is open; nothing is read.
    pub fn of(stream: Streaming<WatchResponse>) -> Self {
        Self { stream, waiting: VecDeque::new(), seen: Vec::new(), token: String::new(), resets: 0 }
    }

    /// Of everything, from now on: the snapshot has been read.
    pub async fn everything(server: &Server) -> Self {
        Self::synced(&mut server.registry().await, WatchRequest::default()).await.0
    }

    /// Opens one without a token; also gives the snapshot.
    pub async fn synced(client: &mut RegistryClient<Channel>, request: WatchRequest) -> (Self, View) {
        let mut watch = Self::open(client, request).await;
        let view = watch.snapshot().await;
        (watch, view)
    }

    /// The next message, which must come soon.
    pub async fn message(&mut self) -> WatchResponse {
        self.try_message(SOON).await.expect("the stream goes on")
    }

    /// The next message, or why there is none: the end of the stream is OK.
    pub async fn try_message(&mut self, limit: Duration) -> Result<WatchResponse, Status> {
        let next = within("a message of the watch", limit, self.stream.message()).await?;
        let message = next.ok_or_else(|| Status::ok("the stream ended"))?;
        if message.resume_token.is_empty() {
            assert!(
                matches!(message.r#type(), Step::Snapshot | Step::Reset),
                "{:?} carries a token",
                message.r#type()
            );
        } else {
            self.token.clone_from(&message.resume_token);
        }
        if message.r#type() == Step::Reset {
            self.resets += 1;
        }
        Ok(message)
    }

    /// Reads SNAPSHOT messages up to SYNCED.
    pub async fn snapshot(&mut self) -> View {
        let mut view = View::default();
        loop {
            let message = self.message().await;
            match message.r#type() {
                Step::Snapshot => message.events.iter().for_each(|event| view.apply(event)),
                Step::Synced => {
                    assert!(!message.resume_token.is_empty(), "SYNCED carries the first token");
                    return view;
                }
                other => panic!("{other:?} within a snapshot"),
            }
        }
    }

    /// The next change.
    pub async fn event(&mut self, limit: Duration) -> Event {
        within("an event of the watch", limit, self.next_event()).await
    }

    async fn next_event(&mut self) -> Event {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.seen.push(event.clone());
                return event;
            }
            // Callers bound the whole wait.
            let message = self.try_message(Duration::from_mins(10)).await.expect("the stream goes on");
            match message.r#type() {
                Step::Changes => self.waiting.extend(message.events),
                Step::Bookmark => assert!(message.events.is_empty(), "a bookmark has no events"),
                other => panic!("{other:?} among changes"),
            }
        }
    }

    /// Reads on up to the first event that `pick` accepts.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&Event) -> bool,
    ) -> Event {
        let search = async {
            loop {
                let event = self.next_event().await;
                if pick(&event) {
                    return event;
                }
            }
        };
        within(what, limit, search).await
    }

    /// Reads everything that has been committed so far into `seen`: registers a marker
    /// and reads up to it. Only for a watch of everything.
    pub async fn catch_up(&mut self, server: &Server) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let url = format!("http://marker.test/{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let marker = server.register(replica(MARKER, &url)).await;
        self.until("the marker", SOON, |event| instance(event).id == marker.id).await;
        self.seen.retain(|event| instance(event).service != MARKER);
    }

    /// What was seen of this id.
    pub fn seen_of(&self, id: &str) -> Vec<(Kind, Reason)> {
        self.seen.iter().filter(|event| instance(event).id == id).map(what).collect()
    }
}

/// The service of the registrations that [`Watch::catch_up`] makes.
pub const MARKER: &str = "marker";

/// The instance of an event.
pub fn instance(event: &Event) -> &Instance {
    event.instance.as_ref().expect("an event names its instance")
}

/// Type and reason of an event.
pub fn what(event: &Event) -> (Kind, Reason) {
    (event.r#type(), event.reason())
}

/// What a consumer believes to live, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View(pub BTreeMap<String, Instance>);

impl View {
    /// One event of a snapshot or of changes.
    pub fn apply(&mut self, event: &Event) {
        let instance = instance(event);
        match event.r#type() {
            Kind::Registered | Kind::Updated | Kind::Suspect => {
                self.0.insert(instance.id.clone(), instance.clone());
            }
            Kind::Deregistered | Kind::Expired => {
                self.0.remove(&instance.id);
            }
            Kind::Unspecified => panic!("an event without a type: {event:?}"),
        }
    }

    /// Ids with their content's revision.
    pub fn revisions(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(id, instance)| (id.clone(), instance.revision)).collect()
    }
}

/// Lists everything.
pub async fn list(server: &Server) -> ListResponse {
    server.registry().await.list(ListRequest::default()).await.expect("a list").into_inner()
}

/// The ids of everything but markers.
pub async fn listed_ids(server: &Server) -> Vec<String> {
    let mut ids: Vec<String> = list(server)
        .await
        .services
        .into_iter()
        .filter(|found| found.service != MARKER)
        .map(|found| found.id)
        .collect();
    ids.sort();
    ids
}
