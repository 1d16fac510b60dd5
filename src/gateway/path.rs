//! Fields that annotations name, and the parts of a URL's path that fill them.

use std::fmt;

use super::{
    draft::Draft,
    error::Failure,
    param::{self, Mismatch, Source},
    query,
    schema::{Field, Form, Kind, Message, Schema, Shape},
};

/// A field of a request, or of a message within it: `id`, `service.id`. There is at least
/// one name; all but the last are singular messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldPath {
    names: Vec<String>,
}

/// Why an annotation cannot name a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadField {
    /// There is none of this name.
    #[error("the field {path}: {message} has no field {name:?}")]
    Unknown {
        /// As the annotation has it.
        path: String,
        /// The message's full name.
        message: String,
        /// What it does not have.
        name: String,
    },
    /// Something in the middle is no message, or more than one.
    #[error("the field {path}: {name:?} is not a single message")]
    NotAMessage {
        /// As the annotation has it.
        path: String,
        /// The field that has no fields.
        name: String,
    },
    /// A path cannot spell its type.
    #[error("the field {path} is of a type that cannot stand in a path")]
    NotAText {
        /// As the annotation has it.
        path: String,
    },
}

impl FieldPath {
    /// Looks up the field that an annotation names, by the proto's names.
    pub(super) fn resolve(schema: &Schema, message: &Message, dotted: &str) -> Result<Self, BadField> {
        Self::walk(schema, message, dotted).map(|(path, _)| path)
    }

    /// Like [`FieldPath::resolve`], for a field that a part of the URL's path is to fill.
    pub(super) fn parameter(schema: &Schema, message: &Message, dotted: &str) -> Result<Self, BadField> {
        let (path, field) = Self::walk(schema, message, dotted)?;
        let text = match field.kind {
            Kind::Message(inner) => {
                let form = schema.message(inner).form;
                let known = matches!(form, Form::Timestamp | Form::Duration | Form::Wrapper(_));
                // Only the query's way, which nested fields go, knows lists of those.
                known && (field.shape == Shape::Single || path.names.len() > 1)
            }
            _ => true,
        };
        if text && !matches!(field.shape, Shape::Map { .. }) {
            Ok(path)
        } else {
            Err(BadField::NotAText { path: dotted.to_owned() })
        }
    }

    /// The proto names from the request to the field.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    fn walk<'a>(
        schema: &'a Schema,
        message: &'a Message,
        dotted: &str,
    ) -> Result<(Self, &'a Field), BadField> {
        let path = || dotted.to_owned();
        let (way, last) = dotted.rsplit_once('.').map_or((None, dotted), |(way, last)| (Some(way), last));
        let mut message = message;
        let unknown = |message: &Message, name: &str| BadField::Unknown {
            path: path(),
            message: message.full_name.clone(),
            name: name.to_owned(),
        };
        let named = |message: &'a Message, name: &str| {
            message.field(name).filter(|field| field.name == name).ok_or_else(|| unknown(message, name))
        };
        for name in way.into_iter().flat_map(|way| way.split('.')) {
            let field = named(message, name)?;
            let (Kind::Message(inner), Shape::Single) = (field.kind, field.shape) else {
                return Err(BadField::NotAMessage { path: path(), name: name.to_owned() });
            };
            message = schema.message(inner);
        }
        let field = named(message, last)?;
        Ok((Self { names: dotted.split('.').map(str::to_owned).collect() }, field))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("."))
    }
}

/// Fills a field that [`FieldPath::parameter`] gave with a part of a path, decoded. Whatever
/// the body says of it is gone, unless the field is a list within another message: that one
/// grows by one, as the gateway has it.
pub(super) fn bind(draft: &mut Draft<'_>, path: &FieldPath, text: &[u8]) -> Result<(), Failure> {
    let bound = match path.names.as_slice() {
        [name] => bind_top(draft, name, text),
        names => query::put(draft, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[text]),
    };
    bound.map_err(|Mismatch(why)| Failure::invalid(format!("type mismatch, parameter: {path}, error: {why}")))
}

fn bind_top(draft: &mut Draft<'_>, name: &str, text: &[u8]) -> Result<(), Mismatch> {
    let (part, json) = (Draft::ROOT, draft.json());
    let message = draft.message(part);
    let Some((place, field)) = message.place_of_name(name).map(|place| (place, &message.fields[place]))
    else {
        return Ok(());
    };
    if let Some(oneof) = field.oneof
        && draft.member(part, oneof).is_some_and(|set| set != place)
    {
        let name = message.oneofs.get(usize::from(oneof)).map_or("", String::as_str);
        return Err(Mismatch(format!("another member of the oneof {name:?} is set already")));
    }
    if field.shape == Shape::Single {
        let value = param::parse(json, field.kind, text, Source::Path)?;
        draft.set(part, place, value);
    } else {
        draft.clear(part, place);
        for item in text.split(|byte| *byte == b',') {
            draft.add(part, place, &param::parse(json, field.kind, item, Source::Path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
