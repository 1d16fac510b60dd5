//! Parameters of a query string or a form, bound to the fields of a request: `page_size=5`,
//! `service=a&service=b`, `labels[zone]=x`, `filter.name=y`, under the names of the proto or
//! of its JSON. Keys that name no field are ignored.
//!
//! The gateway goes through the keys in no particular order. Here they are taken in the order
//! in which they first came, so that of two names of one field the later one counts.

use super::{
    draft::{Draft, PartId},
    error::Failure,
    form::Values,
    param::{self, Mismatch, Parsed, Source},
    path::FieldPath,
    schema::{Field, Kind, Message, Schema, Shape},
};

/// Whether a request of this type has fields left for the query string, beside those that
/// the path and the body fill. If not, the query string is not even looked at.
pub(super) fn applies(message: &Message, taken: &[FieldPath]) -> bool {
    let is_taken = |field: &Field| taken.iter().any(|path| path.names() == [field.name.as_str()]);
    !message.fields.iter().all(is_taken)
}

/// Binds all `values`. Keys that name a field in `taken`, which path or body fill, or
/// anything within it, are passed over.
pub(super) fn bind(draft: &mut Draft<'_>, values: &Values, taken: &[FieldPath]) -> Result<(), Failure> {
    for (key, values) in values.iter() {
        let (key, index) = bracketed(key);
        let values: Vec<&[u8]> = index.into_iter().chain(values.iter().map(Vec::as_slice)).collect();
        // What is not UTF-8 is no name, just like nothing.
        let names = key.split(|byte| *byte == b'.').map(|name| std::str::from_utf8(name).unwrap_or_default());
        let names: Vec<&str> = names.collect();
        let schema = draft.json().schema();
        if is_taken(normal(schema, draft.message(Draft::ROOT), &names).as_deref().unwrap_or(&names), taken) {
            continue;
        }
        put(draft, &names, &values).map_err(|Mismatch(why)| Failure::invalid(why))?;
    }
    Ok(())
}

/// Puts values into the field at the end of a path. The messages on the way come into being,
/// even if what they lead to does not exist.
pub(super) fn put(draft: &mut Draft<'_>, names: &[&str], values: &[&[u8]]) -> Result<(), Mismatch> {
    let mut part = Draft::ROOT;
    let Some((last, way)) = names.split_last() else {
        return Ok(());
    };
    for name in way {
        let Some((place, field)) = find(draft.message(part), name) else {
            return Ok(());
        };
        one_member(draft, part, place, field)?;
        let (Kind::Message(inner), Shape::Single) = (field.kind, field.shape) else {
            return Err(Mismatch(format!("invalid path: {name:?} is not a message")));
        };
        part = draft.enter(part, place, inner).map_err(|error| Mismatch(error.to_string()))?;
    }
    let Some((place, field)) = find(draft.message(part), last) else {
        return Ok(());
    };
    one_member(draft, part, place, field)?;
    let name = &field.name;
    match field.shape {
        Shape::Single => {
            let [value] = values else {
                return Err(Mismatch(format!("too many values for field {name:?}: {}", listed(values))));
            };
            let value = param::parse(draft.json(), field.kind, value, Source::Query)
                .map_err(|Mismatch(why)| Mismatch(format!("parsing field {name:?}: {why}")))?;
            draft.set(part, place, value);
        }
        Shape::List { .. } => {
            for value in values {
                let value = param::parse(draft.json(), field.kind, value, Source::Query)
                    .map_err(|Mismatch(why)| Mismatch(format!("parsing list {name:?}: {why}")))?;
                draft.add(part, place, &value);
            }
        }
        Shape::Map { key } => {
            let entry = entry(draft, field, key, values)?;
            draft.add(part, place, &entry);
        }
    }
    Ok(())
}

/// `labels[k]` is `labels` and `k`, whatever `labels` is. A line end makes it one name.
fn bracketed(key: &[u8]) -> (&[u8], Option<&[u8]>) {
    if let Some(inner) = key.strip_suffix(b"]")
        && let Some(at) = inner.iter().rposition(|byte| *byte == b'[')
        && !key.contains(&b'\n')
    {
        return (&inner[..at], Some(&inner[at + 1..]));
    }
    (key, None)
}

/// The names of a path in their proto's spelling; none if it leads nowhere.
fn normal<'a>(schema: &'a Schema, mut message: &'a Message, names: &[&str]) -> Option<Vec<&'a str>> {
    let mut normal = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let field = message.field(name)?;
        normal.push(field.name.as_str());
        if at + 1 < names.len() {
            let (Kind::Message(inner), Shape::Single) = (field.kind, field.shape) else {
                return None;
            };
            message = schema.message(inner);
        }
    }
    Some(normal)
}

/// Whether `names` lead to one of `taken`, or into it: as far as they go along with any of
/// them, that one has to end there. So, beside `a` and `a.b.c`, `a.b.x` is free.
fn is_taken(names: &[&str], taken: &[FieldPath]) -> bool {
    let common = |path: &FieldPath| path.names().iter().zip(names).take_while(|(a, b)| a == *b).count();
    let furthest = taken.iter().map(common).max().unwrap_or(0);
    taken.iter().any(|path| path.names().len() == furthest && common(path) == furthest)
}

fn find<'a>(message: &'a Message, name: &str) -> Option<(usize, &'a Field)> {
    let place = message.place_of_name(name)?;
    Some((place, message.fields.get(place)?))
}

/// Of a oneof, only one member may be set, and only once, unless it is a message.
fn one_member(draft: &Draft<'_>, part: PartId, place: usize, field: &Field) -> Result<(), Mismatch> {
    let Some(oneof) = field.oneof.filter(|_| !field.optional) else {
        return Ok(());
    };
    let is_message = matches!(field.kind, Kind::Message(_));
    match draft.member(part, oneof) {
        Some(set) if set != place || !is_message => {
            let name = draft.message(part).oneofs.get(usize::from(oneof)).map_or("", String::as_str);
            Err(Mismatch(format!("field already set for oneof {name:?}")))
        }
        _ => Ok(()),
    }
}

/// `labels[k]=v`: the values are `k` and `v`.
fn entry(draft: &Draft<'_>, field: &Field, key: Kind, values: &[&[u8]]) -> Result<Parsed, Mismatch> {
    let name = &field.name;
    let [key_text, value_text] = values else {
        return Err(Mismatch(
            if let [_, values @ ..] = values
                && !values.is_empty()
            {
                format!("too many values for one key of the map {name:?}: {}", listed(values))
            } else {
                format!("the map {name:?} is given as {name}[key]=value")
            },
        ));
    };
    let mismatch = |Mismatch(why): Mismatch| Mismatch(format!("parsing map {name:?}: {why}"));
    let key = param::parse(draft.json(), key, key_text, Source::Query).map_err(mismatch)?;
    let value = param::parse(draft.json(), field.kind, value_text, Source::Query).map_err(mismatch)?;
    Ok(Parsed::message([(1, key), (2, value)]))
}

fn listed(values: &[&[u8]]) -> String {
    String::from_utf8_lossy(&values.join(&b", "[..])).into_owned()
}

#[cfg(test)]
mod tests;
