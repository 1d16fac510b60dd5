//! What is written for which bytes.

mod alone;
mod deep;
mod kinds;
mod known;
mod random;
mod reencode;
mod scalars;

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

use crate::{
    gateway::{
        json::{Json, JsonOptions},
        wire::Encoder,
    },
    proto::FILE_DESCRIPTOR_SET,
};

/// The kinds beside leasehold's own messages, all in one pool.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = kinds::pool();
    pool.decode_file_descriptor_set(FILE_DESCRIPTOR_SET).unwrap();
    pool
});

/// Unset fields are written.
static FULL: LazyLock<Json> = LazyLock::new(|| Json::new(&POOL, JsonOptions::default()));

/// Unset fields are left out.
static BRIEF: LazyLock<Json> =
    LazyLock::new(|| Json::new(&POOL, JsonOptions { emit_unpopulated: false, ..JsonOptions::default() }));

/// And fields have their JSON names.
static CAMEL: LazyLock<Json> = LazyLock::new(|| {
    let options = JsonOptions { proto_names: false, emit_unpopulated: false, ..JsonOptions::default() };
    Json::new(&POOL, options)
});

fn encoded(encode: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encode(&mut encoder);
    encoder.finish()
}

fn write(json: &Json, name: &str, bytes: &[u8]) -> Result<String, String> {
    let mut out = "before".to_owned();
    let written = json.write(json.find(name).unwrap(), bytes, &mut out);
    let appended = out.strip_prefix("before").unwrap();
    written.map(|()| appended.to_owned()).map_err(|error| {
        assert_eq!(appended, "", "what fails appends nothing");
        format!("{} {error}", if error.is_malformed() { "malformed" } else { "no form" })
    })
}

/// The text of a message with one field of [`kinds`].
#[track_caller]
fn check_field(field: &str, encode: impl FnOnce(&mut Encoder, u32), expect: &str) {
    let bytes = encoded(|encoder| encode(encoder, kinds_number(field)));
    let text = write(&BRIEF, "kinds.Kinds", &bytes).unwrap();
    let expect = if expect.is_empty() { "{}".to_owned() } else { format!("{{\"{field}\":{expect}}}") };
    assert_eq!(text, expect);
}

#[track_caller]
fn check(json: &Json, name: &str, encode: impl FnOnce(&mut Encoder), expect: &str) {
    assert_eq!(write(json, name, &encoded(encode)).as_deref(), Ok(expect), "{name}");
}

#[track_caller]
fn check_error(name: &str, encode: impl FnOnce(&mut Encoder), expect: &str) {
    let error = write(&BRIEF, name, &encoded(encode)).unwrap_err();
    assert!(error.contains(expect), "{name}: {error}");
}

/// A `google.protobuf` name.
fn google(name: &str) -> String {
    format!("google.protobuf.{name}")
}

#[test]
fn unset_fields_are_written_if_asked_for() {
    check(
        &FULL,
        "leasehold.v1.PingResponse",
        |_| {},
        r#"{"id":"","status":"","last_ping_at":null,"expires_at":null,"ttl_seconds":0}"#,
    );
    check(
        &FULL,
        "leasehold.v1.WatchResponse",
        |e| {
            e.varint(1, 3);
            let event = e.open(2);
            e.varint(1, 7);
            e.close(event);
            e.varint(4, 5);
        },
        r#"{"type":"CHANGES","events":[{"type":7,"reason":"REASON_UNSPECIFIED","instance":null,"revision":"0","braked":false}],"resume_token":"","revision":"5"}"#,
    );
    check(&BRIEF, "leasehold.v1.PingResponse", |_| {}, "{}");
}

#[test]
fn a_oneofs_unset_members_are_not() {
    check(
        &FULL,
        "leasehold.v1.BatchRegisterResponse",
        |e| {
            let empty = e.open(1);
            e.close(empty);
            let result = e.open(1);
            let error = e.open(2);
            e.varint(1, 5);
            e.close(error);
            e.close(result);
        },
        r#"{"results":[{},{"error":{"code":5,"message":"","details":[]}}]}"#,
    );
}

#[test]
fn names_are_spelled_by_the_options() {
    let bytes = encoded(|e| e.varint(13, 30));
    for (json, expect) in [(&BRIEF, "{\"ttl_seconds\":30}"), (&CAMEL, "{\"ttlSeconds\":30}")] {
        assert_eq!(write(json, "leasehold.v1.Instance", &bytes).unwrap(), expect);
    }
}

#[test]
fn zeros_that_are_encoded_are_as_good_as_unset() {
    let zero = |e: &mut Encoder| {
        e.bytes(1, b"");
        e.varint(5, 0);
    };
    check(
        &FULL,
        "leasehold.v1.PingResponse",
        zero,
        r#"{"id":"","status":"","last_ping_at":null,"expires_at":null,"ttl_seconds":0}"#,
    );
    check(&BRIEF, "leasehold.v1.PingResponse", zero, "{}");
    for (field, expect) in
        [("list_int32", ""), ("list_string", "[\"\"]"), ("string", ""), ("optional_string", "\"\"")]
    {
        check_field(field, |e, number| e.bytes(number, b""), expect);
    }
    // Cut to 32 bits.
    check_field("int32", |e, number| e.varint(number, 1 << 32), "");
    check_field("optional_int32", |e, number| e.varint(number, 1 << 32), "0");
    check_field("color", |e, number| e.varint(number, 0), "");
    check_field("double", |e, number| e.fixed64(number, (-0.0_f64).to_bits()), "-0");
}

#[test]
fn the_last_has_precedence() {
    check_field(
        "int32",
        |e, number| {
            e.varint(number, 1);
            e.varint(number, 2);
        },
        "2",
    );
    let int = kinds_number("first_int32");
    check_field(
        "first_string",
        |e, text| {
            e.bytes(text, b"gone");
            e.varint(int, 1);
            e.bytes(text, b"last");
        },
        "\"last\"",
    );
}

#[test]
fn a_message_that_comes_in_parts_is_one() {
    let part = |e: &mut Encoder, number: u32, field: u32, text: &str| {
        let open = e.open(number);
        e.bytes(field, text.as_bytes());
        e.close(open);
    };
    let (a, b) = (2000, 1999);
    check_field(
        "pair",
        |e, number| {
            part(e, number, a, "x");
            part(e, number, b, "y");
            part(e, number, a, "z");
        },
        r#"{"a":"z","b":"y"}"#,
    );
    // Another member between ends what was there.
    let int = kinds_number("first_int32");
    check_field(
        "first_pair",
        |e, number| {
            part(e, number, a, "gone");
            e.varint(int, 1);
            part(e, number, b, "y");
        },
        r#"{"b":"y"}"#,
    );
}

#[test]
fn lists_come_packed_and_singly() {
    for field in ["list_sint32", "loose_sint32"] {
        check_field(
            field,
            |e, number| {
                e.varint(number, 1);
                e.bytes(number, &[2, 3]);
                e.bytes(number, b"");
                e.varint(number, 4);
            },
            "[-1,1,-2,2]",
        );
    }
}

#[test]
fn what_is_unknown_is_passed_over() {
    check_field(
        "int32",
        |e, number| {
            e.varint(number, 7);
            e.bytes(number, b"not an int32");
            e.fixed64(number, 1);
            e.bytes(4000, b"unknown");
            // A group, with a field of our number inside.
            e.encoded(&[0x0b, 0x08, 0x01, 0x0c]);
        },
        "7",
    );
}

#[test]
fn maps_are_sorted_and_their_last_duplicate_stays() {
    let entry = |e: &mut Encoder, number: u32, encode: &dyn Fn(&mut Encoder)| {
        let open = e.open(number);
        encode(e);
        e.close(open);
    };
    check_field(
        "from_int32",
        |e, number| {
            for (key, value) in [(10_i64, 1), (9, 2), (-1, 3), (9, 4)] {
                entry(e, number, &|e| {
                    e.varint(2, value);
                    e.varint(1, key.cast_unsigned());
                });
            }
            // Neither a key nor a value.
            entry(e, number, &|_| {});
        },
        r#"{"-1":3,"0":0,"9":4,"10":1}"#,
    );
    check_field(
        "from_bool",
        |e, number| {
            entry(e, number, &|e| e.varint(1, 1));
            entry(e, number, &|e| e.varint(2, 5));
        },
        r#"{"false":5,"true":0}"#,
    );
    check_field(
        "from_string",
        |e, number| {
            for key in ["b", "é", "", "a\"", "aa", "a"] {
                entry(e, number, &|e| e.bytes(1, key.as_bytes()));
            }
        },
        r#"{"":0,"a":0,"a\"":0,"aa":0,"b":0,"é":0}"#,
    );
    check_field("named", |e, number| entry(e, number, &|e| e.bytes(1, b"x")), r#"{"x":{}}"#);
    check_field("to_timestamp", |e, number| entry(e, number, &|_| {}), r#"{"":"1970-01-01T00:00:00Z"}"#);
}

fn kinds_number(field: &str) -> u32 {
    POOL.get_message_by_name("kinds.Kinds").unwrap().get_field_by_name(field).unwrap().number()
}

#[test]
fn malformed_bytes_are_errors_that_say_where() {
    let not_utf8 = |e: &mut Encoder| {
        let services = e.open(2);
        e.bytes(1, b"ok");
        e.close(services);
        let services = e.open(2);
        let labels = e.open(5);
        e.bytes(1, b"k");
        e.bytes(2, b"\xff");
        e.close(labels);
        e.close(services);
    };
    check_error(
        "leasehold.v1.ListResponse",
        not_utf8,
        "malformed services[1].labels[\"k\"]: the string \"\u{fffd}\" is not UTF-8",
    );
    for bytes in [&b"\x12"[..], b"\x12\x02\x08", b"\x07", b"\x00\x00", b"\x12\x02\x0a\x05", b"\x0b"] {
        let error = write(&BRIEF, "leasehold.v1.ListResponse", bytes).unwrap_err();
        assert!(error.starts_with("malformed"), "{bytes:x?}: {error}");
    }
    // A packed list that ends within a value.
    check_error(
        "kinds.Kinds",
        |e| e.bytes(kinds_number("list_fixed32"), &[1, 2, 3]),
        "malformed list_fixed32",
    );
}
