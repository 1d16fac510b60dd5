//! Encoded messages to text, as Go's protojson writes them: in one pass over the bytes,
//! without a message in memory between.
//!
//! [`Json::write`] is the way of an answer. `scan` finds a message's fields, `object`
//! writes them in the order of their declaration, `plan` has their texts ready. `entry`
//! is for maps, `known` for the well-known types, `dynamic` for the three of them that
//! nest without bound, `alone` for a single field as an answer; `scalar` and `text` have
//! the spelling of numbers and strings.

mod alone;
mod dynamic;
mod entry;
mod known;
mod object;
mod plan;
mod scalar;
mod scan;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

use self::{
    dynamic::{Member, Open},
    entry::Entry,
};
use super::{Json, MessageId};
use crate::wire::Malformed;

pub(super) use self::plan::Plans;
pub(in crate::gateway) use self::text::write_string;

/// Why an encoded message cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
pub struct Unwritable {
    cause: Cause,
    /// The field, from the outermost message on: `services[3].info`.
    at: String,
    what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Malformed,
    NoForm,
}

type Written = Result<(), Unwritable>;

/// How deep messages may nest, those of `google.protobuf.Struct` apart; maps count as
/// messages. The limit of prost, which made most of what arrives here.
const MAX_LEVEL: u32 = 100;

/// How deep messages may nest on the whole: the limit of Go's decoder, which is
/// 10,000 and starts at 1.
const MAX_DYNAMIC_LEVEL: u32 = 9_999;

impl Json {
    /// Appends an encoded message to `out`. What fails appends nothing.
    pub fn write(&self, message: MessageId, encoded: &[u8], out: &mut String) -> Result<(), Unwritable> {
        // Names and punctuation take about what the encoded values do.
        out.reserve(2 * encoded.len());
        self.written(out, |writer| writer.message(message, &[encoded], 0))
    }

    /// Appends a message that is packed in an `Any`, as that `Any` is written.
    pub(in crate::gateway) fn write_any(&self, type_url: &str, packed: &[u8], out: &mut String) -> Written {
        self.written(out, |writer| writer.packed(type_url, packed, 0))
    }

    fn written<'a>(
        &'a self,
        out: &mut String,
        write: impl FnOnce(&mut Writer<'a, '_>) -> Written,
    ) -> Written {
        let start = out.len();
        let written = write(&mut Writer {
            json: self,
            out,
            entries: Vec::new(),
            members: Vec::new(),
            open: Vec::new(),
        });
        if written.is_err() {
            out.truncate(start);
        }
        written
    }
}

/// Writes one message, or what else an answer is.
struct Writer<'a, 'o> {
    json: &'a Json,
    out: &'o mut String,
    /// Entries of the maps that are being written, those of the innermost last.
    entries: Vec<Entry<'a>>,
    /// Likewise, of the `Struct`s.
    members: Vec<Member<'a>>,
    /// What of `Struct`s and `ListValue`s is being written, the innermost last.
    open: Vec<Open<'a>>,
}

// === impl Unwritable ===

impl Unwritable {
    /// Whether the bytes are no encoded message at all. Else they are one, but hold what
    /// JSON has no form for, such as an infinity in a `Struct`.
    pub fn is_malformed(&self) -> bool {
        self.cause == Cause::Malformed
    }

    #[cold]
    fn malformed(what: impl Into<String>) -> Self {
        Self { cause: Cause::Malformed, at: String::new(), what: what.into() }
    }

    #[cold]
    fn no_form(what: impl Into<String>) -> Self {
        Self { cause: Cause::NoForm, at: String::new(), what: what.into() }
    }

    /// It lies in the field `name`.
    #[cold]
    fn within(mut self, name: &str) -> Self {
        // protojson's own words name no place.
        if self.what.starts_with("proto: ") {
            return self;
        }
        let dot = if self.at.is_empty() || self.at.starts_with('[') { "" } else { "." };
        self.at = format!("{name}{dot}{}", self.at);
        self
    }

    /// It lies in an element of a list or map.
    #[cold]
    fn within_element(self, key: &dyn fmt::Display) -> Self {
        self.within(&format!("[{key}]"))
    }
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, what, .. } = self;
        if at.is_empty() { f.write_str(what) } else { write!(f, "{at}: {what}") }
    }
}

impl From<Malformed> for Unwritable {
    #[cold]
    fn from(_: Malformed) -> Self {
        Self::malformed("these bytes are no encoded message")
    }
}
