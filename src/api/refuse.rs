//! How refusals are said on the wire, and logged.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tracing::info;

use crate::{call::Caller, engine::Refusal};

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::WrongToken(_) | Refusal::TokenRequired(_) => Code::PermissionDenied,
            Refusal::Ambiguous { .. } => Code::FailedPrecondition,
            Refusal::Closed => Code::Unavailable,
        };
        Self::new(code, refusal.to_string())
    }
}

/// `INVALID_ARGUMENT` that names every bad field.
pub(super) fn invalid(violations: Vec<FieldViolation>) -> Status {
    let message = violations
        .iter()
        .map(|violation| format!("{} {}", violation.field, violation.description))
        .collect::<Vec<_>>()
        .join("; ");
    Status::with_error_details(Code::InvalidArgument, message, ErrorDetails::with_bad_request(violations))
}

/// Logs a refusal, one line, and hands it on.
pub(super) fn log_refusal(rpc: &'static str, caller: &Caller) -> impl Fn(Status) -> Status {
    let peer = caller.peer.ip();
    move |status| {
        info!(rpc, %peer, code = ?status.code(), reason = status.message(), "refused");
        status
    }
}
