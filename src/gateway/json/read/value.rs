//! `google.protobuf.Struct`, `Value` and `ListValue`: any JSON there is. They nest as deep
//! as the text does, so what is open is kept in a list of our own, not on the stack.

use std::borrow::Cow;

use super::{
    super::super::wire::{Encoder, Open},
    Reader,
    fault::Read,
    keys::MapKeys,
    scalar::bytes_size,
};

/// An object or a list that is open.
#[derive(Debug)]
pub(super) struct Frame<'t> {
    kind: FrameKind<'t>,
    /// Before the first member or item.
    first: bool,
    /// What ends with it, the innermost first.
    ends: [Option<Open>; 3],
}

#[derive(Debug)]
enum FrameKind<'t> {
    Object(MapKeys<'t>),
    List,
}

/// A value that is neither an object nor a list.
#[derive(Debug)]
enum Scalar<'t> {
    Null,
    Number(f64),
    String(Cow<'t, str>),
    Bool(bool),
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
enum Place<'k> {
    /// In a `Struct`, under this key.
    Member(&'k str),
    /// In a `ListValue`.
    Item,
}

/// The field of a `Struct`, which is a map.
const FIELDS: u32 = 1;
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;

/// The field of a `ListValue`.
const VALUES: u32 = 1;

/// The fields of a `Value`.
const NULL_VALUE: u32 = 1;
const NUMBER_VALUE: u32 = 2;
const STRING_VALUE: u32 = 3;
const BOOL_VALUE: u32 = 4;
const STRUCT_VALUE: u32 = 5;
const LIST_VALUE: u32 = 6;

impl<'t> Reader<'t, '_> {
    /// Reads a `Struct`.
    pub(super) fn struct_value(&mut self) -> Read<()> {
        if self.lexer.peek() != Some(b'{') {
            return Err(self.lexer.mismatch("an object"));
        }
        self.enter(b'{', [None, None, None])?;
        self.leave_all()
    }

    /// Reads a `ListValue`.
    pub(super) fn list_value(&mut self) -> Read<()> {
        if self.lexer.peek() != Some(b'[') {
            return Err(self.lexer.mismatch("a list"));
        }
        self.enter(b'[', [None, None, None])?;
        self.leave_all()
    }

    /// Reads a `Value`.
    pub(super) fn any_value(&mut self) -> Read<()> {
        if let Some(start @ (b'{' | b'[')) = self.lexer.peek() {
            let inner = self.out.open(field_of(start));
            self.enter(start, [Some(inner), None, None])?;
            return self.leave_all();
        }
        let scalar = self.value_scalar()?;
        scalar.encode(&mut self.out);
        Ok(())
    }

    /// Reads on until nothing is open.
    fn leave_all(&mut self) -> Read<()> {
        while let Some(frame) = self.frames.last_mut() {
            match &mut frame.kind {
                FrameKind::Object(keys) => match self.lexer.member(&mut frame.first)? {
                    Some(key) if !self.keys.insert(keys, key.name.clone()) => {
                        return Err(key.fault(|key| format!("the key {key} comes twice")));
                    }
                    Some(key) => self.value_at(Place::Member(&key.name))?,
                    None => self.leave(),
                },
                FrameKind::List if self.lexer.item(&mut frame.first)? => self.value_at(Place::Item)?,
                FrameKind::List => self.leave(),
            }
        }
        Ok(())
    }

    /// Reads a scalar, or goes into an object or a list.
    fn value_at(&mut self, place: Place<'_>) -> Read<()> {
        if let Some(start @ (b'{' | b'[')) = self.lexer.peek() {
            let (value, entry) = match place {
                Place::Item => (self.out.open(VALUES), None),
                Place::Member(key) => {
                    let entry = self.out.open(FIELDS);
                    self.out.bytes(ENTRY_KEY, key.as_bytes());
                    (self.out.open(ENTRY_VALUE), Some(entry))
                }
            };
            let inner = self.out.open(field_of(start));
            return self.enter(start, [Some(inner), Some(value), entry]);
        }
        let scalar = self.value_scalar()?;
        let size = scalar.size();
        match place {
            Place::Item => self.out.head(VALUES, size),
            Place::Member(key) => {
                self.out.head(FIELDS, bytes_size(key.len()) + bytes_size(size));
                self.out.bytes(ENTRY_KEY, key.as_bytes());
                self.out.head(ENTRY_VALUE, size);
            }
        }
        scalar.encode(&mut self.out);
        Ok(())
    }

    fn value_scalar(&mut self) -> Read<Scalar<'t>> {
        // Go counts a value as a level of its own.
        self.lexer.has_room()?;
        match self.lexer.peek() {
            Some(b'"') => Ok(Scalar::String(self.lexer.string()?)),
            Some(b'-' | b'0'..=b'9') => {
                let literal = self.literal("a number")?;
                self.exact_double(&literal, "; send it as a string").map(Scalar::Number)
            }
            _ if self.lexer.word("null") => Ok(Scalar::Null),
            _ if self.lexer.word("true") => Ok(Scalar::Bool(true)),
            _ if self.lexer.word("false") => Ok(Scalar::Bool(false)),
            _ => Err(self.lexer.unexpected("a value")),
        }
    }

    /// Goes into the object or list that is next.
    fn enter(&mut self, start: u8, ends: [Option<Open>; 3]) -> Read<()> {
        self.lexer.open()?;
        let kind = if start == b'{' { FrameKind::Object(self.keys.begin()) } else { FrameKind::List };
        self.frames.push(Frame { kind, first: true, ends });
        Ok(())
    }

    /// Goes out of the innermost object or list, which the lexer has closed.
    fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            for open in frame.ends.into_iter().flatten() {
                self.out.close(open);
            }
            if let FrameKind::Object(keys) = frame.kind {
                self.keys.end(&keys);
            }
        }
    }
}

/// The field of a `Value` that holds what starts with this bracket.
fn field_of(start: u8) -> u32 {
    if start == b'{' { STRUCT_VALUE } else { LIST_VALUE }
}

impl Scalar<'_> {
    /// As the only field of a `Value`.
    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Null => out.varint(NULL_VALUE, 0),
            Self::Number(number) => out.fixed64(NUMBER_VALUE, number.to_bits()),
            Self::String(string) => out.bytes(STRING_VALUE, string.as_bytes()),
            Self::Bool(bool) => out.varint(BOOL_VALUE, u64::from(*bool)),
        }
    }

    /// How many bytes [`Scalar::encode`] writes.
    fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 2,
            Self::Number(_) => 9,
            Self::String(string) => bytes_size(string.len()),
        }
    }
}
