//! A watch's messages in, what is to be shown out: no connection, no clock. Start with [`Set::take`].

use std::sync::Arc;

use super::Snapshot;
use crate::proto::{
    Instance, WatchResponse,
    event::{Reason, Type as Kind},
    watch_response::Type as Step,
};

/// One change of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// Why.
    pub reason: Reason,
    /// As it is after the change; of one that is gone, as it was last.
    pub instance: Arc<Instance>,
    /// The revision that brought it.
    pub revision: u64,
    /// Whether the registry's brake had held this expiry back.
    pub braked: bool,
}

/// What is shown, where to resume, and the set that is to replace what is shown as soon as it is whole.
#[derive(Debug, Default)]
pub struct Set {
    shown: Snapshot,
    /// Empty: what comes next is a whole set.
    token: String,
    building: Option<Snapshot>,
}

/// What a message came to.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// A part of a set that is not whole yet: what is shown is not what lives.
    Part,
    /// Another set is shown now.
    Replaced,
    /// The set that is shown changed by these; by none of them, if it is only known to be true
    /// up to a later revision.
    Changed(Vec<Change>),
}

/// The messages make no sense: nothing they said counts from here on.
#[derive(Debug, PartialEq)]
pub struct Nonsense(pub &'static str);

impl Set {
    /// What is shown.
    pub fn shown(&self) -> &Snapshot {
        &self.shown
    }

    /// Where a new stream resumes; empty: with a whole set.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Has the next stream tell all that lives. What is shown stays until that is whole.
    pub fn start_over(&mut self) {
        self.token.clear();
    }

    /// A stream was asked for with [`Set::token`]. What a former one left unfinished is forgotten.
    pub fn begin(&mut self) {
        self.building = self.token.is_empty().then(Snapshot::default);
    }

    /// The next message of the stream.
    pub fn take(&mut self, message: WatchResponse) -> Result<Told, Nonsense> {
        let WatchResponse { events, resume_token, revision, .. } = message;
        let step = Step::try_from(message.r#type).unwrap_or(Step::Unspecified);
        match (step, &mut self.building) {
            (Step::Reset, _) => {
                self.token.clear();
                self.building = Some(Snapshot::default());
                Ok(Told::Part)
            }
            (Step::Snapshot, Some(building)) => {
                events.into_iter().filter_map(Change::of).for_each(|change| change.apply(building));
                Ok(Told::Part)
            }
            (Step::Synced, Some(building)) => {
                self.shown = std::mem::take(building);
                self.building = None;
                self.move_to(resume_token, revision);
                Ok(Told::Replaced)
            }
            (Step::Changes | Step::Bookmark, None) => {
                let changes: Vec<Change> = events.into_iter().filter_map(Change::of).collect();
                changes.iter().cloned().for_each(|change| change.apply(&mut self.shown));
                self.move_to(resume_token, revision);
                Ok(Told::Changed(changes))
            }
            (Step::Changes | Step::Bookmark, Some(_)) => {
                Err(Nonsense("the registry told of changes before it told what lives"))
            }
            (Step::Snapshot | Step::Synced, None) => {
                Err(Nonsense("the registry told again what lives, and not that it would"))
            }
            // Of a later version of the contract, which may only add what can be passed over.
            (Step::Unspecified, Some(_)) => Ok(Told::Part),
            (Step::Unspecified, None) => Ok(Told::Changed(Vec::new())),
        }
    }

    fn move_to(&mut self, token: String, revision: u64) {
        self.token = token;
        self.shown.revision = revision;
    }
}

impl Change {
    /// None: it is of a kind that is not known here, or of nothing.
    fn of(event: crate::proto::Event) -> Option<Self> {
        let (kind, reason) = (event.r#type(), event.reason());
        let instance = Arc::new(event.instance?);
        (kind != Kind::Unspecified).then_some(Self {
            kind,
            reason,
            instance,
            revision: event.revision,
            braked: event.braked,
        })
    }

    fn apply(self, snapshot: &mut Snapshot) {
        match self.kind {
            Kind::Registered | Kind::Updated | Kind::Suspect => snapshot.insert(self.instance),
            Kind::Deregistered | Kind::Expired => snapshot.remove(&self.instance.id),
            Kind::Unspecified => {}
        }
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
