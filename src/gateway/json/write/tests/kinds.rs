//! A message with a field of every kind and shape there is, made without a compiler. Its
//! numbers fall where its declaration goes on, so that the two orders differ.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool,
    prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FieldOptions,
        FileDescriptorProto, MessageOptions, OneofDescriptorProto,
        field_descriptor_proto::{Label, Type},
    },
};

const SCALARS: [(&str, Type); 16] = [
    ("double", Type::Double),
    ("float", Type::Float),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint32", Type::Uint32),
    ("uint64", Type::Uint64),
    ("sint32", Type::Sint32),
    ("sint64", Type::Sint64),
    ("fixed32", Type::Fixed32),
    ("fixed64", Type::Fixed64),
    ("sfixed32", Type::Sfixed32),
    ("sfixed64", Type::Sfixed64),
    ("bool", Type::Bool),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("color", Type::Enum),
];

/// Well-known types, with the file that each is in.
const KNOWN: [(&str, &str); 16] = [
    ("Any", "any"),
    ("Timestamp", "timestamp"),
    ("Duration", "duration"),
    ("Empty", "empty"),
    ("FieldMask", "field_mask"),
    ("Struct", "struct"),
    ("Value", "struct"),
    ("ListValue", "struct"),
    ("DoubleValue", "wrappers"),
    ("FloatValue", "wrappers"),
    ("Int32Value", "wrappers"),
    ("Int64Value", "wrappers"),
    ("UInt64Value", "wrappers"),
    ("BoolValue", "wrappers"),
    ("StringValue", "wrappers"),
    ("BytesValue", "wrappers"),
];

/// The first field of `kinds.Kinds` has this number, the next one less, and so on.
const FIRST_NUMBER: i32 = 2000;

/// `kinds.Kinds`, and `kinds.Pair` with two strings `a` and `b`.
pub(super) fn pool() -> DescriptorPool {
    let mut kinds = Builder::default();
    for (name, kind) in SCALARS {
        kinds.single(name, kind);
        kinds.optional(name, kind);
        kinds.list(&format!("list_{name}"), kind, None);
        if !matches!(kind, Type::String | Type::Bytes) {
            kinds.list(&format!("loose_{name}"), kind, Some(false));
        }
        kinds.map(&format!("to_{name}"), Type::String, kind, type_name(kind));
        if !matches!(kind, Type::Double | Type::Float | Type::Bytes | Type::Enum) {
            kinds.map(&format!("from_{name}"), kind, Type::Int32, None);
        }
    }
    for (name, _) in KNOWN {
        let full_name = format!(".google.protobuf.{name}");
        let name = name.to_lowercase();
        kinds.message(&name, &full_name, Label::Optional);
        kinds.message(&format!("many_{name}"), &full_name, Label::Repeated);
        kinds.map(&format!("to_{name}"), Type::String, Type::Message, Some(&full_name));
    }
    kinds.field("null", Type::Enum, Label::Optional).type_name =
        Some(".google.protobuf.NullValue".to_owned());
    kinds.message("child", ".kinds.Kinds", Label::Optional);
    kinds.message("children", ".kinds.Kinds", Label::Repeated);
    kinds.map("named", Type::String, Type::Message, Some(".kinds.Kinds"));
    kinds.message("pair", ".kinds.Pair", Label::Optional);
    for oneof in ["first", "second"] {
        for (name, kind) in SCALARS {
            kinds.single(&format!("{oneof}_{name}"), kind);
            kinds.in_oneof(oneof);
        }
        for full_name in [".kinds.Pair", ".google.protobuf.Timestamp", ".google.protobuf.Value"] {
            let name = full_name.rsplit('.').next().unwrap().to_lowercase();
            kinds.message(&format!("{oneof}_{name}"), full_name, Label::Optional);
            kinds.in_oneof(oneof);
        }
    }
    let mut pair = Builder::default();
    pair.single("a", Type::String);
    pair.single("b", Type::String);

    let mut pool = DescriptorPool::global();
    let files: BTreeSet<&str> = KNOWN.iter().map(|(_, file)| *file).collect();
    pool.add_file_descriptor_proto(FileDescriptorProto {
        name: Some("kinds.proto".to_owned()),
        package: Some("kinds".to_owned()),
        dependency: files.iter().map(|file| format!("google/protobuf/{file}.proto")).collect(),
        message_type: vec![kinds.finish("Kinds"), pair.finish("Pair")],
        enum_type: vec![color()],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    })
    .unwrap();
    pool
}

fn color() -> EnumDescriptorProto {
    let values = [("RED", 0), ("GREEN", 1), ("ULTRAVIOLET", 400), ("INFRARED", -1)];
    let value = |(name, number): (&str, i32)| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        options: None,
    };
    EnumDescriptorProto {
        name: Some("Color".to_owned()),
        value: values.map(value).to_vec(),
        ..EnumDescriptorProto::default()
    }
}

fn type_name(kind: Type) -> Option<&'static str> {
    (kind == Type::Enum).then_some(".kinds.Color")
}

#[derive(Default)]
struct Builder {
    message: DescriptorProto,
    /// Behind all others: protobuf wants that of those that stand for `optional`.
    synthetic: Vec<usize>,
}

impl Builder {
    fn field(&mut self, name: &str, kind: Type, label: Label) -> &mut FieldDescriptorProto {
        let number = FIRST_NUMBER - self.message.field.len() as i32;
        self.message.field.push(FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(kind.into()),
            type_name: type_name(kind).map(str::to_owned),
            ..FieldDescriptorProto::default()
        });
        self.message.field.last_mut().unwrap()
    }

    fn single(&mut self, name: &str, kind: Type) {
        self.field(name, kind, Label::Optional);
    }

    fn optional(&mut self, name: &str, kind: Type) {
        self.field(&format!("optional_{name}"), kind, Label::Optional).proto3_optional = Some(true);
        self.synthetic.push(self.message.field.len() - 1);
    }

    fn list(&mut self, name: &str, kind: Type, packed: Option<bool>) {
        self.field(name, kind, Label::Repeated).options =
            packed.map(|packed| FieldOptions { packed: Some(packed), ..FieldOptions::default() });
    }

    fn message(&mut self, name: &str, full_name: &str, label: Label) {
        self.field(name, Type::Message, label).type_name = Some(full_name.to_owned());
    }

    fn map(&mut self, name: &str, key: Type, value: Type, value_name: Option<&str>) {
        let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
        let entry_name = words.collect::<String>() + "Entry";
        let part = |name: &str, number, kind: Type| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            ..FieldDescriptorProto::default()
        };
        let mut value = part("value", 2, value);
        value.type_name = value_name.map(str::to_owned);
        self.message.nested_type.push(DescriptorProto {
            name: Some(entry_name.clone()),
            field: vec![part("key", 1, key), value],
            options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
            ..DescriptorProto::default()
        });
        self.message(name, &format!(".kinds.Kinds.{entry_name}"), Label::Repeated);
    }

    /// Moves the last field into a oneof.
    fn in_oneof(&mut self, name: &str) {
        let oneofs = &mut self.message.oneof_decl;
        if oneofs.last().is_none_or(|last| last.name() != name) {
            oneofs.push(OneofDescriptorProto { name: Some(name.to_owned()), options: None });
        }
        self.message.field.last_mut().unwrap().oneof_index = Some(oneofs.len() as i32 - 1);
    }

    fn finish(mut self, name: &str) -> DescriptorProto {
        for place in self.synthetic {
            let field = &mut self.message.field[place];
            field.oneof_index = Some(self.message.oneof_decl.len() as i32);
            let name = Some(format!("_{}", field.name()));
            self.message.oneof_decl.push(OneofDescriptorProto { name, options: None });
        }
        self.message.name = Some(name.to_owned());
        self.message
    }
}
