//! A consumer that outlives servers: it resumes by its last token, and remembers every
//! change that it was told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use leasehold::proto::{
    Event, Instance, WatchRequest, WatchResponse, event::Type as Kind, registry_client::RegistryClient,
    watch_response::Type as Step,
};
use tokio::{sync::watch, task::JoinHandle};
use tonic::transport::Channel;

use crate::support::{
    SOON,
    watch::{View, instance},
    within,
};

/// What it knows.
#[derive(Default)]
pub struct Seen {
    /// To resume with; none before the first SYNCED.
    pub token: String,
    /// All changes up to here were told.
    pub told: u64,
    /// What lives, as far as told.
    pub view: View,
    /// Every change since the last snapshot.
    pub events: Vec<Event>,
    /// The last snapshot.
    pub base: View,
    pub base_revision: u64,
    /// The snapshot that is being read.
    collecting: Option<View>,
    pub resets: usize,
    /// What the last reset took the place of.
    pub former: Option<Box<Seen>>,
    /// What must not be.
    pub faults: Vec<String>,
}

/// A consumer with a filter.
#[derive(Clone)]
pub struct Follower {
    request: WatchRequest,
    /// Without a filter no revision may be missing.
    gapless: bool,
    seen: Arc<Mutex<Seen>>,
    told: Arc<watch::Sender<u64>>,
}

impl Follower {
    pub fn new(request: WatchRequest) -> Self {
        let gapless = request.service.is_empty() && request.labels.is_empty();
        let seen = Arc::new(Mutex::new(Seen { collecting: Some(View::default()), ..Seen::default() }));
        Self { request, gapless, seen, told: Arc::new(watch::Sender::new(0)) }
    }

    /// Whether its filter takes an instance.
    pub fn takes(&self, instance: &Instance) -> bool {
        let WatchRequest { service, labels, .. } = &self.request;
        (service.is_empty() || service.contains(&instance.service))
            && labels.iter().all(|(key, value)| instance.labels.get(key) == Some(value))
    }

    /// Goes on where it was, and reads until the stream ends.
    pub fn follow(&self, mut client: RegistryClient<Channel>) -> JoinHandle<()> {
        let follower = self.clone();
        tokio::spawn(async move {
            let resume_token = follower.seen().token.clone();
            let request = WatchRequest { resume_token, ..follower.request.clone() };
            let Ok(stream) = client.watch(request).await else { return };
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                let told = {
                    let mut seen = follower.seen();
                    seen.take(&message, follower.gapless);
                    seen.told
                };
                if message.r#type() != Step::Snapshot && message.r#type() != Step::Reset {
                    follower.told.send_replace(told);
                }
            }
        })
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all changes up to `revision` were told.
    pub async fn reach(&self, revision: u64) {
        let mut told = self.told.subscribe();
        let what = format!("revision {revision} by the watch of {:?}", self.request);
        within(&what, SOON, told.wait_for(|told| *told >= revision)).await.unwrap();
    }

    /// Waits until it has read its first snapshot, at any time.
    pub async fn began(&self) {
        let mut told = self.told.subscribe();
        let began = |_: &u64| !self.seen().token.is_empty();
        within("a snapshot", SOON, told.wait_for(began)).await.unwrap();
    }

    /// Waits until it was reset, and has read the snapshot that followed; once only for each
    /// reset.
    pub async fn began_anew(&self, round: usize) {
        let mut told = self.told.subscribe();
        let what = format!("round {round}: a reset of the watch of {:?}", self.request);
        let anew = |_: &u64| {
            let seen = self.seen();
            seen.former.is_some() && seen.collecting.is_none()
        };
        within(&what, SOON, told.wait_for(anew)).await.unwrap();
    }
}

impl Seen {
    fn take(&mut self, message: &WatchResponse, gapless: bool) {
        match message.r#type() {
            Step::Reset => {
                let former = std::mem::take(self);
                self.resets = former.resets + 1;
                self.faults.clone_from(&former.faults);
                self.collecting = Some(View::default());
                self.former = Some(Box::new(Seen { former: None, ..former }));
            }
            Step::Snapshot => match &mut self.collecting {
                Some(view) => message.events.iter().for_each(|event| view.apply(event)),
                None => self.fault("a snapshot without a reset"),
            },
            Step::Synced => match self.collecting.take() {
                Some(view) => {
                    self.base.clone_from(&view);
                    self.view = view;
                    self.base_revision = message.revision;
                    self.told = message.revision;
                }
                None => self.fault("SYNCED without a reset"),
            },
            Step::Changes if message.events.is_empty() => self.fault("CHANGES without a change"),
            Step::Changes => message.events.iter().for_each(|event| self.change(event, gapless)),
            Step::Bookmark => {}
            Step::Unspecified => self.fault("a message without a type"),
        }
        if !message.resume_token.is_empty() {
            self.token.clone_from(&message.resume_token);
            if message.revision < self.told {
                self.fault(&format!("{} is told after {}", message.revision, self.told));
            }
            self.told = message.revision;
        }
    }

    fn change(&mut self, event: &Event, gapless: bool) {
        let last = self.events.last().map_or(self.base_revision, |event| event.revision);
        let same = event.revision == last && last > self.told;
        if self.collecting.is_some() || !(same || event.revision > last.max(self.told)) {
            self.fault(&format!("told again or out of order after {last}, {}: {event:?}", self.told));
        }
        if gapless && !same && event.revision != last + 1 {
            self.fault(&format!("{} follows {last}", event.revision));
        }
        let shown = self.view.0.contains_key(&instance(event).id);
        let fits = match event.r#type() {
            Kind::Registered => !shown,
            Kind::Updated | Kind::Suspect | Kind::Deregistered | Kind::Expired => shown,
            Kind::Unspecified => false,
        };
        if !fits {
            self.fault(&format!("shown before: {shown}, and now {event:?}"));
        }
        self.view.apply(event);
        self.events.push(event.clone());
    }

    fn fault(&mut self, what: &str) {
        self.faults.push(what.to_owned());
    }

    /// What lived at `revision`, if it was told that far.
    pub fn view_at(&self, revision: u64) -> Option<View> {
        if revision > self.told || revision < self.base_revision {
            return None;
        }
        let mut view = self.base.clone();
        self.events.iter().filter(|event| event.revision <= revision).for_each(|event| view.apply(event));
        Some(view)
    }
}

/// What consumers agree on: all but the times that renewals move.
pub fn lasting<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> BTreeMap<String, Instance> {
    instances
        .into_iter()
        .map(|instance| {
            let lasting = Instance { last_ping_at: None, expires_at: None, ..instance.clone() };
            (instance.id.clone(), lasting)
        })
        .collect()
}
