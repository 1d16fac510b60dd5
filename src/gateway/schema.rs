//! Every message and enum of a descriptor pool, laid out for the JSON reader and writer:
//! fields in the order of their declaration, names ready to print, lookups by number and
//! by name. Made once, when a gateway is built; nothing here looks at a message.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as DescriptorKind, MessageDescriptor,
};

/// All messages and enums of a pool.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<String, MessageId>,
}

/// A message of a [`Schema`]; only good for the schema that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(u32);

/// An enum of a [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnumId(u32);

/// A message type.
#[derive(Debug)]
pub(super) struct Message {
    pub full_name: String,
    pub form: Form,
    /// In the order of their declaration.
    pub fields: Vec<Field>,
    /// The names of its oneofs, the synthetic ones of `optional` fields included.
    pub oneofs: Vec<String>,
    /// Numbers and places in `fields`, sorted by number.
    by_number: Vec<(u32, u16)>,
    /// Both names of each field, with its place.
    by_name: HashMap<String, u16>,
    /// JSON names that are another field's proto name. Few types have any.
    by_json_name: HashMap<String, u16>,
}

/// How a message type is spelled in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object with a key per field.
    Object,
    Any,
    Timestamp,
    Duration,
    Struct,
    Value,
    ListValue,
    FieldMask,
    /// `google.protobuf.Empty`: `{}`.
    Empty,
    /// A wrapper such as `google.protobuf.Int32Value`: its field 1, of this kind.
    Wrapper(Kind),
}

/// A field of a message type.
#[derive(Debug)]
pub(super) struct Field {
    pub number: u32,
    pub name: String,
    pub json_name: String,
    pub kind: Kind,
    pub shape: Shape,
    pub presence: Presence,
    /// Its place in [`Message::oneofs`].
    pub oneof: Option<u16>,
    /// Whether it is a proto3 `optional`, whose oneof is synthetic.
    pub optional: bool,
}

/// How many values a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Single,
    /// Of [`Field::kind`]; `packed` is how we encode it, both ways are read.
    List {
        packed: bool,
    },
    /// To values of [`Field::kind`], from keys of this kind.
    Map {
        key: Kind,
    },
}

/// What JSON shows of a field that the encoded message does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its zero value: there is no telling it from unset.
    Default,
    /// `null`.
    Null,
    /// Nothing: a member of a oneof, or `optional`.
    Nothing,
}

/// The kind of a value. Messages encoded as groups, which only proto2 has, are treated as
/// unknown fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
}

/// An enum type.
#[derive(Debug)]
pub(super) struct Enum {
    pub full_name: String,
    /// `google.protobuf.NullValue`, whose JSON is `null`.
    pub is_null: bool,
    /// Sorted by number; of aliases, the one declared first.
    by_number: Vec<(i32, String)>,
    by_name: HashMap<String, i32>,
}

// === impl Schema ===

impl Schema {
    /// Lays out all of `pool`.
    pub fn new(pool: &DescriptorPool) -> Self {
        let descriptors: Vec<MessageDescriptor> = pool.all_messages().collect();
        let messages_by_name: HashMap<String, MessageId> = (0..)
            .zip(&descriptors)
            .map(|(index, descriptor)| (descriptor.full_name().to_owned(), MessageId(index)))
            .collect();
        let enum_descriptors: Vec<EnumDescriptor> = pool.all_enums().collect();
        let enums_by_name: HashMap<String, EnumId> = (0..)
            .zip(&enum_descriptors)
            .map(|(index, descriptor)| (descriptor.full_name().to_owned(), EnumId(index)))
            .collect();
        let names = Names { messages: &messages_by_name, enums: &enums_by_name };
        Self {
            messages: descriptors.iter().map(|descriptor| Message::new(descriptor, &names)).collect(),
            enums: enum_descriptors.iter().map(Enum::new).collect(),
            by_name: messages_by_name,
        }
    }

    /// The message type of this full name, `package.Message`.
    pub fn find(&self, full_name: &str) -> Option<MessageId> {
        self.by_name.get(full_name).copied()
    }

    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// All message types; [`MessageId::place`] is a type's place among them.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id.0 as usize]
    }
}

impl MessageId {
    /// Its place among [`Schema::messages`].
    pub(super) fn place(self) -> usize {
        self.0 as usize
    }
}

// === impl Message ===

impl Message {
    fn new(descriptor: &MessageDescriptor, names: &Names<'_>) -> Self {
        // prost-reflect lists fields by number; JSON shows them as they are declared.
        let declared = descriptor.descriptor_proto().field.iter();
        let fields: Vec<Field> = declared
            .filter_map(|field| descriptor.get_field(u32::try_from(field.number()).ok()?))
            .filter(|field| !field.is_group())
            .map(|field| Field::new(&field, descriptor, names))
            .collect();
        let mut by_number: Vec<(u32, u16)> =
            (0..).zip(&fields).map(|(place, field)| (field.number, place)).collect();
        by_number.sort_unstable();
        let mut by_name = HashMap::with_capacity(fields.len() * 2);
        for (place, field) in (0..).zip(&fields) {
            by_name.insert(field.name.clone(), place);
        }
        let mut by_json_name = HashMap::new();
        for (place, field) in (0..).zip(&fields) {
            if *by_name.entry(field.json_name.clone()).or_insert(place) != place {
                by_json_name.insert(field.json_name.clone(), place);
            }
        }
        Self {
            full_name: descriptor.full_name().to_owned(),
            form: Form::of(descriptor.full_name()),
            fields,
            oneofs: descriptor.oneofs().map(|oneof| oneof.name().to_owned()).collect(),
            by_number,
            by_name,
            by_json_name,
        }
    }

    /// The place in `fields` of the field with this number.
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        // Numbers are mostly 1, 2, 3…
        let guess = (number as usize).wrapping_sub(1);
        match self.by_number.get(guess) {
            Some((found, place)) if *found == number => Some(*place as usize),
            _ => {
                let at = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
                Some(self.by_number[at].1 as usize)
            }
        }
    }

    /// The place in `fields` of the field that a key of a JSON object names: by its JSON
    /// name, else by its proto name.
    pub(super) fn place_of_key(&self, key: &str) -> Option<usize> {
        match self.by_json_name.get(key) {
            Some(place) => Some(*place as usize),
            None => self.place_of_name(key),
        }
    }

    /// The place in `fields` of the field with this name, its proto name or its JSON name.
    pub(super) fn place_of_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).map(|place| *place as usize)
    }

    /// The field with this name, its proto name or its JSON name.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.place_of_name(name).map(|place| &self.fields[place])
    }
}

impl Form {
    fn of(full_name: &str) -> Self {
        let Some(name) = full_name.strip_prefix("google.protobuf.") else {
            return Self::Object;
        };
        match name {
            "Any" => Self::Any,
            "Timestamp" => Self::Timestamp,
            "Duration" => Self::Duration,
            "Struct" => Self::Struct,
            "Value" => Self::Value,
            "ListValue" => Self::ListValue,
            "FieldMask" => Self::FieldMask,
            "Empty" => Self::Empty,
            "DoubleValue" => Self::Wrapper(Kind::Double),
            "FloatValue" => Self::Wrapper(Kind::Float),
            "Int64Value" => Self::Wrapper(Kind::Int64),
            "UInt64Value" => Self::Wrapper(Kind::Uint64),
            "Int32Value" => Self::Wrapper(Kind::Int32),
            "UInt32Value" => Self::Wrapper(Kind::Uint32),
            "BoolValue" => Self::Wrapper(Kind::Bool),
            "StringValue" => Self::Wrapper(Kind::String),
            "BytesValue" => Self::Wrapper(Kind::Bytes),
            _ => Self::Object,
        }
    }
}

// === impl Field ===

impl Field {
    fn new(field: &FieldDescriptor, parent: &MessageDescriptor, names: &Names<'_>) -> Self {
        let (kind, shape) = if let (true, Some(entry)) = (field.is_map(), field.kind().as_message()) {
            let key = names.kind(&entry.map_entry_key_field().kind());
            (names.kind(&entry.map_entry_value_field().kind()), Shape::Map { key })
        } else if field.cardinality() == Cardinality::Repeated {
            (names.kind(&field.kind()), Shape::List { packed: field.is_packed() })
        } else {
            (names.kind(&field.kind()), Shape::Single)
        };
        let oneof = field
            .containing_oneof()
            .and_then(|oneof| parent.oneofs().position(|other| other.name() == oneof.name()))
            .map(|place| place as u16);
        let presence = if oneof.is_some() {
            Presence::Nothing
        } else if shape == Shape::Single && field.supports_presence() {
            Presence::Null
        } else {
            Presence::Default
        };
        Self {
            number: field.number(),
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind,
            shape,
            presence,
            oneof,
            optional: field.field_descriptor_proto().proto3_optional(),
        }
    }
}

impl Field {
    /// The message type of a field that holds one message.
    pub(super) fn submessage(&self) -> Option<MessageId> {
        match (self.kind, self.shape) {
            (Kind::Message(message), Shape::Single) => Some(message),
            _ => None,
        }
    }
}

// === impl Enum ===

impl Enum {
    fn new(descriptor: &EnumDescriptor) -> Self {
        let mut by_number: Vec<(i32, String)> = Vec::new();
        let declared = &descriptor.enum_descriptor_proto().value;
        for value in declared {
            if by_number.iter().all(|(number, _)| *number != value.number()) {
                by_number.push((value.number(), value.name().to_owned()));
            }
        }
        by_number.sort_unstable_by_key(|(number, _)| *number);
        Self {
            full_name: descriptor.full_name().to_owned(),
            is_null: descriptor.full_name() == "google.protobuf.NullValue",
            by_number,
            by_name: declared.iter().map(|value| (value.name().to_owned(), value.number())).collect(),
        }
    }

    /// The name of a number that has one.
    pub(super) fn name(&self, number: i32) -> Option<&str> {
        let guess = self.by_number.get(usize::try_from(number).unwrap_or(usize::MAX));
        if let Some((found, name)) = guess
            && *found == number
        {
            return Some(name);
        }
        let at = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.by_number[at].1)
    }

    /// The number of a name.
    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.by_name.get(name).copied()
    }

    /// The names of its values, by number.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_number.iter().map(|(_, name)| name.as_str())
    }
}

/// The ids of what a field's kind refers to.
struct Names<'a> {
    messages: &'a HashMap<String, MessageId>,
    enums: &'a HashMap<String, EnumId>,
}

impl Names<'_> {
    /// The pool holds whatever its fields refer to.
    fn kind(&self, kind: &DescriptorKind) -> Kind {
        match kind {
            DescriptorKind::Double => Kind::Double,
            DescriptorKind::Float => Kind::Float,
            DescriptorKind::Int32 => Kind::Int32,
            DescriptorKind::Int64 => Kind::Int64,
            DescriptorKind::Uint32 => Kind::Uint32,
            DescriptorKind::Uint64 => Kind::Uint64,
            DescriptorKind::Sint32 => Kind::Sint32,
            DescriptorKind::Sint64 => Kind::Sint64,
            DescriptorKind::Fixed32 => Kind::Fixed32,
            DescriptorKind::Fixed64 => Kind::Fixed64,
            DescriptorKind::Sfixed32 => Kind::Sfixed32,
            DescriptorKind::Sfixed64 => Kind::Sfixed64,
            DescriptorKind::Bool => Kind::Bool,
            DescriptorKind::String => Kind::String,
            DescriptorKind::Bytes => Kind::Bytes,
            DescriptorKind::Message(descriptor) => Kind::Message(self.messages[descriptor.full_name()]),
            DescriptorKind::Enum(descriptor) => Kind::Enum(self.enums[descriptor.full_name()]),
        }
    }
}
