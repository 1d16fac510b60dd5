//! Trailers for a tonic service. A method has one place for metadata, before its answer;
//! here, what it names `trailer-…` there is sent behind.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// The name under which a method sets a trailer.
macro_rules! trailer {
    ($name:literal) => {
        concat!("trailer-", $name)
    };
}
pub(crate) use trailer;

/// A generated server whose methods can set trailers.
#[derive(Clone, Debug)]
pub struct Trailers<S>(S);

impl<S> Trailers<S> {
    /// Wraps a generated server.
    pub fn new(server: S) -> Self {
        Self(server)
    }
}

impl<S: NamedService> NamedService for Trailers<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Trailers<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map(arrange) })
    }
}

fn arrange(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let wished = take(&mut head.headers, |name| name.strip_prefix(trailer!("")));
    let failed = head.headers.contains_key(Status::GRPC_STATUS);
    if !failed {
        let body = body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                name_the_limit(&mut trailers);
                trailers.extend(wished.clone());
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        });
        return Response::from_parts(head, Body::new(body));
    }

    // tonic sends a failure as headers alone. So does grpc-go, unless there are headers of
    // the method's own to be told from its trailers.
    let mut trailers = take(&mut head.headers, |name| name.starts_with("grpc-").then_some(name));
    name_the_limit(&mut trailers);
    trailers.extend(wished);
    if head.headers.keys().all(|name| name == CONTENT_TYPE) {
        head.headers.extend(trailers);
        return Response::from_parts(head, Body::empty());
    }
    let only = tokio_stream::once(Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers)));
    Response::from_parts(head, Body::new(StreamBody::new(only)))
}

/// Takes the headers that `pick` names out.
fn take(headers: &mut HeaderMap, pick: fn(&str) -> Option<&str>) -> HeaderMap {
    let mut taken = HeaderMap::new();
    let mut kept = HeaderMap::new();
    for (name, value) in &*headers {
        match pick(name.as_str()).and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
            Some(name) => taken.append(name, value.clone()),
            None => kept.append(name, value.clone()),
        };
    }
    *headers = kept;
    taken
}

/// tonic calls a message over its limit `OUT_OF_RANGE`, gRPC's other libraries
/// `RESOURCE_EXHAUSTED`.
fn name_the_limit(headers: &mut HeaderMap) {
    const TOO_LARGE: &str = "length too large: found ";
    if headers.get(Status::GRPC_STATUS).is_none_or(|status| status != "11") {
        return;
    }
    let message = headers.get(Status::GRPC_MESSAGE).map_or(&b""[..], HeaderValue::as_bytes);
    let message = percent_encoding::percent_decode(message).decode_utf8_lossy();
    let Some((_, numbers)) = message.split_once(TOO_LARGE) else {
        return;
    };
    let numbers: Vec<&str> = numbers.split(|c: char| !c.is_ascii_digit()).filter(|s| !s.is_empty()).collect();
    if let [found, limit] = numbers[..] {
        let message = format!("grpc: received message larger than max ({found} vs. {limit})");
        let replaced = Status::resource_exhausted(message).add_header(headers);
        debug_assert!(replaced.is_ok(), "plain text");
    }
}
