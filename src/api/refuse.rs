//! How refusals are said on the wire, and logged.

use std::{sync::Arc, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tracing::info;

use crate::{call::Caller, engine::Refusal};

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::WrongToken(_) | Refusal::TokenRequired(_) => Code::PermissionDenied,
            Refusal::Ambiguous { .. } | Refusal::KeepsNothing => Code::FailedPrecondition,
            Refusal::Closed | Refusal::Unavailable(_) => Code::Unavailable,
        };
        Self::new(code, refusal.to_string())
    }
}

/// A refusal names so many faults at most, in so many characters each: it travels in
/// headers, of which clients take 8 KiB.
const MAX_FAULTS: usize = 8;
const MAX_TEXT: usize = 200;

/// `INVALID_ARGUMENT` that names the bad fields.
pub(super) fn invalid(mut violations: Vec<FieldViolation>) -> Status {
    let more = violations.len().saturating_sub(MAX_FAULTS);
    violations.truncate(MAX_FAULTS);
    for violation in &mut violations {
        violation.field = shorten(&violation.field);
        violation.description = shorten(&violation.description);
    }
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = violations
        .iter()
        .map(|violation| format!("{} {}", violation.field, violation.description))
        .collect::<Vec<_>>()
        .join("; ");
    let message = message + &more;
    Status::with_error_details(Code::InvalidArgument, message, ErrorDetails::with_bad_request(violations))
}

/// `RESOURCE_EXHAUSTED`, and when to try again.
pub(super) fn exhausted(message: impl Into<String>, retry_after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A text of others, as far as a refusal shows it.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Logs a refusal, one line, and hands it on.
pub(super) fn log_refusal(rpc: &'static str, caller: &Caller) -> impl Fn(Status) -> Status {
    let peer = caller.peer.ip();
    let key = caller.grant.as_ref().map(|grant| Arc::clone(grant.name()));
    move |status| {
        info!(rpc, %peer, key = key.as_deref(), code = ?status.code(), reason = status.message(), "refused");
        status
    }
}
