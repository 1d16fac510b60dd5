//! Query strings, bound to the fields of a request message: `page_size=5`,
//! `service=a&service=b`, `labels[zone]=x`, `filter.name=y`, under the names of the
//! proto or of its JSON. Keys that name no field are ignored.

use std::collections::{HashMap, HashSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, ReflectMessage as _, Value};

use super::{
    error::Failure,
    param::{self, Mismatch},
};

/// Binds `query`, the part of a URL after its `?`. The fields named in `taken`, which
/// the path has bound, are passed over.
pub(super) fn bind(
    message: &mut DynamicMessage,
    query: &str,
    taken: &[FieldDescriptor],
) -> Result<(), Failure> {
    let mut bound = HashSet::new();
    for Pair { key, mut values } in pairs(query)? {
        let mut name = key.as_str();
        if let Some((field, index)) = bracketed(&key) {
            name = field;
            values.insert(0, index.to_owned());
        }
        if let Some(target) = find(message, name, taken)? {
            if !target.field.is_map() && !bound.insert(target.path) {
                return Err(Failure::invalid(format!(
                    "too many values for field {name:?}: it is given under both its names"
                )));
            }
            set(target.message, &target.field, &values)?;
        }
    }
    Ok(())
}

/// One key with all its values, in the order they came.
#[derive(Debug, PartialEq)]
struct Pair {
    key: String,
    values: Vec<String>,
}

fn pairs(query: &str) -> Result<Vec<Pair>, Failure> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        if part.contains(';') {
            return Err(Failure::invalid("invalid semicolon separator in query"));
        }
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (unescape(key)?, unescape(value)?);
        let place = *places.entry(key.clone()).or_insert(pairs.len());
        match pairs.get_mut(place) {
            Some(pair) => pair.values.push(value),
            None => pairs.push(Pair { key, values: vec![value] }),
        }
    }
    Ok(pairs)
}

fn unescape(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    decode(&spaced).map_err(|why| Failure::invalid(format!("query, {text:?}: {why}")))
}

/// Percent-decodes a text once. Every `%` must start an escape, and the result must be
/// UTF-8.
pub(super) fn decode(text: &str) -> Result<String, &'static str> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("a % that two hexadecimal digits do not follow");
        }
    }
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "not UTF-8 once decoded")
}

/// `labels[k]` is `labels` and `k`.
fn bracketed(key: &str) -> Option<(&str, &str)> {
    key.strip_suffix(']')?.rsplit_once('[')
}

struct Target<'a> {
    message: &'a mut DynamicMessage,
    field: FieldDescriptor,
    path: String,
}

/// The field at the end of a dotted path, and the message it stands in; the messages
/// on the way come into being. None for names that are not ours to bind.
fn find<'a>(
    message: &'a mut DynamicMessage,
    dotted: &str,
    taken: &[FieldDescriptor],
) -> Result<Option<Target<'a>>, Failure> {
    let mut message = message;
    let mut path = String::new();
    let mut names = dotted.split('.').peekable();
    let mut top = true;
    while let Some(name) = names.next() {
        let descriptor = message.descriptor();
        let Some(field) =
            descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name))
        else {
            return Ok(None);
        };
        if top && taken.contains(&field) {
            return Ok(None);
        }
        top = false;
        path.push_str(field.name());
        if names.peek().is_none() {
            return Ok(Some(Target { message, field, path }));
        }
        path.push('.');
        let single = !field.is_list() && !field.is_map();
        if !single || field.kind().as_message().is_none() {
            return Err(Failure::invalid(format!("invalid path: {name:?} is not a message")));
        }
        one_member(message, &field)?;
        let Some(inner) = message.get_field_mut(&field).as_message_mut() else {
            return Ok(None);
        };
        message = inner;
    }
    Ok(None)
}

fn set(message: &mut DynamicMessage, field: &FieldDescriptor, values: &[String]) -> Result<(), Failure> {
    let name = field.name();
    if field.is_map() {
        return set_entry(message, field, values);
    }
    let mismatch = |Mismatch(why): Mismatch| Failure::invalid(format!("parsing field {name:?}: {why}"));
    let kind = field.kind();
    let value = if field.is_list() {
        let items: Result<Vec<Value>, Mismatch> =
            values.iter().map(|value| param::parse(&kind, value)).collect();
        Value::List(items.map_err(mismatch)?)
    } else {
        let [value] = values else {
            return Err(Failure::invalid(format!(
                "too many values for field {name:?}: {}",
                values.join(", ")
            )));
        };
        one_member(message, field)?;
        param::parse(&kind, value).map_err(mismatch)?
    };
    put(message, field, value)
}

/// `labels[k]=v`: the values are `k` and `v`.
fn set_entry(
    message: &mut DynamicMessage,
    field: &FieldDescriptor,
    values: &[String],
) -> Result<(), Failure> {
    let name = field.name();
    let [key, value] = values else {
        return Err(Failure::invalid(if values.len() < 2 {
            format!("the map {name:?} is given as {name}[key]=value")
        } else {
            format!("too many values for field {name:?}: {}", values[1..].join(", "))
        }));
    };
    let mismatch =
        |Mismatch(why): Mismatch| Failure::invalid(format!("parsing field \"{name}[{key}]\": {why}"));
    let kind = field.kind();
    let Some(entry) = kind.as_message() else {
        return Ok(());
    };
    let map_key = param::parse(&entry.map_entry_key_field().kind(), key).map_err(mismatch)?;
    let value = param::parse(&entry.map_entry_value_field().kind(), value).map_err(mismatch)?;
    let map_key: Option<MapKey> = map_key.into_map_key();
    if let (Some(map_key), Some(entries)) = (map_key, message.get_field_mut(field).as_map_mut())
        && entries.insert(map_key, value).is_some()
    {
        return Err(Failure::invalid(format!("too many values for field \"{name}[{key}]\"")));
    }
    Ok(())
}

/// Of a oneof, only one member may be set.
fn one_member(message: &DynamicMessage, field: &FieldDescriptor) -> Result<(), Failure> {
    let Some(oneof) = field.containing_oneof() else {
        return Ok(());
    };
    for member in oneof.fields() {
        if member != *field && message.has_field(&member) {
            return Err(Failure::invalid(format!("field already set for oneof {:?}", oneof.name())));
        }
    }
    Ok(())
}

fn put(message: &mut DynamicMessage, field: &FieldDescriptor, value: Value) -> Result<(), Failure> {
    message
        .try_set_field(field, value)
        .map_err(|error| Failure::invalid(format!("parsing field {:?}: {error}", field.name())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::{gateway::json_write, proto::FILE_DESCRIPTOR_SET};

    fn bound(name: &str, query: &str) -> Result<String, String> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let descriptor = pool.get_message_by_name(name).unwrap();
        let taken: Vec<_> = descriptor.get_field_by_name("id").into_iter().collect();
        let mut message = DynamicMessage::new(descriptor);
        bind(&mut message, query, &taken).map_err(|failure| {
            assert_eq!(failure.code, 3);
            failure.message
        })?;
        let mut out = String::new();
        json_write::message(&mut out, &message).unwrap();
        Ok(out)
    }

    #[test]
    fn lists_maps_and_scalars() {
        let cases = [
            ("", r#"{"service":[],"labels":{},"page_size":0,"page_token":""}"#),
            (
                "service=b&service=a,c&page_size=5&page_token=a+b%2B&&x=1&y.z=2",
                r#"{"service":["b","a,c"],"labels":{},"page_size":5,"page_token":"a b+"}"#,
            ),
            (
                "labels[zone]=x&labels%5Ba.b%5D=&pageSize=007",
                r#"{"service":[],"labels":{"a.b":"","zone":"x"},"page_size":7,"page_token":""}"#,
            ),
        ];
        for (query, expect) in cases {
            assert_eq!(bound("leasehold.v1.ListRequest", query).unwrap(), expect, "{query}");
        }
    }

    #[test]
    fn refusals() {
        let cases = [
            ("page_size=1&page_size=2", "too many values for field \"page_size\": 1, 2"),
            ("page_size=1&pageSize=2", "too many values for field \"pageSize\""),
            ("page_size=", "parsing field \"page_size\""),
            ("page_size", "parsing field \"page_size\""),
            ("page_size=x", "\"x\" is not"),
            ("page_size=-1", "\"-1\" is not"),
            ("page_size=%2B1", "\"+1\" is not"),
            ("page_size=4294967296", "is not"),
            ("page_size[1]=2", "too many values for field \"page_size\": 1, 2"),
            ("labels=x", "labels[key]=value"),
            ("labels[a]=1&labels[a]=2", "too many values for field \"labels\": 1, 2"),
            ("page_token.x=1", "invalid path: \"page_token\" is not a message"),
            ("labels.x=1", "invalid path: \"labels\" is not a message"),
            ("x=%zz", "a % that"),
            ("x=%", "a % that"),
            ("x=%f", "a % that"),
            ("x=%ff", "not UTF-8"),
            ("a=1;b=2", "invalid semicolon separator in query"),
        ];
        for (query, expect) in cases {
            let message = bound("leasehold.v1.ListRequest", query).unwrap_err();
            assert!(message.contains(expect), "{query}: {message}");
        }
    }

    #[test]
    fn what_the_path_bound_is_passed_over() {
        assert_eq!(
            bound("leasehold.v1.PingRequest", "id=a&id=b&lease_token=t").unwrap(),
            r#"{"id":"","lease_token":"t"}"#
        );
    }

    #[test]
    fn messages_on_the_way_come_into_being() {
        let name = "leasehold.v1.Event";
        let out = bound(name, "instance.nope=1&braked=T&type=EXPIRED&reason=2").unwrap();
        assert!(out.contains(r#""type":"EXPIRED","reason":"CONTENT","instance":{"id""#));
        assert!(out.contains(r#""braked":true"#), "{out}");
        let out = bound(name, "instance.lastPingAt=2026-01-02T03:04:05Z").unwrap();
        assert!(out.contains(r#""last_ping_at":"2026-01-02T03:04:05Z""#), "{out}");
        for query in ["type=expired", "type=9", "braked=yes", "instance=x", "braked="] {
            assert!(bound(name, query).is_err(), "{query}");
        }
        let name = "leasehold.v1.BatchRegisterResponse.Result";
        let message = bound(name, "error.code=1&response.url=x").unwrap_err();
        assert_eq!(message, "field already set for oneof \"result\"");
    }

    proptest! {
        #[test]
        fn any_query_is_answered(query in r"[a-c%\[\].=&;+0-9ü]{0,30}") {
            let _ = bound("leasehold.v1.WatchRequest", &query);
        }

        #[test]
        fn any_value_is_answered(value in ".{0,20}", field in 0..4usize) {
            let field = ["bookmark_interval", "labels[a]", "service", "resume_token"][field];
            let _ = bound("leasehold.v1.WatchRequest", &format!("{field}={value}"));
        }
    }
}
