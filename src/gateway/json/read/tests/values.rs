//! How single values are spelled.

use super::*;

/// `value` as the value of a field of `Kinds`.
#[track_caller]
fn check_field(field: &str, value: &str, expect: Result<&str, &str>) {
    let expected = expect.map(|expect| match expect {
        "" => "{}".to_owned(),
        expect => format!("{{\"{field}\":{expect}}}"),
    });
    let expected = expected.as_deref().map_err(|error| *error);
    check(&LENIENT, KINDS, format!("{{\"{field}\":{value}}}"), expected);
}

#[test]
fn whole_numbers() {
    for (field, value, expect) in [
        ("an_int32", "30", Ok("30")),
        ("an_int32", "\"30\"", Ok("30")),
        ("an_int32", "3e1", Ok("30")),
        ("an_int32", "30.0", Ok("30")),
        ("an_int32", "\"30.0\"", Ok("30")),
        ("an_int32", "1.5E+1", Ok("15")),
        ("an_int32", "-100e-2", Ok("-1")),
        ("an_int32", "-2147483648", Ok("-2147483648")),
        ("an_int32", "2147483647.0", Ok("2147483647")),
        ("maybe_int32", "-0", Ok("0")),
        ("maybe_int32", "0e999999999999", Ok("0")),
        ("an_int32", "2147483648", Err("2147483648 is not a whole number from -2147483648")),
        ("an_int32", "1.5", Err("1.5 is not a whole number")),
        ("an_int32", "12e-1", Err("is not a whole number")),
        ("an_int32", "1e-1", Err("is not a whole number")),
        ("an_int32", "1e99999999999", Err("is not a whole number")),
        // It is one, but its digits and its exponent are beyond what Go looks at.
        ("an_int64", "0.000000000000000000001e21", Err("is not a whole number")),
        ("an_int64", "0.00000000000000000001e20", Ok("\"1\"")),
        ("an_int32", "\"+1\"", Err("\"+1\" is not a whole number")),
        ("an_int32", "\"01\"", Err("\"01\" is not")),
        ("an_int32", "\" 1\"", Err("\" 1\" is not")),
        ("an_int32", "\"\"", Err("\"\" is not")),
        ("an_int32", "\"1e\"", Err("\"1e\" is not")),
        ("an_int32", "true", Err("true where a whole number")),
        ("an_int32", "{}", Err("an object where a whole number")),
        ("an_int64", "9223372036854775807", Ok("\"9223372036854775807\"")),
        ("an_int64", "\"-9223372036854775808\"", Ok("\"-9223372036854775808\"")),
        ("an_int64", "9223372036854775808", Err("is not a whole number of 64 bits")),
        ("an_int64", "123456789012345678901234567890e-25", Err("is not a whole number")),
        ("an_int64", "100000000000000000000e-20", Ok("\"1\"")),
        ("a_uint32", "4294967295", Ok("4294967295")),
        ("a_uint32", "4294967296", Err("is not a whole number from 0 to 4294967295")),
        ("a_uint32", "-1", Err("-1 is not a whole number from 0")),
        ("a_uint64", "18446744073709551615", Ok("\"18446744073709551615\"")),
        ("a_uint64", "1e20", Err("is not a whole number from 0 to 18446744073709551615")),
        ("a_sint32", "-1", Ok("-1")),
        ("a_sint64", "-9223372036854775808", Ok("\"-9223372036854775808\"")),
        ("a_fixed32", "4294967295", Ok("4294967295")),
        ("a_fixed64", "\"18446744073709551615\"", Ok("\"18446744073709551615\"")),
        ("a_sfixed32", "-2", Ok("-2")),
        ("a_sfixed64", "-2", Ok("\"-2\"")),
    ] {
        check_field(field, value, expect);
    }
}

#[test]
fn other_numbers() {
    for (field, value, expect) in [
        ("a_double", "1.5e3", Ok("1500.0")),
        ("a_double", "\"1.5\"", Ok("1.5")),
        ("a_double", "1e-400", Ok("")),
        ("a_double", "1.7976931348623157e308", Ok("1.7976931348623157e308")),
        ("a_double", "\"NaN\"", Ok("\"NaN\"")),
        ("a_double", "\"-Infinity\"", Ok("\"-Infinity\"")),
        ("a_double", "\"+Infinity\"", Err("\"+Infinity\" is not a number")),
        ("a_double", "\"nan\"", Err("\"nan\" is not a number")),
        ("a_double", "\"1 \"", Err("\"1 \" is not a number")),
        ("a_double", "1e400", Err("1e400 is not a number within a double's range")),
        ("a_double", "\"-1e400\"", Err("\"-1e400\" is not a number within")),
        ("a_double", "false", Err("false where a number was expected")),
        ("a_float", "3.4028236e38", Err("3.4028236e38 is not a number within a 32-bit float's range")),
        ("a_float", "\"Infinity\"", Ok("\"Infinity\"")),
        ("a_float", "0.5", Ok("0.5")),
    ] {
        check_field(field, value, expect);
    }
    let id = LENIENT.find(KINDS).unwrap();
    let largest = LENIENT.read(id, br#"{"a_float":3.4028235e38}"#).unwrap();
    assert_eq!(largest[1..], f32::MAX.to_le_bytes());
    let zero = LENIENT.read(id, br#"{"a_double":-0}"#).unwrap();
    assert_eq!(zero[1..], (-0.0_f64).to_le_bytes());
}

#[test]
fn booleans_strings_and_bytes() {
    for (field, value, expect) in [
        ("a_bool", "true", Ok("true")),
        ("a_bool", "false", Ok("")),
        ("a_bool", "\"true\"", Err("\"true\" where true or false was expected")),
        ("a_bool", "1", Err("1 where true or false")),
        ("a_string", "\"a\\u00e9\\ud83d\\ude00\\/\\n\\u0000\u{7f}\"", Ok("\"aé😀/\\n\\u0000\u{7f}\"")),
        ("a_string", "5", Err("5 where a string was expected")),
        ("a_string", "[\"a\"]", Err("a list where a string was expected")),
        ("some_bytes", "\"AQI=\"", Ok("\"AQI=\"")),
        ("some_bytes", "\"AQI\"", Ok("\"AQI=\"")),
        ("some_bytes", "\"-_8=\"", Ok("\"+/8=\"")),
        ("some_bytes", "\"-_8\"", Ok("\"+/8=\"")),
        ("some_bytes", "\"AR==\"", Ok("\"AQ==\"")),
        ("some_bytes", "\"AQID\\r\\n\\n\\n\"", Ok("\"AQID\"")),
        ("some_bytes", "\"AQI=\\n\"", Err("is not base64")),
        ("some_bytes", "\"AQI==\"", Err("\"AQI==\" is not base64")),
        ("some_bytes", "\"+_8=\"", Err("is not base64")),
        ("some_bytes", "\"A\"", Err("is not base64")),
        ("some_bytes", "\" AQI=\"", Err("is not base64")),
        ("some_bytes", "[1]", Err("a list where a string")),
    ] {
        check_field(field, value, expect);
    }
}

#[test]
fn enums() {
    for (field, value, expect) in [
        ("color", "\"RED\"", Ok("\"RED\"")),
        ("color", "\"LIME\"", Ok("\"GREEN\"")),
        ("color", "\"BELOW\"", Ok("\"BELOW\"")),
        ("color", "1", Ok("\"RED\"")),
        ("color", "1.0", Ok("\"RED\"")),
        ("color", "7", Ok("7")),
        ("color", "-2147483648", Ok("-2147483648")),
        ("color", "2147483648", Err("2147483648 is not a whole number")),
        ("color", "\"red\"", Ok("")),
        ("color", "\"1\"", Ok("")),
        ("color", "true", Err("true where a name or a number of an enum")),
        ("maybe_color", "\"NOPE\"", Ok("")),
        ("colors", "[\"RED\",\"NOPE\",2]", Ok("[\"RED\",\"GREEN\"]")),
        ("colors", "[\"NOPE\"]", Ok("")),
        ("colors_by_int64", "{\"1\":\"NOPE\",\"2\":\"RED\"}", Ok("{\"2\":\"RED\"}")),
        ("chosen_null", "\"NULL_VALUE\"", Ok("null")),
        ("chosen_null", "0", Ok("null")),
    ] {
        check_field(field, value, expect);
    }
    let unknown = "\"NOPE\" is no value of kinds.v1.Color, which has BELOW, COLOR_UNSPECIFIED, RED, GREEN";
    check(&STRICT, KINDS, "{\"color\":\"NOPE\"}", Err(unknown));
    check(&STRICT, KINDS, "{\"colors\":[0,\"NOPE\"]}", Err("colors[1]: \"NOPE\" is no value"));
}

#[test]
fn timestamps() {
    for (text, expect) in [
        ("2026-01-02T03:04:05Z", Ok("2026-01-02T03:04:05Z")),
        ("2026-01-02T03:04:05.5+01:30", Ok("2026-01-02T01:34:05.500Z")),
        ("2026-01-02T03:04:05.123456789-01:00", Ok("2026-01-02T04:04:05.123456789Z")),
        ("2024-02-29T23:59:59-00:00", Ok("2024-02-29T23:59:59Z")),
        ("1969-12-31T23:59:59.5Z", Ok("1969-12-31T23:59:59.500Z")),
        ("0001-01-01T00:00:00Z", Ok("0001-01-01T00:00:00Z")),
        ("0000-12-31T23:00:00-01:00", Ok("0001-01-01T00:00:00Z")),
        ("9999-12-31T23:59:59.999999999Z", Ok("9999-12-31T23:59:59.999999999Z")),
        // What Go lets pass.
        ("2026-01-02T3:04:05Z", Ok("2026-01-02T03:04:05Z")),
        ("2026-01-02T03:04:05,5Z", Ok("2026-01-02T03:04:05.500Z")),
        ("2026-01-02T03:04:05,1234567891Z", Ok("2026-01-02T03:04:05.123456789Z")),
        ("2026-01-02T03:04:05+24:60", Ok("2026-01-01T02:04:05Z")),
        ("2026-01-02T03:04:05.1234567891Z", Err(())),
        ("2026-01-02T03:04:05.Z", Err(())),
        ("2026-01-02t03:04:05Z", Err(())),
        ("2026-01-02T03:04:05z", Err(())),
        ("2026-01-02 03:04:05Z", Err(())),
        ("2026-01-02T03:04:05", Err(())),
        ("2026-01-02T03:04:05Z ", Err(())),
        ("2026-01-02T03:04:60Z", Err(())),
        ("2026-01-02T24:00:00Z", Err(())),
        ("2026-01-02T03:60:00Z", Err(())),
        ("2026-02-29T00:00:00Z", Err(())),
        ("1900-02-29T00:00:00Z", Err(())),
        ("2026-04-31T00:00:00Z", Err(())),
        ("2026-13-01T00:00:00Z", Err(())),
        ("2026-1-02T03:04:05Z", Err(())),
        ("2026-01-02T03:04:05+25:00", Err(())),
        ("2026-01-02T03:04:05+01:61", Err(())),
        ("2026-01-02T03:04:05+0100", Err(())),
        ("0000-01-01T00:00:00Z", Err(())),
        ("0001-01-01T00:00:00+00:01", Err(())),
        ("9999-12-31T23:59:59-00:01", Err(())),
        ("10000-01-01T00:00:00Z", Err(())),
        ("", Err(())),
    ] {
        let expect = expect.map(|expect| format!("\"{expect}\""));
        let expect = expect.as_deref().map_err(|()| "is not a time such as");
        check_field("timestamp", &format!("\"{text}\""), expect);
    }
    check_field("timestamp", "5", Err("5 where a time such as"));
}

#[test]
fn every_day_is_the_day_after_the_last() {
    let mut expect = -62_135_596_800;
    for year in 1..=9999 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, days) in (1..).zip(days) {
            // The first and the last will do.
            for (day, passed) in [(1, 0), (days, days - 1)] {
                let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                assert_eq!(
                    super::super::time::timestamp(&text),
                    Some((expect + passed * 86400, 0)),
                    "{text}"
                );
            }
            expect += days * 86400;
        }
    }
}

#[test]
fn durations() {
    for (text, expect) in [
        ("90s", Ok("90s")),
        ("1.5s", Ok("1.500s")),
        ("-0.000000001s", Ok("-0.000000001s")),
        ("-1.5s", Ok("-1.500s")),
        ("+1s", Ok("1s")),
        ("1.s", Ok("1s")),
        (".5s", Ok("0.500s")),
        (".s", Ok("0s")),
        ("-0s", Ok("0s")),
        ("315576000000.999999999s", Ok("315576000000.999999999s")),
        ("-315576000000s", Ok("-315576000000s")),
        ("315576000001s", Err(())),
        ("99999999999999999999999s", Err(())),
        ("1m30s", Err(())),
        ("30", Err(())),
        ("s", Err(())),
        ("-s", Err(())),
        ("01s", Err(())),
        ("1.1234567891s", Err(())),
        ("1e3s", Err(())),
        ("1 s", Err(())),
        ("--1s", Err(())),
        ("1.5.s", Err(())),
        ("", Err(())),
    ] {
        let expect = expect.map(|expect| format!("\"{expect}\""));
        let expect = expect.as_deref().map_err(|()| "is not seconds such as");
        check_field("duration", &format!("\"{text}\""), expect);
    }
    check_field("duration", "30", Err("30 where seconds such as"));
}

#[test]
fn field_masks() {
    for (text, expect) in [
        ("", Ok(vec![])),
        (" \u{a0}", Ok(vec![])),
        ("a", Ok(vec!["a"])),
        (" a.fooBar,c1 ", Ok(vec!["a.foo_bar", "c1"])),
        ("Foo,a.B", Ok(vec!["_foo", "a._b"])),
        ("foo_bar", Err(())),
        ("a, b", Err(())),
        ("a,", Err(())),
        ("a..b", Err(())),
        ("a.1", Err(())),
        ("*", Err(())),
        ("é", Err(())),
    ] {
        let read = LENIENT
            .read(LENIENT.find("google.protobuf.FieldMask").unwrap(), format!("\"{text}\"").as_bytes());
        match (read, expect) {
            (Ok(read), Ok(expect)) => {
                let mask = prost_types::FieldMask::decode(read.as_slice()).unwrap();
                assert_eq!(mask.paths, expect, "{text}");
            }
            (Err(error), Err(())) => assert!(error.message.contains("is not a path"), "{text}: {error}"),
            (read, expect) => panic!("{text}: {read:?}, not {expect:?}"),
        }
    }
}

#[test]
fn wrappers() {
    for (field, value, expect) in [
        ("int32_value", "5", Ok("5")),
        ("int32_value", "0", Ok("0")),
        ("int64_value", "\"5\"", Ok("\"5\"")),
        ("string_value", "\"\"", Ok("\"\"")),
        ("bytes_value", "\"AQI\"", Ok("\"AQI=\"")),
        ("bool_value", "false", Ok("false")),
        ("double_value", "\"1.5\"", Ok("1.5")),
        ("float_value", "0.5", Ok("0.5")),
        ("uint32_value", "-1", Err("uint32_value: -1 is not")),
        ("uint64_value", "{\"value\":1}", Err("an object where a whole number")),
        ("string_value", "null", Ok("")),
        ("string_values", "[\"a\",null]", Err("string_values[1]: null where a string")),
    ] {
        check_field(field, value, expect);
    }
}

#[test]
fn any_json() {
    for (field, value, expect) in [
        ("struct", "{\"a\":[1.5,\"x\",true,null,{\"b\":[]}],\"\":{}}", Ok(())),
        ("struct", "{}", Ok(())),
        ("struct", "{\"a\":{\"b\":1.5},\"b\":2.5,\"c\":{\"b\":3.5}}", Ok(())),
        ("struct", "[]", Err("struct: a list where an object was expected")),
        ("struct", "{\"a\":1e400}", Err("struct.a: 1e400 is not a number within")),
        ("struct", "{\"a\":{\"b\":1,\"\\u0062\":2}}", Err("struct.a.b: the key \"b\" comes twice")),
        ("value", "null", Ok(())),
        ("value", "\"NaN\"", Ok(())),
        ("value", "-1.5", Ok(())),
        ("value", "[[],{\"a\":[{}]}]", Ok(())),
        ("value", "tru", Err("'t' where a value was expected")),
        ("list", "[null,[1.5],{\"a\":2.5}]", Ok(())),
        ("list", "{}", Err("list: an object where a list was expected")),
        ("values", "[null,1.5,[null]]", Ok(())),
        ("structs", "[{\"a\":1.5},{\"a\":1.5}]", Ok(())),
        ("values_by_string", "{\"a\":null,\"b\":{\"c\":1.5}}", Ok(())),
    ] {
        check_field(field, value, expect.map(|()| value));
    }
    check_field("struct", "{\"a\":12}", Ok("{\"a\":12.0}"));
    check_field("struct", "null", Ok(""));
}
