//! leasehold, a service registry.
pub mod call;
pub mod config;
pub mod gateway;
pub mod proto;
