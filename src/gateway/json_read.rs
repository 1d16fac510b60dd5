//! JSON text as a message: scanned first, then given to prost-reflect, which knows the
//! proto3 mapping. Unknown fields are ignored, so that newer clients are understood.

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value};

use super::{
    error::Failure,
    json_scan::{self, ScanError},
};

/// Reads the first JSON value of `text`; nothing but blanks is the empty message.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    text: &[u8],
    exact_numbers: bool,
) -> Result<DynamicMessage, Failure> {
    match json_scan::first_value(text, exact_numbers)? {
        None => Ok(DynamicMessage::new(descriptor.clone())),
        Some(value) => from_value(descriptor, &value),
    }
}

/// A scanned value as a message.
pub(super) fn from_value(descriptor: &MessageDescriptor, value: &Value) -> Result<DynamicMessage, Failure> {
    each_field_once(descriptor, value)?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(descriptor.clone(), value, &options).map_err(|error| {
        let path = blame(descriptor, value);
        if path.is_empty() {
            Failure::invalid(format!("the JSON does not fit: {error}"))
        } else {
            Failure::invalid(format!("the JSON does not fit: {path}: {error}"))
        }
    })
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        if error.inexact {
            Self::invalid(error.message).with_violation(error.path, "INEXACT_NUMBER")
        } else {
            Self::invalid(error.message)
        }
    }
}

/// A field has two spellings, the proto's and the JSON name; only one may be used.
fn each_field_once(descriptor: &MessageDescriptor, value: &Value) -> Result<(), Failure> {
    let Some(map) = plain_object(descriptor, value) else {
        return Ok(());
    };
    for (key, value) in map {
        let Some(field) = field(descriptor, key) else {
            continue;
        };
        let other = if key == field.name() { field.json_name() } else { field.name() };
        if key != other && map.contains_key(other) {
            return Err(Failure::invalid(format!(
                "the field {:?} comes twice, as {key:?} and as {other:?}",
                field.name()
            )));
        }
        let kind = field.kind();
        let Some(inner) = kind.as_message() else {
            continue;
        };
        match value {
            Value::Array(items) if field.is_list() => {
                for item in items {
                    each_field_once(inner, item)?;
                }
            }
            Value::Object(entries) if field.is_map() => {
                let kind = inner.map_entry_value_field().kind();
                if let Some(inner) = kind.as_message() {
                    for entry in entries.values() {
                        each_field_once(inner, entry)?;
                    }
                }
            }
            _ => each_field_once(inner, value)?,
        }
    }
    Ok(())
}

/// The path to the value that does not fit, as far down as it can be told: every part
/// is tried by itself. Only for the error's sake.
fn blame(descriptor: &MessageDescriptor, value: &Value) -> String {
    let Some(map) = plain_object(descriptor, value) else {
        return String::new();
    };
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    for (key, value) in map {
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        if DynamicMessage::deserialize_with_options(descriptor.clone(), &alone, &options).is_ok() {
            continue;
        }
        let Some(field) = field(descriptor, key) else {
            return key.clone();
        };
        let kind = field.kind();
        let Some(inner) = kind.as_message().filter(|_| !field.is_map()) else {
            return key.clone();
        };
        if !field.is_list() {
            return joined(key, &blame(inner, value));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if DynamicMessage::deserialize_with_options(inner.clone(), item, &options).is_err() {
                return joined(&format!("{key}[{index}]"), &blame(inner, item));
            }
        }
        return key.clone();
    }
    String::new()
}

fn joined(outer: &str, inner: &str) -> String {
    if inner.is_empty() { outer.to_owned() } else { format!("{outer}.{inner}") }
}

fn field(descriptor: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(key).or_else(|| descriptor.get_field_by_name(key))
}

/// The object of a message whose JSON has a key per field. The well-known types have
/// forms of their own.
fn plain_object<'a>(descriptor: &MessageDescriptor, value: &'a Value) -> Option<&'a Map<String, Value>> {
    if descriptor.full_name().starts_with("google.protobuf.") {
        return None;
    }
    value.as_object()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::{gateway::json_write, proto::FILE_DESCRIPTOR_SET};

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name(&format!("leasehold.v1.{name}")).unwrap()
    }

    fn refusal(name: &str, text: &str) -> String {
        let failure = message(&descriptor(name), text.as_bytes(), true).unwrap_err();
        assert_eq!(failure.code, 3);
        failure.message
    }

    #[test]
    fn both_spellings_are_read() {
        for text in [
            r#"{"ttl_seconds":30,"url":"a","unknown":{"x":[1]}} trailing"#,
            r#"{"ttlSeconds":"30","url":"a"}"#,
            r#"{"ttlSeconds":3e1,"url":"a","zone":null}"#,
        ] {
            let read = message(&descriptor("RegisterRequest"), text.as_bytes(), true).unwrap();
            let mut out = String::new();
            json_write::message(&mut out, &read).unwrap();
            assert_eq!(
                out,
                r#"{"id":"","url":"a","info":null,"service":"","ttl_seconds":30,"labels":{},"zone":"","weight":0,"drop_grace":null,"lease_token":""}"#
            );
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let cases = [
            ("RegisterRequest", r#"{"ttl_seconds":1,"ttlSeconds":2}"#, "\"ttl_seconds\" comes twice"),
            ("RegisterRequest", r#"{"ttl_seconds":-1}"#, "ttl_seconds: "),
            ("RegisterRequest", r#"{"ttl_seconds":1.5}"#, "ttl_seconds: "),
            ("RegisterRequest", r#"{"ttl_seconds":4294967296}"#, "ttl_seconds: "),
            ("RegisterRequest", r#"{"id":"x","url":5}"#, "url: "),
            ("RegisterRequest", r#"{"info":"x"}"#, "info: "),
            ("RegisterRequest", r#"{"labels":{"a":null}}"#, "labels: "),
            ("RegisterRequest", r#"{"labels":{"a":1}}"#, "labels: "),
            ("RegisterRequest", r#"{"drop_grace":"1m30s"}"#, "drop_grace: "),
            ("RegisterRequest", r#"{"drop_grace":30}"#, "drop_grace: "),
            ("RegisterRequest", "null", "does not fit"),
            ("RegisterRequest", "[]", "does not fit"),
            ("RegisterRequest", "\"x\"", "does not fit"),
            ("BatchRegisterRequest", r#"{"requests":[{},{"url":{}}]}"#, "requests[1].url: "),
            ("BatchRegisterRequest", r#"{"requests":[null]}"#, "requests[0]: "),
            ("BatchRegisterRequest", r#"{"requests":[{"drop_grace":"1s","dropGrace":"1s"}]}"#, "comes twice"),
            ("RegisterRequest", &format!(r#"{{"drop_grace":"{}"}}"#, "é".repeat(9999)), "drop_grace: "),
            ("ListRequest", r#"{"service":"x"}"#, "service: "),
        ];
        for (name, text, expect) in cases {
            let message = refusal(name, text);
            assert!(message.contains(expect) && message.len() < 600, "{text}: {message}");
        }
    }

    #[test]
    fn an_inexact_number_is_a_violation() {
        let text = br#"{"info":{"big":9007199254740993}}"#;
        let failure = message(&descriptor("RegisterRequest"), text, true).unwrap_err();
        assert_eq!(failure.details.len(), 1);
        let kept = message(&descriptor("RegisterRequest"), text, false);
        assert!(kept.is_ok());
    }

    #[test]
    fn a_struct_too_deep_for_protobuf_is_refused() {
        let text = format!("{{\"info\":{}1{}}}", "{\"a\":".repeat(60), "}".repeat(60));
        assert!(refusal("RegisterRequest", &text).contains("info: "));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_text_is_answered(text in r#"[-{}\[\]:,"a0-9.eE\\u ns]{0,40}"#) {
            let _ = message(&descriptor("RegisterRequest"), text.as_bytes(), true);
        }

        #[test]
        fn any_duration_is_answered(text in r"[-+0-9.sµé]{0,24}") {
            let text = serde_json::json!({"drop_grace": text}).to_string();
            if let Ok(read) = message(&descriptor("RegisterRequest"), text.as_bytes(), true) {
                let mut out = String::new();
                json_write::message(&mut out, &read).unwrap();
            }
        }

        #[test]
        fn any_timestamp_is_answered(text in r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.Zz+-]{0,24}") {
            let text = serde_json::json!({"last_ping_at": text}).to_string();
            if let Ok(read) = message(&descriptor("PingResponse"), text.as_bytes(), true) {
                let mut out = String::new();
                json_write::message(&mut out, &read).unwrap();
            }
        }
    }
}
