//! Fields that are a body by themselves, through `body: "field"` or `response_body`. If they
//! are no messages, gRPC-gateway spells them as Go's own JSON does: 64 bits as numbers,
//! enums in requests by number.

use prost_reflect::FieldDescriptor;

use super::{
    node::Object,
    schemas::Schemas,
    values::{Way, or_null, typed},
};
use crate::gateway::schema::{Field, Kind, Presence, Shape};

/// The schema of a body that is this field.
pub(super) fn field(
    schemas: &Schemas<'_>,
    field: &Field,
    declared: Option<&FieldDescriptor>,
    way: Way,
) -> Object {
    let value = value(schemas, field.kind, way);
    let schema = match field.shape {
        Shape::List { .. } => typed("array").with("items", value),
        Shape::Map { .. } => typed("object").with("additionalProperties", value),
        Shape::Single => value,
    };
    let said = declared.and_then(|declared| schemas.comments.of(declared));
    let schema = if way == Way::Out { unset(schemas, field, schema) } else { schema };
    schema.with_some("description", said)
}

/// The schema of an answer, with what an unset field looks like in it.
fn unset(schemas: &Schemas<'_>, field: &Field, schema: Object) -> Object {
    let emitted = schemas.json.emit_unpopulated;
    match (field.shape, field.kind) {
        // As the empty message.
        (Shape::Single, Kind::Message(_)) => schema,
        (Shape::Single, Kind::Bytes) if emitted => {
            Object::new().with("anyOf", vec![schema, typed("array").with("maxItems", 0)])
        }
        (Shape::Single, kind) if kind != Kind::Bytes && field.presence != Presence::Nothing => schema,
        (Shape::List { .. } | Shape::Map { .. }, _) if emitted => schema,
        _ => or_null(schema),
    }
}

fn value(schemas: &Schemas<'_>, kind: Kind, way: Way) -> Object {
    match kind {
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => typed("integer").with("format", "int64"),
        Kind::Uint64 | Kind::Fixed64 => typed("integer").with("format", "uint64").with("minimum", 0),
        Kind::Double => typed("number").with("format", "double"),
        Kind::Float => typed("number").with("format", "float"),
        Kind::Enum(_) if way == Way::In => typed("integer").with("format", "int32"),
        // A number without a name is a string of digits.
        Kind::Enum(_) => {
            let digits = typed("string").with("pattern", "^-?[0-9]+$");
            Object::new().with("anyOf", vec![schemas.value(kind, Way::In), digits])
        }
        _ => schemas.value(kind, way),
    }
}
