//! Answers and refusals in the dialect's words: always JSON, with a `status` and a `message` where
//! something was asked for that is not so.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::pair::TooLong;
use crate::call::AUDITED;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
    /// What stands before the service, and the service, log what they refuse.
    is_logged: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, is_logged: false }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    #[must_use]
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Logs it, one line, unless that is done.
    pub(super) fn log(&self, path: &'static str, peer: IpAddr) {
        if !self.is_logged {
            let (code, reason) = (self.status.as_u16(), &self.message);
            tracing::info!(target: AUDITED, path, %peer, code, reason, "refused");
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = error(self.status, &self.message);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Whole seconds (RFC 9110, section 10.2.3), never too few.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let http = match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self { status: http, message: status.message().to_owned(), retry_after, is_logged: true }
    }
}

impl From<TooLong> for Refusal {
    fn from(error: TooLong) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// `{"status":"…","message":"…"}`: what nearly every answer is.
pub(super) fn said(http: StatusCode, status: &str, message: &str) -> Response<Body> {
    json(http, serde_json::json!({ "status": status, "message": message }).to_string())
}

/// The same of what went wrong.
pub(super) fn error(http: StatusCode, message: &str) -> Response<Body> {
    said(http, "error", message)
}

/// A body of JSON.
pub(super) fn json(http: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = http;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Which methods there are.
pub(super) fn options(methods: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// That this one is none of them.
pub(super) fn wrong_method(method: &Method, path: &str, methods: &'static str) -> Response<Body> {
    let text = format!("{path} does not take {method}; it takes {methods}");
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, &text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn refusals_of_the_service_in_the_dialects_words() {
        let check = |code: Code, wait: Option<u64>, status: u16, header: Option<(&str, &str)>| {
            let details = ErrorDetails::with_retry_info(wait.map(Duration::from_millis));
            let response = Refusal::from(Status::with_error_details(code, "why", details)).into_response();
            assert_eq!(response.status(), status, "{code:?}");
            let mut headers = response.headers().clone();
            assert_eq!(headers.remove(CONTENT_TYPE).unwrap(), "application/json");
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            assert_eq!(headers, Vec::from_iter(header), "{code:?}");
        };
        check(Code::Unauthenticated, None, 401, Some(("www-authenticate", "Bearer")));
        check(Code::PermissionDenied, None, 403, None);
        check(Code::ResourceExhausted, Some(1), 429, Some(("retry-after", "1")));
        check(Code::ResourceExhausted, Some(2001), 429, Some(("retry-after", "3")));
        check(Code::Unavailable, None, 503, None);
        check(Code::InvalidArgument, None, 400, None);
        check(Code::Internal, None, 500, None);
    }
}
