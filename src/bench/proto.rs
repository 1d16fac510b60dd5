//! The server's side of leasehold's own contract, as tonic generates it for everyone: with its
//! own codec and the generated messages. What is not implemented answers `UNIMPLEMENTED`.

mod generated {
    #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/plain/leasehold.v1.rs"));
}

pub use generated::registry_server::{Registry, RegistryServer};
