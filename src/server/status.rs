//! The paths that tell how the server fares, for those who do not speak gRPC.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body_util::Full;
use tonic::{Code, body::Body};

use crate::{
    api::{Gate, Rpc},
    audit::Audit,
    call::Caller,
    engine::{Engine, Health},
    gateway,
    metrics::{self, Bounds, Memory, Metrics, Readings},
    transport::Traffic,
};

use super::document;

/// What those paths answer from.
#[derive(Clone)]
pub(super) struct Status {
    draining: Arc<AtomicBool>,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    counted: Counted,
    /// The OpenAPI document, made once.
    document: Bytes,
}

/// What counts for itself, and is asked.
#[derive(Clone)]
pub(super) struct Counted {
    pub(super) traffic: Arc<Traffic>,
    pub(super) audit: Audit,
    pub(super) bounds: Bounds,
}

impl Status {
    /// Of a server that serves.
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
        counted: Counted,
        document: Bytes,
    ) -> Self {
        Self { draining: Arc::default(), engine, metrics, gate, counted, document }
    }

    /// From now on it drains.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The answer, if the request is for one of these paths.
    pub(super) fn answer(&self, request: &mut Request<Body>) -> Option<Response<Body>> {
        let is_get = request.method() == Method::GET;
        let path = request.uri().path();
        if !matches!(path, "/health" | "/healthz")
            && let Some(refusal) = self.count(request)
        {
            return Some(refusal);
        }
        let path = request.uri().path();
        if matches!(path, "/metrics" | document::PATH)
            && is_get
            && let Err(status) = self.admit(Rpc::of(path), request)
        {
            return Some(gateway::status_response(&status));
        }
        match request.uri().path() {
            // What a HEAD would have as a body, hyper leaves out.
            "/health" if is_get || request.method() == Method::HEAD => Some(self.health()),
            "/metrics" if is_get => Some(self.metrics(request.headers())),
            document::PATH if is_get => {
                Some(respond_with(StatusCode::OK, "application/json", self.document.clone()))
            }
            "/health" | "/metrics" | document::PATH => {
                Some(gateway::error_response(Code::Unimplemented, "Method Not Allowed"))
            }
            _ => None,
        }
    }

    /// Counts a request before its body is read, and refuses one too many. Only renewals are `PUT`s.
    fn count(&self, request: &mut Request<Body>) -> Option<Response<Body>> {
        let renews = request.method() == Method::PUT;
        let caller = request.extensions_mut().get_mut::<Caller>()?;
        let refusal = self.gate.count_early("JSON", renews, caller).err()?;
        Some(gateway::status_response(&refusal))
    }

    fn admit(&self, rpc: Rpc, request: &mut Request<Body>) -> Result<(), tonic::Status> {
        let caller = request.extensions_mut().remove::<Caller>();
        let mut caller = caller.ok_or_else(|| tonic::Status::internal("the caller is not known"))?;
        let mut call = self.gate.observed.begin(rpc, request.headers(), &mut caller);
        let admitted = self.gate.admit(rpc, request.headers(), &mut caller);
        call.by(&caller);
        call.end(admitted.as_ref().err().map_or(Code::Ok, tonic::Status::code));
        request.extensions_mut().insert(caller);
        admitted
    }

    fn health(&self) -> Response<Body> {
        let draining = self.draining.load(Ordering::Acquire);
        let health = self.engine.health().borrow().clone();
        let (state, reason) = match &health {
            _ if draining => ("draining", None),
            Health::Serving => ("healthy", None),
            Health::Failing(reason) => ("failing", Some(reason)),
        };
        let (instances, revision) = self.counts();
        let mut body = serde_json::json!({
            "status": state,
            "version": env!("CARGO_PKG_VERSION"),
            "instances": instances,
            "revision": revision.to_string(),
        });
        if let Some(reason) = reason {
            body["reason"] = serde_json::json!(&**reason);
        }
        let status = if state == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        respond(status, body.to_string())
    }

    /// How many instances there are, at which revision.
    fn counts(&self) -> (usize, u64) {
        let catalog = self.engine.view().read();
        (catalog.len(), catalog.revision().0)
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        let text = self.metrics.render(self.readings(), &self.gate.observed.rpcs);
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        if accept.is_some_and(metrics::takes_open_metrics) {
            respond_with(StatusCode::OK, metrics::OPEN_METRICS, text)
        } else {
            respond_with(StatusCode::OK, metrics::TEXT, metrics::to_text(&text))
        }
    }

    fn readings(&self) -> Readings {
        let (instances, revision) = self.counts();
        let Counted { traffic, audit, bounds } = &self.counted;
        let held = ("connection_bytes", traffic.too_much_held.get());
        let view = self.engine.view();
        let (leases, snapshots) = (self.engine.tally(), view.snapshot_bytes());
        let catalog = view.read();
        Readings {
            instances,
            revision,
            leases,
            memory: Memory {
                history: catalog.history_bytes(),
                history_limit: catalog.history_limit(),
                snapshots,
            },
            traffic: metrics::Traffic {
                accepted: traffic.accepted.get(),
                open: traffic.open.get(),
                shed: traffic.shed.get(),
                failed_handshakes: traffic.failed_handshakes.get(),
                received: traffic.received.get(),
                sent: traffic.sent.get(),
            },
            refusals: self.gate.limits.refusals().chain([held]).collect(),
            bounds: *bounds,
            audit_lost: audit.lost(),
        }
    }
}

fn respond(status: StatusCode, body: String) -> Response<Body> {
    respond_with(status, "application/json", body)
}

fn respond_with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
