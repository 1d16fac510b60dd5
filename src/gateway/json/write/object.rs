//! Messages that are written field by field.

use super::{
    MAX_LEVEL, Unwritable, Writer, Written,
    entry::{Entry, Key, sort},
    plan::{Accepts, Plan},
    scalar::{Spelling, is_zero, next_packed, zero},
    scan::{Occurrences, Slot, scan},
    text,
};
use crate::gateway::{
    schema::{Field, Form, Kind, MessageId, Shape},
    wire::{Fields, Value},
};

/// The fields of most messages are so few that noting them needs no allocation.
const FEW: usize = 24;

impl<'a> Writer<'a, '_> {
    /// Appends a message, of which there are usually one part; `level` is how many
    /// messages it lies in.
    pub(super) fn message(&mut self, id: MessageId, parts: &[&'a [u8]], level: u32) -> Written {
        if level > MAX_LEVEL {
            return Err(Unwritable::malformed(format!("messages nest more than {MAX_LEVEL} levels deep")));
        }
        match self.json.schema.message(id).form {
            Form::Object | Form::Empty => {
                self.out.push('{');
                self.fields(id, parts, level, true)?;
                self.out.push('}');
                Ok(())
            }
            Form::Any => self.any(parts, level),
            Form::Timestamp => self.timestamp(parts),
            Form::Duration => self.duration(parts),
            Form::FieldMask => self.field_mask(parts),
            Form::Wrapper(kind) => self.wrapper(kind, parts),
            Form::Struct => self.structure(parts, level),
            Form::ListValue => self.list_value(parts, level),
            Form::Value => self.value(parts, level),
        }
    }

    /// Appends a message's fields, with a comma before each, but for the first if it is
    /// the first of all.
    pub(super) fn fields(
        &mut self,
        id: MessageId,
        parts: &[&'a [u8]],
        level: u32,
        mut first: bool,
    ) -> Written {
        let message = self.json.schema.message(id);
        let plans = self.json.plans.of(id);
        let mut few = [Slot::UNSET; FEW];
        let mut many = Vec::new();
        let slots = if let Some(slots) = few.get_mut(..plans.len()) {
            slots
        } else {
            many.resize(plans.len(), Slot::UNSET);
            &mut many
        };
        scan(message, plans, parts, slots)?;
        for ((field, plan), slot) in message.fields.iter().zip(plans).zip(slots) {
            let unset = !slot.is_set() || plan.hides_zero && is_unset(field, plan, slot, parts)?;
            let text = if unset { &plan.unset } else { &plan.key };
            self.out.push_str(text.get(usize::from(first)..).unwrap_or_default());
            first &= text.is_empty();
            if !unset {
                self.field(field, plan, slot, parts, level).map_err(|error| error.within(&field.name))?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        plan: &Plan,
        slot: &Slot<'a>,
        parts: &[&'a [u8]],
        level: u32,
    ) -> Written {
        let occurrences = || slot.occurrences(parts, field.number, plan.accepts);
        match (field.shape, field.kind) {
            (Shape::Single, Kind::Message(id)) => {
                self.message(id, slot.merged(parts, field.number)?.as_slice(), level + 1)
            }
            (Shape::Single, kind) => self.scalar(kind, slot.last().unwrap_or(zero(kind)), Spelling::Proto),
            (Shape::List { .. }, kind) => self.list(kind, occurrences(), level, Spelling::Proto),
            (Shape::Map { key }, kind) => self.map(key, kind, occurrences(), level, Spelling::Proto),
        }
    }

    /// Appends the elements of a list; scalars come packed and singly, also mixed.
    pub(super) fn list(
        &mut self,
        kind: Kind,
        mut occurrences: Occurrences<'_, 'a>,
        level: u32,
        spelling: Spelling,
    ) -> Written {
        let accepts = Accepts::of(kind);
        let mut index = 0_usize;
        self.out.push('[');
        while let Some(value) = occurrences.next_value()? {
            match (value, kind) {
                (Value::Bytes(packed), _) if accepts != Accepts::BYTES => {
                    let mut packed = Fields::new(packed);
                    while let Some(value) = next_packed(kind, &mut packed)? {
                        self.comma(index);
                        self.scalar(kind, value, spelling).map_err(|error| error.within_element(&index))?;
                        index += 1;
                    }
                    continue;
                }
                (Value::Bytes(inner), Kind::Message(id)) => {
                    self.comma(index);
                    self.message(id, &[inner], level + 1).map_err(|error| error.within_element(&index))?;
                }
                (value, kind) => {
                    self.comma(index);
                    self.scalar(kind, value, spelling).map_err(|error| error.within_element(&index))?;
                }
            }
            index += 1;
        }
        self.out.push(']');
        Ok(())
    }

    /// Appends the entries of a map.
    pub(super) fn map(
        &mut self,
        keys: Kind,
        kind: Kind,
        mut occurrences: Occurrences<'_, 'a>,
        level: u32,
        spelling: Spelling,
    ) -> Written {
        let accepts = Accepts::of(kind);
        let gathers = matches!(kind, Kind::Message(_));
        let start = self.entries.len();
        while let Some(encoded) = occurrences.next_bytes()? {
            self.entries.push(Entry::new(encoded, keys, accepts, gathers)?);
        }
        sort(&mut self.entries, start, |entry| entry.key);
        self.out.push('{');
        // What is pushed while a value is written is gone again when it is.
        let mut index = 0;
        while let Some(entry) = self.entries.get(start + index).copied() {
            self.comma(index);
            self.key(entry.key);
            self.out.push(':');
            self.entry(&entry, kind, level, spelling).map_err(|error| error.within_element(&entry.key))?;
            index += 1;
        }
        self.entries.truncate(start);
        self.out.push('}');
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'a>, kind: Kind, level: u32, spelling: Spelling) -> Written {
        match kind {
            // The entry counts as a message too.
            Kind::Message(id) => self.message(id, entry.merged()?.as_slice(), level + 2),
            kind => self.scalar(kind, entry.value.last().unwrap_or(zero(kind)), spelling),
        }
    }

    fn key(&mut self, key: Key<'_>) {
        match key {
            Key::Text(key) => text::write_string(self.out, key),
            Key::Signed(key) => text::write_quoted_integer(self.out, key),
            Key::Unsigned(key) => text::write_quoted_integer(self.out, key),
            Key::Bool(key) => self.out.push_str(if key { "\"true\"" } else { "\"false\"" }),
        }
    }

    /// What stands before the element at this place.
    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
    }
}

/// Whether a field without presence, though encoded, is empty or zero.
fn is_unset(field: &Field, plan: &Plan, slot: &Slot<'_>, parts: &[&[u8]]) -> Result<bool, Unwritable> {
    let mut occurrences = slot.occurrences(parts, field.number, plan.accepts);
    let packs = Accepts::of(field.kind) != Accepts::BYTES;
    while let Some(value) = occurrences.next_value()? {
        let is_empty = match field.shape {
            Shape::Single => is_zero(field.kind, &value),
            Shape::List { .. } => packs && value == Value::Bytes(&[]),
            Shape::Map { .. } => false,
        };
        if !is_empty {
            return Ok(false);
        }
    }
    Ok(true)
}
