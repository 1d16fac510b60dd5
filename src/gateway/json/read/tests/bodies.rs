//! What is read of a text: its first value, all of it, or a value of one field.

use super::*;

#[test]
fn the_first_value_counts() {
    for text in
        ["{\"a_bool\":true}", " {\"a_bool\":true} {}", "{\"a_bool\":true}xyz", "\t\r\n{\"a_bool\":true}}"]
    {
        check(&LENIENT, KINDS, text, Ok("{\"a_bool\":true}"));
    }
    check(&LENIENT, KINDS, b"{}\xff", Ok("{}"));
    check(&LENIENT, KINDS, b"{} \"\xff", Ok("{}"));
    check(&LENIENT, KINDS, "", Ok("{}"));
    check(&LENIENT, KINDS, " \r\n\t", Ok("{}"));
    for text in ["\u{a0}{}", "\u{b}{}", "\0{}", ",{}"] {
        check(&LENIENT, KINDS, text, Err("where a value was expected"));
    }
    check(&LENIENT, "google.protobuf.Int32Value", "5x", Ok("5"));
    check(&LENIENT, "google.protobuf.Int32Value", "01", Ok("0"));
    check(&LENIENT, "google.protobuf.BoolValue", "truex", Ok("true"));
    check(&LENIENT, "google.protobuf.Value", "null", Ok("null"));
    check(&LENIENT, "google.protobuf.Timestamp", "null", Err("null where a time"));
}

#[test]
fn a_whole_text_is_one_value() {
    for (message, text, expect) in [
        ("Struct", " {\"a\":1.5} \n", Ok("{\"a\":1.5}")),
        ("Struct", "{}x", Err("'x' where the end of the text")),
        ("Struct", "{}{}", Err("'{' where the end of the text")),
        ("Struct", "", Err("the text ends where a value")),
        ("Struct", " ", Err("the text ends where a value")),
        ("Value", "[1.5,null]", Ok("[1.5,null]")),
        ("Value", "01", Err("'1' where the end of the text")),
        ("ListValue", "[]", Ok("[]")),
        ("Timestamp", "\"2026-01-02T03:04:05Z\"", Ok("\"2026-01-02T03:04:05Z\"")),
    ] {
        let message = format!("google.protobuf.{message}");
        let read = LENIENT.read_value(LENIENT.find(&message).unwrap(), text.as_bytes());
        match (read, expect) {
            (Ok(read), Ok(expect)) => {
                assert_eq!(shown(&message, &read), serde_json::from_str::<Value>(expect).unwrap(), "{text}");
            }
            (Err(error), Err(expect)) => assert!(error.message.contains(expect), "{text}: {error}"),
            (read, expect) => panic!("{text}: {read:?}, not {expect:?}"),
        }
    }
}

#[test]
fn a_body_for_one_field() {
    for (field, text, expect) in [
        ("child", "{\"an_int32\":\"5\"} x", Ok(r#"{"child":{"an_int32":5}}"#)),
        ("child", "", Ok(r#"{"child":{}}"#)),
        ("child", "null", Err("null where an object")),
        ("timestamp", "\"1970-01-01T00:00:00Z\"", Ok(r#"{"timestamp":"1970-01-01T00:00:00Z"}"#)),
        ("value", "null", Ok(r#"{"value":null}"#)),
        ("chosen_kinds", " ", Ok(r#"{"chosen_kinds":{}}"#)),
        ("an_int32", "5", Ok(r#"{"an_int32":5}"#)),
        ("an_int32", "", Ok("{}")),
        ("an_int32", "null", Ok("{}")),
        ("an_int32", "\"5\"", Err("\"5\" where a whole number")),
        ("an_int32", "5.0", Err("5.0 is not a whole number")),
        ("an_int64", "9223372036854775807", Ok(r#"{"an_int64":"9223372036854775807"}"#)),
        ("an_int64", "9223372036854775808", Err("is not a whole number")),
        ("a_uint32", "-0", Err("-0 is not a whole number")),
        ("maybe_int32", "", Ok(r#"{"maybe_int32":0}"#)),
        ("maybe_int32", "null", Ok("{}")),
        ("a_double", "1e2", Ok(r#"{"a_double":100.0}"#)),
        ("a_double", "\"NaN\"", Err("\"NaN\" where a number")),
        ("a_bool", "true", Ok(r#"{"a_bool":true}"#)),
        ("a_string", "\"x\"", Ok(r#"{"a_string":"x"}"#)),
        ("a_string", "5", Err("5 where a string")),
        ("some_bytes", "\"AQI=\"", Ok(r#"{"some_bytes":"AQI="}"#)),
        ("some_bytes", "\"AQI\"", Err("\"AQI\" is not padded base64")),
        ("color", "1.0", Ok(r#"{"color":"RED"}"#)),
        ("color", "\"RED\"", Err("\"RED\" where the number of an enum's value, not its name, was expected")),
        ("color", "null", Err("null where the number of an enum's value")),
        ("color", "1.5", Err("1.5 is not a whole number")),
        ("strings", "[\"a\",null]", Ok(r#"{"strings":["a",""]}"#)),
        ("strings", "null", Ok("{}")),
        ("strings", "\"a\"", Err("\"a\" where a list")),
        ("int32s", "[1,null]", Ok(r#"{"int32s":[1,0]}"#)),
        ("int32s", "[1,2.5]", Err("[1]: 2.5 is not")),
        ("colors", "[1,0]", Ok(r#"{"colors":["RED","COLOR_UNSPECIFIED"]}"#)),
        ("colors", "[\"RED\"]", Err("[0]: \"RED\" where the number")),
        ("children", "[{\"color\":\"RED\"},{}]", Ok(r#"{"children":[{"color":"RED"},{}]}"#)),
        ("children", "[null]", Err("[0]: null where an object")),
        (
            "strings_by_string",
            "{\"a\":\"b\",\"c\":null,\"a\":\"d\"}",
            Ok(r#"{"strings_by_string":{"a":"d","c":""}}"#),
        ),
        (
            "kinds_by_bool",
            "{\"true\":{\"a_bool\":true}}",
            Ok(r#"{"kinds_by_bool":{"true":{"a_bool":true}}}"#),
        ),
        ("strings_by_string", "[]", Err("a list where an object")),
    ] {
        let id = LENIENT.find(KINDS).unwrap();
        let place = LENIENT.schema.message(id).place_of_name(field).unwrap();
        match (LENIENT.read_field(id, place, text.as_bytes()), expect) {
            (Ok(read), Ok(expect)) => {
                let expect: Value = serde_json::from_str(expect).unwrap();
                assert_eq!(shown(KINDS, &read), expect, "{field}: {text}");
            }
            (Err(error), Err(expect)) => assert!(error.message.contains(expect), "{field}: {text}: {error}"),
            (read, expect) => panic!("{field}: {text}: {read:?}, not {expect:?}"),
        }
    }
}
