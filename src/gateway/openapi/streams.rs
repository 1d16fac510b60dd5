//! What a stream is made of: lines, or Server-Sent Events.

use super::{failures, node::Object, values::typed};

/// One line of a stream of `name`, messages shown as `result`.
pub(super) fn line(name: &str, result: Object) -> Object {
    let error = Object::reference("schemas", failures::STATUS);
    typed("object")
        .with("title", format!("Stream result of {name}"))
        .with("description", "One line of the stream: a message, or the error that ends it.")
        .with("properties", Object::new().with("result", result).with("error", error))
        .with("additionalProperties", false)
        .with("minProperties", 1)
        .with("maxProperties", 1)
}

/// The fields of one event, whose id is the message's field of this name.
pub(super) fn event(name: &str, result: Object, id: Option<&str>) -> Object {
    let data = typed("string")
        .with("contentMediaType", "application/json")
        .with("contentSchema", Object::new().with("anyOf", vec![result, failures::line()]));
    let id = id.map(|id| typed("string").with("description", format!("The message's `{id}`.")));
    let kind = typed("string")
        .with("enum", vec!["message", "error"])
        .with("description", "`error` is that of the event which ends the stream with one.");
    typed("object")
        .with("title", format!("Event of {name}"))
        .with("description", "The fields of one event.")
        .with("properties", Object::new().with("data", data).with_some("id", id).with("event", kind))
        .with("required", vec!["data"])
}

/// The header in which a browser that connects again says where it was. `field` is what it
/// takes the place of.
pub(super) fn last_event_id(field: &str) -> Object {
    let said =
        format!("The last `id` of a Server-Sent Event that was seen. It takes precedence over `{field}`.");
    Object::new()
        .with("name", "Last-Event-ID")
        .with("in", "header")
        .with("description", said)
        .with("schema", typed("string"))
}
