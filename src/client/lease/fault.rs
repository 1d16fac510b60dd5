//! What the failure of a call means for the lease it was about.

use std::{error::Error as _, time::Duration};

use prost::Message as _;
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;

use crate::client::cause::{is_transient, reason};

/// The longest wait that a server can ask for.
pub(super) const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// What the failure of a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It may fare better later: the registry is away, drains, or is busy.
    Later {
        why: String,
        /// Not before.
        after: Duration,
        /// Whether nothing can have come of it.
        undone: bool,
        /// Whether the registry itself is well, and this call too much for it.
        busy: bool,
    },
    /// We may not call at all, or what is there is no registry. Whoever was let in before waits for the mistake to be mended.
    Unwelcome(String),
    /// There is no such registration.
    Gone,
    /// The token is wrong, or the key not good for this service.
    Denied(String),
    /// It would be refused again.
    Refused(String),
}

impl Fault {
    pub(super) fn of(status: &Status) -> Self {
        let why = reason(status);
        match status.code() {
            Code::NotFound => Self::Gone,
            Code::PermissionDenied => Self::Denied(why),
            Code::Unauthenticated | Code::Unimplemented => Self::Unwelcome(why),
            Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists | Code::OutOfRange => {
                Self::Refused(why)
            }
            code => Self::Later {
                why,
                after: asked(status),
                undone: is_unsent(status) || code == Code::ResourceExhausted,
                busy: code == Code::ResourceExhausted || !is_transient(status),
            },
        }
    }

    /// Of an entry of a batch.
    pub(super) fn of_entry(index: usize, status: &tonic_types::Status) -> Self {
        // Its holder knows nothing of the batch.
        let message = status.message.replace(&format!("requests[{index}]."), "");
        let details = status.encode_to_vec().into();
        Self::of(&Status::with_details(Code::from_i32(status.code), message, details))
    }

    /// Of an answer that makes no sense.
    pub(super) fn nonsense(why: &str) -> Self {
        Self::Later { why: why.to_owned(), after: Duration::ZERO, undone: false, busy: true }
    }

    /// For people.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Later { why, .. } | Self::Unwelcome(why) | Self::Denied(why) | Self::Refused(why) => why,
            Self::Gone => "there is no such registration",
        }
    }
}

/// What a busy server asks to be left alone for.
pub(super) fn asked(status: &Status) -> Duration {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    asked.unwrap_or_default().min(LONGEST_ASKED)
}

/// Whether there was no connection to send it over.
fn is_unsent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_busy_registry_is_left_alone_for_as_long_as_it_asks() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "too many", details);
        let Fault::Later { after, busy, undone, .. } = Fault::of(&status) else { panic!() };
        assert_eq!((after, busy, undone), (Duration::from_secs(7), true, true));
        let entry = tonic_types::Status::decode(status.details()).expect("a status");
        assert_eq!(Fault::of_entry(0, &entry), Fault::of(&status));
        let entry =
            tonic_types::Status { code: 3, message: "requests[7].url is bad".to_owned(), details: vec![] };
        assert_eq!(Fault::of_entry(7, &entry), Fault::Refused("url is bad".to_owned()));
    }

    #[test]
    fn what_would_be_refused_again_is_told_from_what_may_pass() {
        let of = |code| Fault::of(&Status::new(code, "m"));
        assert_eq!(of(Code::NotFound), Fault::Gone);
        assert_eq!(of(Code::PermissionDenied), Fault::Denied("m".to_owned()));
        assert_eq!(of(Code::Unauthenticated), Fault::Unwelcome("m".to_owned()));
        assert_eq!(of(Code::InvalidArgument), Fault::Refused("m".to_owned()));
        assert!(matches!(of(Code::Unavailable), Fault::Later { busy: false, .. }));
        assert!(matches!(of(Code::Internal), Fault::Later { busy: true, .. }));
    }
}
