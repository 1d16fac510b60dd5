//! What came of a call, for people and for those who decide whether to try again.

use std::error::Error;

use tonic::{Code, Status};

use super::handshake;

/// Whether the same call may fare better later: the server drains, is overloaded or cannot be
/// reached. A status with a source was made on our side, of a connection that broke.
pub fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => true,
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    }
}

/// What a status says, with the innermost cause where it has one.
pub fn reason(status: &Status) -> String {
    match status.source().map(root_cause) {
        Some(cause) => cause,
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

/// The innermost cause: "Connection refused" rather than "transport error".
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    if let Some(why) = handshake::explain(error) {
        return why;
    }
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
