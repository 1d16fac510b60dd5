//! proto3 JSON, both ways, straight between text and encoded messages: `read` makes an
//! encoded message of a text, `write` a text of an encoded message. No message is ever
//! built in memory between the two.

mod read;
mod write;

use prost_reflect::DescriptorPool;

use self::write::Plans;
use super::schema::{MessageId, Schema};

pub(super) use self::write::write_string;
pub use self::{read::Unreadable, write::Unwritable};

/// How messages are spelled, beyond what proto3 JSON leaves no choice about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct JsonOptions {
    /// Whether fields are written under their proto names, `page_size`; else under their
    /// JSON names, `pageSize`. Both are read.
    pub proto_names: bool,
    /// Whether unset fields are written: scalars as their zero, lists and maps empty,
    /// messages as `null`. Those with explicit presence never are.
    pub emit_unpopulated: bool,
    /// Whether unknown fields, and unknown names of enum values, are passed over when a
    /// text is read; else they are errors.
    pub discard_unknown: bool,
    /// Whether a JSON number that a double would change is refused, wherever it is kept as
    /// a double: in a `double`, a `Value`, a `Struct`.
    pub exact_numbers: bool,
}

/// Reads and writes the messages of one descriptor pool as JSON.
#[derive(Debug)]
pub struct Json {
    schema: Schema,
    options: JsonOptions,
    plans: Plans,
}

impl Default for JsonOptions {
    /// As the gateway that we imitate: proto names, unset fields written, unknown fields
    /// passed over.
    fn default() -> Self {
        Self { proto_names: true, emit_unpopulated: true, discard_unknown: true, exact_numbers: false }
    }
}

impl Json {
    /// Lays out all messages of `pool`.
    pub fn new(pool: &DescriptorPool, options: JsonOptions) -> Self {
        let schema = Schema::new(pool);
        let plans = Plans::new(&schema, options);
        Self { schema, options, plans }
    }

    /// The message type of this full name, `package.Message`.
    pub fn find(&self, full_name: &str) -> Option<MessageId> {
        self.schema.find(full_name)
    }

    /// Whether unset fields are written.
    pub(super) fn emits_unpopulated(&self) -> bool {
        self.options.emit_unpopulated
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }
}

/// A message as the gateway answers with it, for what other tests have made.
#[cfg(test)]
pub(super) fn written(message: &prost_reflect::DynamicMessage) -> String {
    use prost::Message as _;
    use prost_reflect::ReflectMessage as _;

    let descriptor = message.descriptor();
    let json = Json::new(descriptor.parent_pool(), JsonOptions::default());
    let mut out = String::new();
    json.write(json.find(descriptor.full_name()).unwrap(), &message.encode_to_vec(), &mut out).unwrap();
    out
}
