//! Numbers and strings.

use proptest::prelude::*;

use super::check_field;
use crate::gateway::json::write::text::{write_double, write_float, write_string};

#[test]
fn scalars() {
    let max = u64::MAX;
    for (field, value, expect) in [
        ("bool", 2, "true"),
        ("int32", max, "-1"),
        ("uint32", max, "4294967295"),
        ("sint32", max, "-2147483648"),
        ("int64", max, "\"-1\""),
        ("uint64", max, "\"18446744073709551615\""),
        ("sint64", max, "\"-9223372036854775808\""),
        ("optional_int64", 0, "\"0\""),
        ("color", 1, "\"GREEN\""),
        ("color", max, "\"INFRARED\""),
        ("color", 2, "2"),
        ("optional_color", 0, "\"RED\""),
        ("list_color", 400, "[\"ULTRAVIOLET\"]"),
        ("null", 0, ""),
        ("null", 3, "null"),
    ] {
        check_field(field, |e, number| e.varint(number, value), expect);
    }
    check_field("fixed32", |e, number| e.fixed32(number, u32::MAX), "4294967295");
    check_field("sfixed32", |e, number| e.fixed32(number, u32::MAX), "-1");
    check_field("fixed64", |e, number| e.fixed64(number, max), "\"18446744073709551615\"");
    check_field("sfixed64", |e, number| e.fixed64(number, max), "\"-1\"");
    check_field("bytes", |e, number| e.bytes(number, &[0xfb, 0xef, 0xbe, 0xff]), "\"++++/w==\"");
}

#[test]
fn doubles_are_as_ecmascript_writes_them() {
    for (value, expect) in [
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (123_456_789_012_345_680_000.0, "123456789012345680000"),
        (12_345_678_901_234_567_000.0, "12345678901234567000"),
        (9_007_199_254_740_993.0, "9007199254740992"),
        (-1.5e16, "-15000000000000000"),
        (1e21, "1e+21"),
        (-1.25e21, "-1.25e+21"),
        (1e-6, "0.000001"),
        (-1.234_567_890_123e-6, "-0.000001234567890123"),
        (0.000_012_5, "0.0000125"),
        (9.99e-7, "9.99e-7"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        check_field("double", |e, number| e.fixed64(number, value.to_bits()), expect);
    }
    for (value, expect) in [
        (0.1_f32, "0.1"),
        (16_777_216.0, "16777216"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e13, "15000000000000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (f32::MAX, "3.4028235e+38"),
        (-0.0, "-0"),
        (f32::NAN, "\"NaN\""),
    ] {
        check_field("float", |e, number| e.fixed32(number, value.to_bits()), expect);
    }
}

#[test]
fn strings_are_escaped_where_json_wants_it() {
    for (text, expect) in [
        ("a\"b\\c\nd\re\tf\u{8}g\u{c}", r#""a\"b\\c\nd\re\tf\bg\f""#),
        ("\0\u{1}\u{f}\u{10}\u{1f}", r#""\u0000\u0001\u000f\u0010\u001f""#),
        ("<a>&'/\u{7f}\u{2028}é😀", "\"<a>&'/\u{7f}\u{2028}é😀\""),
        ("", "\"\""),
        ("12345678\"", r#""12345678\"""#),
        ("1234567\u{80}\"", "\"1234567\u{80}\\\"\""),
    ] {
        let mut out = String::new();
        write_string(&mut out, text);
        assert_eq!(out, expect);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }
}

proptest! {
    #[test]
    fn digits_are_the_fewest_that_tell_a_number_from_others(bits: u64, whole: i64, power in -30..30) {
        for value in [f64::from_bits(bits), whole as f64, whole as f64 * 10_f64.powi(power)] {
            let (mut double, mut float) = (String::new(), String::new());
            write_double(&mut double, value);
            write_float(&mut float, value as f32);
            if value.is_finite() {
                prop_assert_eq!(double.parse::<f64>().unwrap().to_bits(), value.to_bits());
                prop_assert_eq!(digits(&double), digits(&format!("{value:e}")));
            }
            if (value as f32).is_finite() {
                prop_assert_eq!(float.parse::<f32>().unwrap().to_bits(), (value as f32).to_bits());
                prop_assert_eq!(digits(&float), digits(&format!("{:e}", value as f32)));
            }
        }
    }
}

/// How many there are, without zeros at both ends. Of two that are as good, Rust does not
/// take the same as Go and we.
fn digits(number: &str) -> usize {
    let mantissa = number.split('e').next().unwrap_or_default();
    mantissa.replace(['-', '.'], "").trim_matches('0').len()
}
