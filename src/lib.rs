//! leasehold, a service registry.
pub mod call;
pub mod cli;
pub mod config;
pub mod proto;
pub mod telemetry;
