//! One text of a path or a query string, read as one value of a field. The spellings are
//! those of the gateway, which are mostly Go's: durations such as `1m30s`, booleans such as
//! `T`, numbers such as `1_000.5` and `0x1p-2`.

mod number;
mod time;

use std::str::FromStr;

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    json::Json,
    schema::{Enum, Form, Kind, MessageId},
    wire::{Encoder, zigzag},
};

/// Where a text stands: paths and queries spell some types differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Timestamps and durations are spelled as in JSON.
    Path,
    /// Timestamps and durations are spelled as in Go.
    Query,
}

/// A value, ready to be encoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parsed {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    /// A string, bytes, or an encoded message.
    Bytes(Vec<u8>),
    /// A string, or a message that holds one, made of what is not UTF-8. That ends a request
    /// only when nothing else is wrong with it: see [`super::draft::Draft::finish`].
    NotUtf8,
}

/// Why a text is no value of its field.
#[derive(Debug, PartialEq)]
pub(super) struct Mismatch(pub String);

/// Reads `text` as one value of `kind`. Of messages, only some well-known ones can be
/// spelled as one text.
pub(super) fn parse(json: &Json, kind: Kind, text: &[u8], source: Source) -> Result<Parsed, Mismatch> {
    match kind {
        Kind::String => return Ok(string(text)),
        Kind::Bytes => return bytes(text).map(Parsed::Bytes).ok_or_else(|| mismatch(json, kind, text)),
        Kind::Message(message) => return well_known(json, message, text, source),
        _ => {}
    }
    let parsed = std::str::from_utf8(text).ok().and_then(|text| scalar(json, kind, text));
    parsed.ok_or_else(|| mismatch(json, kind, text))
}

impl Parsed {
    /// Encodes it as a field.
    pub(super) fn write(&self, number: u32, encoder: &mut Encoder) {
        match self {
            Self::Varint(value) => encoder.varint(number, *value),
            Self::Fixed32(value) => encoder.fixed32(number, *value),
            Self::Fixed64(value) => encoder.fixed64(number, *value),
            Self::Bytes(value) => encoder.bytes(number, value),
            Self::NotUtf8 => encoder.bytes(number, &[]),
        }
    }

    /// The message whose only fields are these.
    pub(super) fn message<const N: usize>(fields: [(u32, Self); N]) -> Self {
        let mut encoder = Encoder::new();
        for (number, value) in fields {
            if value == Self::NotUtf8 {
                return Self::NotUtf8;
            }
            value.write(number, &mut encoder);
        }
        Self::Bytes(encoder.finish())
    }
}

fn scalar(json: &Json, kind: Kind, text: &str) -> Option<Parsed> {
    Some(match kind {
        Kind::Bool => Parsed::Varint(boolean(text)?.into()),
        Kind::Int32 => Parsed::Varint(i64::from(text.parse::<i32>().ok()?).cast_unsigned()),
        Kind::Int64 => Parsed::Varint(text.parse::<i64>().ok()?.cast_unsigned()),
        Kind::Sint32 => Parsed::Varint(zigzag(text.parse::<i32>().ok()?.into())),
        Kind::Sint64 => Parsed::Varint(zigzag(text.parse().ok()?)),
        Kind::Sfixed32 => Parsed::Fixed32(text.parse::<i32>().ok()?.cast_unsigned()),
        Kind::Sfixed64 => Parsed::Fixed64(text.parse::<i64>().ok()?.cast_unsigned()),
        Kind::Uint32 => Parsed::Varint(unsigned::<u32>(text)?.into()),
        Kind::Uint64 => Parsed::Varint(unsigned(text)?),
        Kind::Fixed32 => Parsed::Fixed32(unsigned(text)?),
        Kind::Fixed64 => Parsed::Fixed64(unsigned(text)?),
        Kind::Float => Parsed::Fixed32(number::float(text)?.to_bits()),
        Kind::Double => Parsed::Fixed64(number::double(text)?.to_bits()),
        Kind::Enum(id) => {
            let value = enumerated(json.schema().enumeration(id), text)?;
            Parsed::Varint(i64::from(value).cast_unsigned())
        }
        Kind::String | Kind::Bytes | Kind::Message(_) => return None,
    })
}

fn string(text: &[u8]) -> Parsed {
    match std::str::from_utf8(text) {
        Ok(text) => Parsed::Bytes(text.as_bytes().to_vec()),
        Err(_) => Parsed::NotUtf8,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Rust's parser would take a sign.
fn unsigned<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// By exact name, or by a number that is defined.
fn enumerated(enumeration: &Enum, text: &str) -> Option<i32> {
    enumeration.number(text).or_else(|| {
        let number = text.parse().ok()?;
        enumeration.name(number).map(|_| number)
    })
}

/// Padded base64, of either alphabet. As in Go, line ends within are passed over and
/// the bits that padding leaves unused may be set.
fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text)).ok()
}

fn well_known(json: &Json, message: MessageId, text: &[u8], source: Source) -> Result<Parsed, Mismatch> {
    let kind = Kind::Message(message);
    match (json.schema().message(message).form, source) {
        (Form::Wrapper(kind), _) => Ok(Parsed::message([(1, parse(json, kind, text, source)?)])),
        (Form::Timestamp, Source::Query) => {
            let parsed = std::str::from_utf8(text).ok().and_then(time::timestamp);
            let (seconds, nanos) = parsed.ok_or_else(|| mismatch(json, kind, text))?;
            Ok(seconds_and_nanos(seconds, nanos))
        }
        (Form::Duration, Source::Query) => {
            let parsed = std::str::from_utf8(text).ok().and_then(time::duration);
            let nanos = parsed.ok_or_else(|| mismatch(json, kind, text))?;
            Ok(seconds_and_nanos(nanos / time::NANOS, nanos % time::NANOS))
        }
        (Form::Timestamp | Form::Duration, Source::Path) => {
            // Quotes may stand around it, or not.
            let text = String::from_utf8_lossy(text);
            let quoted = serde_json::Value::from(text.trim_matches('"')).to_string();
            read_json(json, message, quoted.as_bytes())
        }
        (Form::Struct | Form::Value, _) => read_json(json, message, text),
        (Form::FieldMask, _) => Ok(mask(text)),
        (Form::Empty, _) if matches!(text, b"" | b"{}") => Ok(Parsed::Bytes(Vec::new())),
        (Form::Empty, _) => Err(mismatch(json, kind, text)),
        (Form::Object | Form::Any | Form::ListValue, _) => {
            let name = &json.schema().message(message).full_name;
            Err(Mismatch(format!(
                "a {name} cannot be given as one text; name its fields: `field.name=value`"
            )))
        }
    }
}

/// The whole text has to be one JSON value.
fn read_json(json: &Json, message: MessageId, text: &[u8]) -> Result<Parsed, Mismatch> {
    json.read_value(message, text).map(Parsed::Bytes).map_err(|error| Mismatch(error.message))
}

fn seconds_and_nanos(seconds: i64, nanos: i64) -> Parsed {
    Parsed::message([
        (1, Parsed::Varint(seconds.cast_unsigned())),
        (2, Parsed::Varint(nanos.cast_unsigned())),
    ])
}

/// The paths are kept as they are written, whichever names they use.
fn mask(text: &[u8]) -> Parsed {
    if std::str::from_utf8(text).is_err() {
        return Parsed::NotUtf8;
    }
    let mut encoder = Encoder::new();
    for path in text.split(|byte| *byte == b',') {
        encoder.bytes(1, path);
    }
    Parsed::Bytes(encoder.finish())
}

fn mismatch(json: &Json, kind: Kind, text: &[u8]) -> Mismatch {
    Mismatch(format!("{:?} is not {}", String::from_utf8_lossy(text), described(json, kind)))
}

fn described(json: &Json, kind: Kind) -> String {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number of 32 bits".to_owned(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits".to_owned(),
        Kind::Uint32 | Kind::Fixed32 => "a whole number from 0 to 4294967295".to_owned(),
        Kind::Uint64 | Kind::Fixed64 => "a whole number from 0 to 18446744073709551615".to_owned(),
        Kind::Float | Kind::Double => "a number in range".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Bytes => "padded base64".to_owned(),
        Kind::Enum(id) => format!("a name or number of {}", json.schema().enumeration(id).full_name),
        Kind::String => "a string".to_owned(),
        Kind::Message(id) => {
            let message = json.schema().message(id);
            match message.form {
                Form::Timestamp => "a time such as 2006-01-02T15:04:05Z".to_owned(),
                Form::Duration => "a duration such as 30s or 1m30s".to_owned(),
                _ => format!("a {}", message.full_name),
            }
        }
    }
}
