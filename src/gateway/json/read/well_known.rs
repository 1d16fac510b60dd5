//! Well-known types that are a string in JSON.

use std::borrow::Cow;

use super::{
    Reader,
    fault::{Fault, Read, quoted},
    time::{self, Time},
};

impl<'t> Reader<'t, '_> {
    /// Reads a `google.protobuf.Timestamp`.
    pub(super) fn timestamp(&mut self) -> Read<()> {
        self.time(time::timestamp, "a time such as \"2006-01-02T15:04:05Z\" of the years 1 to 9999")
    }

    /// Reads a `google.protobuf.Duration`.
    pub(super) fn duration(&mut self) -> Read<()> {
        self.time(time::duration, "seconds such as \"30s\" or \"1.5s\", of 10,000 years at most")
    }

    /// Both have seconds and nanoseconds.
    fn time(&mut self, read: impl FnOnce(&str) -> Option<Time>, expected: &str) -> Read<()> {
        let (at, text) = self.text(expected)?;
        let (seconds, nanos) =
            read(&text).ok_or_else(|| Fault::new(at, format!("{} is not {expected}", quoted(&text))))?;
        self.out.varint(1, seconds.cast_unsigned());
        self.out.varint(2, i64::from(nanos).cast_unsigned());
        Ok(())
    }

    /// Reads a `google.protobuf.FieldMask`: paths, `a.fooBar,c`.
    pub(super) fn field_mask(&mut self) -> Read<()> {
        let (at, text) = self.text("a string of paths")?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        for path in text.split(',') {
            let snake_case = snake_case(path);
            if path.contains('_') || !snake_case.split('.').all(is_identifier) {
                let expected = "a path in lower camel case such as \"labels\" or \"filter.maxAge\"";
                return Err(Fault::new(at, format!("{} is not {expected}", quoted(path))));
            }
            self.out.bytes(1, snake_case.as_bytes());
        }
        Ok(())
    }

    fn text(&mut self, expected: &str) -> Read<(usize, Cow<'t, str>)> {
        match self.lexer.peek() {
            Some(b'"') => Ok((self.lexer.at(), self.lexer.string()?)),
            _ => Err(self.lexer.mismatch(expected)),
        }
    }
}

/// `fooBar` as `foo_bar`.
fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
