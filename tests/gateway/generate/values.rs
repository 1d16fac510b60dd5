//! For each kind of field, what is worth trying: in `GOOD` tables what a gateway takes, in
//! `ODD` ones what it may not.

use prost_reflect::{Kind, MessageDescriptor};

use super::Rng;

/// A value as a query string or a path spells it, not escaped yet.
pub fn text(rng: &mut Rng, kind: &Kind) -> String {
    let odd = rng.chance(1, 8);
    let table: &[&str] = match kind {
        Kind::Double | Kind::Float => return float(rng, odd),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => {
            if odd {
                &INTS_ODD
            } else {
                &INTS_32
            }
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => {
            if odd {
                &INTS_ODD
            } else {
                &INTS_64
            }
        }
        Kind::Bool => {
            if odd {
                &BOOLS_ODD
            } else {
                &BOOLS
            }
        }
        Kind::String => &STRINGS,
        Kind::Bytes => &BASE64,
        Kind::Enum(descriptor) => {
            let values: Vec<_> = descriptor.values().collect();
            let value = rng.pick(&values);
            return match (odd, rng.below(3)) {
                (true, _) => rng.pick(&ENUMS_ODD).to_owned(),
                (false, 0) => value.number().to_string(),
                (false, _) => value.name().to_owned(),
            };
        }
        Kind::Message(descriptor) => match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                if odd {
                    &TIMES_ODD
                } else {
                    &TIMES
                }
            }
            "google.protobuf.Duration" => {
                if odd {
                    &DURATIONS_ODD
                } else {
                    &DURATIONS_GO
                }
            }
            "google.protobuf.FieldMask" => &MASKS_TEXT,
            "google.protobuf.Struct" if !odd => return super::body::any_object(rng, 2),
            "google.protobuf.Value" | "google.protobuf.Struct" => return super::body::any(rng, 2),
            "google.protobuf.Empty" => &["", "{}", "{}", "x"],
            _ if descriptor.full_name().starts_with("google.protobuf.") => {
                match descriptor.get_field_by_name("value") {
                    Some(wrapped) if is_wrapper(descriptor) => return text(rng, &wrapped.kind()),
                    _ => &["x", "{}"],
                }
            }
            _ => &["x", "{}", ""],
        },
    };
    rng.pick(table).to_owned()
}

/// Whether a message has a text of its own in query strings.
pub fn has_text(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("google.protobuf.")
}

/// Whether it is one of the wrappers of scalars.
pub fn is_wrapper(message: &MessageDescriptor) -> bool {
    message.full_name().strip_prefix("google.protobuf.").is_some_and(|name| {
        matches!(name, "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "StringValue")
            || matches!(name, "Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value")
    })
}

fn float(rng: &mut Rng, odd: bool) -> String {
    if odd {
        return rng.pick(&FLOATS_ODD).to_owned();
    }
    if rng.chance(1, 3) { any_float(rng) } else { rng.pick(&FLOATS).to_owned() }
}

/// A finite number of any size, in one of the ways to write it.
pub fn any_float(rng: &mut Rng) -> String {
    let mut value = f64::from_bits(rng.bits());
    if !value.is_finite() {
        value = 0.1;
    }
    match rng.below(4) {
        0 => format!("{value:e}"),
        1 => format!("{value:E}"),
        2 => format!("{:.3}", value % 1e6),
        _ => format!("{}", (value % 1e25).trunc()),
    }
}

/// Percent-encoded where a URL needs it, where `also` has the byte, and now and then
/// where there is no need.
pub fn escaped(rng: &mut Rng, text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    let in_query = also.contains(&b'+');
    for byte in text.bytes() {
        let needed = !byte.is_ascii_graphic() || b"%\"<>\\^`{|}#?".contains(&byte) || also.contains(&byte);
        if byte == b' ' && in_query && rng.chance(1, 2) {
            out.push('+');
        } else if needed || rng.chance(1, 40) {
            let escape = if rng.chance(1, 2) { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
            out.push_str(&escape);
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

pub const STRINGS: [&str; 24] = [
    "",
    "a",
    "b",
    "abc",
    "http://a:1",
    "https://b.example/x?y",
    "missing",
    "md",
    "null",
    "true",
    "0",
    " ",
    " a ",
    "a b",
    "a/b",
    "a,b",
    "é",
    "日本",
    "😀",
    "<a>&'\"\\",
    "\u{2028}",
    "\u{7f}",
    "\t\n\r\u{8}\u{c}\u{1}",
    "\0",
];

pub const INTS_32: [&str; 12] =
    ["0", "1", "2", "7", "42", "-1", "-0", "+5", "007", "2147483647", "-2147483648", "100"];

pub const INTS_64: [&str; 12] = [
    "0",
    "1",
    "30",
    "-1",
    "+5",
    "007",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "9007199254740993",
    "100",
    "5",
];

pub const INTS_ODD: [&str; 26] = [
    "",
    "abc",
    " 1",
    "1 ",
    "1e2",
    "1.0",
    "1.5",
    "0x10",
    "1_000",
    "１",
    "--1",
    "+",
    "-",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "true",
    "1,2",
    "0b1",
    "1e400",
];

const BOOLS: [&str; 12] = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
const BOOLS_ODD: [&str; 9] = ["", "yes", "tRUE", "2", "01", " true", "null", "on", "y"];

const FLOATS: [&str; 30] = [
    "0",
    "-0",
    "1",
    "1.5",
    "-2.25",
    "1.",
    ".5",
    "1e21",
    "1e20",
    "999999999999999999999",
    "1e-6",
    "1e-7",
    "0.000001234",
    "5e-324",
    "1.7976931348623157e308",
    "1e-400",
    "NaN",
    "nan",
    "Infinity",
    "inf",
    "-Inf",
    "+Inf",
    "infinity",
    "1E+5",
    "0x1p-2",
    "0x1.8p1",
    "1_0",
    "3.4028235e38",
    "12345678901234567890",
    "+1",
];

const FLOATS_ODD: [&str; 18] = [
    "",
    "abc",
    "1e309",
    "-1e309",
    "3.4028236e38",
    "0x1",
    "_1",
    "1__0",
    "1_",
    "1e",
    "e1",
    "-NaN",
    "+nan",
    " 1",
    "1,5",
    "0x1p",
    "1.5.5",
    "--1",
];

pub const ENUMS_ODD: [&str; 12] = [
    "",
    "NOPE",
    "status_up",
    "Status_Up",
    "99",
    "-1",
    "+1",
    "01",
    "1.0",
    "2147483648",
    " STATUS_UP",
    "STATUS_UP,",
];

pub const BASE64: [&str; 24] = [
    "",
    "AQI=",
    "AQI",
    "+/8=",
    "-_8=",
    "-_8",
    "+_8=",
    "AAAA",
    "AA==",
    "AA",
    "AB==",
    "A",
    "AQI==",
    "=",
    "====",
    "***",
    " AQI=",
    "AQI= ",
    "A\nQI=",
    "AQ\r\nI=",
    "AAAAAAAAAAAAAAAAAAAA",
    "_-__",
    "éAA=",
    "//==",
];

pub const TIMES: [&str; 20] = [
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05.1Z",
    "2026-01-02T03:04:05.120Z",
    "2026-01-02T03:04:05.123456Z",
    "2026-01-02T03:04:05.123456789Z",
    "2026-01-02T03:04:05.000000001Z",
    "2026-01-02T03:04:05+02:00",
    "2026-01-02T03:04:05.5-23:59",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.9Z",
    "2024-02-29T00:00:00Z",
    "2026-01-02T03:04:05-00:00",
    "2026-01-02T03:04:05.10Z",
    "2000-02-29T23:59:59Z",
    "1900-03-01T00:00:00Z",
    "2026-01-02T03:04:05.0Z",
    "2026-12-31T23:59:59+14:00",
    "0001-01-02T00:00:00+01:00",
];

pub const TIMES_ODD: [&str; 30] = [
    "",
    "yesterday",
    "2026-01-02",
    "2026-01-02T03:04:05",
    "2026-01-02 03:04:05Z",
    "2026-01-02t03:04:05z",
    "2026-01-02T3:04:05Z",
    "2026-01-02T03:04:05,5Z",
    "2026-01-02T03:04:05,1234567891Z",
    "2026-01-02T03:04:05.1234567891Z",
    "2026-01-02T03:04:05.Z",
    "2026-1-02T03:04:05Z",
    "2026-01-02T24:00:00Z",
    "2026-01-02T23:59:60Z",
    "2026-02-29T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "2026-01-02T03:04:05+24:60",
    "2026-01-02T03:04:05+25:00",
    "2026-01-02T03:04:05+0200",
    "2026-01-02T03:04:05+02",
    "10000-01-01T00:00:00Z",
    "0000-12-31T23:59:59Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    " 2026-01-02T03:04:05Z",
    "1767323045",
];

const DURATIONS_GO: [&str; 22] = [
    "90s",
    "1m30s",
    "1h",
    "1.5h",
    "100ms",
    "1us",
    "1µs",
    "1μs",
    "1ns",
    "0",
    "+0",
    "-0",
    "-1.5s",
    "+1s",
    "1h1m1s1ms1us1ns",
    ".5s",
    "1.s",
    "007s",
    "2562047h47m16.854775807s",
    "-2562047h47m16.854775808s",
    "0.0000000001s",
    "1.9999999999s",
];

/// As protobuf's JSON spells them.
pub const DURATIONS: [&str; 20] = [
    "0s",
    "1s",
    "90s",
    "-1s",
    "1.5s",
    "1.500s",
    "1.123456s",
    "1.123456789s",
    "-0.5s",
    "0.000000001s",
    "315576000000s",
    "-315576000000s",
    "315576000000.999999999s",
    "3.000s",
    "0.1s",
    "-0s",
    "+1s",
    "1.s",
    ".1s",
    ".s",
];

pub const DURATIONS_ODD: [&str; 20] = [
    "",
    "s",
    "1",
    "90",
    "-s",
    "01s",
    "1.1234567891s",
    "1 s",
    " 1s",
    "1s ",
    "1S",
    "1e3s",
    "315576000001s",
    "-315576000001s",
    "2562047h47m16.854775808s",
    "1d",
    "1x",
    "1m 30s",
    "--1s",
    "1..5s",
];

const MASKS_TEXT: [&str; 14] = [
    "a",
    "a,b",
    "a.b,c",
    "info.x,labels",
    "foo_bar",
    "fooBar",
    "",
    ",",
    "a,,b",
    "a b",
    "*",
    "é",
    "a_1",
    "_a",
];

/// As protobuf's JSON spells them.
pub const MASKS: [&str; 18] = [
    "",
    "a",
    "a,b",
    "a.b,c",
    "fooBar",
    "fooBar.bazQux,a",
    "Foo",
    "foo_bar",
    "a,",
    ",",
    "a,,b",
    "a, b",
    " a ",
    "*",
    "a..b",
    "é",
    "a1",
    "1a",
];
