//! A field by itself: as an answer, for `response_body`, or as text that is needed beside
//! the answer.

use super::{
    Unwritable, Writer, Written,
    plan::{Accepts, Plan},
    scalar::{Spelling, zero},
    scan::{Occurrences, Slot, scan},
};
use crate::gateway::{
    json::Json,
    schema::{Field, Kind, MessageId, Presence, Shape},
    wire::Value,
};

impl Json {
    /// Appends only one field of an encoded message, the one at `place`. The gateway
    /// leaves all but messages to Go's encoding/json, which is not proto3 JSON.
    pub(in crate::gateway) fn write_field(
        &self,
        message: MessageId,
        place: usize,
        encoded: &[u8],
        out: &mut String,
    ) -> Written {
        out.reserve(encoded.len());
        self.written(out, |writer| writer.alone(message, place, encoded))
    }

    /// The text of a field that holds a single string; none if it is unset, or no text.
    pub(in crate::gateway) fn string_field<'a>(
        &self,
        message: MessageId,
        place: usize,
        encoded: &'a [u8],
    ) -> Option<&'a str> {
        let field = self.schema.message(message).fields.get(place)?;
        if field.kind != Kind::String || field.shape != Shape::Single {
            return None;
        }
        let parts = [encoded];
        let mut values = Occurrences::in_all(&parts, field.number, Accepts::BYTES);
        let mut last = None;
        while let Some(value) = values.next_bytes().ok()? {
            last = Some(value);
        }
        str::from_utf8(last?).ok()
    }
}

impl<'a> Writer<'a, '_> {
    fn alone(&mut self, id: MessageId, place: usize, encoded: &'a [u8]) -> Written {
        let message = self.json.schema.message(id);
        let plans = self.json.plans.of(id);
        let parts = [encoded];
        let mut slots = vec![Slot::UNSET; plans.len()];
        scan(message, plans, &parts, &mut slots)?;
        let (Some(field), Some(plan), Some(slot)) =
            (message.fields.get(place), plans.get(place), slots.get(place))
        else {
            return Err(Unwritable::no_form(format!("{} has no such field", message.full_name)));
        };
        self.content(field, plan, slot, &parts).map_err(|error| error.within(&field.name))
    }

    fn content(&mut self, field: &Field, plan: &Plan, slot: &Slot<'a>, parts: &[&'a [u8]]) -> Written {
        let nil_list = if self.json.options.emit_unpopulated { "[]" } else { "null" };
        let occurrences = || slot.occurrences(parts, field.number, plan.accepts);
        match (field.shape, field.kind) {
            (Shape::List { .. }, kind) if slot.is_set() => self.list(kind, occurrences(), 0, Spelling::Plain),
            (Shape::Map { key }, kind) => self.map(key, kind, occurrences(), 0, Spelling::Plain),
            // Unlike within a message, an unset message is an empty one.
            (Shape::Single, Kind::Message(id)) if slot.is_set() || field.presence == Presence::Null => {
                self.message(id, slot.merged(parts, field.number)?.as_slice(), 1)
            }
            // To Go, bytes are a list too.
            (Shape::Single, Kind::Bytes)
                if field.presence == Presence::Default && is_empty(slot.last()) || !slot.is_set() =>
            {
                self.out.push_str(nil_list);
                Ok(())
            }
            (Shape::Single, kind) if slot.is_set() || field.presence == Presence::Default => {
                self.scalar(kind, slot.last().unwrap_or(zero(kind)), Spelling::Plain)
            }
            (Shape::List { .. }, _) => {
                self.out.push_str(nil_list);
                Ok(())
            }
            (Shape::Single, _) => {
                self.out.push_str("null");
                Ok(())
            }
        }
    }
}

fn is_empty(value: Option<Value<'_>>) -> bool {
    value.is_none_or(|value| value == Value::Bytes(&[]))
}
