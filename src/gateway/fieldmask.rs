//! The mask of a PATCH whose body is one field: a request that has a `FieldMask` gets the
//! paths that its body speaks of, `info.x`, `labels`. Lists and maps are named as a whole,
//! `Struct` and `Value` down to their last keys.
//!
//! The mask is made before path and query are bound: one in the query replaces it, but what
//! is wrong with it fails the request all the same.

use tonic::Code;

use super::{
    body,
    draft::Draft,
    error::Failure,
    json::Json,
    param::Parsed,
    path::FieldPath,
    schema::{Field, Form, Kind, Message, MessageId, Schema, Shape},
    wire::Encoder,
};

/// The place of the request's field that takes the mask, for the field that is its body. None
/// if that body needs no mask, or it is not clear where to put it: it takes a body that is a
/// message and exactly one field of type `FieldMask`. To be asked for PATCH only.
pub(super) fn mask_field(schema: &Schema, request: &Message, body: &FieldPath) -> Option<usize> {
    let [body] = body.names() else { return None };
    let body = request.field(body)?;
    let is_mask = |field: &Field| match field.kind {
        Kind::Message(message) => schema.message(message).form == Form::FieldMask,
        _ => false,
    };
    let mut masks = request.fields.iter().enumerate().filter(|(_, field)| is_mask(field));
    let (place, mask) = masks.next()?;
    let alone = masks.next().is_none() && mask.shape == Shape::Single && mask.oneof.is_none();
    let body_is_message = matches!(body.kind, Kind::Message(_)) && body.shape == Shape::Single;
    (alone && body_is_message && mask.number != body.number).then_some(place)
}

/// The paths of `text`, the JSON of a `message`, sorted. The text has to be one that
/// [`Json::read`] takes; of others the outcome means nothing. `max` bounds the bytes of the
/// encoded mask, which can be far larger than the text.
pub(super) fn mask_of_body(
    json: &Json,
    message: MessageId,
    text: &[u8],
    max: usize,
) -> Result<Vec<String>, Failure> {
    let mut walk = Walk {
        schema: json.schema(),
        text: Text { rest: text },
        path: String::new(),
        open: Vec::new(),
        paths: Vec::new(),
        room: max,
        max,
    };
    if walk.text.peek() == Some(b'{') {
        walk.value(Some(Inside::Message(message)))?;
    }
    while let Some(Open { inside, path_length }) = walk.open.last().copied() {
        walk.path.truncate(path_length);
        match (walk.text.next_key()?, inside) {
            (None, _) => drop(walk.open.pop()),
            (Some(key), Inside::Message(message)) => walk.field(message, &key)?,
            (Some(key), Inside::Keys) => {
                walk.path.push('.');
                walk.path.push_str(&key);
                walk.keys()?;
            }
        }
    }
    walk.paths.sort();
    Ok(walk.paths)
}

/// Sets the mask in the field at `place` of the request.
pub(super) fn fill(draft: &mut Draft<'_>, place: usize, paths: &[String]) {
    let mut encoder = Encoder::new();
    for path in paths {
        encoder.bytes(1, path.as_bytes());
    }
    draft.set(Draft::ROOT, place, Parsed::Bytes(encoder.finish()));
}

/// Goes through a text once, with a stack of its own.
struct Walk<'a> {
    schema: &'a Schema,
    text: Text<'a>,
    /// Where we are.
    path: String,
    open: Vec<Open>,
    paths: Vec<String>,
    /// How many bytes more the mask may have.
    room: usize,
    max: usize,
}

/// An object whose keys are being read.
#[derive(Clone, Copy)]
struct Open {
    inside: Inside,
    path_length: usize,
}

#[derive(Clone, Copy)]
enum Inside {
    /// The keys are fields.
    Message(MessageId),
    /// The keys are whatever the sender likes: a `Struct`.
    Keys,
}

impl Walk<'_> {
    /// The value of a field.
    fn field(&mut self, message: MessageId, key: &str) -> Result<(), Failure> {
        let message = self.schema.message(message);
        let Some(field) = message.field(key) else {
            let name = &message.full_name;
            return Err(Failure::invalid(format!("could not find field {key:?} in {name:?}")));
        };
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&field.name);
        let inner = match field.kind {
            Kind::Message(inner) => Some((inner, self.schema.message(inner).form)),
            _ => None,
        };
        match (field.shape, inner) {
            (Shape::Single, Some((_, Form::Struct | Form::Value))) => self.keys(),
            (Shape::Single, Some((_, Form::Any))) if self.text.peek() == Some(b'{') => {
                if !self.text.clone().has_key("@type")? {
                    let name = &message.full_name;
                    return Err(Failure::invalid(format!(
                        "could not find field @type in {key:?} in message {name:?}"
                    )));
                }
                // The gateway names it by its key alone, wherever it stands.
                self.name(key.to_owned())
            }
            // Null, at which the gateway drops the connection.
            (Shape::Single, Some((_, Form::Any))) => self.value(None),
            (Shape::Single, Some((inner, _))) => self.value(Some(Inside::Message(inner))),
            (Shape::Single, None) if self.text.peek() == Some(b'{') && !self.text.is_empty_object() => {
                Err(Failure::invalid(format!("an object does not fit the field {key:?}")))
            }
            _ => self.value(None),
        }
    }

    /// A value in a `Struct`, or one itself: an object is named by its keys, even if it has
    /// none.
    fn keys(&mut self) -> Result<(), Failure> {
        if self.text.peek() == Some(b'{') { self.open(Inside::Keys) } else { self.value(None) }
    }

    /// Opens an object with keys if there is a type to read them by; else names the value.
    fn value(&mut self, inside: Option<Inside>) -> Result<(), Failure> {
        match inside {
            Some(inside) if self.text.peek() == Some(b'{') && !self.text.is_empty_object() => {
                self.open(inside)
            }
            _ => self.name(self.path.clone()),
        }
    }

    /// Puts a path into the mask and passes over the value.
    fn name(&mut self, path: String) -> Result<(), Failure> {
        // With a tag and a length.
        let size = path.len() + 2;
        self.room = self.room.checked_sub(size).ok_or_else(|| body::too_large(self.max))?;
        self.paths.push(path);
        self.text.skip_value()
    }

    fn open(&mut self, inside: Inside) -> Result<(), Failure> {
        self.text.byte(b'{')?;
        self.open.push(Open { inside, path_length: self.path.len() });
        Ok(())
    }
}

/// What is left of a JSON text.
#[derive(Clone)]
struct Text<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let blanks = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.rest = &self.rest[blanks..];
        self.rest.first().copied()
    }

    fn byte(&mut self, byte: u8) -> Result<(), Failure> {
        if self.peek() != Some(byte) {
            return Err(broken());
        }
        self.rest = &self.rest[1..];
        Ok(())
    }

    fn is_empty_object(&self) -> bool {
        let mut ahead = self.clone();
        ahead.byte(b'{').is_ok() && ahead.peek() == Some(b'}')
    }

    /// In an open object: its next key, behind which stands the value. None at its end, which
    /// is passed.
    fn next_key(&mut self) -> Result<Option<String>, Failure> {
        if self.peek() == Some(b',') {
            self.byte(b',')?;
        }
        if self.peek() == Some(b'}') {
            self.byte(b'}')?;
            return Ok(None);
        }
        let key = serde_json::from_slice(self.string()?).map_err(|_| broken())?;
        self.byte(b':')?;
        Ok(Some(key))
    }

    fn has_key(mut self, wanted: &str) -> Result<bool, Failure> {
        self.byte(b'{')?;
        while let Some(key) = self.next_key()? {
            if key == wanted {
                return Ok(true);
            }
            self.skip_value()?;
        }
        Ok(false)
    }

    fn skip_value(&mut self) -> Result<(), Failure> {
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or_else(broken)? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = &self.rest[1..];
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or_else(broken)?;
                    self.rest = &self.rest[1..];
                }
                b',' | b':' if depth > 0 => self.rest = &self.rest[1..],
                _ => {
                    let literal =
                        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    let length = self.rest.iter().take_while(literal).count();
                    if length == 0 {
                        return Err(broken());
                    }
                    self.rest = &self.rest[length..];
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// A string with its quotes and escapes.
    fn string(&mut self) -> Result<&'a [u8], Failure> {
        if self.peek() != Some(b'"') {
            return Err(broken());
        }
        let mut at = 1;
        loop {
            match self.rest.get(at).ok_or_else(broken)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        let (string, rest) = self.rest.split_at(at + 1);
        self.rest = rest;
        Ok(string)
    }
}

/// What the body's reader would have refused.
fn broken() -> Failure {
    Failure::new(Code::InvalidArgument, "the body is not JSON")
}

#[cfg(test)]
mod tests;
