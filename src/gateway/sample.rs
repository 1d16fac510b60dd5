//! For tests: messages with a field of every kind, and a look at what was encoded.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MessageOptions, OneofDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Of `sample.All`, one field in a line.
const ALL: &str = "
    1 double d
    2 float f
    3 int32 i32
    4 int64 i64
    5 uint32 u32
    6 uint64 u64
    7 sint32 s32
    8 sint64 s64
    9 fixed32 fx32
    10 fixed64 fx64
    11 sfixed32 sf32
    12 sfixed64 sf64
    13 bool flag
    14 string text
    15 bytes data
    16 Kind kind
    17 string long_name
    20 int32 nums repeated
    21 Kind kinds repeated
    22 string texts repeated
    23 Timestamp times repeated
    24 All alls repeated
    25 Value values repeated
    26 double ds repeated
    30 string labels map string
    31 Kind kinds_by_number map int32
    32 Timestamp times_by_flag map bool
    33 All alls_by_name map string
    34 Struct infos map uint64
    40 Timestamp at
    41 Duration span
    42 FieldMask mask
    43 Struct info
    44 Value value
    45 ListValue list
    46 Any any
    47 Empty nothing
    50 DoubleValue w_double
    51 FloatValue w_float
    52 Int64Value w_int64
    53 UInt64Value w_uint64
    54 Int32Value w_int32
    55 UInt32Value w_uint32
    56 BoolValue w_bool
    57 StringValue w_string
    58 BytesValue w_bytes
    60 All inner
    61 string choice_text choice
    62 int32 choice_number choice
    63 All choice_inner choice
    64 Duration choice_span choice
    65 int32 maybe optional
";

/// `sample.All`, and some requests around it.
pub(super) fn pool() -> DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(new_pool);
    POOL.clone()
}

fn new_pool() -> DescriptorPool {
    let mut pool = DescriptorPool::global();
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let imports = ["any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"];
    let file = FileDescriptorProto {
        name: Some("sample.proto".to_owned()),
        package: Some("sample".to_owned()),
        dependency: imports.map(|name| format!("google/protobuf/{name}.proto")).to_vec(),
        message_type: vec![
            message("All", ALL),
            message("Update", "1 string id\n2 All item\n3 FieldMask update_mask\n4 bool dry"),
            message("TwoMasks", "1 All item\n2 FieldMask a\n3 FieldMask b"),
            message("ListOfMasks", "1 All item\n2 FieldMask a repeated"),
            message("ChosenMask", "1 All item\n2 FieldMask a choice"),
            message("OnlyId", "1 string id"),
            message("Nothing", ""),
        ],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Kind".to_owned()),
            value: vec![value("NONE", 0), value("ONE", 1), value("MINUS", -1), value("LARGE", 1000)],
            ..EnumDescriptorProto::default()
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    pool.add_file_descriptor_proto(file).unwrap();
    pool
}

/// The proto3 JSON of a `sample` message, with proto names and without what is unset.
pub(super) fn shown(name: &str, encoded: &[u8]) -> String {
    let descriptor = pool().get_message_by_name(&format!("sample.{name}")).unwrap();
    let message = DynamicMessage::decode(descriptor, encoded).unwrap();
    let mut json = Vec::new();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options).unwrap();
    String::from_utf8(json).unwrap()
}

fn message(name: &str, fields: &str) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() };
    for line in fields.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let [number, kind, field_name, rest @ ..] = words.as_slice() else { panic!("{line}") };
        let mut field = field(field_name, number.parse().unwrap(), kind);
        match rest {
            [] => {}
            ["repeated"] => field.label = Some(Label::Repeated.into()),
            ["map", key] => {
                let entry = format!("{field_name}_entry");
                field = self::field(field_name, number.parse().unwrap(), &format!("{name}.{entry}"));
                field.label = Some(Label::Repeated.into());
                message.nested_type.push(DescriptorProto {
                    name: Some(entry),
                    field: vec![self::field("key", 1, key), self::field("value", 2, kind)],
                    options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
                    ..DescriptorProto::default()
                });
            }
            [oneof] => {
                let optional = *oneof == "optional";
                let oneof = if optional { format!("_{field_name}") } else { (*oneof).to_owned() };
                let place = message.oneof_decl.iter().position(|known| known.name() == oneof);
                let place = place.unwrap_or(message.oneof_decl.len());
                if place == message.oneof_decl.len() {
                    message
                        .oneof_decl
                        .push(OneofDescriptorProto { name: Some(oneof), ..OneofDescriptorProto::default() });
                }
                field.proto3_optional = optional.then_some(true);
                field.oneof_index = Some(place as i32);
            }
            _ => panic!("{line}"),
        }
        message.field.push(field);
    }
    message
}

fn field(name: &str, number: i32, kind: &str) -> FieldDescriptorProto {
    let scalar = Type::from_str_name(&format!("TYPE_{}", kind.to_uppercase()));
    let (kind, type_name) = match (scalar, kind) {
        (Some(scalar), _) => (scalar, None),
        (None, "Kind") => (Type::Enum, Some(".sample.Kind".to_owned())),
        (None, "All") => (Type::Message, Some(".sample.All".to_owned())),
        (None, entry) if entry.contains('.') => (Type::Message, Some(format!(".sample.{entry}"))),
        (None, known) => (Type::Message, Some(format!(".google.protobuf.{known}"))),
    };
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name,
        ..FieldDescriptorProto::default()
    }
}
