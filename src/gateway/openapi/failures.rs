//! What a call answers when it fails: `google.rpc.Status` as JSON, under the HTTP status
//! that its code maps to.

use std::collections::BTreeMap;

use super::{
    node::Object,
    values::{Way, scalar, typed},
};
use crate::gateway::{error::http_status, schema::Kind};

/// The full names of the types that errors are made of, which every document has.
pub(super) const STATUS: &str = "google.rpc.Status";
pub(super) const ANY: &str = "google.protobuf.Any";

/// The codes of `google.rpc.Code` but OK, by number.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";

/// How an RPC shows its failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As the status itself.
    Plain,
    /// Wrapped as a line of the stream, unless the call had not begun.
    OfStream,
}

/// The schemas that errors are made of, by name.
pub(super) fn schemas(emits_unpopulated: bool) -> [(&'static str, Object); 2] {
    let details = typed("array")
        .with("items", Object::reference("schemas", ANY))
        .with("description", "More about the error, for programs.");
    let status = typed("object")
        .with("description", "How a call failed.")
        .with(
            "properties",
            Object::new()
                .with("code", scalar(Kind::Int32, Way::Out).with("description", "A `google.rpc.Code`."))
                .with("message", typed("string").with("description", "What went wrong, for people."))
                .with("details", details),
        )
        // Details of a type that is not known here cannot be written: a fixed text without
        // any is sent in place of the status.
        .with("required", if emits_unpopulated { vec!["code", "message"] } else { vec!["code"] });
    let any = typed("object")
        .with("description", "A message of any type: its fields, beside the name of its type.")
        .with(
            "properties",
            Object::new().with(
                "@type",
                typed("string").with("description", "`type.googleapis.com/` and the type's full name."),
            ),
        );
    [(ANY, any), (STATUS, status)]
}

/// The answers that `components/responses` holds, by name.
pub(super) fn responses() -> [(&'static str, Object); 2] {
    let list = by_status(&CODES).into_iter();
    let list: Vec<String> = list.map(|(status, codes)| format!("- {status}: {}", codes.join(", "))).collect();
    let said = format!("Any other failure; its HTTP status follows from `code`:\n\n{}", list.join("\n"));
    [("Failure", response(said.clone(), Shown::Plain)), ("StreamFailure", response(said, Shown::OfStream))]
}

/// Adds the failures of an RPC: those whose codes its comment names, bad requests, which
/// every RPC has, and one for all others.
pub(super) fn add(responses: &mut Object, comment: &str, shown: Shown) {
    let words: Vec<&str> = comment.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let named: Vec<&'static str> =
        CODES.into_iter().filter(|code| *code == INVALID_ARGUMENT || words.contains(code)).collect();
    for (status, codes) in by_status(&named) {
        responses.push(status.to_string(), response(codes.join(", "), shown));
    }
    let other = match shown {
        Shown::Plain => "Failure",
        Shown::OfStream => "StreamFailure",
    };
    responses.push("default", Object::reference("responses", other));
}

/// One line of a stream that ends it with a status.
pub(super) fn line() -> Object {
    typed("object")
        .with("properties", Object::new().with("error", Object::reference("schemas", STATUS)))
        .with("required", vec!["error"])
}

fn by_status(codes: &[&'static str]) -> BTreeMap<u16, Vec<&'static str>> {
    let mut statuses: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (number, code) in (1..).zip(CODES) {
        if codes.contains(&code) {
            statuses.entry(http_status(number).as_u16()).or_default().push(code);
        }
    }
    statuses
}

fn response(description: String, shown: Shown) -> Object {
    let status = Object::reference("schemas", STATUS);
    let schema = match shown {
        Shown::Plain => status,
        Shown::OfStream => Object::new().with("anyOf", vec![status, line()]),
    };
    Object::new().with("description", description).with("content", json(schema))
}

/// The `content` of a body that is JSON.
pub(super) fn json(schema: Object) -> Object {
    Object::new().with("application/json", Object::new().with("schema", schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpcs_comment_names_its_failures() {
        for (comment, expect) in [
            ("", "400 default"),
            ("Gets. NOT_FOUND: none.", "400 404 default"),
            ("FAILED_PRECONDITION, `UNAVAILABLE`; NOT_FOUND_EITHER, unknown", "400 503 default"),
        ] {
            let mut responses = Object::new();
            add(&mut responses, comment, Shown::Plain);
            let json = serde_json::to_value(&responses).unwrap();
            let statuses: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(statuses.join(" "), expect, "{comment}");
        }
    }
}
