//! The server's side of the same service as tonic generates it for everyone: with tonic's codec
//! and the generated messages. What is not implemented answers `UNIMPLEMENTED`. The servers that
//! `leasehold bench` compares with are built on it, and those that stand in for ours in tests.

mod generated {
    #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/plain/leasehold.v1.rs"));
}

pub use generated::registry_server::{Registry, RegistryServer};
