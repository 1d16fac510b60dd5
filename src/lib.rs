//! leasehold, a service registry.
pub mod api;
pub mod call;
pub mod catalog;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod lease;
pub mod metrics;
pub mod proto;
pub mod server;
pub mod transport;
pub mod types;
