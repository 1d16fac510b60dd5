//! Messages whose JSON has a key per field, their lists and their maps.

use std::borrow::Cow;

use super::{
    super::super::{
        schema::{Field, Form, Kind, Message, Shape},
        wire::{Encoder, Open},
    },
    Reader,
    fault::Read,
    keys::Places,
    lexer::Key,
    scalar::{Plain, bytes_size, expected},
};

/// The fields and oneofs of an object that came already.
#[derive(Debug, Default)]
pub(super) struct Seen {
    fields: Places,
    oneofs: Places,
}

impl<'t> Reader<'t, '_> {
    /// Reads the fields of a message.
    pub(super) fn object(&mut self, message: &Message) -> Read<()> {
        if self.lexer.peek() != Some(b'{') {
            return Err(self.lexer.mismatch("an object"));
        }
        self.lexer.open()?;
        let mut seen = Seen::default();
        let mut first = true;
        while let Some(key) = self.lexer.member(&mut first)? {
            self.member(message, &key, &mut seen)?;
        }
        Ok(())
    }

    /// Reads the value of one member, if it is a field.
    pub(super) fn member(&mut self, message: &Message, key: &Key<'t>, seen: &mut Seen) -> Read<()> {
        let Some(place) = message.place_of_key(&key.name) else {
            return self.unknown(message, key);
        };
        let field = &message.fields[place];
        if !seen.fields.insert(place) {
            return Err(key.fault(|key| match &field.json_name {
                json if *json == field.name => format!("the field {key} comes twice"),
                json => format!("the field {:?} comes twice; {json:?} is the same", field.name),
            }));
        }
        if self.lexer.peek() == Some(b'n') && !self.takes_null(field) && self.lexer.word("null") {
            return Ok(());
        }
        match field.shape {
            Shape::Single => {
                if let Some(oneof) = field.oneof
                    && !seen.oneofs.insert(oneof as usize)
                {
                    let oneof = message.oneofs.get(oneof as usize).map_or("", String::as_str);
                    return Err(key.fault(|key| format!("{key}: another field of {oneof:?} is set already")));
                }
                self.single(field)
            }
            Shape::List { packed } => self.list(field, packed),
            Shape::Map { key } => self.map(field, key),
        }
    }

    /// Goes past what is no field of the message.
    pub(super) fn unknown(&mut self, message: &Message, key: &Key<'t>) -> Read<()> {
        if self.options.discard_unknown {
            return self.skip();
        }
        Err(key.fault(|key| format!("{} has no field {key}", message.full_name)))
    }

    /// Whether `null` is a value of the field. Else it leaves the field unset.
    fn takes_null(&self, field: &Field) -> bool {
        match field.kind {
            _ if matches!(field.shape, Shape::Map { .. }) => false,
            Kind::Message(id) => self.schema.message(id).form == Form::Value,
            Kind::Enum(id) => self.schema.enumeration(id).is_null,
            _ => false,
        }
    }

    /// Reads a value of the field, with its tag.
    fn single(&mut self, field: &Field) -> Read<()> {
        let Kind::Message(id) = field.kind else {
            return self.scalar(field.number, field.kind);
        };
        let open = self.out.open(field.number);
        self.message(id)?;
        self.out.close(open);
        Ok(())
    }

    fn list(&mut self, field: &Field, packed: bool) -> Read<()> {
        if self.lexer.peek() != Some(b'[') {
            return Err(self.lexer.mismatch("a list"));
        }
        self.lexer.open()?;
        let mut first = true;
        let mut packing: Option<Open> = None;
        while self.lexer.item(&mut first)? {
            if !packed {
                self.single(field)?;
            } else if let Some(value) = self.plain(field.kind)? {
                packing.get_or_insert_with(|| self.out.open(field.number));
                value.encode_bare(&mut self.out);
            }
        }
        if let Some(packing) = packing {
            self.out.close(packing);
        }
        Ok(())
    }

    fn map(&mut self, field: &Field, key_kind: Kind) -> Read<()> {
        if self.lexer.peek() != Some(b'{') {
            return Err(self.lexer.mismatch("an object"));
        }
        self.lexer.open()?;
        let mut keys = self.keys.begin();
        let mut first = true;
        while let Some(key) = self.lexer.member(&mut first)? {
            let map_key = MapKey::new(&key, key_kind)?;
            if !self.keys.insert(&mut keys, map_key.name.clone()) {
                return Err(key.fault(|key| format!("the key {key} comes twice")));
            }
            if !self.entry(field, &map_key)? {
                // As if it had never come.
                self.keys.remove(&mut keys, &map_key.name);
            }
        }
        self.keys.end(&keys);
        Ok(())
    }

    /// Reads the value of a map entry; false if it was dropped.
    fn entry(&mut self, field: &Field, key: &MapKey<'t>) -> Read<bool> {
        match field.kind {
            Kind::Message(id) => {
                let entry = self.out.open(field.number);
                key.encode(&mut self.out);
                let open = self.out.open(2);
                self.message(id)?;
                self.out.close(open);
                self.out.close(entry);
            }
            Kind::String => {
                let value = self.string()?;
                self.bytes_entry(field, key, value.as_bytes());
            }
            Kind::Bytes => {
                let value = self.bytes()?;
                self.bytes_entry(field, key, &value);
            }
            kind => {
                let Some(value) = self.plain(kind)? else { return Ok(false) };
                self.out.head(field.number, key.size() + value.size());
                key.encode(&mut self.out);
                value.encode(2, &mut self.out);
            }
        }
        Ok(true)
    }

    fn bytes_entry(&mut self, field: &Field, key: &MapKey<'t>, value: &[u8]) {
        self.out.head(field.number, key.size() + bytes_size(value.len()));
        key.encode(&mut self.out);
        self.out.bytes(2, value);
    }
}

/// The key of a map entry.
#[derive(Debug)]
pub(super) struct MapKey<'t> {
    /// Equal keys have equal names, however they are spelled.
    name: Cow<'t, str>,
    /// None if it is a string.
    plain: Option<Plain>,
}

impl<'t> MapKey<'t> {
    pub(super) fn new(key: &Key<'t>, kind: Kind) -> Read<Self> {
        let name = &key.name;
        if kind == Kind::String {
            return Ok(Self { name: name.clone(), plain: None });
        }
        // As Go's parser has it: a sign for signed numbers only, be it a plus.
        let parsed = match kind {
            Kind::Bool => name.parse().ok().map(|value: bool| (i64::from(value).into(), name.clone())),
            Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 if name.starts_with(['+', '-']) => {
                None
            }
            _ => name.parse().ok().map(|value: i128| (value, Cow::Owned(value.to_string()))),
        };
        let plain = parsed.and_then(|(value, name)| Some((name, Plain::integer(kind, value)?)));
        match plain {
            Some((name, plain)) => Ok(Self { name, plain: Some(plain) }),
            None => Err(key.fault(|key| format!("{key} where {} was expected as a key", expected(kind)))),
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        match self.plain {
            Some(plain) => plain.encode(1, out),
            None => out.bytes(1, self.name.as_bytes()),
        }
    }

    /// How many bytes [`MapKey::encode`] writes.
    fn size(&self) -> usize {
        self.plain.map_or_else(|| bytes_size(self.name.len()), Plain::size)
    }
}
