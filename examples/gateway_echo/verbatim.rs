//! `google.protobuf.Struct` as it came: nothing in it is looked at, so it may be nested as
//! deep as JSON may. prost's own type ends after a hundred messages inside each other.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};

/// An encoded `google.protobuf.Struct`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Struct(Vec<u8>);

impl Message for Struct {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// Encodings of one message, one behind the other, are its fields merged.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if wire_type != WireType::LengthDelimited {
            return encoding::skip_field(wire_type, tag, buf, context);
        }
        let mut field = Vec::new();
        encoding::bytes::merge(wire_type, &mut field, buf, context)?;
        encoding::bytes::encode(tag, &field, &mut self.0);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Struct {
    /// Whether more messages than `limit` lie inside each other, itself and the entries of
    /// its map counted.
    pub fn is_deeper_than(&self, limit: usize) -> bool {
        let mut open = vec![(Kind::Struct, self.0.as_slice())];
        while let Some((kind, rest)) = open.pop() {
            let Some((number, content, rest)) = next_field(rest) else {
                continue;
            };
            open.push((kind, rest));
            if let Some(kind) = kind.child(number) {
                if open.len() == limit {
                    return true;
                }
                open.push((kind, content));
            }
        }
        false
    }
}

/// What lies in a Struct.
#[derive(Clone, Copy)]
enum Kind {
    Struct,
    Entry,
    Value,
    List,
}

impl Kind {
    /// The message in a field of this one.
    fn child(self, number: u32) -> Option<Self> {
        match (self, number) {
            (Self::Struct, 1) => Some(Self::Entry),
            (Self::Entry, 2) | (Self::List, 1) => Some(Self::Value),
            (Self::Value, 5) => Some(Self::Struct),
            (Self::Value, 6) => Some(Self::List),
            _ => None,
        }
    }
}

/// The first field, its bytes if it has any, and what follows.
fn next_field(mut rest: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (number, wire_type) = encoding::decode_key(&mut rest).ok()?;
    if wire_type != WireType::LengthDelimited {
        encoding::skip_field(wire_type, number, &mut rest, DecodeContext::default()).ok()?;
        return Some((number, &[], rest));
    }
    let length = usize::try_from(encoding::decode_varint(&mut rest).ok()?).ok()?;
    let (content, rest) = rest.split_at_checked(length)?;
    Some((number, content, rest))
}
