//! The JSON reader of the gateway: reads the first value of a text and says, with line
//! and column, why it cannot. Stricter than most: a key twice in one object, half a
//! surrogate pair, and (on wish) a number that a double would change are errors, since
//! each would make two readers of one text disagree.

use serde_json::{Map, Number, Value};

use super::exact;

/// How deep objects and lists may nest.
pub(super) const MAX_DEPTH: usize = 100;

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScanError {
    /// For people, with the place in the text.
    pub message: String,
    /// The way to the value at fault, `info.list[2]`; empty at the top.
    pub path: String,
    /// Whether the value is a number that cannot be kept as it was sent.
    pub inexact: bool,
}

/// Reads the first value; none if there is nothing but blanks. What follows the value
/// is not looked at.
pub(super) fn first_value(text: &[u8], exact_numbers: bool) -> Result<Option<Value>, ScanError> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            // Garbage behind the first value is ignored, so only the part before it
            // has to be text.
            let (valid, _) = text.split_at(error.valid_up_to());
            let valid = std::str::from_utf8(valid).unwrap_or_default();
            let mut scanner = Scanner::new(valid, exact_numbers);
            return match scanner.document() {
                Ok(Some(value)) if scanner.at < valid.len() => Ok(Some(value)),
                Err(error) if scanner.at < valid.len() => Err(error),
                _ => {
                    scanner.at = valid.len();
                    Err(scanner.error("the text is not valid UTF-8"))
                }
            };
        }
    };
    Scanner::new(text, exact_numbers).document()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    exact_numbers: bool,
}

type Scanned<T> = Result<T, ScanError>;

impl<'a> Scanner<'a> {
    fn new(text: &'a str, exact_numbers: bool) -> Self {
        Self { text, at: 0, exact_numbers }
    }

    fn document(&mut self) -> Scanned<Option<Value>> {
        if self.text.starts_with('\u{feff}') {
            return Err(self.error("the text starts with a byte order mark; send it without"));
        }
        self.skip_blanks();
        if self.at == self.text.len() {
            return Ok(None);
        }
        self.value(0).map(Some)
    }

    fn value(&mut self, depth: usize) -> Scanned<Value> {
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                Err(self.error(format!("the value nests deeper than {MAX_DEPTH} levels")))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Scanned<Value> {
        self.at += 1;
        let mut map = Map::new();
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(Value::Object(map));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let start = self.at;
            let key = self.string()?;
            if map.contains_key(&key) {
                self.at = start;
                let error = self.error(format!("the key {key:?} comes twice in one object"));
                return Err(error.within_key(&key));
            }
            self.skip_blanks();
            if !self.take(b':') {
                return Err(self.unexpected("':' after a key"));
            }
            self.skip_blanks();
            let value = self.value(depth + 1).map_err(|error| error.within_key(&key))?;
            map.insert(key, value);
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(Value::Object(map));
            }
            if !self.take(b',') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Scanned<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_blanks();
            let item = self.value(depth + 1).map_err(|error| error.within_index(items.len()))?;
            items.push(item);
            self.skip_blanks();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn string(&mut self) -> Scanned<String> {
        self.at += 1;
        let mut out = String::new();
        let mut clean = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    out.push_str(&self.text[clean..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(&self.text[clean..self.at]);
                    out.push(self.escape()?);
                    clean = self.at;
                }
                Some(0..0x20) => {
                    return Err(self.error("a control character in a string; write it as \\u00XX"));
                }
                Some(_) => self.at += 1,
                None => return Err(self.unexpected("'\"' at the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Scanned<char> {
        self.at += 1;
        let simple = match self.peek() {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.escaped_unicode();
            }
            _ => return Err(self.unexpected("an escape such as \\n or \\u0041")),
        };
        self.at += 1;
        Ok(simple)
    }

    fn escaped_unicode(&mut self) -> Scanned<char> {
        let first = self.hex()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        // Half of a surrogate pair: the other half has to follow.
        if first < 0xdc00 && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                if let Some(c) = char::from_u32(joined) {
                    return Ok(c);
                }
            }
        }
        Err(self.error(format!("\\u{first:04x} is half of a surrogate pair")))
    }

    fn hex(&mut self) -> Scanned<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|b| char::from(b).to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.unexpected("four hexadecimal digits after \\u")),
            }
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Scanned<Value> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(self.unexpected("a digit"));
        }
        let mut whole = true;
        if self.take(b'.') {
            whole = false;
            if self.digits() == 0 {
                return Err(self.unexpected("a digit after '.'"));
            }
        }
        if self.take(b'e') || self.take(b'E') {
            whole = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.unexpected("a digit in an exponent"));
            }
        }
        let literal = &self.text[start..self.at];
        if self.exact_numbers && !exact::is_exact(literal) {
            self.at = start;
            let mut error = self.error(format!(
                "the number {} cannot be kept exactly; send it as a string",
                shortened(literal)
            ));
            error.inexact = true;
            return Err(error);
        }
        let Some(number) = number(literal, whole) else {
            self.at = start;
            return Err(self.error(format!("the number {} is out of range", shortened(literal))));
        };
        Ok(Value::Number(number))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &str, value: Value) -> Scanned<Value> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.unexpected("a value"))
        }
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &str) -> ScanError {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => self.error(format!("{found:?} where {expected} was expected")),
            None => self.error(format!("the text ends where {expected} was expected")),
        }
    }

    fn error(&self, message: impl std::fmt::Display) -> ScanError {
        let lines = self.text.as_bytes()[..self.at].split(|byte| *byte == b'\n');
        let (line, column) = lines.fold((0, 0), |(line, _), text| (line + 1, text.len() + 1));
        ScanError {
            message: format!("JSON, line {line} column {column}: {message}"),
            path: String::new(),
            inexact: false,
        }
    }
}

impl ScanError {
    fn within_key(self, key: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        let path = format!("{key}{separator}{}", self.path);
        Self { path, ..self }
    }

    fn within_index(self, index: usize) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        let path = format!("[{index}]{separator}{}", self.path);
        Self { path, ..self }
    }
}

/// None if a double cannot hold it.
fn number(literal: &str, whole: bool) -> Option<Number> {
    if whole {
        if let Ok(number) = literal.parse::<u64>() {
            return Some(number.into());
        }
        // A negative zero is no integer.
        if let Ok(number) = literal.parse::<i64>()
            && number != 0
        {
            return Some(number.into());
        }
    }
    Number::from_f64(literal.parse().ok()?)
}

/// A number's text may be as long as the body.
fn shortened(literal: &str) -> String {
    if literal.len() > 40 { format!("{}…", &literal[..40]) } else { literal.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        first_value(text.as_bytes(), false).unwrap().unwrap()
    }

    fn refusal(text: impl AsRef<[u8]>) -> ScanError {
        first_value(text.as_ref(), true).unwrap_err()
    }

    #[test]
    fn the_first_value_is_read() {
        assert_eq!(
            read(" {\"a\":[1,-2,3.5,true,false,null,{}],\"b\\n\":\"\\u00e9\\ud83d\\ude00/\\/\"} x"),
            json!({"a": [1, -2, 3.5, true, false, null, {}], "b\n": "é😀//"})
        );
        assert_eq!(read("1 2"), json!(1));
        assert_eq!(read("{}xyz"), json!({}));
        assert_eq!(first_value(b"{} \xff", true).unwrap(), Some(json!({})));
        assert_eq!(first_value(b"", true).unwrap(), None);
        assert_eq!(first_value(b" \r\n\t", true).unwrap(), None);
        assert!(read("-0").as_f64().unwrap().is_sign_negative());
        assert_eq!(read("18446744073709551615"), json!(u64::MAX));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            ("{\"a\":1,\n \"a\":2}", "line 2 column 2: the key \"a\" comes twice"),
            ("{\"a\":1,\"\\u0061\":2}", "the key \"a\" comes twice"),
            ("{", "the text ends where a key"),
            ("{a:1}", "line 1 column 2: 'a' where a key in double quotes"),
            ("{\"a\":1,}", "'}' where a key"),
            ("[1 2]", "',' or ']'"),
            ("{\"a\" 1}", "':' after a key"),
            ("\"a", "the text ends where '\"'"),
            ("\"\\x\"", "an escape"),
            ("\"\\u12\"", "four hexadecimal digits"),
            ("\"\\ud800\"", "half of a surrogate pair"),
            ("\"\\udc00\\ud800\"", "half of a surrogate pair"),
            ("\"\\ud800\\u0041\"", "half of a surrogate pair"),
            ("\"a\nb\"", "a control character"),
            ("\u{feff}{}", "byte order mark"),
            ("tru", "where a value was expected"),
            ("nul", "where a value was expected"),
            ("-", "a digit"),
            ("1.", "a digit after '.'"),
            ("1e", "a digit in an exponent"),
            ("'a'", "where a value was expected"),
            ("\u{e9}", "'é' where a value"),
        ];
        for (text, expect) in cases {
            let error = refusal(text);
            assert!(error.message.contains(expect), "{text}: {}", error.message);
        }
        assert!(refusal(b"{\"a\":\"\xff\"}").message.contains("UTF-8"));
        assert!(refusal(b"\"\xc3").message.contains("UTF-8"));
        let error = first_value(b"1e400", false).unwrap_err();
        assert!(error.message.contains("out of range"));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(first_value(nested(MAX_DEPTH).as_bytes(), true).is_ok());
        assert!(refusal(nested(MAX_DEPTH + 1)).message.contains("nests deeper"));
        assert!(refusal("[".repeat(1 << 20)).message.contains("nests deeper"));
    }

    #[test]
    fn an_inexact_number_is_named() {
        let error = refusal("{\"info\":{\"a\":[0,{\"b\":9007199254740993}]}}");
        assert!(error.inexact);
        assert_eq!(error.path, "info.a[1].b");
        assert!(error.message.contains("9007199254740993"), "{}", error.message);
        assert!(first_value(b"9007199254740993", false).is_ok());
    }
}
