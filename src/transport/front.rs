//! The front door: tells gRPC from JSON by the content type, since both come in on one
//! port, once either is let in.

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt as _;

use super::{
    Handler, Origin,
    entry::{self, Entry},
};
use crate::call::Door;

/// Dispatches between the gRPC services and one handler for everything else. Both find a
/// [`Caller`](crate::call::Caller) in the request's extensions.
#[derive(Clone, Debug)]
pub struct Front<J> {
    grpc: Routes,
    json: J,
    entry: Entry,
}

impl<J, F> Front<J>
where
    J: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    /// Serves `grpc` to gRPC requests and `json` to all others that `entry` admits.
    pub fn new(grpc: Routes, json: J, entry: Entry) -> Self {
        Self { grpc: grpc.prepare(), json, entry }
    }

    async fn answer(&self, mut request: Request<Body>, origin: Origin) -> Response<Body> {
        let is_grpc = is_grpc(&request);
        if is_grpc && request.version() != Version::HTTP_2 {
            return needs_http2();
        }
        let door = if is_grpc { Door::Grpc } else { Door::Json };
        if let Err(status) = self.entry.admit(&mut request, origin, door) {
            return refusal(is_grpc, &status);
        }
        if !is_grpc {
            // Apart from the frame that both ways share: it is many times the larger.
            return Box::pin((self.json)(request)).await;
        }
        match self.grpc.clone().oneshot(request).await {
            Ok(mut response) => {
                fold_out_of_range(response.headers_mut());
                response
            }
            Err(never) => match never {},
        }
    }
}

impl<J, F> Handler for Front<J>
where
    J: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    async fn handle(&self, request: Request<Body>, origin: Origin) -> Response<Body> {
        let Some(page) = self.entry.allowed_origin(request.headers()) else {
            return self.answer(request, origin).await;
        };
        let mut response = if entry::is_preflight(&request) {
            entry::preflight()
        } else {
            Box::pin(self.answer(request, origin)).await
        };
        entry::open_to(page, response.headers_mut());
        response
    }
}

/// Whether a request is gRPC, by its content type.
pub fn is_grpc<B>(request: &Request<B>) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type
        .and_then(|value| value.as_bytes().get(..GRPC.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

/// Whether a request's body is a stream, which may take as long as it likes.
pub fn is_client_stream<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let streams = path.ends_with("/KeepAlive") || path.starts_with("/grpc.reflection.");
    streams && request.version() == Version::HTTP_2 && is_grpc(request)
}

/// `status` as the refused caller reads it: gRPC trailers, or the JSON paths' error body.
pub fn refusal(is_grpc: bool, status: &Status) -> Response<Body> {
    if is_grpc {
        return Status::new(status.code(), status.message()).into_http();
    }
    let body = serde_json::json!({
        "code": status.code() as i32,
        "message": status.message(),
        "details": [],
    });
    let mut response = Response::new(Body::new(body.to_string()));
    *response.status_mut() = match status.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    if status.code() == Code::ResourceExhausted {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn needs_http2() -> Response<Body> {
    let text = "gRPC needs HTTP/2; use a gRPC client, or the JSON paths.\n";
    let mut response = Response::new(Body::new(text.to_owned()));
    *response.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// tonic calls a message over the limit `OUT_OF_RANGE`, gRPC's own libraries
/// `RESOURCE_EXHAUSTED`; no service here uses the former.
fn fold_out_of_range(headers: &mut HeaderMap) {
    if let Some(status) = headers.get_mut(Status::GRPC_STATUS)
        && status == "11"
    {
        *status = HeaderValue::from_static("8");
    }
}
