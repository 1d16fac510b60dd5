//! The call itself: its messages, framed as gRPC frames it, given to the service without
//! a socket between. So whatever stands before the service, such as keys and limits,
//! stands before the JSON paths too.

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

use super::{error::Failure, metadata};

/// Before each message: a byte that says whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A call to be made.
pub(super) struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    /// The encoded request messages.
    pub messages: Vec<Vec<u8>>,
    pub metadata: HeaderMap,
    /// What the server knows of the caller: nothing that a client could send.
    pub extensions: Extensions,
    /// When the client no longer waits.
    pub deadline: Option<Instant>,
}

/// A call that has begun to be answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The service's response metadata.
    pub headers: HeaderMap,
    /// What the service put beside its answer: nothing that is sent.
    pub extensions: Extensions,
    pub messages: Messages,
}

/// The messages of an answer, and how it ended. Dropping it cancels the call.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    buffer: BytesMut,
    deadline: Option<Instant>,
    /// The end, where the answer was that and nothing else.
    ended: Option<Result<(), Failure>>,
    trailers: HeaderMap,
}

impl Call {
    /// Makes the call; returns once the service has sent its headers. Fails only where
    /// the service has not answered: not in time, or not as gRPC does.
    pub(super) async fn start(self, routes: Routes) -> Result<Answer, Failure> {
        let deadline = self.deadline;
        let request = framed(self)?;
        let response = match by(deadline, routes.oneshot(request)).await? {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        // A status among the headers: there is nothing else, and all metadata is trailing.
        let ended = status_of(&head.headers);
        if head.status != StatusCode::OK {
            return Err(unlike_grpc(head.status));
        }
        let headers = if ended.is_some() { HeaderMap::new() } else { head.headers };
        let (buffer, trailers) = (BytesMut::new(), HeaderMap::new());
        let messages = Messages { body, buffer, deadline, ended, trailers };
        Ok(Answer { headers, extensions: head.extensions, messages })
    }
}

impl Messages {
    /// The next message; none after the last of a call that went well. Nothing is lost
    /// when the future is dropped before it is done.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(ended) = self.ended.take() {
            return ended.map(|()| None);
        }
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            match by(self.deadline, self.body.frame()).await? {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        if let Some(status) = status_of(&trailers) {
                            self.trailers = trailers;
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

    /// The only message of a unary call, and the trailing metadata.
    pub(super) async fn only(mut self) -> Result<(Bytes, HeaderMap), Failure> {
        let message = self.next().await?;
        while message.is_some() && self.next().await?.is_some() {}
        let message = message.ok_or_else(|| Failure::new(Code::Internal, "the service sent no message"))?;
        Ok((message, self.trailers))
    }
}

fn framed(call: Call) -> Result<Request<Full<Bytes>>, Failure> {
    let path =
        Uri::from_maybe_shared(call.path).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let mut body = BytesMut::with_capacity(call.messages.iter().map(|message| PREFIX + message.len()).sum());
    for message in &call.messages {
        body.put_u8(0);
        body.put_u32(message.len() as u32);
        body.put_slice(message);
    }
    let mut request = Request::new(Full::new(body.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = call.metadata;
    *request.extensions_mut() = call.extensions;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if let Some(timeout) = left.and_then(metadata::timeout_value) {
        headers.insert("grpc-timeout", timeout);
    }
    Ok(request)
}

/// Waits until the deadline at most; once it has passed, not at all.
pub(super) async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Result<T, Failure> {
    let late = || Failure::new(Code::DeadlineExceeded, "context deadline exceeded");
    match deadline {
        None => Ok(future.await),
        Some(deadline) if deadline <= Instant::now() => Err(late()),
        Some(deadline) => timeout_at(deadline, future).await.map_err(|_| late()),
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
    Some(Err(Failure {
        code,
        message: message.into_owned(),
        details,
        headers: HeaderMap::new(),
        trailers: headers.clone(),
    }))
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
