//! JSON text, token by token, and as strict as Go's `encoding/json` and protojson are
//! together: no byte order mark, no raw control characters, no half of a surrogate pair,
//! and no strings that are not UTF-8. Nothing behind the value that is read is looked at.

use std::borrow::Cow;

use super::fault::{Fault, Read, quoted, shown};

/// How deep objects and lists may nest.
const MAX_DEPTH: usize = 10_000;

/// A place in a text. All that it hands out lies in the text, or is a string whose escapes
/// were resolved.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    /// The text before the first byte that is not UTF-8. What follows may be of no concern.
    valid: &'t str,
    at: usize,
    depth: usize,
}

/// The name of a member of an object.
#[derive(Debug)]
pub(super) struct Key<'t> {
    /// Where it begins.
    pub at: usize,
    pub name: Cow<'t, str>,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        let valid = match std::str::from_utf8(text) {
            Ok(valid) => valid,
            Err(error) => {
                let (valid, _) = text.split_at(error.valid_up_to());
                std::str::from_utf8(valid).unwrap_or_default()
            }
        };
        Self { text, valid, at: 0, depth: 0 }
    }

    /// Goes to the first value; false if there is nothing but blanks.
    pub(super) fn start(&mut self) -> Read<bool> {
        if self.text.starts_with(b"\xef\xbb\xbf") {
            return Err(self.fault("the text starts with a byte order mark; send it without"));
        }
        Ok(self.peek().is_some())
    }

    /// Goes past blanks; whether that is the end.
    pub(super) fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Where the next token begins, once it was peeked at.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes where one has been before, in the same object or list.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Goes past blanks: the first byte of the next token, if there is one.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Goes into the object or the list that is next.
    pub(super) fn open(&mut self) -> Read<()> {
        self.has_room()?;
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether one more object or list may be opened.
    pub(super) fn has_room(&self) -> Read<()> {
        if self.depth == MAX_DEPTH {
            return Err(self.fault(format!("objects and lists nest deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    /// The key of the next member of the object, and on to its value; none at the end of the
    /// object, which is then closed. `first` is true before the first member.
    pub(super) fn member(&mut self, first: &mut bool) -> Read<Option<Key<'t>>> {
        match self.peek() {
            Some(b'}') => {
                self.close();
                return Ok(None);
            }
            _ if *first => *first = false,
            Some(b',') => {
                self.at += 1;
                self.peek();
            }
            _ => return Err(self.unexpected("',' or '}'")),
        }
        if self.byte() != Some(b'"') {
            return Err(self.unexpected("a key in double quotes"));
        }
        let at = self.at;
        let name = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.unexpected("':' after a key"));
        }
        self.at += 1;
        self.peek();
        Ok(Some(Key { at, name }))
    }

    /// Goes to the next item of the list; false at the end of the list, which is then
    /// closed. `first` is true before the first item.
    pub(super) fn item(&mut self, first: &mut bool) -> Read<bool> {
        match self.peek() {
            Some(b']') => {
                self.close();
                return Ok(false);
            }
            _ if *first => *first = false,
            Some(b',') => {
                self.at += 1;
                self.peek();
            }
            _ => return Err(self.unexpected("',' or ']'")),
        }
        Ok(true)
    }

    /// Reads the string that is next.
    pub(super) fn string(&mut self) -> Read<Cow<'t, str>> {
        let start = self.at + 1;
        self.at = start;
        self.plain();
        if self.byte() == Some(b'"') {
            let plain = self.slice(start)?;
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        self.escaped_string(start).map(Cow::Owned)
    }

    /// Reads the number that is next, and leaves it as it was written.
    pub(super) fn number(&mut self) -> Read<&'t str> {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        match number_length(rest) {
            Ok(length) => {
                self.at += length;
                self.slice(start)
            }
            Err((length, expected)) => {
                self.at += length;
                Err(self.unexpected(expected))
            }
        }
    }

    /// Goes past `true`, `false` or `null`; whether that is next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Goes past a value that is neither an object nor a list.
    pub(super) fn scalar(&mut self) -> Read<()> {
        match self.peek() {
            Some(b'"') => drop(self.string()?),
            Some(b'-' | b'0'..=b'9') => drop(self.number()?),
            _ if self.word("true") || self.word("false") || self.word("null") => {}
            _ => return Err(self.unexpected("a value")),
        }
        Ok(())
    }

    /// What to say of the value that is next, where another was expected.
    pub(super) fn mismatch(&mut self, expected: &str) -> Fault {
        let found = match self.peek() {
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "a list".to_owned(),
            _ => {
                let mut ahead = self.clone();
                if let Err(fault) = ahead.scalar() {
                    return fault;
                }
                shown(self.valid.get(self.at..ahead.at).unwrap_or_default())
            }
        };
        self.fault(format!("{found} where {expected} was expected"))
    }

    /// What to say of a text that goes on where it may not.
    pub(super) fn unexpected(&self, expected: &str) -> Fault {
        let found = match self.valid.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => format!("{found:?}"),
            None if self.at < self.text.len() => "a byte that is not UTF-8".to_owned(),
            None => return self.fault(format!("the text ends where {expected} was expected")),
        };
        self.fault(format!("{found} where {expected} was expected"))
    }

    /// Something is wrong here.
    pub(super) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(self.at, what)
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.at += 1;
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Goes on to what ends a string, or is not simply a part of it.
    fn plain(&mut self) {
        let mut rest = self.text.get(self.at..).unwrap_or_default();
        while let Some((word, next)) = rest.split_first_chunk() {
            if let Some(special) = first_special(*word) {
                self.at += special;
                return;
            }
            self.at += word.len();
            rest = next;
        }
        let special = |byte: &u8| matches!(*byte, b'"' | b'\\' | 0..0x20);
        self.at += rest.iter().position(special).unwrap_or(rest.len());
    }

    /// The text from `start` to here. Both stand next to ASCII.
    fn slice(&self, start: usize) -> Read<&'t str> {
        self.valid
            .get(start..self.at)
            .ok_or_else(|| Fault::new(self.valid.len(), "the text is not valid UTF-8"))
    }

    /// Reads on in a string that is not plain, up to here from `start`.
    fn escaped_string(&mut self, start: usize) -> Read<String> {
        let mut out = String::new();
        let mut clean = start;
        loop {
            self.plain();
            out.push_str(self.slice(clean)?);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fault("a control character in a string; write it as \\u00XX")),
                None => return Err(self.unexpected("'\"' at the end of a string")),
            }
            clean = self.at;
        }
    }

    fn escape(&mut self) -> Read<char> {
        let start = self.at;
        self.at += 1;
        let simple = match self.byte() {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.escaped_unicode(start);
            }
            _ => return Err(self.unexpected("an escape such as \\n or \\u0041")),
        };
        self.at += 1;
        Ok(simple)
    }

    fn escaped_unicode(&mut self, start: usize) -> Read<char> {
        let first = self.hex()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        // Half of a surrogate pair: the other half has to follow.
        if first < 0xdc00 && self.text.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                if let Some(c) = char::from_u32(joined) {
                    return Ok(c);
                }
            }
        }
        Err(Fault::new(start, format!("\\u{first:04x} is half of a surrogate pair")))
    }

    fn hex(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.byte().and_then(|byte| char::from(byte).to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.unexpected("four hexadecimal digits after \\u")),
            }
            self.at += 1;
        }
        Ok(code)
    }
}

impl Key<'_> {
    /// Something is wrong with this key or its being here.
    pub(super) fn fault(&self, what: impl FnOnce(String) -> String) -> Fault {
        Fault::new(self.at, what(quoted(&self.name)))
    }
}

/// Where the first byte is that ends a string or is not simply a part of it. All eight are
/// looked at together: strings are most of a text.
fn first_special(bytes: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH_BITS: u64 = ONES << 7;
    let word = u64::from_le_bytes(bytes);
    // Sets the high bit of the first byte that is below `bound`, of none before it, and
    // perhaps of some behind.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH_BITS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let found = is(b'"') | is(b'\\') | below(word, 0x20);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Whether `text` is one JSON number and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    number_length(text.as_bytes()) == Ok(text.len())
}

/// How long the number is that `text` begins with; else how far it can be followed, and
/// what would have to come there.
fn number_length(text: &[u8]) -> Result<usize, (usize, &'static str)> {
    let is = |at: usize, bytes: &[u8]| text.get(at).is_some_and(|byte| bytes.contains(byte));
    let digits = |from: usize, expected: &'static str| {
        let count = text.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 { Err((from, expected)) } else { Ok(from + count) }
    };
    let mut at = usize::from(is(0, b"-"));
    at = if is(at, b"0") { at + 1 } else { digits(at, "a digit")? };
    if is(at, b".") {
        at = digits(at + 1, "a digit after '.'")?;
    }
    if is(at, b"eE") {
        let sign = usize::from(is(at + 1, b"+-"));
        at = digits(at + 1 + sign, "a digit in an exponent")?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_special_byte(bytes: [u8; 8], plain in 0_usize..8) {
            let mut bytes = bytes;
            for (byte, spare) in bytes.iter_mut().take(plain).zip("é[\u{7f} !#]".bytes()) {
                *byte = spare;
            }
            let expect = bytes.iter().position(|byte| matches!(*byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(first_special(bytes), expect);
        }
    }
}
