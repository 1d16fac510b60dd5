//! How any tonic service gets a JSON door: the echo service of `proto/registry/v1/echo.proto`,
//! gRPC and JSON on one port.
//!
//! ```text
//! cargo run --example gateway_echo -- --listen 127.0.0.1:8080
//! curl 'http://127.0.0.1:8080/services/a1'
//! curl -d '{"url": "http://a", "ttl_seconds": 30}' 'http://127.0.0.1:8080/services/$register'
//! curl 'http://127.0.0.1:8080/services:watch?events=3'
//! ```
//!
//! It behaves like the gRPC-gateway that `tests/gateway/vectors.json` was recorded from.

#[path = "gateway_echo/kinds.rs"]
mod kinds;
#[path = "gateway_echo/metadata.rs"]
mod metadata;
#[path = "gateway_echo/service.rs"]
mod service;
#[path = "gateway_echo/trailers.rs"]
mod trailers;
#[path = "gateway_echo/verbatim.rs"]
mod verbatim;

use std::{convert::Infallible, net::SocketAddr};

use clap::Parser;
use http::{HeaderName, Request, Response, Version, header::CONTENT_TYPE};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use leasehold::gateway::{Gateway, JsonOptions, Options, RemoteAddr};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tonic::{body::Body, service::Routes};
use tonic_health::pb::health_server::HealthServer;
use tower::ServiceExt as _;

use self::{
    kinds::Kinds,
    proto::{kinds_server::KindsServer, registry_server::RegistryServer},
    service::{Echo, Health},
    trailers::Trailers,
};

/// What `build.rs` made of the proto.
mod proto {
    #![allow(unused_qualifications, clippy::all, clippy::pedantic)]
    tonic::include_proto!("registry.v1");

    /// Every file it needs, HTTP annotations and comments included.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo_descriptor.bin"));
}

/// What the door serves.
const NAMES: [&str; 2] = ["registry.v1.Registry", "registry.v1.Kinds"];

#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 is any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write fields as `pageSize`, not as `page_size`.
    #[arg(long)]
    json_names: bool,
    /// Leave out what is not set.
    #[arg(long)]
    omit_unpopulated: bool,
    /// Refuse fields that a message does not have.
    #[arg(long)]
    reject_unknown: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();

    // The services, as any tonic server has them; `Trailers` is for the echo alone.
    let services = Routes::new(Trailers::new(RegistryServer::new(Echo)))
        .add_service(KindsServer::new(Kinds))
        .add_service(HealthServer::new(Health));

    // The door: it calls them in-process, by what the annotations say.
    let options = options(&args);
    let gateway = Gateway::new(proto::FILE_DESCRIPTOR_SET, &NAMES, services.clone(), options)?;

    // One port for both.
    let listener = TcpListener::bind(args.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = terminate.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let (services, gateway) = (services.clone(), gateway.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, peer, services.clone(), gateway.clone()));
            // HTTP/1.1 or HTTP/2, by the first bytes. A connection that fails concerns its client.
            let _ =
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// gRPC goes to the services as it is, everything else through the door.
async fn answer(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    services: Routes,
    gateway: Gateway,
) -> Result<Response<Body>, Infallible> {
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if request.version() == Version::HTTP_2 && content_type.starts_with(b"application/grpc") {
        return services.oneshot(request.map(Body::new)).await;
    }
    // For `x-forwarded-for`.
    request.extensions_mut().insert(RemoteAddr(peer));
    Ok(gateway.handle(request).await)
}

/// The profile of the recordings; each line beyond the default is a choice.
fn options(args: &Args) -> Options {
    Options {
        json: JsonOptions {
            proto_names: !args.json_names,
            emit_unpopulated: !args.omit_unpopulated,
            discard_unknown: !args.reject_unknown,
            ..JsonOptions::default()
        },
        // Ample: the services have limits of their own.
        max_body: 64 << 20,
        method_override: true,
        form_fallback: true,
        http_code_metadata: Some(HeaderName::from_static("x-http-code")),
        healthz: Some("/healthz".to_owned()),
        ..Options::default()
    }
}
