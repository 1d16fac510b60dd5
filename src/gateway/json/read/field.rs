//! A request body that is one field of the message (`body: "field"`). A message is read
//! there as everywhere. All else gRPC-gateway reads with Go's `encoding/json`, which differs
//! from proto3 JSON: integers are plain numbers and never strings, enums are numbers and
//! never names, and `null` among a list's items or a map's values is a zero.

use super::{
    super::super::{
        schema::{Field, Kind, Presence, Shape},
        wire::Open,
    },
    Reader,
    fault::{Fault, Read, quoted},
    number,
    object::MapKey,
    scalar::{Plain, decoded_standard, expected},
};

impl Reader<'_, '_> {
    /// What is made of a body without a value: a field that can be told from an unset one is
    /// set, to nothing.
    pub(super) fn no_body(&mut self, field: &Field) {
        if field.shape != Shape::Single || field.presence == Presence::Default {
            return;
        }
        self.zero(field.number, field.kind);
    }

    /// Reads the value of a field.
    pub(super) fn body_field(&mut self, field: &Field) -> Read<()> {
        let is_unset_by_null =
            field.shape != Shape::Single || !matches!(field.kind, Kind::Message(_) | Kind::Enum(_));
        if is_unset_by_null && self.takes_word("null") {
            // Go has set a oneof's member before it reads the value.
            if field.oneof.is_some() && !field.optional {
                self.zero(field.number, field.kind);
            }
            return Ok(());
        }
        match field.shape {
            Shape::Single => self.body_value(field.number, field.kind),
            Shape::List { packed } => self.body_list(field, packed),
            Shape::Map { key } => self.body_map(field, key),
        }
    }

    fn body_list(&mut self, field: &Field, packed: bool) -> Read<()> {
        if self.lexer.peek() != Some(b'[') {
            return Err(self.lexer.mismatch("a list"));
        }
        self.lexer.open()?;
        let mut first = true;
        let mut packing: Option<Open> = None;
        while self.lexer.item(&mut first)? {
            if packed {
                let value = self.body_plain(field.kind)?;
                packing.get_or_insert_with(|| self.out.open(field.number));
                value.encode_bare(&mut self.out);
            } else {
                self.body_value(field.number, field.kind)?;
            }
        }
        if let Some(packing) = packing {
            self.out.close(packing);
        }
        Ok(())
    }

    /// Of a key that comes twice the last one counts: that is how a decoder takes entries.
    fn body_map(&mut self, field: &Field, key_kind: Kind) -> Read<()> {
        if self.lexer.peek() != Some(b'{') {
            return Err(self.lexer.mismatch("an object"));
        }
        self.lexer.open()?;
        let mut first = true;
        while let Some(key) = self.lexer.member(&mut first)? {
            let key = MapKey::new(&key, key_kind)?;
            let entry = self.out.open(field.number);
            key.encode(&mut self.out);
            self.body_value(2, field.kind)?;
            self.out.close(entry);
        }
        Ok(())
    }

    /// Reads a value that is neither a list nor a map.
    fn body_value(&mut self, number: u32, kind: Kind) -> Read<()> {
        match kind {
            Kind::Message(id) => {
                let open = self.out.open(number);
                self.message(id)?;
                self.out.close(open);
            }
            Kind::String | Kind::Bytes if self.takes_word("null") => {
                self.zero(number, kind);
            }
            Kind::Bytes => {
                let at = self.lexer.at();
                let text = self.string()?;
                let bytes = decoded_standard(&text);
                let bytes =
                    bytes.ok_or_else(|| Fault::new(at, format!("{} is not padded base64", quoted(&text))))?;
                self.out.bytes(number, &bytes);
            }
            Kind::String => {
                let value = self.string()?;
                self.out.bytes(number, value.as_bytes());
            }
            kind => {
                let value = self.body_plain(kind)?;
                value.encode(number, &mut self.out);
            }
        }
        Ok(())
    }

    fn body_plain(&mut self, kind: Kind) -> Read<Plain> {
        let next = self.lexer.peek();
        let is_number = matches!(next, Some(b'-' | b'0'..=b'9'));
        match kind {
            Kind::Enum(_) if is_number => {
                // Go goes by way of a double.
                let literal = self.literal(expected(Kind::Int32))?;
                let whole = number::double(&literal.text).filter(|double| double.fract() == 0.0);
                let value = whole.and_then(|double| Plain::integer(Kind::Int32, double as i128));
                value.ok_or_else(|| literal.fault(expected(Kind::Int32)))
            }
            Kind::Enum(_) => Err(self.lexer.mismatch("the number of an enum's value, not its name,")),
            _ if self.lexer.word("null") => Ok(Plain::zero(kind)),
            Kind::Bool => Ok(self.plain(kind)?.unwrap_or(Plain::zero(kind))),
            _ if !is_number => Err(self.lexer.mismatch(expected(kind))),
            Kind::Double | Kind::Float => Ok(self.plain(kind)?.unwrap_or(Plain::zero(kind))),
            _ => {
                let literal = self.literal(expected(kind))?;
                let has_sign = literal.text.starts_with('-');
                let is_unsigned = matches!(kind, Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64);
                if literal.text.contains(['.', 'e', 'E']) || (has_sign && is_unsigned) {
                    return Err(literal.fault(expected(kind)));
                }
                let value = number::integer(&literal.text);
                let value = value.and_then(|value| Plain::integer(kind, value));
                value.ok_or_else(|| literal.fault(expected(kind)))
            }
        }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.lexer.peek();
        self.lexer.word(word)
    }

    /// Encodes what a field holds that nobody has set.
    fn zero(&mut self, number: u32, kind: Kind) {
        match kind {
            Kind::String | Kind::Bytes | Kind::Message(_) => self.out.bytes(number, &[]),
            kind => Plain::zero(kind).encode(number, &mut self.out),
        }
    }
}
