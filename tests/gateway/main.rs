//! The JSON door against gRPC-gateway: what it recorded (`vectors`), and what it does
//! when it is asked the same at the same moment (`differential`, `leasehold`). The echo
//! service of `examples/gateway_echo.rs` and leasehold itself stand behind both.

#![allow(clippy::unwrap_used)]

mod compare;
mod corners;
mod deviations;
mod differential;
mod generate;
mod known;
mod leasehold;
mod options;
mod peers;
mod request;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
