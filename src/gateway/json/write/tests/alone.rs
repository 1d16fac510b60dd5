//! Fields by themselves.

use super::{BRIEF, FULL, encoded, kinds_number};
use crate::gateway::{json::Json, wire::Encoder};

type Encode = fn(&mut Encoder, u32);

#[test]
fn a_field_alone_is_written_as_go_does() {
    let kinds = FULL.find("kinds.Kinds").unwrap();
    let alone = |json: &Json, field: &str, encode: &dyn Fn(&mut Encoder, u32)| {
        let bytes = encoded(|e| encode(e, kinds_number(field)));
        let mut out = String::new();
        let written = json.write_field(
            kinds,
            json.schema().message(kinds).place_of_name(field).unwrap(),
            &bytes,
            &mut out,
        );
        written.map(|()| out).map_err(|error| error.to_string())
    };
    for (field, unset) in [
        ("string", "\"\""),
        ("int64", "0"),
        ("bool", "false"),
        ("bytes", "[]"),
        ("color", "\"RED\""),
        ("null", "\"NULL_VALUE\""),
        ("optional_int64", "null"),
        ("optional_bytes", "[]"),
        ("list_int64", "[]"),
        ("to_int64", "{}"),
        ("pair", r#"{"a":"","b":""}"#),
        ("timestamp", "\"1970-01-01T00:00:00Z\""),
        ("struct", "{}"),
        ("stringvalue", "\"\""),
        ("first_pair", "null"),
        ("first_int32", "null"),
    ] {
        assert_eq!(alone(&FULL, field, &|_, _| {}).as_deref(), Ok(unset), "{field}");
    }
    let set: [(&str, Encode, &str); 11] = [
        ("string", |e, n| e.bytes(n, b"<x>"), "\"<x>\""),
        ("int64", |e, n| e.varint(n, u64::MAX), "-1"),
        ("list_uint64", |e, n| e.bytes(n, &[1, 2]), "[1,2]"),
        ("color", |e, n| e.varint(n, 9), "\"9\""),
        ("list_color", |e, n| e.bytes(n, &[1, 9]), "[\"GREEN\",\"9\"]"),
        ("bytes", |e, n| e.bytes(n, &[1]), "\"AQ==\""),
        ("optional_int64", |e, n| e.varint(n, 0), "0"),
        ("to_int64", |e, n| e.bytes(n, &[0x0a, 1, b'k', 0x10, 5]), r#"{"k":5}"#),
        ("int64value", |e, n| e.bytes(n, &[8, 5]), "\"5\""),
        ("many_int64value", |e, n| e.bytes(n, &[8, 5]), "[\"5\"]"),
        ("float", |e, n| e.fixed32(n, 0.1_f32.to_bits()), "0.1"),
    ];
    for (field, encode, expect) in set {
        assert_eq!(alone(&FULL, field, &encode).as_deref(), Ok(expect), "{field}");
    }
    for (field, unset) in [("bytes", "null"), ("list_int64", "null"), ("to_int64", "{}"), ("string", "\"\"")]
    {
        assert_eq!(alone(&BRIEF, field, &|_, _| {}).as_deref(), Ok(unset), "{field}");
    }
    let infinite = |e: &mut Encoder, n: u32| e.fixed64(n, f64::INFINITY.to_bits());
    assert_eq!(alone(&FULL, "double", &infinite), Err("double: JSON has no number for inf".to_owned()));
}

#[test]
fn a_string_can_be_read_from_beside() {
    let watch = FULL.find("leasehold.v1.WatchResponse").unwrap();
    let read = |field, bytes: &[u8]| {
        FULL.string_field(watch, FULL.schema().message(watch).place_of_name(field).unwrap(), bytes)
            .map(str::to_owned)
    };
    let bytes = encoded(|e| {
        e.bytes(3, b"old");
        e.varint(4, 7);
        e.bytes(3, b"token");
    });
    assert_eq!(read("resume_token", &bytes).as_deref(), Some("token"));
    assert_eq!(read("resumeToken", &[]), None);
    assert_eq!(read("revision", &bytes), None);
    assert_eq!(read("resume_token", &encoded(|e| e.bytes(3, b"\xff"))), None);
    assert_eq!(FULL.string_field(watch, 99, &bytes), None);
}
