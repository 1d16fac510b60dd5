//! The server's side of leasehold's own contract, as tonic generates it for everyone.

pub use crate::proto::plain::{Registry, RegistryServer};
