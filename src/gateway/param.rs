//! One value of a path or a query string, read as what its field holds. The spellings
//! are those of the gateway, which are Go's: durations such as `1m30s`, booleans such
//! as `T`.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MessageDescriptor, Value};

use super::{json_read, json_scan};

/// Why a text is no value of its field.
#[derive(Debug, PartialEq)]
pub(super) struct Mismatch(pub String);

/// Reads `text` as one value of `kind`; of messages, only the well-known ones have
/// such a form.
pub(super) fn parse(kind: &Kind, text: &str) -> Result<Value, Mismatch> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bool => boolean(text).map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => unsigned(text).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => unsigned(text).map(Value::U64),
        Kind::Float => float(text).and_then(|double| {
            let single = double as f32;
            (single.is_finite() || !double.is_finite()).then_some(Value::F32(single))
        }),
        Kind::Double => float(text).map(Value::F64),
        Kind::Bytes => BASE64_STANDARD
            .decode(text)
            .or_else(|_| BASE64_URL_SAFE.decode(text))
            .ok()
            .map(|bytes| Value::Bytes(bytes.into())),
        Kind::Enum(descriptor) => enumerated(descriptor, text).map(Value::EnumNumber),
        Kind::Message(descriptor) => return message(descriptor, text).map(Value::Message),
    }
    .ok_or_else(|| Mismatch(format!("{text:?} is not {}", described(kind))))
}

fn described(kind: &Kind) -> String {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number of 32 bits".to_owned(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits".to_owned(),
        Kind::Uint32 | Kind::Fixed32 => "a whole number from 0 to 4294967295".to_owned(),
        Kind::Uint64 | Kind::Fixed64 => "a whole number from 0 to 18446744073709551615".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Bytes => "padded base64".to_owned(),
        Kind::Enum(descriptor) => format!("a name or number of {}", descriptor.full_name()),
        Kind::String => "a string".to_owned(),
        Kind::Message(descriptor) => format!("a {}", descriptor.full_name()),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Without a sign, which Rust's parser would take.
fn unsigned<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

/// A number too large is no infinity: that has to be asked for by name.
fn float(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let named = text.contains(['i', 'I']);
    (named || !number.is_infinite()).then_some(number)
}

/// By exact name, or by a number that is defined.
fn enumerated(descriptor: &EnumDescriptor, text: &str) -> Option<i32> {
    descriptor
        .get_value_by_name(text)
        .or_else(|| descriptor.get_value(text.parse().ok()?))
        .map(|value| value.number())
}

fn message(descriptor: &MessageDescriptor, text: &str) -> Result<DynamicMessage, Mismatch> {
    let name = descriptor.full_name();
    match name.strip_prefix("google.protobuf.").unwrap_or_default() {
        "Duration" => {
            let nanos = go_duration(text)
                .ok_or_else(|| Mismatch(format!("{text:?} is not a duration such as 30s or 1m30s")))?;
            let duration = prost_types::Duration {
                seconds: nanos / NANOS,
                nanos: i32::try_from(nanos % NANOS).unwrap_or_default(),
            };
            transcoded(descriptor, &duration)
        }
        "FieldMask" => {
            let paths = text.split(',').map(str::to_owned).collect();
            transcoded(descriptor, &prost_types::FieldMask { paths })
        }
        "Timestamp" => from_json(descriptor, &serde_json::Value::from(text)),
        "Struct" | "Value" | "ListValue" => {
            let scanned = json_scan::first_value(text.as_bytes(), false)
                .map_err(|error| Mismatch(error.message))?
                .ok_or_else(|| Mismatch("an empty text is no JSON".to_owned()))?;
            from_json(descriptor, &scanned)
        }
        "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value"
        | "StringValue" | "UInt32Value" | "UInt64Value" => {
            let mut wrapper = DynamicMessage::new(descriptor.clone());
            if let Some(field) = descriptor.get_field(1) {
                let value = parse(&field.kind(), text)?;
                wrapper.try_set_field(&field, value).map_err(|error| Mismatch(error.to_string()))?;
            }
            Ok(wrapper)
        }
        _ => Err(Mismatch(format!("unsupported message type {name:?}"))),
    }
}

fn from_json(descriptor: &MessageDescriptor, value: &serde_json::Value) -> Result<DynamicMessage, Mismatch> {
    json_read::from_value(descriptor, value).map_err(|failure| Mismatch(failure.message))
}

fn transcoded(
    descriptor: &MessageDescriptor,
    value: &impl prost::Message,
) -> Result<DynamicMessage, Mismatch> {
    let mut message = DynamicMessage::new(descriptor.clone());
    message.transcode_from(value).map_err(|error| Mismatch(error.to_string()))?;
    Ok(message)
}

const NANOS: i64 = 1_000_000_000;

/// Nanoseconds of a duration as Go writes it: an optional sign, then numbers with a
/// unit each, `1h2m3.5s`; only zero may go without. None if that is not what it is, or
/// if it is beyond 292 years.
fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            let whole: u64 = whole.parse().ok()?;
            total += i128::from(whole) * unit;
        }
        // Digits behind the fifteenth are worth less than a nanosecond.
        let fraction = &fraction[..fraction.len().min(15)];
        if !fraction.is_empty() {
            let scale = 10_i128.pow(fraction.len() as u32);
            total += fraction.parse::<i128>().ok()? * unit / scale;
        }
        if total > i128::from(i64::MAX) {
            return None;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::{gateway::json_write, proto::FILE_DESCRIPTOR_SET};

    #[test]
    fn durations_as_go_writes_them() {
        let cases = [
            ("0", Some(0)),
            ("90s", Some(90 * NANOS)),
            ("1m30s", Some(90 * NANOS)),
            ("1h", Some(3600 * NANOS)),
            ("1.5s", Some(NANOS + NANOS / 2)),
            (".5s", Some(NANOS / 2)),
            ("1.s", Some(NANOS)),
            ("100ms", Some(NANOS / 10)),
            ("2µs3ns", Some(2_003)),
            ("-1s", Some(-NANOS)),
            ("+1s", Some(NANOS)),
            ("0.000000000000000000000000000001h", Some(0)),
            ("", None),
            ("-", None),
            ("90", None),
            ("1 s", None),
            ("s", None),
            (".s", None),
            ("1..2s", None),
            ("1d", None),
            ("1m30", None),
            ("9999999999h", None),
            ("99999999999999999999999s", None),
        ];
        for (text, expect) in cases {
            assert_eq!(go_duration(text), expect, "{text}");
        }
    }

    #[test]
    fn scalars() {
        let cases = [
            (Kind::Bool, "T", Some(Value::Bool(true))),
            (Kind::Bool, "yes", None),
            (Kind::Int32, "-5", Some(Value::I32(-5))),
            (Kind::Int32, "0x10", None),
            (Kind::Int64, "9223372036854775808", None),
            (Kind::Uint32, "+5", None),
            (Kind::Double, "NaN1", None),
            (Kind::Double, "1e400", None),
            (Kind::Double, "-Inf", Some(Value::F64(f64::NEG_INFINITY))),
            (Kind::Float, "1e300", None),
            (Kind::Bytes, "AQI=", Some(Value::Bytes(vec![1, 2].into()))),
            (Kind::Bytes, "AQI", None),
            (Kind::String, "", Some(Value::String(String::new()))),
        ];
        for (kind, text, expect) in cases {
            assert_eq!(parse(&kind, text).ok(), expect, "{text}");
        }
    }

    #[test]
    fn messages_with_a_text_of_their_own() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let cases = [
            ("Duration", "1m30s", Some("\"90s\"")),
            ("Duration", "-1.5s", Some("\"-1.500s\"")),
            ("Timestamp", "2026-01-02T03:04:05+01:00", Some("\"2026-01-02T02:04:05Z\"")),
            ("Timestamp", "yesterday", None),
            ("Struct", "{\"a\":1}", Some("{\"a\":1}")),
            ("Struct", "", None),
            ("Value", "[1]", Some("[1]")),
            ("Any", "{}", None),
        ];
        for (name, text, expect) in cases {
            let descriptor = pool.get_message_by_name(&format!("google.protobuf.{name}")).unwrap();
            let read = parse(&Kind::Message(descriptor), text).ok().map(|value| {
                let mut out = String::new();
                json_write::message(&mut out, value.as_message().unwrap()).unwrap();
                out
            });
            assert_eq!(read.as_deref(), expect, "{name} {text}");
        }
    }
}
