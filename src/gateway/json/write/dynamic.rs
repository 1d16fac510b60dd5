//! `Struct`, `Value` and `ListValue`: they nest in each other as deep as whoever sent them
//! likes, so what is open is kept on a stack of our own.

use super::{MAX_DYNAMIC_LEVEL, Unwritable, Writer, Written, entry::sort, scalar::text, text};
use crate::wire::{Field, Fields, Value};

/// At least for so many members there is room at once.
const USUAL: usize = 16;

/// What is begun and not ended.
#[derive(Debug)]
pub(super) enum Open<'a> {
    /// A `Struct`: the members of the writer from `start` on, of which `next` is next.
    Struct { start: usize, next: usize, level: u32 },
    /// A `ListValue`: the values of a part, and those of more parts.
    List { values: Fields<'a>, more: std::vec::IntoIter<&'a [u8]>, is_first: bool, level: u32 },
}

/// A key of a `Struct` with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    key: &'a str,
    /// The encoded `Value`, the last part of it if there are several.
    value: &'a [u8],
    /// The entry with all of the parts, if there are several.
    several: Option<&'a [u8]>,
}

impl<'a> Writer<'a, '_> {
    /// Appends a `Struct`; `level` is how many messages it lies in, here as elsewhere.
    pub(super) fn structure(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        self.open_struct(parts, level)?;
        self.finish()
    }

    /// Appends a `ListValue`.
    pub(super) fn list_value(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        self.open_list(parts, level)?;
        self.finish()
    }

    /// Appends a `Value`.
    pub(super) fn value(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        self.begin_value(parts, level)?;
        self.finish()
    }

    /// Appends the rest of what is open.
    fn finish(&mut self) -> Written {
        while let Some(open) = self.open.last_mut() {
            match open {
                Open::Struct { start, next, level } => {
                    let Some(member) = self.members.get(*next) else {
                        self.members.truncate(*start);
                        self.open.pop();
                        self.out.push('}');
                        continue;
                    };
                    let Member { key, value, several } = *member;
                    // The entry is a message around its Value.
                    let level = *level + 2;
                    if next > start {
                        self.out.push(',');
                    }
                    *next += 1;
                    text::write_string(self.out, key);
                    self.out.push(':');
                    match several {
                        None => self.begin_value(&[value], level)?,
                        Some(entry) => self.begin_value(&of_field(entry, 2)?, level)?,
                    }
                }
                Open::List { values, more, is_first, level } => {
                    let Some(value) = next_element(values, more)? else {
                        self.open.pop();
                        self.out.push(']');
                        continue;
                    };
                    let level = *level + 1;
                    if !std::mem::take(is_first) {
                        self.out.push(',');
                    }
                    self.begin_value(&[value], level)?;
                }
            }
        }
        Ok(())
    }

    /// Appends a `Value`, or its beginning if it holds others.
    fn begin_value(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        check_level(level)?;
        // Of a oneof's members the last has precedence; if it is a message, with its parts
        // that come right before.
        let mut last: Option<Field<'a>> = None;
        let mut earlier: Vec<&'a [u8]> = Vec::new();
        for part in parts {
            let mut fields = Fields::new(part);
            while let Some(field) = fields.next_field()? {
                if !is_member(&field) {
                    continue;
                }
                match last {
                    Some(Field { number: number @ (5 | 6), value: Value::Bytes(part) })
                        if number == field.number =>
                    {
                        earlier.push(part);
                    }
                    _ => earlier.clear(),
                }
                last = Some(field);
            }
        }
        let Some(Field { number, value }) = last else {
            return Err(Unwritable::no_form("a Value holds nothing, not even a null"));
        };
        match (number, value) {
            (2, Value::Fixed64(bits)) => self.number(f64::from_bits(bits))?,
            (3, Value::Bytes(bytes)) => text::write_string(self.out, text(bytes)?),
            (4, Value::Varint(value)) => self.out.push_str(if value == 0 { "false" } else { "true" }),
            (5, Value::Bytes(only)) if earlier.is_empty() => self.open_struct(&[only], level + 1)?,
            (6, Value::Bytes(only)) if earlier.is_empty() => self.open_list(&[only], level + 1)?,
            (5, Value::Bytes(last)) => {
                earlier.push(last);
                self.open_struct(&earlier, level + 1)?;
            }
            (6, Value::Bytes(last)) => {
                earlier.push(last);
                self.open_list(&earlier, level + 1)?;
            }
            _ => self.out.push_str("null"),
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Written {
        if !number.is_finite() {
            return Err(Unwritable::no_form(format!("a Value holds {number}, for which JSON has no number")));
        }
        text::write_double(self.out, number);
        Ok(())
    }

    fn open_struct(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        check_level(level)?;
        let start = self.members.len();
        if start == 0 {
            self.members.reserve(USUAL);
        }
        for part in parts {
            let mut fields = Fields::new(part);
            while let Some(field) = fields.next_field()? {
                if let (1, Value::Bytes(entry)) = (field.number, field.value) {
                    self.members.push(Member::new(entry)?);
                }
            }
        }
        sort(&mut self.members, start, |member| member.key);
        self.out.push('{');
        self.open.push(Open::Struct { start, next: start, level });
        Ok(())
    }

    fn open_list(&mut self, parts: &[&'a [u8]], level: u32) -> Written {
        check_level(level)?;
        let (first, more) = match parts {
            [] => (&[][..], Vec::new()),
            [first, more @ ..] => (*first, more.to_vec()),
        };
        let (values, more) = (Fields::new(first), more.into_iter());
        self.out.push('[');
        self.open.push(Open::List { values, more, is_first: true, level });
        Ok(())
    }
}

impl<'a> Member<'a> {
    fn new(entry: &'a [u8]) -> Result<Self, Unwritable> {
        let (mut key, mut value, mut several) = (&[][..], None, None);
        let mut fields = Fields::new(entry);
        while let Some(field) = fields.next_field()? {
            match (field.number, field.value) {
                (1, Value::Bytes(bytes)) => key = bytes,
                (2, Value::Bytes(bytes)) => {
                    several = value.is_some().then_some(entry);
                    value = Some(bytes);
                }
                _ => {}
            }
        }
        Ok(Self { key: text(key)?, value: value.unwrap_or_default(), several })
    }
}

/// Whether this is a member of a `Value`'s oneof, encoded as it has to be.
fn is_member(field: &Field<'_>) -> bool {
    match field.value {
        Value::Varint(_) => matches!(field.number, 1 | 4),
        Value::Fixed64(_) => field.number == 2,
        Value::Bytes(_) => matches!(field.number, 3 | 5 | 6),
        Value::Fixed32(_) | Value::Group => false,
    }
}

/// All occurrences of a field that holds a message.
fn of_field(encoded: &[u8], number: u32) -> Result<Vec<&[u8]>, Unwritable> {
    let mut all = Vec::new();
    let mut fields = Fields::new(encoded);
    while let Some(field) = fields.next_field()? {
        match field.value {
            Value::Bytes(bytes) if field.number == number => all.push(bytes),
            _ => {}
        }
    }
    Ok(all)
}

/// The next value of a `ListValue`.
fn next_element<'a>(
    values: &mut Fields<'a>,
    more: &mut std::vec::IntoIter<&'a [u8]>,
) -> Result<Option<&'a [u8]>, Unwritable> {
    loop {
        match values.next_field()? {
            Some(field) => {
                if let (1, Value::Bytes(value)) = (field.number, field.value) {
                    return Ok(Some(value));
                }
            }
            None => match more.next() {
                Some(part) => *values = Fields::new(part),
                None => return Ok(None),
            },
        }
    }
}

fn check_level(level: u32) -> Written {
    if level > MAX_DYNAMIC_LEVEL {
        return Err(Unwritable::malformed("Values nest deeper than a decoder goes"));
    }
    Ok(())
}
