//! Times and durations as Go's package `time` reads them.

pub(super) const NANOS: i64 = 1_000_000_000;

const DAY: i64 = 24 * 60 * 60;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: all that a `Timestamp` can hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Seconds and nanoseconds since 1970 of an RFC 3339 time. Beyond the RFC, an hour may have
/// one digit, a comma may stand before the fraction, what is below a nanosecond is dropped,
/// and an offset may be as large as 24 hours and 60 minutes. A leap second is none.
pub(super) fn timestamp(text: &str) -> Option<(i64, i64)> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.digits(4)?;
    rest.byte(b'-')?;
    let month = rest.digits(2).filter(|month| (1..=12).contains(month))?;
    rest.byte(b'-')?;
    let day = rest.digits(2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    rest.byte(b'T')?;
    let hour = rest.digits(2).or_else(|| rest.digits(1)).filter(|hour| *hour < 24)?;
    rest.byte(b':')?;
    let minute = rest.digits(2).filter(|minute| *minute < 60)?;
    rest.byte(b':')?;
    let second = rest.digits(2).filter(|second| *second < 60)?;
    let nanos = rest.fraction();
    let offset = rest.offset()?;
    if !rest.0.is_empty() {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * DAY + (hour * 60 + minute) * 60 + second - offset;
    SECONDS.contains(&seconds).then_some((seconds, nanos))
}

/// Nanoseconds of a duration: an optional sign, then numbers with a unit each, `1h2m3.5s`;
/// only zero may go without. What is beyond 292 years is none.
pub(super) fn duration(text: &str) -> Option<i64> {
    const MAX: u64 = 1 << 63;
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) =
            tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let nanos = whole.checked_mul(unit)?.checked_add(part_of(unit, fraction))?;
        total = total.checked_add(nanos).filter(|total| *total <= MAX)?;
        rest = tail;
    }
    if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

/// The digits behind a point, in nanoseconds: reckoned in doubles as Go does, so that both
/// come to the same nanosecond. Digits that 63 bits do not hold count for nothing.
fn part_of(unit: u64, fraction: &str) -> u64 {
    let (mut value, mut scale) = (0_u64, 1.0);
    for digit in fraction.bytes() {
        if value > ((1 << 63) - 1) / 10 {
            break;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > 1 << 63 {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    // Never negative, and below an hour.
    ((value as f64 * (unit as f64 / scale)) as i64).cast_unsigned()
}

/// What of a text is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// A number of just so many digits at the least. Consumes nothing else.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn fraction(&mut self) -> i64 {
        let [b'.' | b',', digits @ ..] = self.0 else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        let nanos = digits[..count].iter().chain(std::iter::repeat(&b'0')).take(9);
        let nanos = nanos.fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
        self.0 = &digits[count..];
        nanos
    }

    fn offset(&mut self) -> Option<i64> {
        let sign = match self.0.first()? {
            b'Z' => 0,
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.0 = &self.0[1..];
        if sign == 0 {
            return Some(0);
        }
        let hours = self.digits(2).filter(|hours| *hours <= 24)?;
        self.byte(b':')?;
        let minutes = self.digits(2).filter(|minutes| *minutes <= 60)?;
        Some(sign * (hours * 60 + minutes) * 60)
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// In the Gregorian calendar, whose years repeat every 400. January and February belong to
/// the year before, so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // March is the first month: 153 days are five months, 31, 30, 31, 30, 31.
    days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("90s", 90 * NANOS),
            ("1m30s", 90 * NANOS),
            ("1h", 3600 * NANOS),
            ("1.5s", NANOS + NANOS / 2),
            (".5h", 1800 * NANOS),
            ("5.h", 5 * 3600 * NANOS),
            ("100ms", NANOS / 10),
            ("2µs3ns", 2_003),
            ("1\u{3bc}s", 1_000),
            ("-1s", -NANOS),
            ("+1s", NANOS),
            ("-0.5s", -NANOS / 2),
            ("1s1s", 2 * NANOS),
            ("0.3s", 300_000_000),
            ("0.9999999999s", 999_999_999),
            ("1.0000000001h", 3_600_000_000_360),
            ("0.333333333333333333333h", 1_200_000_000_000),
            ("1.23456789012345678901234567890h", 4_444_444_404_444),
            ("0.1ns", 0),
            ("0.000000000000000000000000000001h", 0),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036854775807.9ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-4611686018427387904ns4611686018427387904ns", i64::MIN),
            ("2562047h47m16.854775807s", i64::MAX),
        ];
        for (text, expect) in cases {
            assert_eq!(duration(text), Some(expect), "{text}");
        }
        let none = [
            "",
            "-",
            "+",
            "90",
            "1 s",
            "s",
            ".s",
            "-.s",
            "1..2s",
            "1.2.3s",
            "1d",
            "1m30",
            "1e3s",
            "1h-1m",
            "1H",
            "--1s",
            " 1s",
            "1s ",
            "9999999999h",
            "99999999999999999999999s",
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "2562047h47m16.854775808s",
            "4611686018427387904ns4611686018427387904ns",
        ];
        for text in none {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn times() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2026-01-02T03:04:05Z", 1_767_323_045, 0),
            ("2026-01-02T3:04:05Z", 1_767_323_045, 0),
            ("2026-01-02T03:04:05,123Z", 1_767_323_045, 123_000_000),
            ("2026-01-02T03:04:05.1234567899Z", 1_767_323_045, 123_456_789),
            ("2026-01-02T03:04:05+02:00", 1_767_315_845, 0),
            ("2026-01-02T03:04:05-00:00", 1_767_323_045, 0),
            ("2026-01-02T03:04:05+24:60", 1_767_233_045, 0),
            ("2024-02-29T00:00:00Z", 1_709_164_800, 0),
            ("2000-02-29T00:00:00.5Z", 951_782_400, 500_000_000),
            ("1969-12-31T23:59:59.999999999Z", -1, 999_999_999),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
            ("0000-12-31T23:00:00-01:00", -62_135_596_800, 0),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799, 999_999_999),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(timestamp(text), Some((seconds, nanos)), "{text}");
        }
        let none = [
            "",
            "yesterday",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05,Z",
            "2026-01-02t03:04:05Z",
            "2026-01-02T03:04:05z",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:60:05Z",
            "2026-01-02T24:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-1-02T03:04:05Z",
            "2026-01-2T03:04:05Z",
            "2026-01-02T:04:05Z",
            "2026-01-02T03:4:05Z",
            "2026-01-02T03:04:05+25:00",
            "2026-01-02T03:04:05+00:61",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05+1:00",
            "2026-01-02T03:04:05Z ",
            " 2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05ZZ",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "+2026-01-02T03:04:05Z",
            "12026-01-02T03:04:05Z",
        ];
        for text in none {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_are_counted(days in -719_162..2_932_897_i64) {
            let shown = prost_types::Timestamp { seconds: days * DAY, nanos: 0 }.to_string();
            prop_assert_eq!(timestamp(&shown), Some((days * DAY, 0)), "{}", shown);
        }

        #[test]
        fn any_time_is_answered(text in "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-9:]{0,8}[.,]?[0-9]{0,12}[-+Z0-9:]{0,7}") {
            timestamp(&text);
        }

        #[test]
        fn any_duration_is_answered(text in "[-+]?([0-9]{0,20}[.]?[0-9]{0,30}(ns|us|µs|ms|s|m|h|x)?){0,4}") {
            duration(&text);
        }
    }
}
