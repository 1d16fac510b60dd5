//! What can be known of a field before any message is: its texts, and which encodings of
//! it are read.

use super::{scalar::zero, text::write_string};
use crate::gateway::{
    json::JsonOptions,
    schema::{Field, Kind, Message, MessageId, Presence, Schema, Shape},
    wire::Value,
};

/// For every field of a schema, in its order.
#[derive(Debug)]
pub(in crate::gateway::json) struct Plans(Vec<Vec<Plan>>);

/// For one field.
#[derive(Debug)]
pub(super) struct Plan {
    /// `,"name":`
    pub key: String,
    /// What stands for the field when it is unset, `,"name":null`; empty for nothing.
    pub unset: String,
    /// Whether a zero that is encoded is as good as unset, and left out.
    pub hides_zero: bool,
    pub accepts: Accepts,
    /// Whether what is encoded several times adds up; else the last has precedence.
    pub gathers: bool,
    /// The places of the other members of its oneof.
    pub siblings: Vec<u16>,
}

/// In which wire types a value may come. Whatever else comes is an unknown field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts(u8);

impl Plans {
    /// Spells all of `schema` by `options`.
    pub(in crate::gateway::json) fn new(schema: &Schema, options: JsonOptions) -> Self {
        let plans = schema.messages().iter().map(|message| {
            let plan = |place| Plan::new(message, place, schema, options);
            (0..message.fields.len()).map(plan).collect()
        });
        Self(plans.collect())
    }

    pub(super) fn of(&self, message: MessageId) -> &[Plan] {
        &self.0[message.place()]
    }
}

impl Plan {
    fn new(message: &Message, place: usize, schema: &Schema, options: JsonOptions) -> Self {
        let field = &message.fields[place];
        let mut key = ",".to_owned();
        write_string(&mut key, if options.proto_names { &field.name } else { &field.json_name });
        key.push(':');
        let unset = match (options.emit_unpopulated, field.presence) {
            (false, _) | (_, Presence::Nothing) => String::new(),
            (true, Presence::Null) => format!("{key}null"),
            (true, Presence::Default) => format!("{key}{}", default_text(field, schema)),
        };
        let accepts = match field.shape {
            Shape::Single => Accepts::of(field.kind),
            Shape::List { .. } => Accepts::of(field.kind).or_packed(),
            Shape::Map { .. } => Accepts::BYTES,
        };
        let siblings = (0..).zip(&message.fields).filter(|(_, other)| {
            field.oneof.is_some() && other.oneof == field.oneof && other.number != field.number
        });
        Self {
            hides_zero: !options.emit_unpopulated && field.presence == Presence::Default,
            accepts,
            gathers: field.shape != Shape::Single || matches!(field.kind, Kind::Message(_)),
            siblings: siblings.map(|(place, _)| place).collect(),
            key,
            unset,
        }
    }
}

fn default_text(field: &Field, schema: &Schema) -> String {
    let text = match (field.shape, field.kind) {
        (Shape::List { .. }, _) => "[]",
        (Shape::Map { .. }, _) => "{}",
        (Shape::Single, Kind::Bool) => "false",
        (Shape::Single, Kind::String | Kind::Bytes) => "\"\"",
        (Shape::Single, Kind::Message(_)) => "null",
        (Shape::Single, Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64) => {
            "\"0\""
        }
        (Shape::Single, Kind::Enum(id)) => {
            let known = schema.enumeration(id);
            return match known.name(0) {
                _ if known.is_null => "null".to_owned(),
                Some(name) => format!("\"{name}\""),
                None => "0".to_owned(),
            };
        }
        (Shape::Single, _) => "0",
    };
    text.to_owned()
}

// === impl Accepts ===

impl Accepts {
    pub(super) const BYTES: Self = Self(1 << 2);

    /// What a single value of this kind comes in.
    pub(super) fn of(kind: Kind) -> Self {
        Self::wire_type(&zero(kind))
    }

    /// Whether it may be this.
    pub(super) fn includes(self, value: &Value<'_>) -> bool {
        self.0 & Self::wire_type(value).0 != 0
    }

    /// Lists of scalars come packed too, whatever the schema says.
    fn or_packed(self) -> Self {
        Self(self.0 | Self::BYTES.0)
    }

    fn wire_type(value: &Value<'_>) -> Self {
        match value {
            Value::Varint(_) => Self(1 << 0),
            Value::Fixed64(_) => Self(1 << 1),
            Value::Bytes(_) => Self::BYTES,
            Value::Fixed32(_) => Self(1 << 5),
            Value::Group => Self(0),
        }
    }
}
