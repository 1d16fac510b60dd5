//! Compiles `proto/` with protox, so that no protoc is needed, into the Rust types of
//! [`leasehold::proto`] and the descriptor set that reflection and the JSON paths read.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(["leasehold/v1/registry.proto", "google/rpc/error_details.proto"])?;

    // protox's own encoding keeps the google.api.http annotations; a set that went
    // through prost-types would have lost them.
    let encoded = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("leasehold_descriptor.bin"), &encoded)?;

    let set = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".leasehold.v1.BatchRegisterRequest", "crate::proto::BatchRegisterRequest")
        .btree_map(".")
        .codec_path("crate::proto::codec::Codec")
        .compile_fds(set)?;
    Ok(())
}
