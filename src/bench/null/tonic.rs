//! tonic with its defaults: decodes the request, answers as much as a registry would, and
//! remembers nothing.

use anyhow::Context as _;
use prost_types::Timestamp;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status, async_trait,
    transport::{self, server::TcpIncoming},
};

use crate::{
    bench::{
        Result,
        proto::{Registry, RegistryServer},
    },
    proto::{
        BatchRegisterRequest, BatchRegisterResponse, RegisterRequest, RegisterResponse,
        batch_register_response,
    },
};

/// Serves a service of leasehold's contract, as tonic does by itself.
pub async fn serve(listener: TcpListener, service: impl Registry) -> Result<()> {
    // As tonic does where it listens itself.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = transport::Server::builder().add_service(RegistryServer::new(service));
    server.serve_with_incoming(incoming).await.context("cannot serve")
}

/// Register and `BatchRegister`.
pub struct Unary;

#[async_trait]
impl Registry for Unary {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> std::result::Result<Response<RegisterResponse>, Status> {
        Ok(Response::new(registered(request.into_inner())))
    }

    async fn batch_register(
        &self,
        request: Request<BatchRegisterRequest>,
    ) -> std::result::Result<Response<BatchRegisterResponse>, Status> {
        let entries = request.into_inner().entries();
        let results = entries.map(|entry| {
            let request = entry.map_err(|error| Status::invalid_argument(error.to_string()))?;
            let result = batch_register_response::result::Result::Response(registered(request));
            Ok(batch_register_response::Result { result: Some(result) })
        });
        Ok(Response::new(BatchRegisterResponse {
            results: results.collect::<std::result::Result<_, Status>>()?,
        }))
    }
}

/// An answer of the size that leasehold's has.
pub fn registered(request: RegisterRequest) -> RegisterResponse {
    RegisterResponse {
        id: "01JD6V3Z5Q8X4N7M2K9T0B1C6F".to_owned(),
        status: "registered".to_owned(),
        service_url: request.url,
        message: "Service registered successfully".to_owned(),
        ttl_seconds: 30,
        ping_url: "http://127.0.0.1:50000/services/01JD6V3Z5Q8X4N7M2K9T0B1C6F/$ping".to_owned(),
        service: request.service,
        lease_token: "Zm9yIHRoZSBiZW5jaG1hcms".to_owned(),
        expires_at: Some(Timestamp { seconds: 1_795_000_000, nanos: 123_456_789 }),
        revision: 1_000_000,
    }
}
