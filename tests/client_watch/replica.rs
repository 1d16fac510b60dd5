//! A gRPC service that is called by its name: a health service that counts its calls.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use leasehold::proto::{DeregisterRequest, RegisterRequest};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_stream::{
    StreamExt as _,
    wrappers::{TcpListenerStream, WatchStream},
};
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server as Grpc, ServerTlsConfig},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

use crate::{
    certificates::Pair,
    support::{Server, replica},
};

/// What every call is answered with.
const SERVING: HealthCheckResponse = HealthCheckResponse { status: ServingStatus::Serving as i32 };

/// One replica; it ends when dropped.
pub struct Replica {
    pub addr: SocketAddr,
    scheme: &'static str,
    calls: Arc<AtomicUsize>,
    /// What its watchers are told.
    news: watch::Sender<i32>,
    /// Its own: when it ends, its connections do.
    runtime: Option<Runtime>,
}

struct Service {
    calls: Arc<AtomicUsize>,
    news: watch::Sender<i32>,
}

impl Replica {
    /// On a free port.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None).await
    }

    /// With a certificate.
    pub async fn secure(pair: &Pair) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Some(pair)).await
    }

    pub async fn at(addr: SocketAddr, pair: Option<&Pair>) -> Self {
        // Who listened there may be on its way out.
        let listener = loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => break listener.into_std().unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let addr = listener.local_addr().unwrap();
        let (calls, news) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0));
        let service = HealthServer::new(Service { calls: Arc::clone(&calls), news: news.clone() });
        let mut grpc = Grpc::builder();
        if let Some(pair) = pair {
            let identity = Identity::from_pem(&pair.cert, &pair.key);
            grpc = grpc.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            grpc.add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        let scheme = if pair.is_some() { "grpcs" } else { "grpc" };
        Self { addr, scheme, calls, news, runtime: Some(runtime) }
    }

    /// Registers it; the id.
    pub async fn register(&self, server: &Server) -> String {
        let url = format!("{}://{}/its/path", self.scheme, self.addr);
        let request = RegisterRequest { ttl_seconds: 3600, ..replica("greeter", &url) };
        server.register(request).await.id
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Tells those who watch it.
    pub fn tell(&self, news: i32) {
        self.news.send_replace(news);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub async fn deregister(server: &Server, id: &str) {
    let request = DeregisterRequest { id: id.to_owned(), ..DeregisterRequest::default() };
    server.registry().await.deregister(request).await.unwrap();
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(SERVING))
    }

    type WatchStream =
        std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let news = WatchStream::new(self.news.subscribe());
        Ok(Response::new(Box::pin(news.map(|status| Ok(HealthCheckResponse { status })))))
    }
}
