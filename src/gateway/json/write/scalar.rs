//! Values that are no messages.

use super::{Unwritable, Writer, Written, text};
use crate::gateway::{
    schema::{EnumId, Kind},
    wire::{Fields, Malformed, Value, unzigzag},
};

/// Whose rules a scalar is written by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// proto3 JSON.
    Proto,
    /// Go's encoding/json, which is what the gateway writes a field with that is an
    /// answer by itself: 64-bit integers are numbers, enums always strings, and there
    /// are no infinities.
    Plain,
}

/// The zero of a kind that is no message, as it would be encoded.
pub(super) fn zero(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Value::Fixed64(0),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Value::Fixed32(0),
        Kind::String | Kind::Bytes | Kind::Message(_) => Value::Bytes(&[]),
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Bool
        | Kind::Enum(_) => Value::Varint(0),
    }
}

/// Whether a value is its kind's zero.
pub(super) fn is_zero(kind: Kind, value: &Value<'_>) -> bool {
    match (kind, value) {
        // What is more than 32 bits long is cut.
        (Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_), Value::Varint(value)) => {
            *value as u32 == 0
        }
        (kind, value) => zero(kind) == *value,
    }
}

/// The next of some packed scalars; none at their end.
pub(super) fn next_packed<'a>(kind: Kind, packed: &mut Fields<'a>) -> Result<Option<Value<'a>>, Malformed> {
    if packed.is_done() {
        return Ok(None);
    }
    Ok(Some(match zero(kind) {
        Value::Varint(_) => Value::Varint(packed.varint()?),
        Value::Fixed64(_) => Value::Fixed64(u64::from_le_bytes(packed.array()?)),
        Value::Fixed32(_) => Value::Fixed32(u32::from_le_bytes(packed.array()?)),
        Value::Bytes(_) | Value::Group => return Err(Malformed),
    }))
}

/// Bytes that have to be text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Unwritable> {
    str::from_utf8(bytes).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes));
        Unwritable::malformed(format!("the string {shown:?} is not UTF-8"))
    })
}

impl Writer<'_, '_> {
    pub(super) fn scalar(&mut self, kind: Kind, value: Value<'_>, spelling: Spelling) -> Written {
        match (kind, value) {
            (Kind::Bool, Value::Varint(value)) => {
                self.out.push_str(if value == 0 { "false" } else { "true" });
            }
            (Kind::Int32, Value::Varint(value)) => text::write_integer(self.out, value as i32),
            (Kind::Uint32, Value::Varint(value)) => text::write_integer(self.out, value as u32),
            (Kind::Sint32, Value::Varint(value)) => {
                text::write_integer(self.out, unzigzag(u64::from(value as u32)));
            }
            (Kind::Fixed32, Value::Fixed32(value)) => text::write_integer(self.out, value),
            (Kind::Sfixed32, Value::Fixed32(value)) => text::write_integer(self.out, value as i32),
            (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
                self.wide(value as i64, spelling);
            }
            (Kind::Sint64, Value::Varint(value)) => self.wide(unzigzag(value), spelling),
            (Kind::Uint64, Value::Varint(value)) | (Kind::Fixed64, Value::Fixed64(value)) => {
                self.wide(value, spelling);
            }
            (Kind::Float, Value::Fixed32(bits)) => {
                let value = f32::from_bits(bits);
                finite(f64::from(value), spelling)?;
                text::write_float(self.out, value);
            }
            (Kind::Double, Value::Fixed64(bits)) => {
                let value = f64::from_bits(bits);
                finite(value, spelling)?;
                text::write_double(self.out, value);
            }
            (Kind::Enum(id), Value::Varint(value)) => self.enumeration(id, value as i32, spelling),
            (Kind::String, Value::Bytes(bytes)) => text::write_string(self.out, text(bytes)?),
            (Kind::Bytes, Value::Bytes(bytes)) => text::write_bytes(self.out, bytes),
            // Only what a kind accepts comes here.
            _ => return Err(Malformed.into()),
        }
        Ok(())
    }

    fn wide(&mut self, value: impl itoa::Integer, spelling: Spelling) {
        match spelling {
            Spelling::Proto => text::write_quoted_integer(self.out, value),
            Spelling::Plain => text::write_integer(self.out, value),
        }
    }

    /// By name where the number has one.
    fn enumeration(&mut self, id: EnumId, number: i32, spelling: Spelling) {
        let known = self.json.schema.enumeration(id);
        match (known.name(number), spelling) {
            _ if known.is_null && spelling == Spelling::Proto => self.out.push_str("null"),
            (Some(name), _) => {
                self.out.push('"');
                self.out.push_str(name);
                self.out.push('"');
            }
            (None, Spelling::Proto) => text::write_integer(self.out, number),
            (None, Spelling::Plain) => text::write_quoted_integer(self.out, number),
        }
    }
}

/// proto3 JSON has strings for what is not.
fn finite(value: f64, spelling: Spelling) -> Written {
    if spelling == Spelling::Plain && !value.is_finite() {
        return Err(Unwritable::no_form(format!("JSON has no number for {value}")));
    }
    Ok(())
}
