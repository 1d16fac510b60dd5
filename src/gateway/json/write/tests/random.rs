//! Random messages, written by us and by prost-reflect: the same JSON, our keys in order,
//! and the same text from whatever other encoding of the same message.

use std::fmt;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, SerializeOptions,
    Value,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{
    CAMEL, FULL, POOL,
    reencode::{Dice, reencoded},
};
use crate::gateway::json::Json as Writer;

/// leasehold's messages that hold, between them, all others.
const ANSWERS: [&str; 6] = [
    "RegisterResponse",
    "BatchRegisterResponse",
    "PingResponse",
    "ListResponse",
    "WatchResponse",
    "KeepAliveResponse",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_kind_is_as_prost_reflect_writes_it(sample in named("kinds.Kinds"), seed: u64) {
        agrees(&sample, seed)?;
    }

    #[test]
    fn our_answers_are_as_prost_reflect_writes_them(
        sample in prop::sample::select(&ANSWERS).prop_flat_map(|name| named(&format!("leasehold.v1.{name}"))),
        seed: u64,
    ) {
        agrees(&sample, seed)?;
    }

    #[test]
    fn any_bytes_are_written_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for name in ["google.protobuf.Value", "google.protobuf.Any", "leasehold.v1.ListResponse"] {
            let mut out = String::new();
            match FULL.write(FULL.find(name).unwrap(), &bytes, &mut out) {
                Ok(()) => drop(serde_json::from_str::<Json>(&out).unwrap()),
                Err(_) => assert_eq!(out, ""),
            }
        }
    }
}

/// prost-reflect's own `Debug` does not come to an end where types refer to themselves.
struct Sample(DynamicMessage);

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02x?}", self.0.descriptor().full_name(), self.0.encode_to_vec())
    }
}

fn agrees(Sample(message): &Sample, seed: u64) -> Result<(), TestCaseError> {
    let descriptor = message.descriptor();
    let encoded = message.encode_to_vec();
    let write = |writer: &Writer, encoded: &[u8]| {
        let mut text = String::new();
        writer.write(writer.find(descriptor.full_name()).unwrap(), encoded, &mut text).unwrap();
        text
    };

    let text = write(&FULL, &encoded);
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    prop_assert_eq!(difference(&parsed(&text), &theirs(message, &options, true)), None);
    let tree: Tree = serde_json::from_str(&text).unwrap();
    tree.is_in_order(&descriptor);

    let brief = write(&CAMEL, &encoded);
    let expect = theirs(message, &SerializeOptions::new(), false);
    prop_assert_eq!(difference(&parsed(&brief), &expect), None);

    let other = reencoded(&descriptor, &encoded, &mut Dice::new(seed));
    prop_assert_eq!(write(&FULL, &other), text, "encoded otherwise: {:02x?}", other);
    prop_assert_eq!(write(&CAMEL, &other), brief, "encoded otherwise: {:02x?}", other);
    Ok(())
}

fn parsed(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// prost-reflect's JSON, with what it is known to leave out.
fn theirs(message: &DynamicMessage, options: &SerializeOptions, with_nulls: bool) -> Json {
    // By way of text: a float would be a double otherwise.
    let mut text = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut text), options).unwrap();
    let mut json = serde_json::from_slice(&text).unwrap();
    if with_nulls {
        insert_nulls(&mut json, message);
    }
    json
}

/// prost-reflect has no null for unset messages; and NaN, unlike elsewhere, is null in
/// wrappers.
fn insert_nulls(json: &mut Json, message: &DynamicMessage) {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Any" {
        if let Some((packed, is_known)) = packed(message) {
            // The fields of the packed message lie beside its @type.
            insert_nulls(if is_known { &mut json["value"] } else { json }, &packed);
        }
        return;
    }
    if is_known(&descriptor) {
        return;
    }
    for field in descriptor.fields() {
        let is_single_message = field.kind().as_message().is_some() && !field.is_list() && !field.is_map();
        if !message.has_field(&field) {
            if is_single_message && field.containing_oneof().is_none() {
                json[field.name()] = Json::Null;
            }
            continue;
        }
        let inner = &mut json[field.name()];
        match &*message.get_field(&field) {
            Value::Message(message) => insert_nulls(inner, message),
            Value::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    value
                        .as_message()
                        .into_iter()
                        .for_each(|message| insert_nulls(&mut inner[index], message));
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let inner = &mut inner[key_text(key)];
                    value.as_message().into_iter().for_each(|message| insert_nulls(inner, message));
                }
            }
            _ => {}
        }
    }
}

fn packed(any: &DynamicMessage) -> Option<(DynamicMessage, bool)> {
    let type_url = any.get_field_by_name("type_url")?.as_str()?.to_owned();
    let descriptor = any.descriptor().parent_pool().get_message_by_name(type_url.rsplit('/').next()?)?;
    let is_known = is_known(&descriptor);
    let bytes = any.get_field_by_name("value")?.as_bytes()?.clone();
    Some((DynamicMessage::decode(descriptor, bytes).unwrap(), is_known))
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// Whether a type has a JSON form of its own.
fn is_known(descriptor: &MessageDescriptor) -> bool {
    descriptor.full_name().starts_with("google.protobuf.")
}

/// The first difference, if any. Where we write `1`, others write `1.0`; and the same
/// digits, written otherwise, are read with a last bit of difference.
fn difference(ours: &Json, theirs: &Json) -> Option<String> {
    match (ours, theirs) {
        (Json::Number(one), Json::Number(other)) => {
            let (one, other) = (one.as_f64()?, other.as_f64()?);
            let differ = (one - other).abs() > one.abs() * 2.0 * f64::EPSILON;
            differ.then(|| format!("{one} is not {other}"))
        }
        (Json::Array(some), Json::Array(others)) if some.len() == others.len() => {
            some.iter().zip(others).find_map(|(one, other)| difference(one, other))
        }
        (Json::Object(fields), Json::Object(others)) if fields.keys().eq(others.keys()) => {
            let differ = |(key, one)| difference(one, others.get(key)?).map(|what| format!("{key}: {what}"));
            fields.iter().find_map(differ)
        }
        _ => (ours != theirs).then(|| format!("{ours} is not {theirs}")),
    }
}

/// JSON whose keys are in the order of the text.
#[derive(Debug)]
enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Leaf,
}

impl Tree {
    /// Fields as they are declared, map keys sorted.
    fn is_in_order(&self, descriptor: &MessageDescriptor) {
        match (self, descriptor.full_name()) {
            (Self::Object(_), "google.protobuf.Any") => {
                let Self::Object(fields) = self else { return };
                assert!(fields.first().is_none_or(|(key, _)| key == "@type"));
            }
            (Self::Object(_) | Self::Array(_), name) if name.starts_with("google.protobuf.") => {
                self.is_sorted();
            }
            (Self::Object(fields), _) => {
                let declared =
                    descriptor.descriptor_proto().field.iter().map(|field| field.name().to_owned());
                let keys: Vec<&String> = fields.iter().map(|(key, _)| key).collect();
                let expect: Vec<String> = declared.filter(|name| keys.contains(&name)).collect();
                assert_eq!(keys, expect.iter().collect::<Vec<_>>());
                for (key, tree) in fields {
                    tree.field_is_in_order(&descriptor.get_field_by_name(key).unwrap());
                }
            }
            _ => {}
        }
    }

    fn field_is_in_order(&self, field: &FieldDescriptor) {
        let Kind::Message(inner) = field.kind() else { return };
        match self {
            Self::Object(entries) if field.is_map() => {
                let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
                match inner.map_entry_key_field().kind() {
                    Kind::String | Kind::Bool => assert!(keys.is_sorted(), "{keys:?}"),
                    _ => assert!(keys.is_sorted_by_key(|key| key.parse::<i128>().unwrap()), "{keys:?}"),
                }
                if let Kind::Message(value) = inner.map_entry_value_field().kind() {
                    for (_, tree) in entries {
                        tree.is_in_order(&value);
                    }
                }
            }
            Self::Array(values) if field.is_list() => values.iter().for_each(|tree| tree.is_in_order(&inner)),
            tree => tree.is_in_order(&inner),
        }
    }

    fn is_sorted(&self) {
        match self {
            Self::Object(fields) => {
                assert!(fields.is_sorted_by(|(one, _), (next, _)| one < next), "{fields:?}");
                for (_, tree) in fields {
                    tree.is_sorted();
                }
            }
            Self::Array(values) => values.iter().for_each(Self::is_sorted),
            Self::Leaf => {}
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Grow;
        impl<'de> Visitor<'de> for Grow {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Tree, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Ok(Tree::Array(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    all.push(entry);
                }
                Ok(Tree::Object(all))
            }
        }
        deserializer.deserialize_any(Grow)
    }
}

// === Random messages ===

/// How deep typed messages nest here.
const DEPTH: u32 = 3;

fn named(full_name: &str) -> BoxedStrategy<Sample> {
    let descriptor = POOL.get_message_by_name(full_name).unwrap();
    message(descriptor, DEPTH).prop_map(Sample).boxed()
}

fn message(descriptor: MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let name = descriptor.full_name().to_owned();
    let empty = DynamicMessage::new(descriptor.clone());
    let from = move |source: &dyn Fn(&mut DynamicMessage)| {
        let mut message = empty.clone();
        source(&mut message);
        message
    };
    match name.as_str() {
        "google.protobuf.Timestamp" => ((-62_135_596_800_i64..=253_402_300_799), nanos())
            .prop_map(move |(seconds, nanos)| {
                from(&|m| m.transcode_from(&prost_types::Timestamp { seconds, nanos }).unwrap())
            })
            .boxed(),
        "google.protobuf.Duration" => (0..=315_576_000_000_i64, nanos(), any::<bool>())
            .prop_map(move |(seconds, nanos, negative)| {
                let sign = if negative { -1 } else { 1 };
                let duration =
                    prost_types::Duration { seconds: i64::from(sign) * seconds, nanos: sign * nanos };
                from(&|m| m.transcode_from(&duration).unwrap())
            })
            .boxed(),
        "google.protobuf.FieldMask" => {
            prop::collection::vec("[a-z][a-z0-9]{0,3}(_[a-z]{1,3}){0,2}(\\.[a-z]{1,3}){0,2}", 0..4)
                .prop_map(move |paths| {
                    from(&|m| m.transcode_from(&prost_types::FieldMask { paths: paths.clone() }).unwrap())
                })
                .boxed()
        }
        "google.protobuf.Value" => {
            dynamic().prop_map(move |value| from(&|m| m.transcode_from(&value).unwrap())).boxed()
        }
        "google.protobuf.ListValue" => prop::collection::vec(dynamic(), 0..4)
            .prop_map(move |values| {
                let list = prost_types::ListValue { values };
                from(&|m| m.transcode_from(&list).unwrap())
            })
            .boxed(),
        "google.protobuf.Struct" => prop::collection::btree_map(text(), dynamic(), 0..6)
            .prop_map(move |fields| {
                let fields = prost_types::Struct { fields };
                from(&|m| m.transcode_from(&fields).unwrap())
            })
            .boxed(),
        "google.protobuf.Any" => any_message(&descriptor, depth),
        // prost-reflect writes what is not finite in there as null.
        "google.protobuf.DoubleValue" => {
            finite().prop_map(move |value| from(&|m| m.set_field_by_number(1, Value::F64(value)))).boxed()
        }
        "google.protobuf.FloatValue" => finite()
            .prop_map(|value| value as f32)
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(move |value| from(&|m| m.set_field_by_number(1, Value::F32(value))))
            .boxed(),
        _ => {
            let fields: Vec<FieldDescriptor> = descriptor
                .fields()
                .filter(|field| depth > 0 || field.kind().as_message().is_none_or(is_known))
                .collect();
            if fields.is_empty() {
                return Just(DynamicMessage::new(descriptor)).boxed();
            }
            let field = prop::sample::select(fields).prop_flat_map(move |field| {
                field_value(&field, depth).prop_map(move |value| (field.clone(), value))
            });
            prop::collection::vec(field, 0..10)
                .prop_map(move |fields| {
                    from(&|m| fields.iter().for_each(|(field, value)| m.set_field(field, value.clone())))
                })
                .boxed()
        }
    }
}

/// Of types that have fields, and of others that have none; not of `Empty`, which
/// prost-reflect and Go write differently.
fn any_message(any: &MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let empty = DynamicMessage::new(any.clone());
    let pool = any.parent_pool().clone();
    let mut names = vec!["google.protobuf.Duration", "google.protobuf.Struct", "google.protobuf.Int64Value"];
    if depth > 0 {
        names.extend(["kinds.Pair", "kinds.Kinds", "leasehold.v1.Instance", "google.protobuf.Any"]);
    }
    prop::sample::select(names)
        .prop_flat_map(move |name| {
            message(pool.get_message_by_name(name).unwrap(), depth.saturating_sub(1))
                .prop_map(move |message| (name, message.encode_to_vec()))
        })
        .prop_map(move |(name, packed)| {
            let mut any = empty.clone();
            any.set_field_by_number(1, Value::String(format!("type.googleapis.com/{name}")));
            any.set_field_by_number(2, Value::Bytes(packed.into()));
            any
        })
        .boxed()
}

fn field_value(field: &FieldDescriptor, depth: u32) -> BoxedStrategy<Value> {
    if field.is_map() {
        let entry = field.kind().as_message().unwrap().clone();
        let key = value(&entry.map_entry_key_field().kind(), 0).prop_map(|key| key.into_map_key().unwrap());
        let value = value(&entry.map_entry_value_field().kind(), depth.saturating_sub(1));
        return prop::collection::hash_map(key, value, 0..5).prop_map(Value::Map).boxed();
    }
    let single = value(&field.kind(), depth.saturating_sub(1));
    if field.is_list() {
        return prop::collection::vec(single, 0..5).prop_map(Value::List).boxed();
    }
    single
}

fn value(kind: &Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Double => any_double().prop_map(Value::F64).boxed(),
        Kind::Float => any_double().prop_map(|value| Value::F32(value as f32)).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => text().prop_map(Value::String).boxed(),
        Kind::Bytes => {
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
        }
        Kind::Enum(_) => prop_oneof![-1..10, Just(400), any::<i32>()].prop_map(Value::EnumNumber).boxed(),
        Kind::Message(descriptor) => message(descriptor.clone(), depth).prop_map(Value::Message).boxed(),
    }
}

/// A `Value` with others in it.
fn dynamic() -> BoxedStrategy<prost_types::Value> {
    use prost_types::{ListValue, Struct, Value, value::Kind};
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        any::<bool>().prop_map(Kind::BoolValue),
        finite().prop_map(Kind::NumberValue),
        text().prop_map(Kind::StringValue),
    ];
    leaf.prop_map(|kind| Value { kind: Some(kind) })
        .prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| Kind::ListValue(ListValue { values })),
                prop::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|fields| Kind::StructValue(Struct { fields })),
            ]
            .prop_map(|kind| Value { kind: Some(kind) })
        })
        .boxed()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,2}", "[ -~]{0,20}", "[\u{0}-\u{1f}\"\\\\é\u{2028}😀]{0,9}", ".{0,9}"]
}

fn nanos() -> impl Strategy<Value = i32> {
    prop_oneof![
        Just(0),
        (0..1000).prop_map(|millis| millis * 1_000_000),
        (0..1_000_000).prop_map(|micros| micros * 1000),
        0..1_000_000_000
    ]
}

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![finite(), any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)]
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<i32>().prop_map(f64::from),
        any::<f64>(),
        (any::<i64>(), -30..30).prop_map(|(digits, power)| digits as f64 * 10_f64.powi(power)),
    ]
    .prop_filter("finite", |value| value.is_finite())
}
