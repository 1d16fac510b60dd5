//! leasehold, a service registry: services register and stay as long as their leases
//! live, consumers watch.
//!
//! The modules are layers; an arrow is "uses", and nothing points up:
//!
//! ```text
//! cli → server → name_registry → {api, gateway, transport} → engine → {lease, store} → catalog → types
//! beside them: audit (tells of each change and refusal), auth (keys), bench (measures servers, as a
//! client of theirs), call, config, limits, metrics, proto, reload, telemetry, tls (certificates),
//! wire (protobuf's encoding)
//!
//! clients of a server, which know nothing of its insides: client (the SDK) ← supervise (a child process,
//! registered while it is up), registrar (Docker's containers), cli
//! ```
//!
//! Start from [`server::run`] to see it put together, from [`lease`] and [`catalog`] to
//! see what it does. ARCHITECTURE.md says why.

pub mod api;
pub mod audit;
pub mod auth;
pub mod bench;
pub mod call;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod lease;
pub mod limits;
pub mod metrics;
pub mod name_registry;
pub mod proto;
pub mod registrar;
pub mod reload;
pub mod server;
pub mod store;
#[cfg(unix)]
pub mod supervise;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod types;
mod wire;
