//! `Value`s, and what nests deep.

use prost::Message as _;

use super::{BRIEF, FULL, check_error, encoded, google, kinds_number, known::any, write};
use crate::wire::Encoder;

fn value(text: &str) -> prost_types::Value {
    use prost_types::{ListValue, Struct, value::Kind};
    fn of(value: &serde_json::Value) -> prost_types::Value {
        let kind = match value {
            serde_json::Value::Null => Kind::NullValue(0),
            serde_json::Value::Bool(value) => Kind::BoolValue(*value),
            serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Kind::StringValue(text.clone()),
            serde_json::Value::Array(values) => {
                Kind::ListValue(ListValue { values: values.iter().map(of).collect() })
            }
            serde_json::Value::Object(fields) => Kind::StructValue(Struct {
                fields: fields.iter().map(|(key, value)| (key.clone(), of(value))).collect(),
            }),
        };
        prost_types::Value { kind: Some(kind) }
    }
    of(&serde_json::from_str(text).unwrap())
}

#[test]
fn values_are_plain_json() {
    for text in [
        "null",
        "true",
        "-0.5",
        "\"x\"",
        "[]",
        "{}",
        r#"{"a":[null,true,"x",{}],"b":1}"#,
        "[[[]],[{}],1e+21]",
        r#"{"":{"a":{"b":[{"c":{}},[]]},"d":2},"z":0}"#,
    ] {
        let bytes = value(text).encode_to_vec();
        assert_eq!(write(&BRIEF, &google("Value"), &bytes).as_deref(), Ok(text));
    }
    let number = |number: f64| move |e: &mut Encoder| e.fixed64(2, number.to_bits());
    check_error(&google("Value"), |_| {}, "no form a Value holds nothing");
    check_error(&google("Value"), number(f64::NAN), "no form a Value holds NaN");
    check_error(&google("Value"), number(f64::NEG_INFINITY), "no form a Value holds -inf");
}

#[test]
fn a_struct_that_comes_in_parts_is_one() {
    for (parts, expect) in [
        (&[r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":3}"#][..], r#"{"a":3,"b":2}"#),
        (&["[1]", "[2,[3]]", "[]"], "[1,2,[3]]"),
        // Another member between ends what was there.
        (&[r#"{"a":1}"#, "7", r#"{"b":2}"#], r#"{"b":2}"#),
        (&["[1]", "[2]", "{}", "[3]", "[4]"], "[3,4]"),
        // Of the entries of one key the last stays, as it is.
        (&[r#"{"k":{"a":1}}"#, r#"{"k":{"b":1}}"#], r#"{"k":{"b":1}}"#),
    ] {
        let merged: Vec<u8> = parts.iter().flat_map(|part| value(part).encode_to_vec()).collect();
        assert_eq!(write(&BRIEF, &google("Value"), &merged).as_deref(), Ok(expect));
    }
}

/// A `Value` with this many lists or Structs around a number.
fn nested(depth: usize, in_lists: bool) -> Vec<u8> {
    encoded(|e| {
        let mut open = Vec::new();
        for _ in 0..depth {
            if in_lists {
                open.extend([e.open(6), e.open(1)]);
            } else {
                open.extend([e.open(5), e.open(1)]);
                e.bytes(1, b"a");
                open.push(e.open(2));
            }
        }
        e.fixed64(2, 1.0_f64.to_bits());
        while let Some(last) = open.pop() {
            e.close(last);
        }
    })
}

/// Go's decoder stops at 10,000 messages: an object is three of them, an array two.
#[test]
fn values_nest_as_deep_as_go_lets_them() {
    let work = || {
        for (in_lists, depth) in [(false, 200), (false, 3333), (true, 4999)] {
            let text = write(&BRIEF, &google("Value"), &nested(depth, in_lists)).unwrap();
            let opening = if in_lists { "[".repeat(depth) } else { "{\"a\":".repeat(depth) };
            assert!(text.starts_with(&(opening + "1")), "{depth}");
        }
        for (in_lists, depth) in [(false, 3334), (true, 5000), (false, 100_000)] {
            let error = write(&BRIEF, &google("Value"), &nested(depth, in_lists)).unwrap_err();
            assert!(error.contains("nest"), "{error}");
        }
    };
    // A quarter of what a thread of tokio's has.
    std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn typed_messages_nest_to_a_bound() {
    let nested = |depth: usize, field: &str, step: u32| {
        let number = kinds_number(field);
        encoded(|e| {
            let mut open = Vec::new();
            for _ in 0..depth {
                open.push(e.open(number));
                if step == 2 {
                    open.push(e.open(2));
                }
            }
            while let Some(last) = open.pop() {
                e.close(last);
            }
        })
    };
    let anys = |depth: usize| (0..depth).fold(Vec::new(), |packed, _| any("x/google.protobuf.Any", &packed));
    let work = move || {
        for (name, fits, too_deep) in [
            ("kinds.Kinds", nested(100, "child", 1), nested(101, "child", 1)),
            ("kinds.Kinds", nested(100, "children", 1), nested(101, "children", 1)),
            ("kinds.Kinds", nested(50, "named", 2), nested(51, "named", 2)),
            ("google.protobuf.Any", anys(100), anys(102)),
            ("google.protobuf.Any", anys(100), anys(5000)),
        ] {
            assert!(write(&FULL, name, &fits).is_ok(), "{name}");
            assert!(write(&FULL, name, &too_deep).unwrap_err().contains("levels deep"), "{name}");
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

/// Each level is two parts, the second of which holds all the rest.
#[test]
fn deep_messages_in_parts_are_not_copied_at_each_level() {
    let depth = 3000;
    let bytes = encoded(|e| {
        let mut open = Vec::new();
        for _ in 0..depth {
            let part = e.open(5);
            let entry = e.open(1);
            e.bytes(1, b"b");
            e.bytes(2, &[8, 0]);
            e.close(entry);
            e.close(part);
            open.extend([e.open(5), e.open(1)]);
            e.bytes(1, b"a");
            e.bytes(2, &[8, 0]);
            open.push(e.open(2));
        }
        e.bytes(3, &vec![b'x'; 1 << 20]);
        while let Some(last) = open.pop() {
            e.close(last);
        }
    });
    let text = write(&BRIEF, &google("Value"), &bytes).unwrap();
    assert!(text.starts_with("{\"a\":{\"a\":"));
    assert!(text.ends_with("\"b\":false},\"b\":false}") || text.ends_with("\"b\":null},\"b\":null}"));
}
