//! Other registries, where they are to be had.

pub mod etcd;
pub mod python;

/// What we say to etcd: `proto/etcd/rpc.proto`.
pub mod proto {
    #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
    tonic::include_proto!("etcdserverpb");
}
