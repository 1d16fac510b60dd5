//! The wire types of `proto/leasehold/v1/registry.proto`, generated at build time.
//!
//! Only `api/convert.rs` and the clients know them; what they mean is said in the proto.

mod batch;
pub mod codec;
pub mod plain;
pub mod wire;

/// What we say to etcd: `proto/etcd/rpc.proto`.
pub mod etcd {
    #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
    tonic::include_proto!("etcdserverpb");
}

mod generated {
    #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
    tonic::include_proto!("leasehold.v1");
}

mod server {
    #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/server/leasehold.v1.rs"));
}

pub use batch::BatchRegisterRequest;
pub use generated::*;
pub use server::*;

/// The service's full name, as gRPC paths and health checks spell it.
pub const SERVICE_NAME: &str = "leasehold.v1.Registry";

/// The compiled descriptor set: our protos with all they import, comments and HTTP
/// annotations included, as protox wrote it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/leasehold_descriptor.bin"));
