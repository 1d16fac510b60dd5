//! The spelling of strings, numbers and times.

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Appends a JSON string. Only what JSON wants escaped is.
pub(in crate::gateway) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = first_special(rest.as_bytes()) {
        let (clean, from) = rest.split_at(at);
        out.push_str(clean);
        // It is ASCII, hence one byte.
        let (special, after) = from.split_at(1);
        match special {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            "\n" => out.push_str("\\n"),
            "\r" => out.push_str("\\r"),
            "\t" => out.push_str("\\t"),
            "\u{8}" => out.push_str("\\b"),
            "\u{c}" => out.push_str("\\f"),
            control => {
                for byte in control.bytes() {
                    out.push_str(if byte < 0x10 { "\\u000" } else { "\\u001" });
                    out.extend(char::from_digit(u32::from(byte & 0xf), 16));
                }
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first byte is that a JSON string cannot hold as it is.
fn first_special(bytes: &[u8]) -> Option<usize> {
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if has_special(u64::from_ne_bytes(*word)) {
            return word.iter().position(is_special).map(|at| index * 8 + at);
        }
    }
    tail.iter().position(is_special).map(|at| words.len() * 8 + at)
}

/// Eight bytes at once. A byte's top bit says so: it is borrowed into if the byte was
/// too small to be subtracted from.
fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let quotes = word ^ (ONES * u64::from(b'"'));
    let slashes = word ^ (ONES * u64::from(b'\\'));
    let small = word.wrapping_sub(ONES * 0x20) & !word;
    let zeros = quotes.wrapping_sub(ONES) & !quotes | slashes.wrapping_sub(ONES) & !slashes;
    (small | zeros) & TOPS != 0
}

/// Appends bytes as a JSON string, in padded base64 of the standard alphabet.
pub(super) fn write_bytes(out: &mut String, bytes: &[u8]) {
    out.push('"');
    BASE64_STANDARD.encode_string(bytes, out);
    out.push('"');
}

pub(super) fn write_integer(out: &mut String, value: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(value));
}

pub(super) fn write_quoted_integer(out: &mut String, value: impl itoa::Integer) {
    out.push('"');
    write_integer(out, value);
    out.push('"');
}

/// Appends a number as ECMAScript writes it, or as a string if JSON has no number for it.
pub(super) fn write_double(out: &mut String, value: f64) {
    /// Below, an integer's digits are all significant.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = value as i64;
    // Not so with a minus zero.
    if value.abs() < EXACT && (whole as f64).to_bits() == value.to_bits() {
        write_integer(out, whole);
    } else if value.is_finite() {
        write_shortest(out, zmij::Buffer::new().format_finite(value));
    } else {
        write_infinite(out, value);
    }
}

/// Appends a number with the digits that tell it from other floats.
pub(super) fn write_float(out: &mut String, value: f32) {
    if value.is_finite() {
        write_shortest(out, zmij::Buffer::new().format_finite(value));
    } else {
        write_infinite(out, f64::from(value));
    }
}

fn write_infinite(out: &mut String, value: f64) {
    out.push_str(match value {
        f64::INFINITY => "\"Infinity\"",
        f64::NEG_INFINITY => "\"-Infinity\"",
        _ => "\"NaN\"",
    });
}

/// `shortest` has the right digits, but is plain in a narrower range than from 1e-6 up to
/// below 1e21, has no plus before exponents, and a needless `.0` behind integers.
fn write_shortest(out: &mut String, shortest: &str) {
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        out.push_str(shortest.strip_suffix(".0").unwrap_or(shortest));
        return;
    };
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    let power: i32 = exponent.parse().unwrap_or_default();
    if !(-6..21).contains(&power) {
        out.push_str(mantissa);
        out.push_str(if power < 0 { "e" } else { "e+" });
        write_integer(out, power);
        return;
    }
    let digits = match mantissa.strip_prefix('-') {
        Some(digits) => {
            out.push('-');
            digits
        }
        None => mantissa,
    };
    let (first, others) = digits.split_once('.').unwrap_or((digits, ""));
    if power < 0 {
        out.push_str("0.");
        zeros(out, power.unsigned_abs() as usize - 1);
    }
    out.push_str(first);
    out.push_str(others);
    // There is no number here whose digits go on behind the point.
    zeros(out, usize::try_from(power).unwrap_or_default().saturating_sub(others.len()));
}

fn zeros(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n('0', count));
}

/// Appends a moment in UTC, `"1970-01-01T00:00:00.500Z"`; `seconds` are of the years 1 to
/// 9999, `nanos` below a billion.
pub(super) fn write_timestamp(out: &mut String, seconds: i64, nanos: u32) {
    const DAY: u64 = 86_400;
    let since_march_0000 = u64::try_from(seconds + DAYS_BEFORE_1970 * DAY as i64).unwrap_or_default();
    let (year, month, day) = civil((since_march_0000 / DAY) as u32);
    let second = (since_march_0000 % DAY) as u32;
    out.push('"');
    pair(out, year / 100);
    pair(out, year % 100);
    out.push('-');
    pair(out, month);
    out.push('-');
    pair(out, day);
    out.push('T');
    pair(out, second / 3600);
    out.push(':');
    pair(out, second / 60 % 60);
    out.push(':');
    pair(out, second % 60);
    write_fraction(out, nanos);
    out.push_str("Z\"");
}

/// Appends a fraction of a second: nothing, or 3, 6 or 9 digits.
pub(super) fn write_fraction(out: &mut String, nanos: u32) {
    if nanos == 0 {
        return;
    }
    let groups = [nanos / 1_000_000, nanos / 1000 % 1000, nanos % 1000];
    let used = if nanos.is_multiple_of(1_000_000) { 1 } else { 3 - usize::from(groups[2] == 0) };
    out.push('.');
    for group in &groups[..used] {
        let (hundreds, rest) = (group / 100, group % 100);
        write_integer(out, hundreds);
        pair(out, rest);
    }
}

/// Appends two digits.
fn pair(out: &mut String, number: u32) {
    const PAIRS: &str = "00010203040506070809101112131415161718192021222324252627282930313233343536373839\
        40414243444546474849505152535455565758596061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899";
    let at = 2 * (number as usize % 100);
    out.push_str(&PAIRS[at..at + 2]);
}

/// From 0000-03-01.
const DAYS_BEFORE_1970: i64 = 719_468;

/// Year, month and day of a day counted from 0000-03-01. Years begin in March here, so
/// that the leap day is their last. Source: Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms".
fn civil(day: u32) -> (u32, u32, u32) {
    const DAYS_OF_400_YEARS: u32 = 146_097;
    let (era, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year + u32::from(month <= 2), month, day)
}
