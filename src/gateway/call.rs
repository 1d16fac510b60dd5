//! The call itself: one message, framed as gRPC frames it, given to the service without
//! a socket between. So whatever stands before the service, such as keys and limits,
//! stands before the JSON paths too.

use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{CONTENT_TYPE, TE},
};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, body::Body, service::Routes};
use tower::ServiceExt as _;

use super::{
    error::{Failure, outgoing_headers},
    metadata,
};

/// Before each message: a byte that says whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A call to be made.
pub(super) struct Call {
    /// `/package.Service/Method`.
    pub path: Uri,
    /// The encoded request message.
    pub message: Vec<u8>,
    pub metadata: HeaderMap,
    /// What the server knows of the caller: nothing that a client could send.
    pub extensions: Extensions,
    pub timeout: Option<Duration>,
}

/// A call that has begun to be answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The service's own headers, under the names that HTTP clients see.
    pub headers: HeaderMap,
    pub messages: Messages,
}

/// The messages of an answer, and how it ended. Dropping it cancels the call.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    buffer: BytesMut,
    deadline: Option<Instant>,
}

impl Call {
    /// Makes the call; returns once the service has sent its headers.
    pub(super) async fn start(self, routes: Routes) -> Result<Answer, Failure> {
        // A deadline beyond what the clock can count is none.
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let request = framed(self);
        let response = match by(deadline, routes.oneshot(request)).await? {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        // A status among the headers: the call has failed, and there is nothing else.
        if let Some(status) = status_of(&head.headers) {
            return match status {
                Ok(()) => Err(Failure::new(Code::Internal, "the service sent no message")),
                Err(failure) => Err(failure),
            };
        }
        if head.status != StatusCode::OK {
            return Err(unlike_grpc(head.status));
        }
        Ok(Answer {
            headers: outgoing_headers(&head.headers),
            messages: Messages { body, buffer: BytesMut::new(), deadline },
        })
    }
}

impl Messages {
    /// The next message; none after the last of a call that went well. Nothing is lost
    /// when the future is dropped before it is done.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            match by(self.deadline, self.body.frame()).await? {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        if let Some(status) = frame.trailers_ref().and_then(status_of) {
                            return status.map(|()| None);
                        }
                    }
                },
                Some(Err(status)) => return Err(Failure::new(status.code(), status.message())),
                None => {
                    return Err(Failure::new(Code::Internal, "the service ended the call without a status"));
                }
            }
        }
    }

    /// A message that is here already.
    pub(super) fn buffered(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(Failure::new(
                Code::Internal,
                "the service compressed an answer that was asked for plain",
            ));
        }
        let length = u32::from_be_bytes(length) as usize;
        if self.buffer.len() - PREFIX < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// The only message of a unary call.
    pub(super) async fn only(mut self) -> Result<Bytes, Failure> {
        let message = self.next().await?;
        while self.next().await?.is_some() {}
        message.ok_or_else(|| Failure::new(Code::Internal, "the service sent no message"))
    }
}

fn framed(call: Call) -> Request<Full<Bytes>> {
    let mut body = BytesMut::with_capacity(PREFIX + call.message.len());
    body.put_u8(0);
    body.put_u32(call.message.len() as u32);
    body.put_slice(&call.message);
    let mut request = Request::new(Full::new(body.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = call.path;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = call.metadata;
    *request.extensions_mut() = call.extensions;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Result<T, Failure> {
    match deadline {
        None => Ok(future.await),
        Some(deadline) => timeout_at(deadline, future)
            .await
            .map_err(|_| Failure::new(Code::DeadlineExceeded, "context deadline exceeded")),
    }
}

/// The status among headers or trailers; none if there is none.
fn status_of(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let code = headers.get("grpc-status")?;
    let code = code.to_str().ok().and_then(|code| code.parse().ok());
    let code: i32 = code.unwrap_or(Code::Unknown as i32);
    if code == 0 {
        return Some(Ok(()));
    }
    let message = headers
        .get("grpc-message")
        .map(|value| percent_encoding::percent_decode(value.as_bytes()).decode_utf8_lossy())
        .unwrap_or_default();
    let details = headers
        .get("grpc-status-details-bin")
        .and_then(|value| metadata::BASE64.decode(value.as_bytes()).ok())
        .and_then(|bytes| tonic_types::pb::Status::decode(bytes.as_slice()).ok())
        .map(|status| status.details)
        .unwrap_or_default();
    Some(Err(Failure { code, message: message.into_owned(), details, headers: HeaderMap::new() }))
}

/// An HTTP status from something before the service that does not speak gRPC.
fn unlike_grpc(status: StatusCode) -> Failure {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Failure::new(code, format!("the service answered with HTTP status {status}"))
}
