//! The gRPC service: thin functions between the wire and an engine. What the wire types
//! mean inside is said in `convert.rs` alone.

mod admin;
mod convert;
mod encode;
mod gate;
mod info;
mod keepalive;
mod limited;
mod list;
mod observe;
mod refuse;
mod request;
mod scope;
mod token;
mod unary;
mod watch;

pub use gate::{Gate, Gated, LATE, Rpc};
pub use observe::{Call, Observed};

use std::sync::Arc;

use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::{
    config::{HttpConfig, LeaseConfig},
    engine::Engine,
    limits::Limits,
    metrics::Metrics,
    proto::{FILE_DESCRIPTOR_SET, admin_server::AdminServer, registry_server::RegistryServer},
};

/// The largest message taken, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The registry's service.
#[derive(Clone)]
pub struct Registry {
    engine: Arc<dyn Engine>,
    http: Arc<HttpConfig>,
    require_lease_token: bool,
    /// Whether keys bound what is read.
    protect_reads: bool,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
}

impl Registry {
    /// A service over this engine.
    pub fn new(
        engine: Arc<dyn Engine>,
        http: HttpConfig,
        leases: &LeaseConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let require_lease_token = leases.require_lease_token;
        let (http, limits) = (Arc::new(http), Arc::default());
        Self { engine, http, require_lease_token, protect_reads: false, metrics, limits }
    }

    /// This service with the one for those who run it, health and both versions of reflection,
    /// behind the gate, ready to be called.
    pub fn routes(
        self,
        gate: &Arc<Gate>,
        health: HealthServer<impl Health>,
    ) -> Result<Routes, tonic_reflection::server::Error> {
        let registry = Self { protect_reads: gate.protect_reads, limits: Arc::clone(&gate.limits), ..self };
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let mut routes = Routes::builder();
        routes
            .add_service(Gated::new(AdminServer::new(admin::Admin::new(Arc::clone(&registry.engine))), gate))
            .add_service(Gated::new(
                RegistryServer::new(registry).max_decoding_message_size(MAX_MESSAGE),
                gate,
            ))
            .add_service(Gated::new(health, gate))
            .add_service(Gated::new(reflection().build_v1()?, gate))
            .add_service(Gated::new(reflection().build_v1alpha()?, gate));
        Ok(routes.routes().prepare())
    }
}
