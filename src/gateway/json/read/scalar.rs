//! Values that are neither messages nor lists nor maps.

use std::borrow::Cow;

use base64::{
    Engine as _,
    alphabet::{self, Alphabet},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    super::super::{
        schema::{EnumId, Kind},
        wire::{Encoder, varint_size, zigzag},
    },
    Reader, exact,
    fault::{Fault, Read, quoted, shown},
    lexer::is_number,
    number,
};

/// A number, a boolean, or an enum's value, as it is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plain {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

/// The text of a number, which may stand in quotes.
#[derive(Debug)]
pub(super) struct Literal<'t> {
    /// Where it begins.
    at: usize,
    pub text: Cow<'t, str>,
    in_quotes: bool,
}

impl<'t> Reader<'t, '_> {
    /// Reads a value that is no message, and encodes it as field `number`.
    pub(super) fn scalar(&mut self, number: u32, kind: Kind) -> Read<()> {
        match kind {
            Kind::String => {
                let value = self.string()?;
                self.out.bytes(number, value.as_bytes());
            }
            Kind::Bytes => {
                let value = self.bytes()?;
                self.out.bytes(number, &value);
            }
            kind => {
                if let Some(value) = self.plain(kind)? {
                    value.encode(number, &mut self.out);
                }
            }
        }
        Ok(())
    }

    pub(super) fn string(&mut self) -> Read<Cow<'t, str>> {
        match self.lexer.peek() {
            Some(b'"') => self.lexer.string(),
            _ => Err(self.lexer.mismatch("a string")),
        }
    }

    /// Reads base64, of either alphabet.
    pub(super) fn bytes(&mut self) -> Read<Vec<u8>> {
        let at = self.lexer.at();
        let text = self.string()?;
        decoded(&text).ok_or_else(|| Fault::new(at, format!("{} is not base64", quoted(&text))))
    }

    /// Reads what is a [`Plain`]; none if it is an unknown name of an enum's value, which is
    /// to be passed over.
    pub(super) fn plain(&mut self, kind: Kind) -> Read<Option<Plain>> {
        Ok(Some(match kind {
            Kind::Bool => Plain::Varint(self.boolean()?.into()),
            Kind::Double => Plain::Fixed64(self.double()?.to_bits()),
            Kind::Float => Plain::Fixed32(self.float()?.to_bits()),
            Kind::Enum(id) => return self.enumerated(id),
            kind => self.integer(kind)?,
        }))
    }

    fn boolean(&mut self) -> Read<bool> {
        self.lexer.peek();
        if self.lexer.word("true") {
            Ok(true)
        } else if self.lexer.word("false") {
            Ok(false)
        } else {
            Err(self.lexer.mismatch("true or false"))
        }
    }

    fn integer(&mut self, kind: Kind) -> Read<Plain> {
        let literal = self.literal(expected(kind))?;
        let value = if literal.is_number() { number::integer(&literal.text) } else { None };
        value.and_then(|value| Plain::integer(kind, value)).ok_or_else(|| literal.fault(expected(kind)))
    }

    fn double(&mut self) -> Read<f64> {
        let literal = self.literal(expected(Kind::Double))?;
        if let Some(named) = literal.named() {
            return Ok(named);
        }
        if !literal.is_number() {
            return Err(literal.fault(expected(Kind::Double)));
        }
        self.exact_double(&literal, "")
    }

    /// A number as a double; not one that it would change, if that is not wanted. `advice`
    /// is given then.
    pub(super) fn exact_double(&self, literal: &Literal<'_>, advice: &str) -> Read<f64> {
        if self.options.exact_numbers && !exact::is_exact(&literal.text) {
            let what = format!("{} cannot be kept exactly{advice}", literal.shown());
            return Err(Fault::inexact(literal.at, what));
        }
        number::double(&literal.text).ok_or_else(|| literal.fault("a number within a double's range"))
    }

    fn float(&mut self) -> Read<f32> {
        let literal = self.literal(expected(Kind::Float))?;
        if let Some(named) = literal.named() {
            return Ok(named as f32);
        }
        if !literal.is_number() {
            return Err(literal.fault(expected(Kind::Float)));
        }
        number::float(&literal.text).ok_or_else(|| literal.fault("a number within a 32-bit float's range"))
    }

    /// By name or by number, which may be one without a name.
    fn enumerated(&mut self, id: EnumId) -> Read<Option<Plain>> {
        let enumeration = self.schema.enumeration(id);
        let expected = if enumeration.is_null { "null" } else { "a name or a number of an enum" };
        match self.lexer.peek() {
            Some(b'"') => {
                let at = self.lexer.at();
                let name = self.lexer.string()?;
                match enumeration.number(&name) {
                    Some(number) => Ok(Some(Plain::int(number))),
                    None if self.options.discard_unknown => Ok(None),
                    None => {
                        let names: Vec<&str> = enumeration.names().take(MAX_NAMES).collect();
                        let (full_name, names) = (&enumeration.full_name, names.join(", "));
                        let name = quoted(&name);
                        Err(Fault::new(at, format!("{name} is no value of {full_name}, which has {names}")))
                    }
                }
            }
            Some(b'-' | b'0'..=b'9') => self.integer(Kind::Int32).map(Some),
            Some(b'n') if enumeration.is_null && self.lexer.word("null") => Ok(Some(Plain::int(0))),
            _ => Err(self.lexer.mismatch(expected)),
        }
    }

    pub(super) fn literal(&mut self, expected: &str) -> Read<Literal<'t>> {
        let next = self.lexer.peek();
        let at = self.lexer.at();
        match next {
            Some(b'"') => Ok(Literal { at, text: self.lexer.string()?, in_quotes: true }),
            Some(b'-' | b'0'..=b'9') => {
                Ok(Literal { at, text: Cow::Borrowed(self.lexer.number()?), in_quotes: false })
            }
            _ => Err(self.lexer.mismatch(expected)),
        }
    }
}

/// How many names of an enum a message lists.
const MAX_NAMES: usize = 10;

// === impl Literal ===

impl Literal<'_> {
    fn is_number(&self) -> bool {
        !self.in_quotes || is_number(&self.text)
    }

    /// The floats that are no numbers.
    fn named(&self) -> Option<f64> {
        if !self.in_quotes {
            return None;
        }
        match &*self.text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }

    pub(super) fn fault(&self, expected: &str) -> Fault {
        Fault::new(self.at, format!("{} is not {expected}", self.shown()))
    }

    fn shown(&self) -> String {
        if self.in_quotes { quoted(&self.text) } else { shown(&self.text) }
    }
}

// === impl Plain ===

impl Plain {
    /// As a field of this kind holds it; none if it does not.
    pub(super) fn integer(kind: Kind, value: i128) -> Option<Self> {
        Some(match kind {
            Kind::Int32 => Self::int(i32::try_from(value).ok()?),
            Kind::Int64 => Self::Varint(i64::try_from(value).ok()?.cast_unsigned()),
            Kind::Uint32 => Self::Varint(u32::try_from(value).ok()?.into()),
            Kind::Uint64 => Self::Varint(u64::try_from(value).ok()?),
            Kind::Sint32 => Self::Varint(zigzag(i32::try_from(value).ok()?.into())),
            Kind::Sint64 => Self::Varint(zigzag(i64::try_from(value).ok()?)),
            Kind::Fixed32 => Self::Fixed32(u32::try_from(value).ok()?),
            Kind::Fixed64 => Self::Fixed64(u64::try_from(value).ok()?),
            Kind::Sfixed32 => Self::Fixed32(i32::try_from(value).ok()?.cast_unsigned()),
            Kind::Sfixed64 => Self::Fixed64(i64::try_from(value).ok()?.cast_unsigned()),
            Kind::Bool => Self::Varint(u64::try_from(value).ok().filter(|value| *value < 2)?),
            Kind::Double | Kind::Float | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => {
                return None;
            }
        })
    }

    pub(super) fn zero(kind: Kind) -> Self {
        match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Self::Fixed64(0),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Self::Fixed32(0),
            _ => Self::Varint(0),
        }
    }

    /// An `int32` or an enum's value: the sign goes through all 64 bits.
    pub(super) fn int(value: i32) -> Self {
        Self::Varint(i64::from(value).cast_unsigned())
    }

    pub(super) fn encode(self, number: u32, out: &mut Encoder) {
        match self {
            Self::Varint(value) => out.varint(number, value),
            Self::Fixed32(value) => out.fixed32(number, value),
            Self::Fixed64(value) => out.fixed64(number, value),
        }
    }

    /// Without a tag, as in a packed list.
    pub(super) fn encode_bare(self, out: &mut Encoder) {
        match self {
            Self::Varint(value) => out.bare_varint(value),
            Self::Fixed32(value) => out.bare_fixed32(value),
            Self::Fixed64(value) => out.bare_fixed64(value),
        }
    }

    /// How many bytes it takes up as one of the first 15 fields.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Varint(value) => 1 + varint_size(value),
            Self::Fixed32(_) => 5,
            Self::Fixed64(_) => 9,
        }
    }
}

/// How many bytes a string of this length takes up as one of the first 15 fields.
pub(super) fn bytes_size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

/// What a value of this kind is called.
pub(super) fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number from -2147483648 to 2147483647",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits",
        Kind::Uint32 | Kind::Fixed32 => "a whole number from 0 to 4294967295",
        Kind::Uint64 | Kind::Fixed64 => "a whole number from 0 to 18446744073709551615",
        Kind::Double | Kind::Float => "a number",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "base64",
        Kind::Enum(_) => "a name or a number of an enum",
        Kind::Message(_) => "an object",
    }
}

/// Base64 as protojson reads it: `-` or `_` tell the alphabet, the length tells whether it is
/// padded, line ends are passed over.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let is_padded = text.len().is_multiple_of(4);
    let engine = match (text.contains(['-', '_']), is_padded) {
        (false, true) => &STANDARD,
        (false, false) => &STANDARD_UNPADDED,
        (true, true) => &URL_SAFE,
        (true, false) => &URL_SAFE_UNPADDED,
    };
    if text.contains(['\r', '\n']) {
        engine.decode(text.replace(['\r', '\n'], "")).ok()
    } else {
        engine.decode(text).ok()
    }
}

/// Padded standard base64, as `encoding/json` reads it.
pub(super) fn decoded_standard(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.replace(['\r', '\n'], "")).ok()
}

static STANDARD: GeneralPurpose = engine(&alphabet::STANDARD, DecodePaddingMode::RequireCanonical);
static STANDARD_UNPADDED: GeneralPurpose = engine(&alphabet::STANDARD, DecodePaddingMode::RequireNone);
static URL_SAFE: GeneralPurpose = engine(&alphabet::URL_SAFE, DecodePaddingMode::RequireCanonical);
static URL_SAFE_UNPADDED: GeneralPurpose = engine(&alphabet::URL_SAFE, DecodePaddingMode::RequireNone);

const fn engine(alphabet: &Alphabet, padding: DecodePaddingMode) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new();
    let config = config.with_decode_allow_trailing_bits(true).with_decode_padding_mode(padding);
    GeneralPurpose::new(alphabet, config)
}
