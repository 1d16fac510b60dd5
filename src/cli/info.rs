//! What `register` reads beside plain text: `--info`, a JSON object or `@file` with one, and
//! `--label`, a pair.

use std::{fs, str::FromStr as _};

use prost_types::{ListValue, NullValue, Struct, Value, value::Kind};
use serde_json::Value as Json;

/// Up to this a double holds every whole number.
const EXACT: u64 = 1 << 53;

/// `{"json": "object"}`, or `@path` of a file that holds one.
pub fn read(argument: &str) -> Result<Struct, String> {
    match argument.strip_prefix('@') {
        None => parse(argument),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            parse(&text).map_err(|error| format!("{path}: {error}"))
        }
    }
}

/// A JSON object whose numbers a double holds, as the HTTP paths ask for too.
pub fn parse(text: &str) -> Result<Struct, String> {
    match Json::from_str(text).map_err(|error| format!("not JSON: {error}"))? {
        Json::Object(object) => structure(object),
        _ => Err("not a JSON object, such as {\"version\": \"1.2\"}".to_owned()),
    }
}

/// `KEY=VALUE`; only the first `=` parts them.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written KEY=VALUE".to_owned()),
    }
}

fn structure(object: serde_json::Map<String, Json>) -> Result<Struct, String> {
    let fields: Result<_, String> = object.into_iter().map(|(key, json)| Ok((key, value(json)?))).collect();
    Ok(Struct { fields: fields? })
}

fn value(json: Json) -> Result<Value, String> {
    let kind = match json {
        Json::Null => Kind::NullValue(NullValue::NullValue.into()),
        Json::Bool(switch) => Kind::BoolValue(switch),
        Json::Number(number) => Kind::NumberValue(double(&number)?),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => {
            let values: Result<_, String> = items.into_iter().map(value).collect();
            Kind::ListValue(ListValue { values: values? })
        }
        Json::Object(object) => Kind::StructValue(structure(object)?),
    };
    Ok(Value { kind: Some(kind) })
}

fn double(number: &serde_json::Number) -> Result<f64, String> {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    // Past 2^53 a whole number is exact only when its low bits are zero.
    let exact = magnitude.is_none_or(|whole| {
        whole <= EXACT || whole.trailing_zeros() >= u64::BITS - whole.leading_zeros() - 53
    });
    match number.as_f64() {
        Some(double) if exact => Ok(double),
        _ => Err(format!("{number} does not fit into a double; write it as a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_an_object() {
        #[track_caller]
        fn check(text: &str, expect: Result<usize, &str>) {
            match (parse(text), expect) {
                (Ok(info), Ok(fields)) => assert_eq!(info.fields.len(), fields),
                (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        check("{}", Ok(0));
        check(r#"{"a": 1, "b": {"c": [null, true]}}"#, Ok(2));
        check("[]", Err("not a JSON object"));
        check("{", Err("not JSON"));
        check(r#"{"n": 9007199254740992}"#, Ok(1));
        check(r#"{"n": 9007199254740993}"#, Err("9007199254740993 does not fit"));
        check(r#"{"n": -9007199254740993}"#, Err("does not fit"));
        check(r#"{"n": 9007199254740994}"#, Ok(1));
        check(r#"{"n": 18446744073709551615}"#, Err("does not fit"));
        check(r#"{"n": 0.1}"#, Ok(1));
        check(&format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200)), Err("not JSON"));
        assert!(read("@/nonexistent.json").unwrap_err().contains("/nonexistent.json"));
    }

    #[test]
    fn a_label_is_a_pair() {
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(label("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(label("a").is_err());
        assert!(label("=b").is_err());
    }
}
