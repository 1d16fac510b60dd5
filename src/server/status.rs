//! The paths that tell how the server fares, for those who do not speak gRPC.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tonic::{Code, body::Body};

use crate::{
    api::{Gate, Rpc},
    call::Caller,
    engine::{Engine, Health},
    gateway,
    metrics::{self, Metrics},
};

use super::document;

/// What those paths answer from.
#[derive(Clone)]
pub(super) struct Status {
    draining: Arc<AtomicBool>,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    /// The OpenAPI document, made once.
    document: Bytes,
}

impl Status {
    /// Of a server that serves.
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
        document: Bytes,
    ) -> Self {
        Self { draining: Arc::default(), engine, metrics, gate, document }
    }

    /// From now on it drains.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The answer, if the request is for one of these paths.
    pub(super) fn answer(&self, request: &mut Request<Body>) -> Option<Response<Body>> {
        let is_get = request.method() == Method::GET;
        let path = request.uri().path();
        if matches!(path, "/metrics" | document::PATH)
            && is_get
            && let Err(status) = self.admit(Rpc::of(path), request)
        {
            return Some(gateway::error_response(status.code(), status.message()));
        }
        match request.uri().path() {
            // What a HEAD would have as a body, hyper leaves out.
            "/health" if is_get || request.method() == Method::HEAD => Some(self.health()),
            "/metrics" if is_get => Some(self.metrics()),
            document::PATH if is_get => {
                Some(respond_with(StatusCode::OK, "application/json", self.document.clone()))
            }
            "/health" | "/metrics" | document::PATH => {
                Some(gateway::error_response(Code::Unimplemented, "Method Not Allowed"))
            }
            _ => None,
        }
    }

    fn admit(&self, rpc: Rpc, request: &mut Request<Body>) -> Result<(), tonic::Status> {
        let caller = request.extensions_mut().remove::<Caller>();
        let mut caller = caller.ok_or_else(|| tonic::Status::internal("the caller is not known"))?;
        let admitted = self.gate.admit(rpc, request.headers(), &mut caller);
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

    fn metrics(&self) -> Response<Body> {
        let (instances, revision) = self.counts();
        let text = self.metrics.render(instances, revision);
        respond_with(StatusCode::OK, metrics::CONTENT_TYPE, text)
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
