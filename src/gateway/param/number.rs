//! Numbers as Go's `strconv` reads them, where Rust's parsers differ.

/// A number that a `double` can hold, if not exactly. What is too large is none: infinity
/// has to be asked for by name.
pub(super) fn double(text: &str) -> Option<f64> {
    if let Some(named) = named(text) {
        return Some(named);
    }
    let plain = grouped(text, text)?;
    let value = match Hex::parse(&plain) {
        Some(hex) => hex.round(53, -1074),
        None => decimal(&plain)?.parse().ok()?,
    };
    value.is_finite().then_some(value)
}

/// Like [`double`]. It is rounded once, not by way of a double.
pub(super) fn float(text: &str) -> Option<f32> {
    if let Some(named) = named(text) {
        return Some(named as f32);
    }
    let plain = grouped(text, text)?;
    let value: f32 = match Hex::parse(&plain) {
        Some(hex) => hex.round(24, -149) as f32,
        None => decimal(&plain)?.parse().ok()?,
    };
    value.is_finite().then_some(value)
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn named(text: &str) -> Option<f64> {
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let (negative, name) = sign(text);
    let infinite = name.eq_ignore_ascii_case("inf") || name.eq_ignore_ascii_case("infinity");
    infinite.then_some(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
}

/// What Rust would read as a number too, and is one in digits.
fn decimal(text: &str) -> Option<&str> {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')).then_some(text)
}

/// `part` of a number without the underscores, which may stand between two digits, or between
/// the prefix of the base and a digit.
fn grouped(number: &str, part: &str) -> Option<String> {
    let (_, digits) = sign(number);
    let mut bytes = digits.bytes().peekable();
    let mut after_digit = false;
    let mut hex = false;
    if let [b'0', base @ (b'b' | b'B' | b'o' | b'O' | b'x' | b'X'), ..] = digits.as_bytes() {
        hex = matches!(base, b'x' | b'X');
        after_digit = true;
        bytes.nth(1);
    }
    let digit = |byte: &u8| byte.is_ascii_digit() || (hex && byte.is_ascii_hexdigit());
    while let Some(byte) = bytes.next() {
        if byte == b'_' && !(after_digit && bytes.peek().is_some_and(digit)) {
            return None;
        }
        after_digit = digit(&byte);
    }
    Some(part.replace('_', ""))
}

/// A hexadecimal number such as `-0x1.8p-3`: its digits, of which `exponent` tells where
/// their point is.
struct Hex {
    negative: bool,
    /// The first 64 bits of it.
    mantissa: u64,
    /// In powers of two.
    exponent: i64,
    /// Whether there is more to it than `mantissa`.
    more: bool,
}

impl Hex {
    /// None if it is something else.
    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = sign(text);
        let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
        let (digits, power) = text.split_once(['p', 'P'])?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (_, power_digits) = sign(power);
        if digits.len() < 2 && (whole.is_empty() && fraction.is_empty())
            || power_digits.is_empty()
            || !power_digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        // A power beyond all bounds is as good as the bound: no double is near it.
        let bound = if power.starts_with('-') { -(1 << 40) } else { 1 << 40 };
        let mut exponent: i64 = power.parse().unwrap_or(bound).clamp(-(1 << 40), 1 << 40);
        exponent -= 4 * fraction.len() as i64;
        let (mut mantissa, mut more) = (0_u64, false);
        for digit in whole.chars().chain(fraction.chars()) {
            let digit = digit.to_digit(16)?;
            if mantissa >> 60 == 0 {
                mantissa = mantissa << 4 | u64::from(digit);
            } else {
                exponent += 4;
                more |= digit != 0;
            }
        }
        Some(Self { negative, mantissa, exponent, more })
    }

    /// The nearest number with so many `bits`, the even one of two, that is a multiple of
    /// 2^`least`. Infinite if a double cannot hold it.
    fn round(&self, bits: i64, least: i64) -> f64 {
        let length = i64::from(u64::BITS - self.mantissa.leading_zeros());
        if length == 0 || self.exponent + length < least {
            return if self.negative { -0.0 } else { 0.0 };
        }
        if self.exponent + length > 1024 {
            return if self.negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        let unit = (self.exponent + length - bits).max(least);
        // At most `length` + 1 bits go, and no more than `bits` are added.
        let dropped = unit - self.exponent;
        let units = if dropped <= 0 {
            self.mantissa << -dropped
        } else {
            let mantissa = u128::from(self.mantissa);
            let (kept, rest) = (mantissa >> dropped, mantissa & ((1 << dropped) - 1));
            let half = 1 << (dropped - 1);
            let up = rest > half || (rest == half && (self.more || kept & 1 == 1));
            kept as u64 + u64::from(up)
        };
        let magnitude = units as f64 * power_of_two(unit);
        if self.negative { -magnitude } else { magnitude }
    }
}

/// 2^`exponent`, from -1074 to 1023.
fn power_of_two(exponent: i64) -> f64 {
    let bits = if exponent < -1022 { 1 << (exponent + 1074) } else { (exponent + 1023) << 52 };
    f64::from_bits(bits.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floating_point_numbers() {
        // What Go's ParseFloat says of each, for 64 and for 32 bits.
        const MIN: f64 = f64::from_bits(1);
        let same = |value: f64| (Some(value), Some(value as f32));
        let cases = [
            ("1_000", same(1000.0)),
            ("1_0.5", same(10.5)),
            ("1e1_0", same(1e10)),
            ("0x_1p0", same(1.0)),
            ("0x1_0p0", same(16.0)),
            ("0x1p-2", same(0.25)),
            ("-0x1p-2", same(-0.25)),
            ("0X1.8P+1", same(3.0)),
            ("0x.8p1", same(1.0)),
            ("0x1.p0", same(1.0)),
            ("0x0p0", same(0.0)),
            ("0x0p99999999999999999999", same(0.0)),
            ("-0x0p0", same(-0.0)),
            ("0x1p-99999999999999999999", same(0.0)),
            ("0x1p-1074", (Some(MIN), Some(0.0))),
            ("0x1p-1075", same(0.0)),
            ("0x1.8p-1075", (Some(MIN), Some(0.0))),
            ("0x1p-149", (Some(f64::from(f32::from_bits(1))), Some(f32::from_bits(1)))),
            ("0x1.fffffffffffff7p1023", (Some(f64::MAX), None)),
            ("0x1.fffffffffffff8p1023", (None, None)),
            ("0x1p1024", (None, None)),
            ("0x1p99999999999999999999", (None, None)),
            ("0x1.fffffep127", same(f64::from(f32::MAX))),
            ("0x1.ffffffp127", (Some(f64::from_bits(0x47ef_ffff_f000_0000)), None)),
            ("0x1.00000000000008p0", same(1.0)),
            ("0x1.00000000000018p0", (Some(1.000_000_000_000_000_4), Some(1.0))),
            ("0x1.000000000000080000000001p0", (Some(1.000_000_000_000_000_2), Some(1.0))),
            ("0x123456789abcdef01p0", (Some(2.098_829_547_942_064_5e19), Some(2.098_829_6e19))),
            ("1.", same(1.0)),
            (".5", same(0.5)),
            ("+1.5e+3", same(1500.0)),
            ("-0", same(-0.0)),
            ("1e-400", same(0.0)),
            ("1e39", (Some(1e39), None)),
            ("1e400", (None, None)),
            ("inf", same(f64::INFINITY)),
            ("+Infinity", same(f64::INFINITY)),
            ("-INF", same(f64::NEG_INFINITY)),
        ];
        for (text, (expect, expect_float)) in cases {
            assert_eq!(double(text).map(f64::to_bits), expect.map(f64::to_bits), "{text}");
            assert_eq!(float(text).map(f32::to_bits), expect_float.map(f32::to_bits), "{text}");
        }
        for text in ["nan", "NaN", "NAN"] {
            assert!(double(text).is_some_and(f64::is_nan) && float(text).is_some_and(f32::is_nan));
        }
        let none = [
            "",
            ".",
            "+",
            "+nan",
            "-NaN",
            "infi",
            "in_f",
            "infinit",
            "_1",
            "-_1",
            "1_",
            "1__0",
            "1._5",
            "1_.5",
            "1_e5",
            "1e_5",
            "1e",
            "e5",
            "1d",
            "1f",
            " 1",
            "0x10",
            "0x1e5",
            "0x1p",
            "0xp1",
            "0x.p1",
            "0x1p+",
            "0x1p1.0",
            "0x1.1.1p0",
            "0x1p0x1",
            "0_x1p0",
            "0b1",
            "0b1p0",
            "1p0",
            "٣",
            "0x+1p0",
        ];
        for text in none {
            assert_eq!((double(text), float(text)), (None, None), "{text}");
        }
    }

    proptest! {
        #[test]
        fn doubles_in_hexadecimal(bits: u64, shift in 0..9_i64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let exponent = (bits >> 52 & 0x7ff) as i64;
            let (lead, exponent) = if exponent == 0 { (0, -1022) } else { (1 << 52, exponent - 1023) };
            let mantissa = (bits & ((1 << 52) - 1)) | lead;
            let minus = if value.is_sign_negative() { "-" } else { "" };
            let text = format!("{minus}0x{:x}p{}", u128::from(mantissa) << shift, exponent - 52 - shift);
            prop_assert_eq!(double(&text).map(f64::to_bits), Some(bits), "{}", text);
        }

        #[test]
        fn floats_are_rounded_once(mantissa: u64, exponent in -160..70_i64) {
            // 40 bits are exact as a double, so rounding that one is right.
            let mantissa = mantissa >> 24;
            let exact = mantissa as f64 * power_of_two(exponent);
            let expect = Some(exact as f32).filter(|value| value.is_finite());
            prop_assert_eq!(float(&format!("0x{mantissa:x}p{exponent}")), expect);
        }

        #[test]
        fn any_text_is_read(text in "[-+]?(0[xXbBoO])?[_0-9a-fA-F.]{0,24}([eEpP][-+]?[_0-9]{0,22})?") {
            let _ = (double(&text), float(&text));
        }
    }
}
