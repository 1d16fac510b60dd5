//! A request message in the making: what the body gave, encoded, and on top of it what path
//! and query say, field by field. It knows which member of a oneof is set and replaces what
//! is set again, whoever said it first; [`Draft::finish`] encodes the whole.

use std::mem;

use tonic::Code;

use super::{
    error::Failure,
    json::Json,
    param::Parsed,
    schema::{Field, Kind, Message, MessageId},
    wire::{Encoder, Fields, Value},
};

/// How many nested messages path and query can bring into being. Each takes two bytes of a
/// query, `a.`, and a hundred times that of memory.
const MAX_PARTS: usize = 10_000;

/// A request message in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    json: &'a Json,
    /// The request itself is the first.
    parts: Vec<Part>,
    /// The string field that was first given what is not UTF-8.
    not_utf8: Option<&'a str>,
}

/// One message of a [`Draft`], which gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartId(usize);

/// Path and query ask for more than [`MAX_PARTS`] nested messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_PARTS} nested messages in one request")]
pub(super) struct TooMany;

/// A message: `base`, and then `fields`.
#[derive(Debug)]
struct Part {
    message: MessageId,
    /// Encoded.
    base: Vec<u8>,
    /// By their place in the message's fields, in the order they were first set. None is a
    /// message that `base` holds too.
    fields: Vec<(usize, Content)>,
}

#[derive(Debug)]
enum Content {
    /// One value, or those of a list or a map.
    Values(Encoder),
    Message(PartId),
}

impl<'a> Draft<'a> {
    /// The request itself.
    pub(super) const ROOT: PartId = PartId(0);

    /// Starts with `body`, an encoded message of type `message`: all of the request, its one
    /// field that is the body, or nothing.
    pub(super) fn new(json: &'a Json, message: MessageId, body: Vec<u8>) -> Self {
        let root = Part { message, base: body, fields: Vec::new() };
        Self { json, parts: vec![root], not_utf8: None }
    }

    pub(super) fn json(&self) -> &'a Json {
        self.json
    }

    /// The type of a part.
    pub(super) fn message(&self, part: PartId) -> &'a Message {
        self.json.schema().message(self.parts[part.0].message)
    }

    /// The place of the member of this oneof that is set.
    pub(super) fn member(&self, part: PartId, oneof: u16) -> Option<usize> {
        let message = self.message(part);
        let belongs = |place: &usize| message.fields[*place].oneof == Some(oneof);
        let Part { base, fields, .. } = &self.parts[part.0];
        if let Some(place) = fields.iter().map(|(place, _)| *place).find(belongs) {
            return Some(place);
        }
        // Of several in `base`, the last is the one that counts.
        let mut encoded = Fields::new(base);
        let mut found = None;
        while let Ok(Some(field)) = encoded.next_field() {
            found = message.place(field.number).filter(belongs).or(found);
        }
        found
    }

    /// The message in a singular field, which comes into being if it is not there; `inner`
    /// is its type.
    pub(super) fn enter(&mut self, part: PartId, place: usize, inner: MessageId) -> Result<PartId, TooMany> {
        let there = self.parts[part.0].fields.iter().find(|(other, _)| *other == place);
        if let Some((_, Content::Message(id))) = there {
            return Ok(*id);
        }
        if self.parts.len() > MAX_PARTS {
            return Err(TooMany);
        }
        let base = self.take_encoded(part, place);
        Ok(self.put_message(part, place, inner, base))
    }

    /// Sets a singular field, whatever it held.
    pub(super) fn set(&mut self, part: PartId, place: usize, value: Parsed) {
        let field = self.field(part, place);
        if let Kind::Message(inner) = field.kind {
            self.clear(part, place);
            self.note(field, &value);
            let base = if let Parsed::Bytes(encoded) = value { encoded } else { Vec::new() };
            self.put_message(part, place, inner, base);
        } else {
            // Of several values in an encoded message, the last one counts.
            self.parts[part.0].fields.retain(|(other, _)| *other != place);
            self.add(part, place, &value);
        }
    }

    /// Adds a value to a list, or an encoded entry to a map. Values are never packed:
    /// readers have to take both.
    pub(super) fn add(&mut self, part: PartId, place: usize, value: &Parsed) {
        let field = self.field(part, place);
        self.note(field, value);
        let fields = &mut self.parts[part.0].fields;
        for (other, content) in &mut *fields {
            if let (true, Content::Values(encoder)) = (*other == place, content) {
                value.write(field.number, encoder);
                return;
            }
        }
        let mut encoder = Encoder::new();
        value.write(field.number, &mut encoder);
        fields.push((place, Content::Values(encoder)));
    }

    /// Unsets a field.
    pub(super) fn clear(&mut self, part: PartId, place: usize) {
        self.parts[part.0].fields.retain(|(other, _)| *other != place);
        self.take_encoded(part, place);
    }

    /// The encoded request. A string that is not UTF-8 is found out here, as it is by the
    /// gateway, behind everything else that can be wrong with a request.
    pub(super) fn finish(mut self, explain: bool) -> Result<Vec<u8>, Failure> {
        if let Some(field) = self.not_utf8 {
            return Err(if explain {
                Failure::invalid(format!("the text for the field {field:?} is not UTF-8"))
            } else {
                let message = "grpc: error while marshaling: string field contains invalid UTF-8";
                Failure::new(Code::Internal, message)
            });
        }
        let mut encoder = Encoder::new();
        let mut open = Vec::new();
        let mut message = self.message(Self::ROOT);
        let mut fields = self.start(Self::ROOT, &mut encoder);
        loop {
            match fields.next() {
                Some((_, Content::Values(values))) => encoder.encoded(&values.finish()),
                Some((place, Content::Message(id))) => {
                    let nested = encoder.open(message.fields[place].number);
                    let inner = self.start(id, &mut encoder);
                    open.push((mem::replace(&mut fields, inner), message, nested));
                    message = self.message(id);
                }
                None => {
                    let Some((outer_fields, outer, nested)) = open.pop() else { break };
                    encoder.close(nested);
                    (fields, message) = (outer_fields, outer);
                }
            }
        }
        Ok(encoder.finish())
    }

    fn start(&mut self, part: PartId, encoder: &mut Encoder) -> std::vec::IntoIter<(usize, Content)> {
        let part = &mut self.parts[part.0];
        encoder.encoded(&part.base);
        mem::take(&mut part.fields).into_iter()
    }

    fn field(&self, part: PartId, place: usize) -> &'a Field {
        &self.message(part).fields[place]
    }

    fn note(&mut self, field: &'a Field, value: &Parsed) {
        if matches!(value, Parsed::NotUtf8) {
            self.not_utf8.get_or_insert(&field.name);
        }
    }

    fn put_message(&mut self, part: PartId, place: usize, inner: MessageId, base: Vec<u8>) -> PartId {
        let id = PartId(self.parts.len());
        self.parts.push(Part { message: inner, base, fields: Vec::new() });
        self.parts[part.0].fields.push((place, Content::Message(id)));
        id
    }

    /// Takes a field out of what is encoded already, and gives the content of a message
    /// field: if it is there several times, they are one message.
    fn take_encoded(&mut self, part: PartId, place: usize) -> Vec<u8> {
        let number = self.field(part, place).number;
        let base = mem::take(&mut self.parts[part.0].base);
        let (mut kept, mut taken) = (Vec::with_capacity(base.len()), Vec::new());
        let mut fields = Fields::new(&base);
        loop {
            let before = fields.rest();
            match fields.next_field() {
                Ok(Some(field)) if field.number == number => {
                    if let Value::Bytes(content) = field.value {
                        taken.extend_from_slice(content);
                    }
                }
                Ok(Some(_)) => kept.extend_from_slice(&before[..before.len() - fields.rest().len()]),
                _ => break,
            }
        }
        self.parts[part.0].base = kept;
        taken
    }
}
