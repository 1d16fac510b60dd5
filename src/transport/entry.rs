//! What every request passes before any door: who it comes from, under which host, and that no
//! page of another origin sends it.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN,
        VARY,
    },
};
use tonic::{Status, body::Body};

use super::{
    Origin,
    host::{HostRule, Refusal},
    proxy::{Forwarded, Proxies},
};
use crate::call::{AUDITED, Caller, Door};

/// What stands before the doors of one listener.
#[derive(Clone, Debug)]
pub struct Entry {
    hosts: HostRule,
    proxies: Proxies,
    /// Origins of web pages that may call, in lower case.
    origins: Vec<String>,
}

/// What pages of allowed origins may send, and how long browsers may remember that, in seconds.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, last-event-id, traceparent, x-service-key");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("retry-after");
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

impl Entry {
    /// Serves the hosts of `hosts`, believes `proxies` what they say of their clients, and lets
    /// pages of `origins` call.
    pub fn new(hosts: HostRule, proxies: Proxies, origins: Vec<String>) -> Self {
        Self { hosts, proxies, origins }
    }

    /// Lets a request in: puts its [`Caller`] into its extensions, or says why not.
    pub fn admit(&self, request: &mut Request<Body>, origin: Origin, door: Door) -> Result<(), Status> {
        let forwarded = self.proxies.forwarded(origin.peer, request.headers());
        let admitted = self.authority(request, &forwarded).and_then(|authority| {
            let scheme = forwarded.scheme.unwrap_or(origin.scheme);
            self.check_page(request, scheme, &authority)?;
            Ok((scheme, authority))
        });
        let peer = forwarded.peer.unwrap_or(origin.peer);
        let (scheme, authority) = admitted.inspect_err(|status| {
            let (peer, code) = (peer.ip(), status.code());
            tracing::info!(target: AUDITED, %peer, ?code, reason = status.message(), "refused");
        })?;
        request.extensions_mut().insert(Caller {
            peer,
            proxied: origin.proxied || forwarded.proxied,
            scheme,
            authority,
            door,
            grant: None,
            trace: None,
            counted: false,
            exceeded: None,
            connection: origin.connection,
        });
        Ok(())
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

    /// Refuses what a web page of another origin sends, unless it only reads: browsers keep the
    /// answers from it, but not the requests. What is no browser sends neither header.
    fn check_page(&self, request: &Request<Body>, scheme: &str, authority: &str) -> Result<(), Status> {
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let mut origins = request.headers().get_all(ORIGIN).iter();
        let site = request.headers().get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        let (first, more) = (origins.next(), origins.next());
        let allowed = match (first, site) {
            (Some(origin), _) if more.is_none() && self.allows(origin) => true,
            // Of the same scheme, host and port, or typed by the user.
            (_, Some(site)) => matches!(site, b"same-origin" | b"none"),
            (None, None) => true,
            (Some(origin), None) => more.is_none() && is_own(origin, scheme, authority),
        };
        if allowed {
            return Ok(());
        }
        let origin =
            first.map_or("another origin".into(), |origin| String::from_utf8_lossy(origin.as_bytes()));
        Err(Status::permission_denied(format!(
            "web pages of {origin} may not change anything here; start the server with --cors-origin {origin} \
             if they should"
        )))
    }

    /// Has `answer` answer a request, and a page of an allowed origin read that. What browsers ask
    /// before they send anything is answered here.
    pub async fn with_page<F>(
        &self,
        request: Request<Body>,
        answer: impl FnOnce(Request<Body>) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        let Some(page) = self.allowed_origin(request.headers()) else { return answer(request).await };
        let mut response = if is_preflight(&request) { preflight() } else { answer(request).await };
        open_to(page, response.headers_mut());
        response
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    }

    /// The origin of the page that sends a request, if it is one that may call.
    pub(super) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(ORIGIN).filter(|origin| self.allows(origin)).cloned()
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a browser asks what a page of an allowed origin may send.
pub(super) fn is_preflight(request: &Request<Body>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    response
}

/// Lets the page of `origin` read an answer.
pub(super) fn open_to(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// Whether an origin is the one that is called.
fn is_own(origin: &HeaderValue, scheme: &str, authority: &str) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let Some((of, host)) = origin.split_once("://") else { return false };
    of.eq_ignore_ascii_case(scheme) && host.eq_ignore_ascii_case(authority)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpConfig;

    fn check(sent: &[(&'static str, &'static str)], method: &Method, admitted: bool) {
        let listen = "127.0.0.1:9000".parse().expect("an address");
        let entry = Entry::new(
            HostRule::new(listen, &HttpConfig::default()),
            Proxies::default(),
            vec!["https://console.example".to_owned()],
        );
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method.clone();
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost:9000"));
        for (name, value) in sent {
            request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let peer = "127.0.0.1:5".parse().expect("an address");
        let origin = Origin { peer, proxied: false, scheme: "http", connection: std::sync::Arc::default() };
        let result = entry.admit(&mut request, origin, Door::Json);
        assert_eq!(result.is_ok(), admitted, "{method} {sent:?}: {result:?}");
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let evil = ("origin", "http://evil.example");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            check(&[], &method, true);
            check(&[evil], &method, false);
            check(&[("origin", "null")], &method, false);
            check(&[("sec-fetch-site", "cross-site")], &method, false);
            check(&[("sec-fetch-site", "same-site")], &method, false);
            check(&[("sec-fetch-site", "same-origin")], &method, true);
            check(&[("sec-fetch-site", "none")], &method, true);
            check(&[("origin", "http://localhost:9000")], &method, true);
            check(&[("origin", "https://localhost:9000")], &method, false);
            check(&[("origin", "http://localhost:9001")], &method, false);
            let allowed = ("origin", "https://console.example");
            check(&[allowed], &method, true);
            check(&[allowed, ("sec-fetch-site", "cross-site")], &method, true);
            check(&[allowed, evil], &method, false);
        }
        check(&[evil, ("sec-fetch-site", "cross-site")], &Method::GET, true);
    }
}
