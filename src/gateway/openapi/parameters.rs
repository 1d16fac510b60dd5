//! What a request carries outside of its body: the parts of its path that are filled in,
//! and the query parameters that bind to the fields left over.

use prost_reflect::FieldDescriptor;

use super::{
    node::{Node, Object},
    paths::Slot,
    schemas::Schemas,
    values::{Way, typed, well_known},
};
use crate::gateway::schema::{Field, Form, Kind, MessageId, Shape};

/// How many dots the name of a query parameter has at most. Deeper fields bind all the
/// same; there is no end to them where messages nest.
const MAX_DEPTH: usize = 3;

/// The parameters of a path.
pub(super) fn of_path(schemas: &Schemas<'_>, input: MessageId, slots: Vec<Slot>) -> Vec<Object> {
    let of_slot = |slot: Slot| {
        let field = slot.field.as_deref().and_then(|field| find(schemas, input, field));
        let (mut schema, mut said) = (typed("string"), None);
        if let Some((parent, field)) = field {
            schema = text_schema(schemas, field).unwrap_or(schema);
            said = declared(schemas, parent, field)
                .and_then(|declared| schemas.comments.of(&declared).map(str::to_owned));
        }
        if let Some(pattern) = slot.pattern
            && !schema.has("pattern")
        {
            schema.push("pattern", pattern);
        }
        Object::new()
            .with("name", slot.name)
            .with("in", "path")
            .with_some("description", said)
            .with("required", true)
            .with("schema", schema)
    };
    slots.into_iter().map(of_slot).collect()
}

/// The query parameters of a message, but for the fields in `taken`, dotted paths, and all
/// below them.
pub(super) fn of_query(schemas: &Schemas<'_>, input: MessageId, taken: &[&str]) -> Vec<Object> {
    let mut query = Query { schemas, taken, trail: Vec::new(), parameters: Vec::new() };
    query.message(input, "", "");
    query.parameters
}

/// The kinds that the query parameters of a message refer to.
pub(super) fn kinds(schemas: &Schemas<'_>, input: MessageId) -> Vec<Kind> {
    let (mut kinds, mut seen, mut waiting) = (Vec::new(), vec![input], vec![input]);
    while let Some(id) = waiting.pop() {
        for field in &schemas.types.message(id).fields {
            match field.kind {
                Kind::Enum(_) => kinds.push(field.kind),
                Kind::Message(inner) if is_nested(schemas, field) && !seen.contains(&inner) => {
                    seen.push(inner);
                    waiting.push(inner);
                }
                _ => {}
            }
        }
    }
    kinds
}

struct Query<'a, 'b> {
    schemas: &'a Schemas<'b>,
    taken: &'a [&'a str],
    /// The messages around the one at hand: none is entered twice.
    trail: Vec<MessageId>,
    parameters: Vec<Object>,
}

impl Query<'_, '_> {
    /// `path` and `name` are where the message stands: in the proto's names, and in those
    /// that are shown.
    fn message(&mut self, id: MessageId, path: &str, name: &str) {
        let schemas = self.schemas;
        self.trail.push(id);
        for field in &schemas.types.message(id).fields {
            let path = joined(path, &field.name);
            let name = joined(name, schemas.spelled(field));
            if self.taken.contains(&path.as_str()) {
                continue;
            }
            match field.kind {
                Kind::Message(inner) if is_nested(schemas, field) => {
                    if !self.trail.contains(&inner) && self.trail.len() <= MAX_DEPTH {
                        self.message(inner, &path, &name);
                    }
                }
                _ => self.parameters.extend(self.parameter(id, field, name)),
            }
        }
        self.trail.pop();
    }

    /// None for a field that no query parameter can fill.
    fn parameter(&self, parent: MessageId, field: &Field, name: String) -> Option<Object> {
        text_schema(self.schemas, field)?;
        let declared = declared(self.schemas, parent, field);
        let value = self.schemas.field(field, declared.as_ref(), Way::Text);
        let is_map = matches!(field.shape, Shape::Map { .. });
        let parameter = Object::new()
            .with("name", name)
            .with("in", "query")
            .with_some("style", is_map.then_some("deepObject"))
            .with_some("explode", is_map.then_some(true));
        // What is said of the field is said of the parameter.
        let (said, schema) = value.without("description");
        let (deprecated, schema) = schema.without("deprecated");
        let said = [said, self.rivals(parent, field).map(Node::from)];
        let said: Vec<String> = said.into_iter().flatten().filter_map(Node::into_text).collect();
        Some(
            parameter
                .with_some("description", (!said.is_empty()).then(|| said.join("\n\n")))
                .with_some("deprecated", deprecated)
                .with("schema", schema),
        )
    }

    /// What a oneof forbids.
    fn rivals(&self, parent: MessageId, field: &Field) -> Option<String> {
        let oneof = field.oneof?;
        let fields = self.schemas.types.message(parent).fields.iter();
        let members = fields.filter(|other| other.oneof == Some(oneof) && other.number != field.number);
        let names: Vec<String> = members.map(|other| format!("`{}`", self.schemas.spelled(other))).collect();
        (!names.is_empty()).then(|| format!("Not together with {}.", names.join(", ")))
    }
}

/// The schema of one value of a field as text; none if it has no such form.
fn text_schema(schemas: &Schemas<'_>, field: &Field) -> Option<Object> {
    match field.kind {
        Kind::Message(id) => well_known(schemas.types.message(id).form, Way::Text),
        kind => Some(schemas.value(kind, Way::Text)),
    }
}

/// Whether a field is a message whose own fields have query parameters.
fn is_nested(schemas: &Schemas<'_>, field: &Field) -> bool {
    match field.kind {
        Kind::Message(id) => field.shape == Shape::Single && schemas.types.message(id).form == Form::Object,
        _ => false,
    }
}

/// The field at the end of a dotted path, and the message it stands in.
pub(super) fn find<'a>(
    schemas: &Schemas<'a>,
    input: MessageId,
    dotted: &str,
) -> Option<(MessageId, &'a Field)> {
    let mut parent = input;
    let mut names = dotted.split('.').peekable();
    while let Some(name) = names.next() {
        let field = schemas.types.message(parent).field(name)?;
        if names.peek().is_none() {
            return Some((parent, field));
        }
        match field.kind {
            Kind::Message(id) => parent = id,
            _ => return None,
        }
    }
    None
}

pub(super) fn declared(schemas: &Schemas<'_>, parent: MessageId, field: &Field) -> Option<FieldDescriptor> {
    schemas.descriptor(parent)?.get_field(field.number)
}

fn joined(outer: &str, inner: &str) -> String {
    if outer.is_empty() { inner.to_owned() } else { format!("{outer}.{inner}") }
}
