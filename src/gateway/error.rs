//! Failures as the gateway shows them: the body is a `google.rpc.Status` in JSON, the
//! HTTP status follows from its code, and two headers from its content.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRAILER, WWW_AUTHENTICATE},
};
use http_body::Frame;
use http_body_util::{BodyStream, Full, StreamBody};
use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_types::Any;
use tonic::{Code, Status, body::Body};
use tonic_types::pb::{BadRequest, RetryInfo, bad_request::FieldViolation};

use super::{
    json::{Json, JsonOptions, Unreadable, Unwritable, write_string},
    metadata,
};

/// A failed call, before it is written for HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failure {
    /// A `google.rpc.Code`, or whatever other number a service sent.
    pub code: i32,
    /// For the person who reads it.
    pub message: String,
    /// For programs.
    pub details: Vec<Any>,
    /// Response metadata that the service had sent before it failed.
    pub headers: HeaderMap,
    /// The metadata that came with the failure.
    pub trailers: HeaderMap,
}

/// Knows no message types: for failures without details.
static EMPTY: LazyLock<Json> = LazyLock::new(|| Json::new(&DescriptorPool::new(), JsonOptions::default()));

/// What is sent in place of a status whose details are of a type we do not know; the
/// text, its blank included, is the gateway's.
const UNWRITABLE: &str = r#"{"code": 13, "message": "failed to marshal error message"}"#;

/// How many bytes a message of our own has at most.
const MAX_QUOTE: usize = 512;

const TYPE_URL: &str = "type.googleapis.com/";
const BAD_REQUEST: &str = "google.rpc.BadRequest";
const RETRY_INFO: &str = "google.rpc.RetryInfo";

/// The error body without details, `{"code":5,"message":"…","details":[]}`, under the
/// HTTP status that the code maps to.
pub fn error_response(code: Code, message: &str) -> Response<Body> {
    Failure::new(code, message).into_response(&EMPTY, false)
}

/// The same of a status: its details are left out, but for when to try again, which is a header.
pub fn status_response(status: &Status) -> Response<Body> {
    let mut response = error_response(status.code(), status.message());
    let whole = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    if let Some(seconds) = (Failure { details: whole.details, ..Failure::default() }).retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code as i32, message: message.into(), ..Self::default() }
    }

    /// `INVALID_ARGUMENT`: most of what a request can do wrong. The message may quote
    /// the request, which may be long: it is cut.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, shortened(message.into()))
    }

    /// Adds a `google.rpc.BadRequest` that names one field.
    pub(super) fn with_violation(mut self, field: String, reason: &str) -> Self {
        let detail = BadRequest {
            field_violations: vec![FieldViolation {
                field: shortened(field),
                description: self.message.clone(),
                reason: reason.to_owned(),
                ..FieldViolation::default()
            }],
        };
        self.details
            .push(Any { type_url: format!("{TYPE_URL}{BAD_REQUEST}"), value: detail.encode_to_vec() });
        self
    }

    /// The answer to a unary call, or to one that failed before a stream began.
    pub(super) fn into_response(self, json: &Json, takes_trailers: bool) -> Response<Body> {
        let text = self.to_json(json);
        let challenge = (self.code == Code::Unauthenticated as i32).then(|| header_text(&self.message));
        let mut response = self.respond(text, takes_trailers);
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// The answer to a stream that failed before its first message: one line that
    /// wraps the status.
    pub(super) fn into_stream_response(self, json: &Json) -> Response<Body> {
        let text = self.to_json(json).map(|status| wrapped(&status));
        self.respond(text, false)
    }

    /// The line that ends a stream which failed after its head was sent.
    pub(super) fn to_line(&self, json: &Json) -> String {
        wrapped(self.to_json(json).as_deref().unwrap_or(UNWRITABLE))
    }

    /// The status as JSON; none if a detail cannot be written.
    pub(super) fn to_json(&self, json: &Json) -> Option<String> {
        let mut out = format!("{{\"code\":{}", self.code);
        if json.emits_unpopulated() || !self.message.is_empty() {
            out.push_str(",\"message\":");
            write_string(&mut out, &self.message);
        }
        if json.emits_unpopulated() || !self.details.is_empty() {
            out.push_str(",\"details\":[");
            for (index, detail) in self.details.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json.write_any(&detail.type_url, &detail.value, &mut out).ok()?;
            }
            out.push(']');
        }
        out.push('}');
        Some(out)
    }

    fn respond(self, text: Option<String>, takes_trailers: bool) -> Response<Body> {
        let (status, text) = match text {
            Some(text) => (http_status(self.code), text),
            None => (StatusCode::INTERNAL_SERVER_ERROR, UNWRITABLE.to_owned()),
        };
        let mut response = json_response(status, text);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        metadata::outgoing(&self.headers, headers);
        if takes_trailers { with_trailers(response, &self.trailers) } else { response }
    }

    /// Whole seconds, rounded up, of a `google.rpc.RetryInfo` among the details.
    fn retry_after(&self) -> Option<u64> {
        let info = self.details.iter().find(|detail| type_name(&detail.type_url) == RETRY_INFO)?;
        let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
        let seconds = u64::try_from(delay.seconds).ok()?;
        Some(seconds.saturating_add(u64::from(delay.nanos > 0)))
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        let failure = Self::invalid(error.message);
        if error.inexact { failure.with_violation(error.path, "INEXACT_NUMBER") } else { failure }
    }
}

impl From<Unwritable> for Failure {
    /// The gateway's codes: gRPC calls what does not decode `INTERNAL`, and an error that
    /// is no status, as that of writing an answer, is `UNKNOWN`.
    fn from(error: Unwritable) -> Self {
        if error.is_malformed() {
            return Self::new(Code::Internal, format!("the service's answer does not decode: {error}"));
        }
        Self::new(Code::Unknown, error.to_string())
    }
}

/// The HTTP status of a gRPC code, as the gateway maps them. Unlike in HTTP's own
/// terms, a failed precondition is 400, not 412.
pub(super) fn http_status(code: i32) -> StatusCode {
    match Code::from_i32(code) {
        Code::Ok => StatusCode::OK,
        // Client closed request: a number in use, without a name in the standard.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A JSON answer.
pub(super) fn json_response(status: StatusCode, json: String) -> Response<Body> {
    let mut response = whole(status, Bytes::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer of known length.
pub(super) fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::new(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Announces trailing metadata, and sends it behind the body.
pub(super) fn with_trailers(mut response: Response<Body>, metadata: &HeaderMap) -> Response<Body> {
    let trailers = metadata::trailers(metadata);
    if trailers.is_empty() {
        return response;
    }
    let headers = response.headers_mut();
    // A length says that nothing follows.
    headers.remove(CONTENT_LENGTH);
    for name in trailers.keys() {
        if let Ok(name) = HeaderValue::try_from(metadata::canonical(name)) {
            headers.append(TRAILER, name);
        }
    }
    // Of known length, it would be sent without what follows.
    let last = stream::once(async { Ok(Frame::trailers(trailers)) });
    response.map(|body| Body::new(StreamBody::new(stream::StreamExt::chain(BodyStream::new(body), last))))
}

/// What Go's HTTP server says of a request line that it cannot read.
pub(super) fn bad_request_line() -> Response<Body> {
    let mut response = whole(StatusCode::BAD_REQUEST, Bytes::from_static(b"400 Bad Request"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The message name at the end of a type URL.
pub(super) fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

fn wrapped(status: &str) -> String {
    format!("{{\"error\":{status}}}\n")
}

/// At most about [`MAX_QUOTE`] bytes.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_QUOTE {
        text.truncate(text.floor_char_boundary(MAX_QUOTE));
        text.push('…');
    }
    text
}

/// A header can hold less than a message can: what it cannot is replaced.
fn header_text(message: &str) -> HeaderValue {
    let text: String = message.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn codes_map_to_the_gateways_statuses() {
        let expected = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (code, status) in (0..).zip(expected) {
            assert_eq!(http_status(code).as_u16(), status, "code {code}");
        }
        assert_eq!(http_status(99).as_u16(), 500);
        let failure = Failure { code: 99, ..Failure::default() };
        assert!(failure.to_json(&EMPTY).is_some_and(|json| json.starts_with("{\"code\":99,")));
    }

    #[tokio::test]
    async fn the_plain_body() {
        let response = error_response(Code::NotFound, "no \"x\"");
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"code":5,"message":"no \"x\"","details":[]}"#.as_bytes());
    }

    #[test]
    fn a_challenge_fits_in_a_header() {
        let response = error_response(Code::Unauthenticated, "who\nare you, ü?");
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "who?are you, ??");
    }

    #[tokio::test]
    async fn details_are_written_by_type() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let json = Json::new(&pool, JsonOptions::default());
        let failure = Failure::invalid("bad").with_violation("url".to_owned(), "BAD");
        assert_eq!(
            failure.to_json(&json).unwrap(),
            r#"{"code":3,"message":"bad","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":"url","description":"bad","reason":"BAD","localized_message":null}]}]}"#
        );

        let retry = RetryInfo { retry_delay: Some(prost_types::Duration { seconds: 1, nanos: 1 }) };
        let mut failure = Failure::new(Code::Unavailable, "later");
        failure.details.push(Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: retry.encode_to_vec(),
        });
        let response = failure.clone().into_response(&json, false);
        assert_eq!(response.headers()[RETRY_AFTER], "2");

        failure.details.push(Any { type_url: "type.googleapis.com/no.Such".to_owned(), value: Vec::new() });
        let response = failure.into_response(&json, false);
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, UNWRITABLE.as_bytes());
    }
}
