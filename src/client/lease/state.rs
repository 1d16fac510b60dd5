//! What is known of a held registration.

use std::time::{Duration, Instant};

/// What is known of a held registration; how it goes from one to the other is drawn at [`Lease`](super::Lease).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was never registered so far.
    Pending {
        /// Why the last try failed, if there was one.
        why: Option<String>,
    },
    /// It is in the registry and kept alive over a stream.
    Registered {
        /// The registration's ULID.
        id: String,
        /// What the registry granted.
        ttl: Duration,
    },
    /// It is in the registry as far as we know, but cannot be renewed at the moment.
    AtRisk {
        /// The registration's ULID.
        id: String,
        /// It does not lapse by its TTL before this: the registry confirmed a renewal that was sent one TTL earlier.
        /// A registry that lost the connection may take it out sooner, see `drop_grace`.
        until: Instant,
        /// What is in the way.
        why: String,
    },
    /// The registry does not have it any more, or was not heard for a whole TTL; it is being brought back.
    Lost {
        /// The ULID it had. It may come back under another one.
        id: String,
        /// What became of it, or what is in the way.
        why: String,
    },
    /// It is not held any more; the last state.
    Ended(Ended),
}

/// Why a registration is not held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By our own doing: it was deregistered, or that was tried for as long as was said.
    Deregistered,
    /// By our own doing, left to its TTL; or the runtime that held it was shut down.
    Left,
    /// The registry refused it, and would refuse it again; why.
    Refused(String),
    /// Another process registered the same service and url, or attached the same id; or this client
    /// was asked to hold the same service and url once more.
    TakenOver,
}

impl State {
    /// The registration's ULID, as far as there is or was one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Registered { id, .. } | Self::AtRisk { id, .. } | Self::Lost { id, .. } => Some(id),
            Self::Pending { .. } | Self::Ended(_) => None,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deregistered => f.write_str("deregistered"),
            Self::Left => f.write_str("left to its TTL"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::TakenOver => f.write_str(
                "taken over: the same service and url was registered, or the same id attached, by someone else",
            ),
        }
    }
}

impl std::error::Error for Ended {}
