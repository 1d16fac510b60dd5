//! The well-known types that do not nest, and `Any`.

use std::ops::RangeInclusive;

use super::{
    Cause, Unwritable, Writer, Written,
    plan::Accepts,
    scalar::{Spelling, text, zero},
    scan::Occurrences,
    text,
};
use crate::gateway::{
    error::type_name,
    schema::{Form, Kind},
    wire::{Fields, Value},
};

/// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10,000 years.
const MAX_DURATION_SECONDS: u64 = 315_576_000_000;
const BILLION: u32 = 1_000_000_000;

impl<'a> Writer<'a, '_> {
    pub(super) fn timestamp(&mut self, parts: &[&'a [u8]]) -> Written {
        let (seconds, nanos) = seconds_and_nanos(parts)?;
        match u32::try_from(nanos) {
            Ok(nanos) if nanos < BILLION && TIMESTAMP_SECONDS.contains(&seconds) => {
                text::write_timestamp(self.out, seconds, nanos);
                Ok(())
            }
            _ => Err(Unwritable::no_form(format!(
                "a Timestamp of {seconds} seconds and {nanos} nanoseconds is out of range"
            ))),
        }
    }

    pub(super) fn duration(&mut self, parts: &[&'a [u8]]) -> Written {
        let (seconds, nanos) = seconds_and_nanos(parts)?;
        let (size, fraction) = (seconds.unsigned_abs(), nanos.unsigned_abs());
        let signs_differ = seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0;
        if size > MAX_DURATION_SECONDS || fraction >= BILLION || signs_differ {
            return Err(Unwritable::no_form(format!(
                "a Duration of {seconds} seconds and {nanos} nanoseconds is out of range"
            )));
        }
        self.out.push_str(if seconds < 0 || nanos < 0 { "\"-" } else { "\"" });
        text::write_integer(self.out, size);
        text::write_fraction(self.out, fraction);
        self.out.push_str("s\"");
        Ok(())
    }

    /// Paths in lower camel case.
    pub(super) fn field_mask(&mut self, parts: &[&'a [u8]]) -> Written {
        let mut paths = Occurrences::in_all(parts, 1, Accepts::BYTES);
        let mut first = true;
        self.out.push('"');
        while let Some(path) = paths.next_bytes()? {
            let path = text(path)?;
            if !has_camel_case(path) {
                // A query takes such paths: these are protojson's own words for them.
                let what = if is_dotted(path) { "irreversible value" } else { "invalid path:" };
                return Err(Unwritable::no_form(format!(
                    "proto: google.protobuf.FieldMask.paths contains {what} {path:?}"
                )));
            }
            if !first {
                self.out.push(',');
            }
            first = false;
            let mut words = path.split('_');
            self.out.push_str(words.next().unwrap_or_default());
            for word in words {
                let (initial, rest) = word.split_at_checked(1).unwrap_or_default();
                self.out.extend(initial.chars().map(|c| c.to_ascii_uppercase()));
                self.out.push_str(rest);
            }
        }
        self.out.push('"');
        Ok(())
    }

    /// The value that a wrapper holds, zero if it holds none.
    pub(super) fn wrapper(&mut self, kind: Kind, parts: &[&'a [u8]]) -> Written {
        let mut values = Occurrences::in_all(parts, 1, Accepts::of(kind));
        let mut last = zero(kind);
        while let Some(value) = values.next_value()? {
            last = value;
        }
        self.scalar(kind, last, Spelling::Proto)
    }

    pub(super) fn any(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        let last = |number| {
            let mut occurrences = Occurrences::in_all(parts, number, Accepts::BYTES);
            let mut last: &[u8] = &[];
            while let Some(bytes) = occurrences.next_bytes()? {
                last = bytes;
            }
            Ok::<_, Unwritable>(last)
        };
        self.packed(text(last(1)?)?, last(2)?, level)
    }

    /// Appends an `Any`: the fields of the packed message behind its `@type`, or what it
    /// has in place of fields as `value`.
    pub(super) fn packed(&mut self, type_url: &str, packed: &'a [u8], level: u32) -> Written {
        if type_url.is_empty() && packed.is_empty() {
            self.out.push_str("{}");
            return Ok(());
        }
        let name = type_name(type_url);
        let Some(id) = self.json.find(name) else {
            return Err(Unwritable::no_form(format!(
                "an Any holds a {name:?}, which is no known message type"
            )));
        };
        self.out.push_str("{\"@type\":");
        text::write_string(self.out, type_url);
        let written = match self.json.schema.message(id).form {
            Form::Object | Form::Empty => self.fields(id, &[packed], level + 1, false),
            _ => {
                self.out.push_str(",\"value\":");
                self.message(id, &[packed], level + 1)
            }
        };
        written.map_err(Unwritable::packed)?;
        self.out.push('}');
        Ok(())
    }
}

impl Unwritable {
    /// To who decodes the message around it, what is packed in an `Any` is any bytes.
    #[cold]
    fn packed(self) -> Self {
        Self { cause: Cause::NoForm, ..self }
    }
}

/// Whether a path comes back from lower camel case as it was: it has no large letters,
/// and each of its underscores stands before a small one.
fn has_camel_case(path: &str) -> bool {
    let is_small = |c: char| c.is_ascii_lowercase();
    path.chars().all(|c| is_small(c) || c.is_ascii_digit() || c == '_' || c == '.')
        && path.split('.').all(|name| name.starts_with(|c| is_small(c) || c == '_'))
        && path.split('_').skip(1).all(|word| word.starts_with(is_small))
}

/// Whether a path is names of fields, separated by dots.
fn is_dotted(path: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    path.split('.').all(|name| name.chars().all(word) && name.starts_with(|c: char| !c.is_ascii_digit()))
}

/// Fields 1 and 2 of a `Timestamp` or `Duration`.
fn seconds_and_nanos(parts: &[&[u8]]) -> Result<(i64, i32), Unwritable> {
    let (mut seconds, mut nanos) = (0, 0);
    for part in parts {
        let mut fields = Fields::new(part);
        while let Some(field) = fields.next_field()? {
            match (field.number, field.value) {
                (1, Value::Varint(value)) => seconds = value as i64,
                (2, Value::Varint(value)) => nanos = value as i32,
                _ => {}
            }
        }
    }
    Ok((seconds, nanos))
}
