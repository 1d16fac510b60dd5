//! What is wrong with a text, and where. While a text is read only the place is known; the
//! line, the column and the path are worked out from it once there is something to say.

use super::{
    lexer::Lexer,
    walk::{Now, Walk},
};

/// Why a text is no JSON of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// What is wrong and where, for people. Of bounded length, whatever the text quotes.
    pub message: String,
    /// The way to the value at fault, `info.list[2]`; empty at the top. Of bounded length.
    pub path: String,
    /// Whether the value is a number that cannot be kept as it was sent.
    pub inexact: bool,
}

/// What reading a part of a text comes to.
pub(super) type Read<T> = Result<T, Fault>;

/// What is wrong with a text. The box keeps the good case small.
#[derive(Debug)]
pub(super) struct Fault(Box<Parts>);

#[derive(Debug)]
struct Parts {
    /// The byte where the value or key at fault begins, or where the syntax breaks off.
    at: usize,
    what: String,
    /// See [`Unreadable::inexact`].
    inexact: bool,
}

/// How many bytes [`Unreadable`]'s texts have at most, not counting a `…`.
const MAX_TEXT: usize = 512;

/// How many bytes of a value or a key are quoted.
const MAX_QUOTE: usize = 64;

impl Fault {
    pub(super) fn new(at: usize, what: impl Into<String>) -> Self {
        Self(Box::new(Parts { at, what: what.into(), inexact: false }))
    }

    /// The value is a number that cannot be kept as it was sent.
    pub(super) fn inexact(at: usize, what: String) -> Self {
        Self(Box::new(Parts { at, what, inexact: true }))
    }

    /// Says where in `text` it is.
    pub(super) fn locate(self, text: &[u8]) -> Unreadable {
        let Parts { at, what, inexact } = *self.0;
        let (line, column) = position(text, at);
        let path = path(text, at);
        let separator = if path.is_empty() { "" } else { ": " };
        let message = format!("JSON, line {line} column {column}: {path}{separator}{what}");
        Unreadable { message: cut(message, MAX_TEXT), path, inexact }
    }
}

/// A part of a text, as a message quotes it.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shown(text))
}

/// A part of a text that needs no quotes, such as a number.
pub(super) fn shown(text: &str) -> String {
    cut(text[..text.floor_char_boundary(MAX_QUOTE + 1)].to_owned(), MAX_QUOTE)
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
    text
}

/// Line and column, both from 1; columns count characters.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.split(|byte| *byte == b'\n').count();
    let is_continuation = |byte: &u8| byte & 0xc0 == 0x80;
    let column = before[line_start..].iter().filter(|byte| !is_continuation(byte)).count();
    (line, column + 1)
}

/// The way to the value or the key that begins at `at`, or in which the syntax breaks off
/// there.
fn path(text: &[u8], at: usize) -> String {
    let mut lexer = Lexer::new(text);
    let mut walk = Walk::default();
    lexer.peek();
    while lexer.at() < at && matches!(walk.step(&mut lexer), Ok(true)) {}
    let mut path = String::new();
    for now in walk.path() {
        match now {
            Now::Between => {}
            Now::Member(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&shown(key));
            }
            Now::Item(index) => path.extend(["[", &index.to_string(), "]"]),
        }
        if path.len() > MAX_TEXT / 2 {
            return cut(path, MAX_TEXT / 2);
        }
    }
    path
}
