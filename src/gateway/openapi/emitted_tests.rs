//! What the JSON writer writes, held against the document: the same properties, no more
//! and no fewer, and values of the kind it says.

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Field,
};
use serde_json::{Value, json};

use super::tests::{LIBRARY, keys, library, schema};
use crate::{
    gateway::{
        EventStreams, Options, json,
        openapi::{OpenApi, document},
    },
    proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME},
};

/// How deep messages are filled.
const DEPTH: usize = 3;

#[test]
fn properties_are_what_is_written() {
    let registry = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    for (pool, service) in [(library(), LIBRARY), (registry, SERVICE_NAME)] {
        let options = Options {
            event_streams: Some(EventStreams { id_field: "resume_token".to_owned() }),
            ..Options::default()
        };
        let text = document(&pool, &[service], &options, &OpenApi::default()).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let answers = keys(&document["components"]["schemas"])
            .into_iter()
            .filter(|name| schema(&document, name).get("required").is_some() && !name.contains('-'))
            .filter_map(|name| pool.get_message_by_name(name));
        let mut checked = 0;
        for message in answers {
            check(&document, &message);
            checked += 1;
        }
        assert!(checked >= 4, "{service}: {checked} answers");
    }
}

/// Checks a message with nothing set, and messages with everything set, one for each
/// choice of its oneofs' members.
fn check(document: &Value, message: &MessageDescriptor) {
    let name = message.full_name();
    let shown = schema(document, name);
    let empty = written(&DynamicMessage::new(message.clone()));
    assert_eq!(faults(document, shown, &empty), [""; 0], "{name}: {empty}");
    if name != "google.rpc.Status" {
        let mut required: Vec<&str> =
            shown["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        required.sort_unstable();
        assert_eq!(keys(&empty), required, "{name}, with nothing set");
    }

    let choices = message.oneofs().map(|oneof| oneof.fields().len()).max().unwrap_or(1);
    let mut seen: Vec<String> = Vec::new();
    for choice in 0..choices {
        let full = written(&filled(message, choice, DEPTH));
        assert_eq!(faults(document, shown, &full), [""; 0], "{name}: {full}");
        seen.extend(keys(&full).into_iter().map(str::to_owned));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(keys(&shown["properties"]), seen, "{name}, with all set");
}

fn written(message: &DynamicMessage) -> Value {
    serde_json::from_str(&json::written(message)).unwrap()
}

/// A message with all fields set; of each oneof, the member of this number.
fn filled(descriptor: &MessageDescriptor, choice: usize, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Any" => {
            let inner = DynamicMessage::new(
                descriptor.parent_pool().get_message_by_name("google.rpc.Status").unwrap(),
            );
            message.set_field_by_number(1, Field::String("type.googleapis.com/google.rpc.Status".to_owned()));
            message.set_field_by_number(2, Field::Bytes(inner.encode_to_vec().into()));
            return message;
        }
        "google.protobuf.FieldMask" => {
            message.set_field_by_number(1, Field::List(vec![Field::String("a.b_c".to_owned())]));
            return message;
        }
        _ => {}
    }
    for field in descriptor.fields() {
        if let Some(oneof) = field.containing_oneof() {
            let members = oneof.fields().len();
            if oneof.fields().position(|member| member == field) != Some(choice % members) {
                continue;
            }
        }
        if let Some(value) = value(&field, choice, depth) {
            message.set_field(&field, value);
        }
    }
    message
}

fn value(field: &FieldDescriptor, choice: usize, depth: usize) -> Option<Field> {
    if field.is_map() {
        let kind = field.kind();
        let entry = kind.as_message()?;
        let key = one(&entry.map_entry_key_field().kind(), choice, depth)?.into_map_key()?;
        let value = one(&entry.map_entry_value_field().kind(), choice, depth)?;
        return Some(Field::Map([(key, value)].into()));
    }
    let value = one(&field.kind(), choice, depth)?;
    Some(if field.is_list() { Field::List(vec![value]) } else { value })
}

fn one(kind: &Kind, choice: usize, depth: usize) -> Option<Field> {
    Some(match kind {
        // No JSON number.
        Kind::Double => Field::F64(f64::INFINITY),
        Kind::Float => Field::F32(0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(7),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(9_007_199_254),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(u32::MAX),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(u64::MAX),
        Kind::Bool => Field::Bool(true),
        Kind::String => Field::String("text".to_owned()),
        Kind::Bytes => Field::Bytes(vec![1, 2].into()),
        // One without a name.
        Kind::Enum(_) => Field::EnumNumber(99),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Value" => {
            let mut number = DynamicMessage::new(inner.clone());
            number.set_field_by_name("number_value", Field::F64(1.5));
            Field::Message(number)
        }
        Kind::Message(_) if depth == 0 => return None,
        Kind::Message(inner) => Field::Message(filled(inner, choice, depth - 1)),
    })
}

/// Where `value` is not as `schema` says, as far as documents of ours go.
fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.strip_prefix('#').unwrap()).expect(reference);
        return faults(document, found, value);
    }
    let mut found = Vec::new();
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| faults(document, choice, value).is_empty());
        if !fits {
            found.push(format!("{value} is none of {choices:?}"));
        }
    }
    if let Some(kind) = schema["type"].as_str() {
        let fits = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("the type {other}"),
        };
        if !fits {
            found.push(format!("{value} is no {kind}"));
        }
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        found.push(format!("{value} is none of {names:?}"));
    }
    if schema["maximum"].as_u64() < value.as_u64() && schema["maximum"].is_u64() {
        found.push(format!("{value} is too large"));
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap()).is_none() {
            found.push(format!("{required} is missing in {value}"));
        }
    }
    if schema["not"].is_object() && faults(document, &schema["not"], value).is_empty() {
        found.push(format!("{value} is what it must not be"));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let shown = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
        found.extend(shown.into_iter().flat_map(|shown| faults(document, shown, inner)));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(schema.get("items").into_iter().flat_map(|shown| faults(document, shown, item)));
    }
    found
}

#[test]
fn the_check_finds_faults() {
    let document = json!({"a": {"type": "object", "required": ["x"], "properties": {"x": {"maximum": 5}}}});
    let part = json!({"type": "array", "items": {"anyOf": [{"$ref": "#/a"}, {"enum": ["b"]}]}});
    for (value, expect) in [
        (json!([{"x": 5}, "b"]), 0),
        (json!([{"x": 6}]), 1),
        (json!([{"y": 5}]), 1),
        (json!(["c", "d"]), 2),
        (json!({}), 1),
    ] {
        assert_eq!(faults(&document, &part, &value).len(), expect, "{value}");
    }
}
