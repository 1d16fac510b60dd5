//! Compiles `proto/` with protox, so that no protoc is needed: leasehold's own contract into
//! the Rust types of [`leasehold::proto`] and the descriptor set that reflection and the JSON
//! paths read; what the registrar and the benchmark say to etcd; and the echo service for the example that serves it, which is no part of the
//! library.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// The messages that have a form of their own in `proto::wire`.
const WIRE: [&str; 8] = [
    "BatchRegisterResponse",
    "DeregisterResponse",
    "Instance",
    "KeepAliveRequest",
    "ListResponse",
    "RegisterRequest",
    "RegisterResponse",
    "WatchResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let files = ["leasehold/v1/registry.proto", "leasehold/v1/admin.proto", "google/rpc/error_details.proto"];
    let set = compile(&files, &out.join("leasehold_descriptor.bin"))?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".leasehold.v1.BatchRegisterRequest", "crate::proto::BatchRegisterRequest")
        .btree_map(".")
        .bytes(".leasehold.v1.StoredRegistration")
        .compile_fds(set.clone())?;
    // The server's side of the same services: the messages that it sees most are read and
    // written there without becoming trees of values; see `proto::wire`.
    let server = out.join("server");
    fs::create_dir_all(&server)?;
    let mut builder = tonic_prost_build::configure()
        .out_dir(server)
        .build_client(false)
        .codec_path("crate::proto::codec::Codec")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".leasehold.v1", "crate::proto");
    for message in WIRE {
        let path = format!(".leasehold.v1.{message}");
        builder = builder.extern_path(path, format!("crate::proto::wire::{message}"));
    }
    builder.compile_fds(set.clone())?;
    // And as anyone would have it from tonic: for the servers that `leasehold bench` compares with.
    let plain = out.join("plain");
    fs::create_dir_all(&plain)?;
    tonic_prost_build::configure()
        .out_dir(plain)
        .build_client(false)
        .generate_default_stubs(true)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".leasehold.v1", "crate::proto")
        .compile_fds(set)?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(compile(&["etcd/rpc.proto"], &out.join("etcd_descriptor.bin"))?)?;

    let files = ["registry/v1/echo.proto", "registry/v1/kinds.proto", "google/rpc/error_details.proto"];
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".google.protobuf.Struct", "crate::verbatim::Struct")
        .build_client(false)
        .compile_fds(compile(&files, &out.join("echo_descriptor.bin"))?)?;
    Ok(())
}

/// The descriptor set of these files and of all they import, which is stored in `path` too.
fn compile(files: &[&str], path: &Path) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    // protox's own encoding keeps the google.api.http annotations; a set that went
    // through prost-types would have lost them.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(path, &encoded)?;
    Ok(FileDescriptorSet::decode(encoded.as_slice())?)
}
