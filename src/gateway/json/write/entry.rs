//! The entries of maps, and their order.

use std::fmt;

use super::{
    Unwritable,
    plan::Accepts,
    scalar::text,
    scan::{Parts, Slot},
};
use crate::gateway::{
    schema::Kind,
    wire::{Fields, Value, unzigzag},
};

/// An entry of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub key: Key<'a>,
    pub value: Slot<'a>,
    encoded: &'a [u8],
}

/// A key of a map, in the order in which Go sorts them. Those of one map are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Text(&'a str),
}

impl<'a> Entry<'a> {
    /// Takes an encoded entry apart. A key or a value that is missing is zero.
    pub(super) fn new(
        encoded: &'a [u8],
        kind: Kind,
        values: Accepts,
        gathers: bool,
    ) -> Result<Self, Unwritable> {
        let keys = Accepts::of(kind);
        let mut key = Key::zero(kind);
        let mut value = Slot::UNSET;
        let mut fields = Fields::new(encoded);
        loop {
            let at = encoded.len() - fields.rest().len();
            let Some(found) = fields.next_field()? else { break };
            if found.number == 1 && keys.includes(&found.value) {
                key = Key::new(kind, found.value)?;
            } else if found.number == 2 && values.includes(&found.value) {
                value.note(found.value, gathers, at, 0);
            }
        }
        Ok(Self { key, value, encoded })
    }

    /// Its value, which is a message.
    pub(super) fn merged(&self) -> Result<Parts<'a>, Unwritable> {
        self.value.merged(&[self.encoded], 2)
    }
}

/// Puts what is there from `start` on in the order of its keys; of those with the same
/// key, the last stays.
pub(super) fn sort<E: Copy, K: Ord>(entries: &mut Vec<E>, start: usize, key: impl Fn(&E) -> K) {
    let Some(sorted) = entries.get_mut(start..) else { return };
    if sorted.is_sorted_by(|one, next| key(one) < key(next)) {
        return;
    }
    sorted.sort_by_key(&key);
    let mut kept = 0;
    for at in 0..sorted.len() {
        if sorted.get(at + 1).is_none_or(|next| key(next) != key(&sorted[at])) {
            sorted[kept] = sorted[at];
            kept += 1;
        }
    }
    entries.truncate(start + kept);
}

// === impl Key ===

/// How many bytes of a key an error shows.
const MAX_SHOWN: usize = 64;

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(key) => key.fmt(f),
            Self::Signed(key) => key.fmt(f),
            Self::Unsigned(key) => key.fmt(f),
            Self::Text(key) => fmt::Debug::fmt(&key[..key.floor_char_boundary(MAX_SHOWN)], f),
        }
    }
}

impl<'a> Key<'a> {
    fn zero(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(false),
            Kind::String => Self::Text(""),
            Kind::Int32 | Kind::Int64 | Kind::Sint32 | Kind::Sint64 | Kind::Sfixed32 | Kind::Sfixed64 => {
                Self::Signed(0)
            }
            _ => Self::Unsigned(0),
        }
    }

    fn new(kind: Kind, value: Value<'a>) -> Result<Self, Unwritable> {
        Ok(match (kind, value) {
            (Kind::Bool, Value::Varint(value)) => Self::Bool(value != 0),
            (Kind::String, Value::Bytes(bytes)) => Self::Text(text(bytes)?),
            (Kind::Int32, Value::Varint(value)) => Self::Signed(i64::from(value as i32)),
            (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
                Self::Signed(value as i64)
            }
            (Kind::Sint32, Value::Varint(value)) => Self::Signed(unzigzag(u64::from(value as u32))),
            (Kind::Sint64, Value::Varint(value)) => Self::Signed(unzigzag(value)),
            (Kind::Sfixed32, Value::Fixed32(value)) => Self::Signed(i64::from(value as i32)),
            (Kind::Uint32, Value::Varint(value)) => Self::Unsigned(u64::from(value as u32)),
            (_, Value::Fixed32(value)) => Self::Unsigned(u64::from(value)),
            (_, Value::Varint(value) | Value::Fixed64(value)) => Self::Unsigned(value),
            (_, Value::Bytes(_) | Value::Group) => Self::zero(kind),
        })
    }
}
