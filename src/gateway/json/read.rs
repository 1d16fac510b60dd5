//! Text to encoded messages, in one pass: what protojson and Go's `encoding/json` take is
//! taken, what they refuse is refused. Sources: protobuf.dev on its JSON format;
//! gRPC-gateway's `runtime/marshal_jsonpb.go`.

mod any;
mod exact;
mod fault;
mod field;
mod keys;
mod lexer;
mod number;
mod object;
mod scalar;
#[cfg(test)]
mod tests;
mod time;
mod value;
mod walk;
mod well_known;

use std::mem;

use super::{
    super::{
        schema::{Form, Schema},
        wire::Encoder,
    },
    Json, JsonOptions, MessageId,
};

use self::{any::Types, fault::Read, keys::Keys, lexer::Lexer, value::Frame, walk::Walk};

pub use self::fault::Unreadable;

/// How deep messages may nest below the first. That is prost's own bound.
const MAX_NESTED: usize = 100;

impl Json {
    /// Makes an encoded message of the first JSON value of `text`. What follows it is not
    /// looked at; nothing but blanks is the empty message.
    pub fn read(&self, message: MessageId, text: &[u8]) -> Result<Vec<u8>, Unreadable> {
        self.encoded(text, |reader| if reader.lexer.start()? { reader.message(message) } else { Ok(()) })
    }

    /// Makes encoded messages of all JSON values of `text`, which stand one behind the other.
    pub fn read_all(&self, message: MessageId, text: &[u8]) -> Result<Vec<Vec<u8>>, Unreadable> {
        let mut messages = Vec::new();
        self.encoded(text, |reader| {
            while reader.lexer.start()? {
                reader.message(message)?;
                messages.push(mem::take(&mut reader.out).finish());
            }
            Ok(())
        })?;
        Ok(messages)
    }

    /// Makes an encoded message of `text`, which has to be exactly one JSON value.
    pub fn read_value(&self, message: MessageId, text: &[u8]) -> Result<Vec<u8>, Unreadable> {
        self.encoded(text, |reader| {
            reader.lexer.start()?;
            reader.message(message)?;
            if reader.lexer.is_done() { Ok(()) } else { Err(reader.lexer.unexpected("the end of the text")) }
        })
    }

    /// Makes an encoded field, the one at `place` in `message`, of the first JSON value of
    /// `text`. What follows it is not looked at.
    pub fn read_field(&self, message: MessageId, place: usize, text: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let Some(field) = self.schema.message(message).fields.get(place) else {
            return Ok(Vec::new());
        };
        self.encoded(text, |reader| {
            if reader.lexer.start()? {
                reader.body_field(field)?;
            } else {
                reader.no_body(field);
            }
            Ok(())
        })
    }

    fn encoded<'t, 's>(
        &'s self,
        text: &'t [u8],
        read: impl FnOnce(&mut Reader<'t, 's>) -> Read<()>,
    ) -> Result<Vec<u8>, Unreadable> {
        let mut reader = Reader {
            lexer: Lexer::new(text),
            out: Encoder::with_capacity(text.len()),
            schema: &self.schema,
            options: &self.options,
            keys: Keys::default(),
            frames: Vec::new(),
            types: Types::default(),
            messages: 0,
        };
        match read(&mut reader) {
            Ok(()) => Ok(reader.out.finish()),
            Err(fault) => Err(fault.locate(text)),
        }
    }
}

/// Reads one text.
struct Reader<'t, 's> {
    lexer: Lexer<'t>,
    out: Encoder,
    schema: &'s Schema,
    options: &'s JsonOptions,
    /// Of the maps and structs that are open.
    keys: Keys<'t>,
    /// The objects and lists of a `Struct` or `Value` that are open.
    frames: Vec<Frame<'t>>,
    /// Of the `Any`s whose type had to be looked for.
    types: Types,
    /// How many messages are open.
    messages: usize,
}

impl Reader<'_, '_> {
    /// Reads the content of a message, in whatever form its type has.
    fn message(&mut self, id: MessageId) -> Read<()> {
        if self.messages > MAX_NESTED {
            return Err(self.lexer.fault(format!("messages nest deeper than {MAX_NESTED} levels")));
        }
        self.messages += 1;
        let message = self.schema.message(id);
        match message.form {
            Form::Object | Form::Empty => self.object(message)?,
            Form::Any => self.any()?,
            Form::Timestamp => self.timestamp()?,
            Form::Duration => self.duration()?,
            Form::FieldMask => self.field_mask()?,
            Form::Struct => self.struct_value()?,
            Form::ListValue => self.list_value()?,
            Form::Value => self.any_value()?,
            Form::Wrapper(kind) => self.scalar(1, kind)?,
        }
        self.messages -= 1;
        Ok(())
    }

    /// Goes past a value that nobody asked for.
    fn skip(&mut self) -> Read<()> {
        let mut walk = Walk::default();
        while walk.step(&mut self.lexer)? {}
        Ok(())
    }
}
