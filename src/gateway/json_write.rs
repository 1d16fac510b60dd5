//! Messages as JSON, the way the gateway writes them: proto field names in declaration
//! order, everything that is unset written out, `null` for an unset message, 64-bit
//! integers as strings, doubles without a needless `.0`.

use std::fmt::{Display, Write as _};

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    SerializeOptions, Value,
};
use prost_types::FieldDescriptorProto;

use super::error::type_name;

/// Why a message cannot be written, for example a Struct that holds an infinity.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unwritable(String);

type Written = Result<(), Unwritable>;

/// Appends a message.
pub(super) fn message(out: &mut String, message: &DynamicMessage) -> Written {
    match message.descriptor().full_name() {
        "google.protobuf.Any" => packed(out, message),
        "google.protobuf.Value" => dynamic_value(out, message),
        "google.protobuf.Struct"
        | "google.protobuf.ListValue"
        | "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue" => only_field(out, message),
        name if is_well_known(name) => well_known(out, message),
        _ => {
            out.push('{');
            fields(out, message, true)?;
            out.push('}');
            Ok(())
        }
    }
}

/// Appends an `Any`: the fields of the packed message beside its `@type`.
pub(super) fn any(out: &mut String, pool: &DescriptorPool, type_url: &str, packed: &[u8]) -> Written {
    let name = type_name(type_url);
    let descriptor = pool
        .get_message_by_name(name)
        .ok_or_else(|| Unwritable(format!("{name} is no known message type")))?;
    let inner = DynamicMessage::decode(descriptor, packed)
        .map_err(|error| Unwritable(format!("{name} does not decode: {error}")))?;
    out.push_str("{\"@type\":");
    string(out, type_url);
    if is_well_known(name) {
        out.push_str(",\"value\":");
        message(out, &inner)?;
    } else {
        fields(out, &inner, false)?;
    }
    out.push('}');
    Ok(())
}

/// Appends a JSON string.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 | 0x7f => "",
            _ => continue,
        };
        out.push_str(&text[clean..at]);
        clean = at + 1;
        if escape.is_empty() {
            display(out, format_args!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// A field of a message, and after it whatever else belongs to it.
fn fields(out: &mut String, message: &DynamicMessage, mut first: bool) -> Written {
    for field in declared(&message.descriptor()) {
        let unset = field.supports_presence() && !message.has_field(&field);
        if unset && (field.containing_oneof().is_some() || field.kind().as_message().is_none()) {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        string(out, field.name());
        out.push(':');
        if unset {
            out.push_str("null");
        } else {
            value(out, &message.get_field(&field), &field.kind())?;
        }
    }
    Ok(())
}

/// prost-reflect lists fields by number; a reader expects them as they are declared.
fn declared(descriptor: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> {
    let numbers: Vec<i32> =
        descriptor.descriptor_proto().field.iter().map(FieldDescriptorProto::number).collect();
    let descriptor = descriptor.clone();
    numbers.into_iter().filter_map(move |number| descriptor.get_field(u32::try_from(number).ok()?))
}

fn value(out: &mut String, value: &Value, kind: &Kind) -> Written {
    match value {
        Value::Bool(value) => display(out, value),
        Value::I32(value) => display(out, value),
        Value::U32(value) => display(out, value),
        Value::I64(value) => display(out, format_args!("\"{value}\"")),
        Value::U64(value) => display(out, format_args!("\"{value}\"")),
        Value::F32(value) => float(out, f64::from(*value), value, format_args!("{value:e}")),
        Value::F64(value) => double(out, *value),
        Value::String(text) => string(out, text),
        Value::Bytes(bytes) => {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            out.push('"');
            BASE64_STANDARD.encode_string(bytes, out);
            out.push('"');
        }
        Value::EnumNumber(number) => enum_value(out, *number, kind),
        Value::Message(inner) => message(out, inner)?,
        Value::List(values) => {
            out.push('[');
            for (index, item) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                self::value(out, item, kind)?;
            }
            out.push(']');
        }
        Value::Map(entries) => {
            let entry =
                kind.as_message().ok_or_else(|| Unwritable("a map without an entry type".to_owned()))?;
            let kind = entry.map_entry_value_field().kind();
            let mut sorted: Vec<(&MapKey, &Value)> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                map_key(out, key);
                out.push(':');
                self::value(out, item, &kind)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn map_key(out: &mut String, key: &MapKey) {
    match key {
        MapKey::Bool(key) => display(out, format_args!("\"{key}\"")),
        MapKey::I32(key) => display(out, format_args!("\"{key}\"")),
        MapKey::I64(key) => display(out, format_args!("\"{key}\"")),
        MapKey::U32(key) => display(out, format_args!("\"{key}\"")),
        MapKey::U64(key) => display(out, format_args!("\"{key}\"")),
        MapKey::String(key) => string(out, key),
    }
}

/// By name where the number has one.
fn enum_value(out: &mut String, number: i32, kind: &Kind) {
    let descriptor = kind.as_enum();
    if descriptor.is_some_and(|d| d.full_name() == "google.protobuf.NullValue") {
        out.push_str("null");
    } else if let Some(known) = descriptor.and_then(|d| d.get_value(number)) {
        string(out, known.name());
    } else {
        display(out, number);
    }
}

fn double(out: &mut String, value: f64) {
    float(out, value, value, format_args!("{value:e}"));
}

/// As ECMAScript writes numbers: digits where they are few, else an exponent. What
/// JSON has no number for becomes a string.
fn float(out: &mut String, value: f64, plain: impl Display, exponential: impl Display) {
    let size = value.abs();
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = exponential.to_string();
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                display(out, format_args!("{digits}e+{exponent}"));
            }
            _ => out.push_str(&text),
        }
    } else {
        display(out, plain);
    }
}

/// A `google.protobuf.Value`: whichever member of its oneof is set.
fn dynamic_value(out: &mut String, message: &DynamicMessage) -> Written {
    match message.fields().next() {
        None => out.push_str("null"),
        Some((_, Value::F64(number))) if !number.is_finite() => {
            return Err(Unwritable(format!("a Value cannot hold {number} in JSON")));
        }
        Some((field, inner)) => value(out, inner, &field.kind())?,
    }
    Ok(())
}

/// A message that is written as its only field.
fn only_field(out: &mut String, message: &DynamicMessage) -> Written {
    for field in message.descriptor().fields() {
        value(out, &message.get_field(&field), &field.kind())?;
    }
    Ok(())
}

fn packed(out: &mut String, message: &DynamicMessage) -> Written {
    let type_url = message.get_field_by_number(1);
    let bytes = message.get_field_by_number(2);
    match (
        type_url.as_ref().and_then(|value| value.as_str()),
        bytes.as_ref().and_then(|value| value.as_bytes()),
    ) {
        (Some(type_url), Some(bytes)) if !type_url.is_empty() => {
            any(out, message.descriptor().parent_pool(), type_url, bytes)
        }
        _ => {
            out.push_str("{}");
            Ok(())
        }
    }
}

/// The types with a JSON form of their own, which prost-reflect writes well.
fn well_known(out: &mut String, message: &DynamicMessage) -> Written {
    let mut buffer = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut buffer), &SerializeOptions::new())
        .map_err(|error| Unwritable(error.to_string()))?;
    out.push_str(&String::from_utf8_lossy(&buffer));
    Ok(())
}

fn is_well_known(full_name: &str) -> bool {
    let Some(name) = full_name.strip_prefix("google.protobuf.") else {
        return false;
    };
    matches!(
        name,
        "Any" | "Timestamp" | "Duration" | "Struct" | "ListValue" | "Value" | "FieldMask" | "Empty"
    ) || matches!(
        name,
        "BoolValue"
            | "BytesValue"
            | "DoubleValue"
            | "FloatValue"
            | "Int32Value"
            | "Int64Value"
            | "StringValue"
            | "UInt32Value"
            | "UInt64Value"
    )
}

fn display(out: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    fn written(name: &str, json: &str) -> String {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let descriptor = pool.get_message_by_name(name).unwrap();
        let mut source = serde_json::Deserializer::from_str(json);
        let parsed = DynamicMessage::deserialize(descriptor, &mut source).unwrap();
        let mut out = String::new();
        message(&mut out, &parsed).unwrap();
        out
    }

    #[test]
    fn unset_fields_are_written() {
        assert_eq!(
            written("leasehold.v1.PingResponse", "{}"),
            r#"{"id":"","status":"","last_ping_at":null,"expires_at":null,"ttl_seconds":0}"#
        );
        assert_eq!(
            written("leasehold.v1.WatchResponse", r#"{"type":"CHANGES","events":[{"type":7}],"revision":5}"#),
            r#"{"type":"CHANGES","events":[{"type":7,"reason":"REASON_UNSPECIFIED","instance":null,"revision":"0","braked":false}],"resume_token":"","revision":"5"}"#
        );
    }

    #[test]
    fn a_oneofs_unset_members_are_not() {
        assert_eq!(
            written("leasehold.v1.BatchRegisterResponse", r#"{"results":[{},{"error":{"code":5}}]}"#),
            r#"{"results":[{},{"error":{"code":5,"message":"","details":[]}}]}"#
        );
    }

    #[test]
    fn well_known_types() {
        let cases = [
            ("Timestamp", r#""2026-01-02T03:04:05.5+02:00""#, r#""2026-01-02T01:04:05.500Z""#),
            ("Duration", r#""1.5s""#, r#""1.500s""#),
            ("Struct", r#"{"b":1.0,"a":[null,true,"x",{}]}"#, r#"{"a":[null,true,"x",{}],"b":1}"#),
            ("Struct", r#"{"a":0.1,"b":-0.0,"c":1e21}"#, r#"{"a":0.1,"b":-0,"c":1e+21}"#),
            ("Struct", r#"{"a":1e-7,"b":123456789012}"#, r#"{"a":1e-7,"b":123456789012}"#),
            ("Value", "null", "null"),
            (
                "Any",
                r#"{"@type":"type.googleapis.com/leasehold.v1.GetRequest","id":"x"}"#,
                r#"{"@type":"type.googleapis.com/leasehold.v1.GetRequest","id":"x"}"#,
            ),
            (
                "Any",
                r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}"#,
                r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}"#,
            ),
        ];
        for (name, input, expect) in cases {
            assert_eq!(written(&format!("google.protobuf.{name}"), input), expect);
        }
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        string(&mut out, "a\"b\\c\nd\u{1}é\u{7f}");
        assert_eq!(out, r#""a\"b\\c\nd\u0001é\u007f""#);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), "a\"b\\c\nd\u{1}é\u{7f}");
    }
}
