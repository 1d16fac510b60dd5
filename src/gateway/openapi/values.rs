//! Schemas of single values: scalars, and the well-known types with a JSON form of their
//! own.

use super::node::{Node, Object};
use crate::gateway::schema::{Form, Kind};

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In a body that is sent to the server.
    In,
    /// In an answer.
    Out,
    /// In a path or a query string, where durations and the like have a spelling of their
    /// own.
    Text,
}

/// What the mapping writes, and what it reads: one number of seconds.
const DURATION: &str = r"^-?[0-9]+(\.[0-9]{1,9})?s$";
/// Go's spelling.
const DURATION_TEXT: &str = r"^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|ms|s|m|h))+)$";

/// The schema of a kind that is neither enum nor message; those are anything here.
pub(super) fn scalar(kind: Kind, way: Way) -> Object {
    match kind {
        Kind::Double => floating("double", way),
        Kind::Float => floating("float", way),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => typed("integer").with("format", "int32"),
        // It fits no signed 32 bits.
        Kind::Uint32 | Kind::Fixed32 => {
            typed("integer").with("format", "int64").with("minimum", 0).with("maximum", i64::from(u32::MAX))
        }
        // JSON's numbers are doubles to many, so these are strings.
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            typed("string").with("format", "int64").with("pattern", "^-?[0-9]{1,19}$")
        }
        Kind::Uint64 | Kind::Fixed64 => {
            typed("string").with("format", "uint64").with("pattern", "^[0-9]{1,20}$")
        }
        Kind::Bool => typed("boolean"),
        Kind::String => typed("string"),
        Kind::Bytes => typed("string").with("format", "byte"),
        Kind::Enum(_) | Kind::Message(_) => Object::new(),
    }
}

/// The schema of a well-known type; none for messages that have fields, and for those
/// that have no form in a path or a query string.
pub(super) fn well_known(form: Form, way: Way) -> Option<Object> {
    let is_text = way == Way::Text;
    Some(match form {
        Form::Timestamp => typed("string").with("format", "date-time"),
        Form::Duration => typed("string").with("pattern", if is_text { DURATION_TEXT } else { DURATION }),
        Form::FieldMask => typed("string"),
        Form::Wrapper(kind) => scalar(kind, way),
        Form::Struct if is_text => json_text(typed("object")),
        Form::Value if is_text => json_text(Object::new()),
        Form::ListValue | Form::Empty if is_text => return None,
        Form::Struct | Form::Empty => typed("object"),
        Form::Value => Object::new(),
        Form::ListValue => typed("array").with("items", Object::new()),
        Form::Any | Form::Object => return None,
    })
}

/// How a spelling is to be read where a name such as `date-time` does not say it.
pub(super) fn hint(form: Form, way: Way) -> Option<&'static str> {
    match (form, way) {
        (Form::Duration, Way::Text) => Some("A duration such as `90s`, `1m30s` or `1.5h`."),
        (Form::Duration, _) => Some("Seconds, such as `90s` or `1.500s`."),
        (Form::FieldMask, Way::Text) => Some("Paths of fields, joined with commas."),
        (Form::FieldMask, _) => Some("Paths of fields in lowerCamelCase, joined with commas."),
        (Form::Struct | Form::Value, Way::Text) => Some("JSON text."),
        _ => None,
    }
}

pub(super) fn typed(name: &'static str) -> Object {
    Object::new().with("type", name)
}

/// The same, or `null`.
pub(super) fn or_null(schema: Object) -> Object {
    // An empty schema allows it already.
    if schema.is_empty() {
        return schema;
    }
    let alternatives = vec![schema, typed("null")];
    Object::new().with("anyOf", alternatives)
}

/// Anything but a number is written as a string.
fn floating(format: &'static str, way: Way) -> Object {
    let number = typed("number").with("format", format);
    if way == Way::Text {
        return number;
    }
    let others = typed("string").with("enum", vec!["NaN", "Infinity", "-Infinity"]);
    Object::new().with("anyOf", vec![number, others])
}

fn json_text(content: Object) -> Object {
    let text = typed("string").with("contentMediaType", "application/json");
    if content.is_empty() { text } else { text.with("contentSchema", Node::Object(content)) }
}
