//! Where the fields of a message lie. Their order on the wire is free and each may come
//! several times, so a message is looked through once before anything is written.
//!
//! A message is a list of parts: if a field that holds one comes several times, the
//! message is all of these put together. They are not copied together, for that would
//! cost the more the deeper they nest.

use super::{
    Unwritable,
    plan::{Accepts, Plan},
};
use crate::gateway::{
    schema::Message,
    wire::{Fields, Value},
};

/// Where a field lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    /// Of the last occurrence.
    value: Value<'a>,
    /// Where in its part of the message the first occurrence is that counts.
    at: usize,
    /// Which part that is.
    part: u32,
    /// How many occurrences there are; none if the field is unset.
    count: u32,
}

/// Finds all fields; `slots` are in the order of `message.fields`, and all unset.
pub(super) fn scan<'a>(
    message: &Message,
    plans: &[Plan],
    parts: &[&'a [u8]],
    slots: &mut [Slot<'a>],
) -> Result<(), Unwritable> {
    for (part, bytes) in (0..).zip(parts) {
        let mut fields = Fields::new(bytes);
        loop {
            let at = bytes.len() - fields.rest().len();
            let Some(found) = fields.next_field()? else { break };
            let Some(place) = message.place(found.number) else { continue };
            let (Some(plan), Some(slot)) = (plans.get(place), slots.get_mut(place)) else { continue };
            if !plan.accepts.includes(&found.value) {
                continue;
            }
            slot.note(found.value, plan.gathers, at, part);
            for sibling in &plan.siblings {
                if let Some(slot) = slots.get_mut(usize::from(*sibling)) {
                    *slot = Slot::UNSET;
                }
            }
        }
    }
    Ok(())
}

impl<'a> Slot<'a> {
    pub(super) const UNSET: Self = Self { value: Value::Varint(0), at: 0, part: 0, count: 0 };

    pub(super) fn note(&mut self, value: Value<'a>, gathers: bool, at: usize, part: u32) {
        if gathers && self.count > 0 {
            self.count = self.count.saturating_add(1);
            self.value = value;
        } else {
            *self = Self { value, at, part, count: 1 };
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.count > 0
    }

    /// The last value; none if the field is unset.
    pub(super) fn last(&self) -> Option<Value<'a>> {
        (self.count > 0).then_some(self.value)
    }

    /// The message that all occurrences are together; an empty one if there are none.
    pub(super) fn merged(&self, parts: &[&'a [u8]], number: u32) -> Result<Parts<'a>, Unwritable> {
        match (self.count, self.value) {
            (0, _) => Ok(Parts::One(&[])),
            (1, Value::Bytes(only)) => Ok(Parts::One(only)),
            _ => self.occurrences(parts, number, Accepts::BYTES).merged(),
        }
    }

    /// Its occurrences in `parts`, the message that it was found in.
    pub(super) fn occurrences<'p>(
        &self,
        parts: &'p [&'a [u8]],
        number: u32,
        accepts: Accepts,
    ) -> Occurrences<'p, 'a> {
        let part = self.part as usize;
        let from = parts.get(part).and_then(|part| part.get(self.at..)).unwrap_or_default();
        let more = parts.get(part + 1..).unwrap_or_default();
        Occurrences { fields: Fields::new(from), more, left: self.count, number, accepts }
    }
}

/// Goes over the occurrences of one field.
#[derive(Clone, Debug)]
pub(super) struct Occurrences<'p, 'a> {
    fields: Fields<'a>,
    /// The parts behind that of `fields`.
    more: &'p [&'a [u8]],
    left: u32,
    number: u32,
    accepts: Accepts,
}

impl<'p, 'a> Occurrences<'p, 'a> {
    /// All of a field in all of a message.
    pub(super) fn in_all(parts: &'p [&'a [u8]], number: u32, accepts: Accepts) -> Self {
        Self { fields: Fields::new(&[]), more: parts, left: u32::MAX, number, accepts }
    }

    pub(super) fn next_value(&mut self) -> Result<Option<Value<'a>>, Unwritable> {
        while self.left > 0 {
            match self.fields.next_field()? {
                Some(found) if found.number == self.number && self.accepts.includes(&found.value) => {
                    self.left -= 1;
                    return Ok(Some(found.value));
                }
                Some(_) => {}
                None => match self.more.split_first() {
                    Some((part, more)) => {
                        self.fields = Fields::new(part);
                        self.more = more;
                    }
                    None => break,
                },
            }
        }
        Ok(None)
    }

    pub(super) fn next_bytes(&mut self) -> Result<Option<&'a [u8]>, Unwritable> {
        Ok(match self.next_value()? {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }

    /// All that are left, together one message.
    fn merged(mut self) -> Result<Parts<'a>, Unwritable> {
        let mut merged = Parts::One(self.next_bytes()?.unwrap_or_default());
        while let Some(part) = self.next_bytes()? {
            merged.push(part);
        }
        Ok(merged)
    }
}

/// The parts of a message; almost always one.
#[derive(Clone, Debug)]
pub(super) enum Parts<'a> {
    One(&'a [u8]),
    Several(Vec<&'a [u8]>),
}

impl<'a> Parts<'a> {
    fn push(&mut self, part: &'a [u8]) {
        match self {
            Self::One(first) => *self = Self::Several(vec![first, part]),
            Self::Several(parts) => parts.push(part),
        }
    }

    pub(super) fn as_slice(&self) -> &[&'a [u8]] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Several(parts) => parts,
        }
    }
}
