//! One registration, and how far we are with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Handle, How};
use crate::{
    client::{State, backoff::Backoff},
    proto::{RegisterRequest, RegisterResponse},
};

/// One registration that is to be held, or to be ended.
pub(super) struct Slot {
    /// Who is told of it, if anyone listens.
    pub handle: Option<Handle>,
    /// What is to be registered.
    pub wanted: Arc<RegisterRequest>,
    /// What the registry took last.
    pub accepted: Option<Arc<RegisterRequest>>,
    /// What the registry has, as far as we know.
    pub known: Option<Known>,
    pub step: Step,
    /// Not before this, whatever the step is.
    pub ready_at: Option<Instant>,
    /// Whether the stream that is open holds it.
    pub on_stream: bool,
    /// We register it anew ourselves: that takes it off the stream, which then tells of it as of a stranger's doing.
    pub moving: bool,
    /// Batches that hold it are refused as a whole: it goes alone.
    pub alone: bool,
    /// Since when a registration may have been made whose answer we did not get.
    pub uncertain: Option<Instant>,
    /// When the call on its way was sent.
    pub asked: Instant,
    /// When the registry last took it.
    pub taken: Option<Instant>,
    pub backoff: Backoff,
    pub want: Want,
    pub shown: State,
}

/// What the registry has.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub id: String,
    pub token: String,
    pub ttl: Duration,
    /// When the last renewal that was confirmed had been sent.
    pub renewed: Instant,
}

/// What comes next; the waits for an answer are the ones that end in `ing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Register,
    Registering,
    Attach,
    Attaching,
    /// Nothing: the stream's beats keep it alive.
    Held,
    Detach,
    Detaching,
    Deregister,
    Deregistering,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Hold,
    End {
        how: How,
        /// It is given up at that time,
        by: Instant,
        /// for this reason.
        why: String,
    },
}

impl Slot {
    pub fn new(request: Arc<RegisterRequest>, handle: Option<Handle>, cap: Duration, now: Instant) -> Self {
        Self {
            handle,
            wanted: request,
            accepted: None,
            known: None,
            step: Step::Register,
            ready_at: None,
            on_stream: false,
            moving: false,
            alone: false,
            uncertain: None,
            asked: now,
            taken: None,
            backoff: Backoff::new(cap),
            want: Want::Hold,
            shown: State::Pending { why: None },
        }
    }

    /// Takes note of what the registry answered to a registration that was sent at `sent`.
    pub fn adopt(&mut self, answer: &RegisterResponse, request: Arc<RegisterRequest>, sent: Instant) {
        // An empty token: it goes on as it was.
        let token = match (&self.known, answer.lease_token.is_empty()) {
            (Some(known), true) => known.token.clone(),
            (None, true) => request.lease_token.clone(),
            (_, false) => answer.lease_token.clone(),
        };
        let ttl = Duration::from_secs(u64::from(answer.ttl_seconds.max(1)));
        self.known = Some(Known { id: answer.id.clone(), token, ttl, renewed: sent });
        self.accepted = Some(request);
        self.uncertain = None;
        self.taken = Some(sent);
    }

    /// What is sent to register it.
    pub fn request(&self) -> RegisterRequest {
        let mut request = RegisterRequest::clone(&self.wanted);
        if let Some(known) = &self.known {
            request.lease_token.clone_from(&known.token);
        } else if self.accepted.is_some() {
            // The token belonged to the registration that is gone.
            request.lease_token.clear();
        }
        request
    }

    /// Whether both mean the same replica, as far as we can tell: the registry names services.
    pub fn is_same_pair(&self, other: &RegisterRequest) -> bool {
        pair(&self.wanted) == pair(other)
    }

    /// A renewal that was sent at that time was confirmed.
    pub fn renewed(&mut self, sent: Instant) {
        if let Some(known) = &mut self.known {
            known.renewed = known.renewed.max(sent);
        }
    }

    /// Whether it may have lapsed by now: no stream holds it.
    pub fn is_unheld_at(&self, now: Instant) -> bool {
        !self.on_stream && self.known.as_ref().is_some_and(|known| known.until() <= now)
    }

    pub fn is_held(&self) -> bool {
        self.want == Want::Hold
    }

    pub fn ends(&self) -> Option<How> {
        match self.want {
            Want::Hold => None,
            Want::End { how, .. } => Some(how),
        }
    }
}

impl Known {
    /// Until when it does not lapse, whatever happens to the connection.
    pub fn until(&self) -> Instant {
        self.renewed + self.ttl
    }
}

/// What a replica is known by: one client holds it once.
pub(super) type Pair = (String, String);

pub(super) fn pair(request: &RegisterRequest) -> Pair {
    let name = if request.service.is_empty() { &request.id } else { &request.service };
    (name.clone(), request.url.clone())
}
