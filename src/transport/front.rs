//! The front door: tells gRPC from JSON by the content type, since both come in on one
//! port, and applies the Host rule before either.

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_TYPE, HOST},
};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt as _;

use super::{
    Handler, Origin,
    host::{HostRule, Refusal},
    proxy::{Forwarded, Proxies},
};
use crate::call::{Caller, Door};

/// Dispatches between the gRPC services and one handler for everything else. Both find a
/// [`Caller`] in the request's extensions.
#[derive(Clone, Debug)]
pub struct Front<J> {
    grpc: Routes,
    json: J,
    hosts: HostRule,
    proxies: Proxies,
}

impl<J, F> Front<J>
where
    J: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    /// Serves `grpc` to gRPC requests and `json` to all others, under the hosts of `hosts`,
    /// believing `proxies` what they say of their clients.
    pub fn new(grpc: Routes, json: J, hosts: HostRule, proxies: Proxies) -> Self {
        Self { grpc: grpc.prepare(), json, hosts, proxies }
    }

    /// The authority that `request` may be served under.
    fn authority(&self, request: &Request<Body>, forwarded: &Forwarded) -> Result<String, Status> {
        let named = match &forwarded.host {
            Some(host) => Ok(host.as_str()),
            None => named_authority(request),
        };
        if is_health_check(request.uri().path()) {
            // Probes come by address, or by HTTP/1.0 without any name.
            return Ok(named.unwrap_or_default().to_owned());
        }
        let named = named?;
        match self.hosts.check(named) {
            Ok(()) => Ok(named.to_owned()),
            Err(refusal @ Refusal::Malformed(_)) => Err(Status::invalid_argument(refusal.to_string())),
            Err(refusal @ Refusal::NotAllowed(_)) => Err(Status::permission_denied(refusal.to_string())),
        }
    }
}

impl<J, F> Handler for Front<J>
where
    J: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    async fn handle(&self, mut request: Request<Body>, origin: Origin) -> Response<Body> {
        let is_grpc = is_grpc(&request);
        if is_grpc && request.version() != Version::HTTP_2 {
            return needs_http2();
        }
        let forwarded = self.proxies.forwarded(origin.peer, request.headers());
        let authority = match self.authority(&request, &forwarded) {
            Ok(authority) => authority,
            Err(status) => {
                let (peer, code) = (origin.peer.ip(), status.code());
                tracing::info!(%peer, ?code, reason = status.message(), "refused");
                return refusal(is_grpc, &status);
            }
        };
        request.extensions_mut().insert(Caller {
            peer: forwarded.peer.unwrap_or(origin.peer),
            proxied: forwarded.proxied,
            scheme: forwarded.scheme.unwrap_or(origin.scheme),
            authority,
            door: if is_grpc { Door::Grpc } else { Door::Json },
            connection: origin.connection,
        });
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
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The authority that `request` names, unchecked.
fn named_authority<B>(request: &Request<B>) -> Result<&str, Status> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Status::invalid_argument("the request has several Host headers"));
    }
    let named = match (request.uri().authority(), host) {
        // RFC 9113, section 8.3.1: the two must not differ. Over HTTP/1 the target's
        // authority replaces the header (RFC 9112, section 3.2.2).
        (Some(authority), Some(host))
            if request.version() == Version::HTTP_2
                && !authority.as_str().as_bytes().eq_ignore_ascii_case(host) =>
        {
            return Err(Status::invalid_argument("Host differs from :authority"));
        }
        (Some(authority), _) => Some(authority.as_str()),
        (None, Some(host)) => str::from_utf8(host).ok(),
        (None, None) => None,
    };
    named.ok_or_else(|| Status::invalid_argument("the request names no host; send a Host header"))
}

/// Paths that answer under any host: orchestrators probe them by address.
fn is_health_check(path: &str) -> bool {
    matches!(path, "/health" | "/healthz") || path.starts_with("/grpc.health.v1.Health/")
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
