//! How refusals are said on the wire, and logged.

use std::{sync::Arc, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tracing::{field::display, info};

use crate::{
    call::{AUDITED, Caller},
    engine::Refusal,
};

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::Quota { .. } = refusal {
            return exhausted(refusal.to_string(), QUOTA_WAIT);
        }
        let code = match &refusal {
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::WrongToken(_) | Refusal::TokenRequired(_) => Code::PermissionDenied,
            Refusal::Ambiguous { .. } | Refusal::KeepsNothing => Code::FailedPrecondition,
            Refusal::Quota { .. } => Code::ResourceExhausted,
            Refusal::Closed | Refusal::Unavailable(_) => Code::Unavailable,
        };
        Self::new(code, refusal.to_string())
    }
}

/// A quota is met until somebody leaves, or has been gone for long enough.
const QUOTA_WAIT: Duration = Duration::from_secs(30);

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

/// Logs refusals, one line each, and hands them on.
pub(super) fn log_refusal(rpc: &'static str, caller: &Caller) -> impl Fn(Status) -> Status + use<> {
    let peer = caller.peer.ip().to_canonical();
    let key = caller.grant.as_ref().map(|grant| Arc::clone(grant.name()));
    let trace = caller.trace;
    move |status| {
        let (key, trace_id) = (key.as_deref(), trace.map(display));
        let (code, reason) = (status.code(), status.message());
        info!(target: AUDITED, rpc, %peer, key, trace_id, ?code, reason, "refused");
        status
    }
}

/// Logs one.
pub(super) fn log(rpc: &'static str, caller: &Caller, status: &Status) {
    let (peer, code) = (caller.peer.ip().to_canonical(), status.code());
    let key = caller.grant.as_ref().map(|grant| &**grant.name());
    let trace_id = caller.trace.map(display);
    info!(target: AUDITED, rpc, %peer, key, trace_id, ?code, reason = status.message(), "refused");
}
