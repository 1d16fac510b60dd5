//! leasehold, a service registry.
pub mod call;
pub mod config;
pub mod proto;
pub mod telemetry;
