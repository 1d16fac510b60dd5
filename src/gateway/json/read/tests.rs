//! `kinds.proto` has a field of every kind. What is expected was compared with what
//! protojson and gRPC-gateway make of the same texts.

mod bodies;
mod faults;
mod messages;
mod reflected;
mod values;

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::{super::JsonOptions, Json, Unreadable};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = env!("CARGO_MANIFEST_DIR");
    let folders = [format!("{root}/tests/proto"), format!("{root}/proto")];
    let files = protox::compile(["kinds.proto", "leasehold/v1/registry.proto"], folders).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
});

static LENIENT: LazyLock<Json> = LazyLock::new(|| Json::new(&POOL, JsonOptions::default()));

static STRICT: LazyLock<Json> = LazyLock::new(|| {
    Json::new(&POOL, JsonOptions { discard_unknown: false, exact_numbers: true, ..JsonOptions::default() })
});

const KINDS: &str = "kinds.v1.Kinds";

/// Reads a text, and gives back the JSON that another library makes of the result; all
/// that is set is in it.
fn read(json: &Json, message: &str, text: impl AsRef<[u8]>) -> Result<Value, Unreadable> {
    json.read(json.find(message).unwrap(), text.as_ref()).map(|encoded| shown(message, &encoded))
}

/// An encoded message as JSON.
fn shown(message: &str, encoded: &[u8]) -> Value {
    let message = decoded(message, encoded);
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

fn decoded(message: &str, encoded: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(POOL.get_message_by_name(message).unwrap(), encoded).unwrap()
}

/// `text` is read as the message that `expect` shows; or, if `expect` is an error, refused
/// with a message that contains it.
#[track_caller]
fn check(json: &Json, message: &str, text: impl AsRef<[u8]>, expect: Result<&str, &str>) {
    let text = text.as_ref();
    let read = read(json, message, text);
    let text = String::from_utf8_lossy(text);
    match (read, expect) {
        (Ok(read), Ok(expect)) => {
            let expect: Value = serde_json::from_str(expect).unwrap();
            assert_eq!(read, expect, "{text}");
        }
        (Err(error), Err(expect)) => assert!(error.message.contains(expect), "{text}: {error}"),
        (read, expect) => panic!("{text}: {read:?}, not {expect:?}"),
    }
}
