use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::DynamicMessage;

use super::*;
use crate::gateway::{
    json::{Json, JsonOptions},
    sample::{self, shown},
};

static JSON: LazyLock<Json> = LazyLock::new(|| Json::new(&sample::pool(), JsonOptions::default()));

fn all() -> &'static Message {
    JSON.schema().message(JSON.find("sample.All").unwrap())
}

fn encoded(field: &str, text: &[u8], body: &[u8]) -> Result<Vec<u8>, Failure> {
    let field = FieldPath::parameter(JSON.schema(), all(), field).unwrap();
    let mut draft = Draft::new(&JSON, JSON.find("sample.All").unwrap(), body.to_vec());
    bind(&mut draft, &field, text)?;
    draft.finish(false)
}

fn bound(field: &str, text: &[u8], body: &[u8]) -> Result<String, (i32, String)> {
    let encoded = encoded(field, text, body).map_err(|failure| {
        assert!(failure.details.is_empty());
        (failure.code, failure.message)
    })?;
    Ok(shown("All", &encoded))
}

#[track_caller]
fn check(field: &str, text: &str, expect: &str) {
    assert_eq!(bound(field, text.as_bytes(), b"").as_deref(), Ok(expect), "{field} {text}");
}

#[track_caller]
fn refuse(field: &str, text: &[u8]) {
    let (code, message) = bound(field, text, b"").unwrap_err();
    let start = format!("type mismatch, parameter: {field}, error: ");
    assert!(code == 3 && message.starts_with(&start), "{field} {}: {code} {message}", text.escape_ascii());
}

#[test]
fn what_may_be_a_parameter() {
    let parameter = |field: &str| {
        FieldPath::parameter(JSON.schema(), all(), field)
            .map(|path| path.to_string())
            .map_err(|error| error.to_string())
    };
    for good in [
        "d",
        "text",
        "data",
        "kind",
        "nums",
        "kinds",
        "at",
        "span",
        "w_int32",
        "w_bytes",
        "maybe",
        "choice_text",
        "inner.i32",
        "inner.nums",
        "inner.at",
        "inner.times",
        "inner.inner.choice_span",
        "choice_inner.text",
        "at.seconds",
    ] {
        assert_eq!(parameter(good).as_deref(), Ok(good));
    }
    for bad in [
        "inner",
        "alls",
        "times",
        "values",
        "labels",
        "mask",
        "info",
        "value",
        "list",
        "any",
        "nothing",
        "inner.inner",
        "inner.labels",
        "inner.mask",
        "inner.info",
    ] {
        assert!(parameter(bad).unwrap_err().ends_with("cannot stand in a path"), "{bad}");
    }
    for bad in ["", "nope", "longName", "inner.", ".i32", "inner.nope", "nope.i32", "inner..i32"] {
        assert!(parameter(bad).unwrap_err().contains("sample.All has no field"), "{bad}");
    }
    for bad in ["text.x", "alls.i32", "labels.key", "kind.x"] {
        assert!(parameter(bad).unwrap_err().ends_with("is not a single message"), "{bad}");
    }
    // A body may be more than that.
    for good in ["inner", "alls", "labels", "info", "inner.alls"] {
        assert!(FieldPath::resolve(JSON.schema(), all(), good).is_ok(), "{good}");
    }
}

#[test]
fn whole_numbers_are_decimal() {
    check("i32", "-010", r#"{"i32":-10}"#);
    check("sf32", "+3", r#"{"sf32":3}"#);
    check("fx64", "18446744073709551615", r#"{"fx64":"18446744073709551615"}"#);
    check("kind", "1000", r#"{"kind":"LARGE"}"#);
    check("maybe", "0", r#"{"maybe":0}"#);
    check("inner.i32", "010", r#"{"inner":{"i32":10}}"#);
    for (field, text) in
        [("i32", "0x10"), ("i32", "2147483648"), ("i32", "1_000"), ("u32", "+1"), ("i64", ""), ("kind", "2")]
    {
        refuse(field, text.as_bytes());
    }
}

#[test]
fn the_other_kinds() {
    check("text", "a b%2F+", r#"{"text":"a b%2F+"}"#);
    check("text", "", "{}");
    check("choice_text", "", r#"{"choice_text":""}"#);
    check("flag", "T", r#"{"flag":true}"#);
    check("d", "0x1p-2", r#"{"d":0.25}"#);
    check("f", "-inf", r#"{"f":"-Infinity"}"#);
    check("data", "-_8=", r#"{"data":"+/8="}"#);
    check("kind", "MINUS", r#"{"kind":"MINUS"}"#);
    check("w_string", "a", r#"{"w_string":"a"}"#);
    check("at", "2026-01-02T03:04:05Z", r#"{"at":"2026-01-02T03:04:05Z"}"#);
    check("at", "\"2026-01-02T03:04:05Z\"", r#"{"at":"2026-01-02T03:04:05Z"}"#);
    // As in JSON; nested ones as Go writes them.
    check("span", "90s", r#"{"span":"90s"}"#);
    check("inner.span", "1m30s", r#"{"inner":{"span":"90s"}}"#);
    for (field, text) in [
        ("flag", &b"yes"[..]),
        ("d", b""),
        ("data", b"AQI"),
        ("kind", b"minus"),
        ("kind", b"\xff"),
        ("at", b"yesterday"),
        ("at", b"\xff"),
        ("span", b"1m30s"),
        ("w_bool", b""),
        ("inner.span", b"90"),
        ("inner.kind", b"x"),
    ] {
        refuse(field, text);
    }
    let internal = "grpc: error while marshaling: string field contains invalid UTF-8";
    for field in ["text", "w_string", "texts", "inner.text"] {
        assert_eq!(bound(field, b"a,\xff", b""), Err((13, internal.to_owned())), "{field}");
    }
}

#[test]
fn lists_are_separated_by_commas() {
    check("nums", "1,-2,+3", r#"{"nums":[1,-2,3]}"#);
    check("texts", "a,,b", r#"{"texts":["a","","b"]}"#);
    check("texts", "", r#"{"texts":[""]}"#);
    check("kinds", "ONE,0", r#"{"kinds":["ONE","NONE"]}"#);
    check("inner.texts", "a,b", r#"{"inner":{"texts":["a,b"]}}"#);
    check("inner.times", "1970-01-01T00:00:01Z", r#"{"inner":{"times":["1970-01-01T00:00:01Z"]}}"#);
    refuse("nums", b"");
    refuse("nums", b"1, 2");
    refuse("inner.nums", b"1,2");
}

#[test]
fn the_body_gives_way() {
    let over = |field: &str, text: &str, body: &[u8]| bound(field, text.as_bytes(), body);
    // text = "x"
    assert_eq!(over("text", "", b"\x72\x01x").as_deref(), Ok("{}"));
    // nums = [1]; at = 5 s 3 ns; inner = { nums: [1] }
    let body = b"\xa0\x01\x01\xc2\x02\x04\x08\x05\x10\x03\xe2\x03\x03\xa0\x01\x01";
    let rest = r#""at":"1970-01-01T00:00:05.000000003Z","inner":{"nums":[1]}}"#;
    assert_eq!(over("nums", "2,3", body), Ok(format!(r#"{{"nums":[2,3],{rest}"#)));
    let expect = r#"{"nums":[1],"at":"1970-01-01T00:00:07Z","inner":{"nums":[1]}}"#;
    assert_eq!(over("at", "1970-01-01T00:00:07Z", body).as_deref(), Ok(expect));
    // A nested list grows.
    let expect = r#"{"nums":[1],"at":"1970-01-01T00:00:05.000000003Z","inner":{"nums":[1,4]}}"#;
    assert_eq!(over("inner.nums", "4", body).as_deref(), Ok(expect));
}

#[test]
fn another_member_of_a_oneof_is_a_conflict() {
    // choice_number = 5
    let body = b"\xf0\x03\x05";
    assert_eq!(bound("choice_number", b"6", body).as_deref(), Ok(r#"{"choice_number":6}"#));
    assert_eq!(bound("maybe", b"6", b"\x88\x04\x05").as_deref(), Ok(r#"{"maybe":6}"#));
    for field in ["choice_text", "choice_span", "choice_inner.i32"] {
        let (code, message) = bound(field, b"1s", body).unwrap_err();
        assert!(code == 3 && message.contains("oneof \"choice\""), "{field}: {message}");
    }
    // Nested, even the same one is.
    assert!(bound("inner.choice_number", b"6", b"\xe2\x03\x03\xf0\x03\x05").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn any_text_is_answered(
        text in prop_oneof![
            "[-+]?(0[xob]?)?[0-9a-fA-F_,.]{0,8}([pe][-+]?[0-9]{1,4})?",
            "[-+]?[0-9.]{0,20}[hmsuµn]{0,2}s?",
            "\"?[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-9.,]{2,14}(Z|[+-][0-9:]{5})\"?",
            ".{0,12}",
        ],
        field in prop::sample::select(&FIELDS[..]),
        tail in prop::option::of(any::<u8>()),
    ) {
        let mut text = text.into_bytes();
        text.extend(tail);
        if let Ok(encoded) = encoded(field, &text, b"") {
            let all = sample::pool().get_message_by_name("sample.All").unwrap();
            DynamicMessage::decode(all, encoded.as_slice()).unwrap();
        }
    }
}

const FIELDS: [&str; 16] = [
    "i32",
    "i64",
    "u64",
    "fx32",
    "sf64",
    "d",
    "f",
    "flag",
    "data",
    "kinds",
    "at",
    "span",
    "nums",
    "inner.at",
    "inner.span",
    "choice_inner.nums",
];
