//! What is said of a text that is refused, and what it takes to be refused for size.

use std::thread;

use super::*;

fn refusal(json: &Json, message: &str, text: impl AsRef<[u8]>) -> Unreadable {
    read(json, message, text).unwrap_err()
}

#[test]
fn the_place_in_the_text() {
    for (text, expect) in [
        ("{\"a\":1,\n \"color\":tru}", "JSON, line 2 column 10: color: 't' where"),
        ("{", "JSON, line 1 column 2: the text ends where a key"),
        ("{a:1}", "JSON, line 1 column 2: 'a' where a key in double quotes"),
        ("{\"a\":1,}", "column 8: '}' where a key"),
        ("{,}", "column 2: ',' where a key"),
        ("{\"a\" 1}", "column 6: '1' where ':' after a key"),
        ("{\"a\":}", "column 6: a: '}' where a value"),
        ("{\"a\":1 \"b\":2}", "column 8: '\"' where ',' or '}'"),
        ("{\"a\":[1 2]}", "column 9: a: '2' where ',' or ']'"),
        ("{\"a\":[,]}", "a[0]: ',' where a value"),
        ("{\"a\":[1,]}", "a[1]: ']' where a value"),
        ("{\"a\":[1}", "a: '}' where ',' or ']'"),
        ("{\"é\":\"é\",\"b\":x}", "JSON, line 1 column 14: b: 'x' where a value"),
        ("{\"a", "column 4: the text ends where '\"'"),
        ("{\"a\":\"\\x\"}", "column 8: a: 'x' where an escape"),
        ("{\"a\":\"\\u12\"}", "a: '\"' where four hexadecimal digits"),
        ("{\"a\":\"\\ud800\"}", "column 7: a: \\ud800 is half of a surrogate pair"),
        ("{\"a\":\"\\udc00\\ud800\"}", "\\udc00 is half of a surrogate pair"),
        ("{\"a\":\"\\ud800\\u0041\"}", "\\ud800 is half of a surrogate pair"),
        ("{\"a\":\"\t\"}", "column 7: a: a control character"),
        ("\u{feff}{}", "JSON, line 1 column 1: the text starts with a byte order mark"),
        ("{\"a\":-}", "column 7: a: '}' where a digit"),
        ("{\"a\":1.}", "a digit after '.'"),
        ("{\"a\":1e}", "a digit in an exponent"),
        ("{\"a\":.5}", "'.' where a value"),
        ("{\"a\":'b'}", "'\\'' where a value"),
        ("{\"a\":nul", "'n' where a value"),
        ("x", "JSON, line 1 column 1: 'x' where a value"),
        ("null", "null where an object was expected"),
        ("[]", "a list where an object was expected"),
        ("\"x\"", "\"x\" where an object"),
        ("\n\n {\"child\":{\"a_bool\":1}}", "JSON, line 3 column 21: child.a_bool: 1 where true or false"),
    ] {
        let error = refusal(&LENIENT, KINDS, text);
        assert!(error.message.contains(expect), "{text}: {error}");
    }
    assert!(
        refusal(&LENIENT, KINDS, b"{\"a\":\"\xff\"}")
            .message
            .contains("column 7: a: the text is not valid UTF-8")
    );
    assert!(
        refusal(&LENIENT, KINDS, b"{\"a\":\"\xc3").message.contains("column 7: a: the text is not valid")
    );
    assert!(refusal(&LENIENT, KINDS, b"{\xff").message.contains("column 2: a byte that is not UTF-8"));
}

#[test]
fn the_path_to_the_value() {
    for (text, path) in [
        (r#"{"a_bool":1}"#, "a_bool"),
        (r#"{"aBool":1}"#, "aBool"),
        (r#"{"children":[{},{"struct":{"a":[0,{"b":1e400}]}}]}"#, "children[1].struct.a[1].b"),
        (r#"{"strings_by_int32":{"1":2}}"#, "strings_by_int32.1"),
        (r#"{"a_bool":true,"a_bool":true}"#, "a_bool"),
        (r#"{"child":{"a_bool":true"#, "child"),
        ("[1]", ""),
        (" 5", ""),
        (r#"{"child":5}"#, "child"),
        (r#"{"any":{"x":1,"@type":"a/no.Such"}}"#, "any.@type"),
    ] {
        assert_eq!(refusal(&LENIENT, KINDS, text).path, path, "{text}");
    }
}

#[test]
fn texts_are_of_bounded_length() {
    let long = "é".repeat(9999);
    let deep = format!("{}1{}", format!("{{\"{long}\":").repeat(20), "}".repeat(20));
    for text in [
        format!("{{\"duration\":\"{long}\"}}"),
        format!("{{\"mask\":\"a,{long}\"}}"),
        format!("{{\"some_bytes\":\"{long}\"}}"),
        format!("{{\"color\":\"{long}\"}}"),
        format!("{{\"a_string\":1{}}}", "0".repeat(9999)),
        format!("{{\"an_int32\":1{}}}", "0".repeat(9999)),
        format!("{{\"any\":{{\"@type\":\"{long}\"}}}}"),
        format!("{{\"{long}\":1}}"),
        format!("{{\"struct\":{deep},\"a_bool\":1}}"),
        format!("{{\"struct\":{}", deep.replace('1', "x")),
        format!("{{\"struct\":{}", deep.replace('1', "1e400")),
        format!("{{\"strings_by_int32\":{{\"\\u0001{long}\":1}}}}"),
    ] {
        let error = refusal(&STRICT, KINDS, &text);
        let (message, path) = (error.message.len(), error.path.len());
        assert!(message < 520 && path < 520, "{message} and {path} bytes: {error}");
    }
}

#[test]
fn an_inexact_number_is_named() {
    let json = &STRICT;
    for (text, path) in [
        (r#"{"struct":{"a":[0,{"b":9007199254740993}]}}"#, "struct.a[1].b"),
        (r#"{"value":3.141592653589793238}"#, "value"),
        (r#"{"list":[1e400]}"#, "list[0]"),
        (r#"{"a_double":9007199254740993}"#, "a_double"),
        (r#"{"doubles":[1,"0.1000000000000000055511151231257827"]}"#, "doubles[1]"),
        (r#"{"double_value":1e-400}"#, "double_value"),
    ] {
        let error = refusal(json, KINDS, text);
        assert_eq!((error.path.as_str(), error.inexact), (path, true), "{text}: {error}");
        assert!(error.message.contains("cannot be kept exactly"), "{text}: {error}");
    }
    // A double never sees these.
    for text in [
        r#"{"an_int64":9007199254740993,"a_uint64":18446744073709551615,"int64_value":"9007199254740993"}"#,
        r#"{"a_float":0.1,"float_value":3.4028235e38}"#,
        r#"{"struct":{"a":"9007199254740993","b":0.1,"c":1.0,"d":1e3}}"#,
        r#"{"a_double":"NaN"}"#,
    ] {
        assert!(read(json, KINDS, text).is_ok(), "{text}");
    }
    let unknown = JsonOptions { exact_numbers: true, ..JsonOptions::default() };
    let text = r#"{"unknown":[9007199254740993],"color":"NOPE"}"#;
    assert_eq!(read(&Json::new(&POOL, unknown), KINDS, text), Ok(serde_json::json!({})));
    assert!(!refusal(json, KINDS, r#"{"struct":{"a":x}}"#).inexact);
}

/// Does it on a stack as small as those of the threads that serve requests.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    [&open.repeat(depth), inner, &close.repeat(depth)].concat()
}

#[test]
fn objects_and_lists_nest_10_000_levels() {
    on_a_small_stack(|| {
        let json = &LENIENT;
        let id = |name: &str| json.find(name).unwrap();
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let value = id("google.protobuf.Value");
            let deepest = nested(9_999, open, "1", close);
            assert!(json.read(value, deepest.as_bytes()).is_ok());
            let too_deep = nested(10_000, open, "1", close);
            assert!(json.read(value, too_deep.as_bytes()).is_err());
            let error = json.read(value, nested(1_000_000, open, "", "").as_bytes()).unwrap_err();
            assert!(error.message.contains("nest deeper than 10000 levels"), "{error}");

            let info = format!("{{\"struct\":{}}}", nested(9_998, "{\"a\":", "1", "}"));
            assert!(json.read(id(KINDS), info.as_bytes()).is_ok());
            let unknown = format!("{{\"zz\":{}}}", nested(9_999, open, "1", close));
            assert!(json.read(id(KINDS), unknown.as_bytes()).is_ok());
            let unknown = format!("{{\"zz\":{}}}", nested(10_000, open, "1", close));
            let error = json.read(id(KINDS), unknown.as_bytes()).unwrap_err();
            assert!(error.message.contains("nest deeper than 10000 levels"), "{error}");
            // At the bottom of all that is what is wrong.
            let wrong = format!("{{\"struct\":{{\"b\":{}}}}}", nested(9_000, open, "1e400", close));
            let error = json.read(id(KINDS), wrong.as_bytes()).unwrap_err();
            assert!(error.path.starts_with("struct.b") && error.path.ends_with('…'), "{error}");
        }
        let untyped = format!("{{\"any\":{}}}", nested(9_000, "{\"a\":", "1", "}"));
        assert!(json.read(id(KINDS), untyped.as_bytes()).is_ok());
    });
}

#[test]
fn messages_nest_100_levels() {
    on_a_small_stack(|| {
        let json = &LENIENT;
        let kinds = json.find(KINDS).unwrap();
        for (open, close, per_level) in [
            ("{\"child\":", "}", 1),
            ("{\"children\":[", "]}", 1),
            ("{\"kinds_by_bool\":{\"true\":", "}}", 1),
            ("{\"any\":{\"@type\":\"a/kinds.v1.Kinds\",\"child\":", "}}", 3),
            (
                "{\"any\":{\"value\":{\"@type\":\"a/kinds.v1.Kinds\",\"child\":",
                "},\"@type\":\"a/google.protobuf.Any\"}}",
                4,
            ),
        ] {
            let fitting = 100 / per_level;
            assert!(json.read(kinds, nested(fitting, open, "{}", close).as_bytes()).is_ok(), "{open}");
            for depth in [101, 2_000] {
                let error = json.read(kinds, nested(depth, open, "{}", close).as_bytes()).unwrap_err();
                assert!(error.message.contains("messages nest deeper than 100 levels"), "{open}: {error}");
            }
        }
    });
}

/// Each level has its type behind the next one; going over the text anew for each would
/// take a thousand million steps here.
#[test]
fn types_that_come_last_are_found_in_one_pass() {
    let padding = format!("\"zz\":[{}1]", "1,".repeat(500_000));
    let open = "{\"any\":{\"any\":";
    let close = ",\"@type\":\"a/kinds.v1.Kinds\"},\"@type\":\"a/kinds.v1.Kinds\"}";
    let any = nested(20, open, &format!("{{{padding},\"@type\":\"a/kinds.v1.Kinds\"}}"), close);
    let id = LENIENT.find("google.protobuf.Any").unwrap();
    assert!(LENIENT.read(id, any.as_bytes()).is_ok());
}
