//! The whole server, put together: engine, service, JSON door and health on one port. It
//! is opened first, which reads what the store holds, and run then.

mod document;
mod health;
mod opening;
mod rereading;
mod status;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic_health::ServingStatus;
use tracing::{info, warn};

pub use self::opening::open;
use self::{
    rereading::Rereading,
    status::{Counted, Status},
};
use crate::{
    api::{Gate, LATE, MAX_MESSAGE, Observed, Registry},
    audit::Audit,
    auth::{Keys, KeysError},
    call::Caller,
    config::Config,
    engine::Engine,
    gateway::{self, EventStreams, Gateway, JsonOptions, Options, RemoteAddr},
    limits::Limits,
    metrics::{Bounds, Metrics},
    name_registry::NameRegistry,
    proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME},
    reload::Asking,
    store::StoreError,
    telemetry::{Traces, TracesError},
    tls::{Tls, TlsError},
    transport::{Entry, Front, HostRule, Proxies, Server, Traffic},
};

/// The store has so long to be closed, or as long as the drain had.
const CLOSE_AT_LEAST: Duration = Duration::from_secs(5);
/// What waits for the audit file has so long to be written.
const AUDIT_CLOSE: Duration = Duration::from_secs(2);

/// Why a server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The platform names no folder for state.
    #[error("this user has no home directory to keep registrations in; name a directory with --data-dir")]
    NoDataDir,
    /// The listener has no address.
    #[error("the listener's address cannot be read: {0}")]
    Listener(std::io::Error),
    /// The embedded descriptors do not make a reflection service.
    #[error("reflection cannot be built: {0}")]
    Reflection(tonic_reflection::server::Error),
    /// The embedded descriptors do not make a JSON door.
    #[error("the JSON paths cannot be built: {0}")]
    Gateway(gateway::BuildError),
    /// The embedded descriptors do not make a name registry.
    #[error("the name registry's paths cannot be built: {0}")]
    NameRegistry(prost_reflect::DescriptorError),
    /// Reading the store ended unexpectedly.
    #[error("the store could not be read: {0}")]
    Opening(tokio::task::JoinError),
    /// The engine did not end well.
    #[error("the store was not closed in order: {0}")]
    Close(Box<dyn std::error::Error + Send + Sync>),
}

/// Where a server listens.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC and JSON.
    pub main: TcpListener,
    /// For the small name registry's paths.
    pub names: Option<TcpListener>,
}

/// A server that has read what it remembers, and does not listen yet.
pub struct Opened {
    config: Config,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    keys: Arc<Keys>,
    tls: Option<Arc<Tls>>,
    audit: Audit,
    traces: Option<Traces>,
    data_dir: Option<PathBuf>,
}

impl Opened {
    /// Where registrations are kept, unless in memory.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The engine that it serves.
    pub fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// Serves until `shutdown` resolves, reading files of keys and certificates again whenever
    /// `asking` asks for it; then drains: nothing expires any more, health says `NOT_SERVING`, streams are told when to come back, connections end, the store is closed.
    pub async fn run(
        self,
        listeners: Listeners,
        asking: Asking,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let (engine, audit, traces) = (Arc::clone(&self.engine), self.audit.clone(), self.traces.clone());
        let patience = self.config.drain_timeout.max(CLOSE_AT_LEAST);
        let served = self.serve(listeners, asking, shutdown).await;
        let closed = tokio::time::timeout(patience, engine.close()).await;
        if let Some(traces) = traces {
            traces.stop().await;
        }
        // A panic there leaves nothing to be done here.
        let _ = tokio::task::spawn_blocking(move || audit.close(AUDIT_CLOSE)).await;
        closed.unwrap_or_else(|_| Err("the disk does not answer".into())).map_err(Error::Close)?;
        info!("stopped");
        served
    }

    async fn serve(
        self,
        listeners: Listeners,
        asking: Asking,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let Self { config, engine, metrics, keys, tls, audit, traces, .. } = self;
        let _rereading = Rereading::start(&asking, &keys, tls.as_ref(), &audit, &metrics);
        let traffic = Arc::new(Traffic::default());
        let gate = Arc::new(Gate {
            keys,
            protect_reads: config.access.protect_reads,
            limits: Arc::new(Limits::new(&config.rates)),
            observed: Arc::new(Observed::new(traces)),
        });
        let (mut reporter, health) = tonic_health::server::health_reporter();
        health::say(&mut reporter, ServingStatus::Serving).await;
        let routes =
            Registry::new(Arc::clone(&engine), config.http.clone(), &config.leases, Arc::clone(&metrics))
                .routes(&gate, health)
                .map_err(Error::Reflection)?;
        let gateway = Gateway::new(FILE_DESCRIPTOR_SET, &[SERVICE_NAME], routes.clone(), options(&config))
            .map_err(Error::Gateway)?;
        let document = gateway.openapi(&[SERVICE_NAME], &document::about()).map_err(Error::Gateway)?;
        let bounds =
            Bounds { registrations: config.quotas.all.count, connections: config.limits.max_connections };
        let counted = Counted { traffic: Arc::clone(&traffic), audit, bounds };
        let status = Status::new(Arc::clone(&engine), metrics, Arc::clone(&gate), counted, document.into());

        let proxies = Proxies::new(config.http.trusted_proxies.clone());
        let stop = CancellationToken::new();
        let entry = |listen| {
            let hosts = HostRule::new(listen, &config.http);
            Entry::new(hosts, proxies.clone(), config.http.cors_origins.clone())
        };
        let server = |listener, tls| {
            Server::new(listener, config.limits.clone(), config.drain_timeout)
                .with_tls(tls)
                .trusting(proxies.clone())
                .counted_in(Arc::clone(&traffic))
        };
        let names = match listeners.names {
            None => None,
            Some(listener) => {
                if config.leases.require_lease_token {
                    warn!(
                        "clients of the name registry know no lease tokens: they can register, and no more"
                    );
                }
                let address = listener.local_addr().map_err(Error::Listener)?;
                let (engine, routes, stop) = (Arc::clone(&engine), routes.clone(), stop.clone());
                let names = NameRegistry::new(engine, routes, gate, entry(address), stop.clone())
                    .map_err(Error::NameRegistry)?;
                let tls = tls.clone().filter(|_| names_need_tls(address));
                Some(server(listener, tls).run(names, stop))
            }
        };
        let listen = listeners.main.local_addr().map_err(Error::Listener)?;
        let front = Front::new(routes, json_door(gateway, status.clone()), entry(listen));
        let main = server(listeners.main, tls.clone()).run(front, stop.clone());
        let drain = async {
            tokio::select! {
                () = shutdown => {}
                () = health::follow(engine.health(), reporter.clone()) => {}
            }
            info!("draining: nothing expires any more");
            engine.freeze();
            status.drain();
            health::say(&mut reporter.clone(), ServingStatus::NotServing).await;
            stop.cancel();
            health::end_streams(&mut reporter.clone()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = both(main, names) => {}
            () = drain => {}
        }
        Ok(())
    }
}

/// What the JSON door does beyond what gRPC-gateway does.
fn options(config: &Config) -> Options {
    Options {
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
    }
}

/// Everything that is not gRPC: the paths of `status`, and JSON.
fn json_door(
    gateway: Gateway,
    status: Status,
) -> impl Fn(Request<Body>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync {
    move |mut request| {
        let (gateway, status) = (gateway.clone(), status.clone());
        Box::pin(async move {
            if let Some(peer) = request.extensions().get::<Caller>().map(|caller| caller.peer) {
                request.extensions_mut().insert(RemoteAddr(peer));
            }
            let Some(answer) = status.answer(&mut request) else { return gateway.handle(request).await };
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                tokio::time::sleep(LATE).await;
            }
            answer
        })
    }
}

/// Whether the small name registry's paths, listening here, are served over TLS where the main port is.
/// Its clients know no TLS: on this machine they do without.
pub fn names_need_tls(listen: SocketAddr) -> bool {
    !listen.ip().to_canonical().is_loopback()
}

/// Returns when either listener's connections have ended, and the other's, if there is one.
async fn both<T>(main: impl Future<Output = T>, other: Option<impl Future<Output = T>>) {
    let other = async {
        if let Some(other) = other {
            other.await;
        }
    };
    tokio::join!(main, other);
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
