//! The whole server, put together: engine, service, JSON door and health on one port. It
//! is opened first, which reads what the store holds, and run then.

mod document;
mod status;

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, Method, Request};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tracing::{info, warn};

use crate::{
    api::{Gate, MAX_MESSAGE, Registry},
    auth::{Keys, KeysError},
    call::Caller,
    config::{Config, StoreKind},
    engine::{Engine, Health, embedded::Embedded},
    gateway::{self, EventStreams, Gateway, JsonOptions, Options, RemoteAddr},
    limits::Limits,
    metrics::Metrics,
    name_registry::NameRegistry,
    proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME},
    reload::Asking,
    store::{self, Condition, StoreError},
    transport::{Entry, Front, HostRule, Proxies, Server},
};
use status::Status;

/// The store has so long to be closed, or as long as the drain had.
const CLOSE_AT_LEAST: Duration = Duration::from_secs(5);

/// Why a server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    data_dir: Option<PathBuf>,
}

/// Reads the keys, opens the store and starts the engine, on the current tokio runtime.
pub async fn open(config: Config) -> Result<Opened, Error> {
    let keys = Arc::new(Keys::open(&config.access)?);
    let metrics = Arc::new(Metrics::default());
    if config.store.kind == StoreKind::Memory {
        let engine = Embedded::in_memory(&config.leases, config.history_bytes, Arc::clone(&metrics));
        return Ok(Opened { config, engine: Arc::new(engine), metrics, keys, data_dir: None });
    }
    let dir = config.store.data_dir.clone().or_else(store::default_dir).ok_or(Error::NoDataDir)?;
    let (engine, condition) = {
        let (config, dir, metrics) = (config.clone(), dir.clone(), Arc::clone(&metrics));
        let open = move || Embedded::open(&dir, &config.store, &config.leases, config.history_bytes, metrics);
        // Reading and verifying takes as long as the disk does.
        tokio::task::spawn_blocking(open).await.map_err(Error::Opening)??
    };
    say_condition(&condition, &dir, &engine);
    Ok(Opened { config, engine: Arc::new(engine), metrics, keys, data_dir: Some(dir) })
}

fn say_condition(condition: &Condition, dir: &Path, engine: &Embedded) {
    let dir = dir.display();
    let (instances, revision, epoch) = {
        let catalog = engine.view().read();
        (catalog.len(), catalog.revision().0, format!("{:016x}", catalog.epoch().0))
    };
    match condition {
        Condition::Created => info!(%dir, "a new registry"),
        Condition::Clean => info!(%dir, instances, revision, epoch, "the registry as it was left"),
        Condition::Unclean => {
            info!(%dir, instances, revision, epoch, "the last server was not stopped in order");
        }
        Condition::SyncFailed => {
            warn!(%dir, instances, revision, epoch, "a sync of the last server failed; the file was written anew");
        }
        Condition::Lost(missing) => {
            warn!(%dir, instances, revision, missing, epoch, "acknowledged changes are missing; a new epoch begins");
        }
        Condition::Copy => {
            warn!(%dir, instances, revision, epoch, "this is a copy of a registry; a new epoch begins");
        }
    }
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
    /// `asking` asks for it;  then drains: nothing expires any more, health says
    /// `NOT_SERVING`, streams are told when to come back, connections end, the store is closed.
    pub async fn run(
        self,
        listeners: Listeners,
        asking: Asking,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let engine = Arc::clone(&self.engine);
        let patience = self.config.drain_timeout.max(CLOSE_AT_LEAST);
        let served = self.serve(listeners, asking, shutdown).await;
        let closed = tokio::time::timeout(patience, engine.close()).await;
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
        let Self { config, engine, metrics, keys, .. } = self;
        let _following = keys.are_used().then(|| AbortOnDrop(follow_keys(&keys, &asking)));
        let gate = Arc::new(Gate {
            keys,
            protect_reads: config.access.protect_reads,
            limits: Arc::new(Limits::new(&config.rates)),
        });
        let listener = listeners.main;
        let listen = listener.local_addr().map_err(Error::Listener)?;
        let (mut reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status(SERVICE_NAME, tonic_health::ServingStatus::Serving).await;
        let routes =
            Registry::new(Arc::clone(&engine), config.http.clone(), &config.leases, Arc::clone(&metrics))
                .routes(&gate, health)
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
        let status = Status::new(Arc::clone(&engine), metrics, Arc::clone(&gate), document.into());

        let json = {
            let status = status.clone();
            move |mut request: Request<Body>| {
                let (gateway, status) = (gateway.clone(), status.clone());
                async move {
                    if let Some(peer) = request.extensions().get::<Caller>().map(|caller| caller.peer) {
                        request.extensions_mut().insert(RemoteAddr(peer));
                    }
                    match status.answer(&mut request) {
                        Some(answer) => answer,
                        None => gateway.handle(request).await,
                    }
                }
            }
        };
        let proxies = Proxies::new(config.http.trusted_proxies.clone());
        let entry = |listen| {
            let hosts = HostRule::new(listen, &config.http);
            Entry::new(hosts, proxies.clone(), config.http.cors_origins.clone())
        };
        let stop = CancellationToken::new();
        let names = match listeners.names {
            None => None,
            Some(listener) => {
                if config.leases.require_lease_token {
                    warn!(
                        "clients of the name registry know no lease tokens: they can register, and nothing else"
                    );
                }
                let entry = entry(listener.local_addr().map_err(Error::Listener)?);
                let dialect =
                    NameRegistry::new(Arc::clone(&engine), routes.clone(), gate, entry, stop.clone())
                        .map_err(Error::NameRegistry)?;
                let server = Server::new(listener, config.limits.clone(), config.drain_timeout);
                Some(server.run(dialect, stop.clone()))
            }
        };
        let front = Front::new(routes, json, entry(listen));
        let server = Server::new(listener, config.limits, config.drain_timeout).run(front, stop.clone());
        let drain = async {
            tokio::select! {
                () = shutdown => {}
                () = follow(engine.health(), reporter.clone()) => {}
            }
            info!("draining: nothing expires any more");
            engine.freeze();
            status.drain();
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
            () = both(server, names) => {}
            () = drain => {}
        }
        Ok(())
    }
}

/// Has the keys read again whenever that is asked for; and now, for they may have changed since they
/// were read.
fn follow_keys(keys: &Arc<Keys>, asking: &Asking) -> JoinHandle<()> {
    let read = Arc::clone(keys);
    let following = asking.watch(keys.files(), move || read.reload());
    keys.reload();
    following
}

/// A task that ends with this.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
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

/// Has gRPC's health say what the engine's is, as long as there is an engine.
async fn follow(mut health: watch::Receiver<Health>, reporter: tonic_health::server::HealthReporter) {
    let mut said = tonic_health::ServingStatus::Serving;
    loop {
        let status = match &*health.borrow_and_update() {
            Health::Serving => tonic_health::ServingStatus::Serving,
            Health::Failing(_) => tonic_health::ServingStatus::NotServing,
        };
        // Who watches is told of changes only.
        if status != said {
            said = status;
            for name in ["", SERVICE_NAME] {
                reporter.set_service_status(name, status).await;
            }
        }
        if health.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
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
