//! The whole server, put together: engine, service, JSON door and health on one port.

mod document;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, body::Body};
use tracing::info;

use crate::{
    api::{MAX_MESSAGE, Registry},
    call::Caller,
    config::Config,
    engine::{Engine, embedded::Embedded},
    gateway::{self, EventStreams, Gateway, JsonOptions, Options, RemoteAddr},
    metrics::{self, Metrics},
    proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME},
    transport::{Front, HostRule, Proxies, Server},
};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener has no address.
    #[error("the listener's address cannot be read")]
    Listener(#[source] std::io::Error),
    /// The embedded descriptors do not make a reflection service.
    #[error("reflection cannot be built")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The embedded descriptors do not make a JSON door.
    #[error("the JSON paths cannot be built")]
    Gateway(#[source] gateway::BuildError),
}

/// Serves until `shutdown` resolves, then drains: nothing expires any more, health says
/// `NOT_SERVING`, streams are told when to come back, connections end.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let listen = listener.local_addr().map_err(Error::Listener)?;
    let metrics = Arc::new(Metrics::default());
    let engine: Arc<dyn Engine> = {
        let metrics = Arc::clone(&metrics);
        Arc::new(Embedded::start(&config.leases, config.history_bytes, metrics))
    };

    let (mut reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(SERVICE_NAME, tonic_health::ServingStatus::Serving).await;
    let routes =
        Registry::new(Arc::clone(&engine), config.http.clone(), &config.leases, Arc::clone(&metrics))
            .routes(health)
            .map_err(Error::Reflection)?;
    let options = Options {
        prefix: config.http.prefix.clone(),
        max_body: MAX_MESSAGE,
        json: JsonOptions { exact_numbers: true, ..JsonOptions::default() },
        header_allow_list: ["x-service-key", "x-request-id", "traceparent"]
            .map(HeaderName::from_static)
            .into(),
        healthz: Some("/healthz".to_owned()),
        event_streams: Some(EventStreams { id_field: "resume_token".to_owned() }),
        explain_bad_text: true,
        hint,
        ..Options::default()
    };
    let gateway = Gateway::new(FILE_DESCRIPTOR_SET, &[SERVICE_NAME], routes.clone(), options)
        .map_err(Error::Gateway)?;
    let document = gateway.openapi(&[SERVICE_NAME], &document::about()).map_err(Error::Gateway)?;
    let status = Status {
        serving: Arc::new(AtomicBool::new(true)),
        engine: Arc::clone(&engine),
        metrics,
        document: document.into(),
    };

    let json = {
        let status = status.clone();
        move |mut request: Request<Body>| {
            let (gateway, status) = (gateway.clone(), status.clone());
            async move {
                if let Some(peer) = request.extensions().get::<Caller>().map(|caller| caller.peer) {
                    request.extensions_mut().insert(RemoteAddr(peer));
                }
                match status.answer(&request) {
                    Some(answer) => answer,
                    None => gateway.handle(request).await,
                }
            }
        }
    };
    let proxies = Proxies::new(config.http.trusted_proxies.clone());
    let front = Front::new(routes, json, HostRule::new(listen, &config.http), proxies);
    let stop = CancellationToken::new();
    let server = Server::new(listener, config.limits, config.drain_timeout).run(front, stop.clone());
    let drain = async {
        shutdown.await;
        info!("draining: nothing expires any more");
        engine.freeze();
        status.serving.store(false, Ordering::Release);
        for name in ["", SERVICE_NAME] {
            reporter.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
        }
        stop.cancel();
        // Those who watch our health have heard by then; their streams end with the names,
        // which stay known to those who ask once more.
        tokio::time::sleep(Duration::from_millis(500)).await;
        for name in ["", SERVICE_NAME] {
            reporter.clear_service_status(name).await;
            reporter.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = server => {}
        () = drain => {}
    }
    info!("stopped");
    Ok(())
}

/// What a shell or compose makes of an unquoted `…/services/$register`.
fn hint(method: &Method, path: &str) -> Option<String> {
    (method == Method::POST && matches!(path, "/services" | "/services/")).then(|| {
        let text = "POST /services is what remains of /services/$register when a shell or compose expands \
                    $register: quote it with '…' in a shell, write $$register in a compose file";
        tracing::warn!(path, "{text}");
        text.to_owned()
    })
}

/// The paths that tell how the server fares, for those who do not speak gRPC.
#[derive(Clone)]
struct Status {
    serving: Arc<AtomicBool>,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    /// The OpenAPI document, made once.
    document: Bytes,
}

impl Status {
    /// The answer, if the request is for one of these paths.
    fn answer(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let is_get = request.method() == Method::GET;
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

    fn health(&self) -> Response<Body> {
        let serving = self.serving.load(Ordering::Acquire);
        let (instances, revision) = self.counts();
        let body = serde_json::json!({
            "status": if serving { "healthy" } else { "draining" },
            "version": env!("CARGO_PKG_VERSION"),
            "instances": instances,
            "revision": revision.to_string(),
        });
        let status = if serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
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
