//! `google.protobuf.Timestamp` and `google.protobuf.Duration` as proto3 JSON writes them,
//! read with what Go's parsers let pass.

/// Seconds and nanoseconds.
pub(super) type Time = (i64, i32);

/// Seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// 10,000 years.
const MAX_DURATION: i64 = 315_576_000_000;

/// An RFC 3339 time with upper-case `T` and `Z`. As Go reads it: the hour may have one
/// digit, the fraction may follow a comma (then even one beyond nanoseconds), an offset may
/// be of 24 hours and 60 minutes. There are no leap seconds.
pub(super) fn timestamp(text: &str) -> Option<Time> {
    let mut rest = Digits(text.as_bytes());
    let year = rest.number(4)?;
    rest.byte(b'-')?;
    let month = rest.number(2).filter(|month| (1..=12).contains(month))?;
    rest.byte(b'-')?;
    let day = rest.number(2).filter(|day| (1..=days_in(year, month)).contains(day))?;
    rest.byte(b'T')?;
    let hour = rest.number(2).or_else(|| rest.number(1)).filter(|hour| *hour < 24)?;
    rest.byte(b':')?;
    let minute = rest.number(2).filter(|minute| *minute < 60)?;
    rest.byte(b':')?;
    let second = rest.number(2).filter(|second| *second < 60)?;
    let nanos = if rest.byte(b',').is_some() {
        let digits = rest.digits();
        nanos(digits.get(..9).unwrap_or(digits))?
    } else if rest.byte(b'.').is_some() {
        nanos(rest.digits())?
    } else {
        0
    };
    let offset = if rest.byte(b'Z').is_some() {
        0
    } else {
        let sign = if rest.byte(b'-').is_some() { -1 } else { rest.byte(b'+').map(|()| 1)? };
        let hours = rest.number(2).filter(|hours| *hours <= 24)?;
        rest.byte(b':')?;
        let minutes = rest.number(2).filter(|minutes| *minutes <= 60)?;
        sign * (hours * 60 + minutes) * 60
    };
    if !rest.0.is_empty() {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos))
}

/// Seconds with up to nine digits behind the point, and an `s`: `90s`, `-1.5s`. As Go
/// reads it, there may be a `+`, and digits may be missing on either side of a point.
pub(super) fn duration(text: &str) -> Option<Time> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut rest = Digits(text.as_bytes());
    let whole = rest.digits();
    let has_point = rest.byte(b'.').is_some();
    let fraction = rest.digits();
    let has_leading_zero = whole.len() > 1 && whole.starts_with(b"0");
    if !rest.0.is_empty() || has_leading_zero || (whole.is_empty() && !has_point) {
        return None;
    }
    let seconds = if whole.is_empty() { 0 } else { std::str::from_utf8(whole).ok()?.parse().ok()? };
    let nanos = if fraction.is_empty() { 0 } else { nanos(fraction)? };
    (seconds <= MAX_DURATION).then_some((sign * seconds, sign as i32 * nanos))
}

/// Nanoseconds of one to nine digits behind the point.
fn nanos(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some(padded.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0')))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, extended to all years.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + leap_days + days_before_month + day - 1 - DAYS_TO_1970
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What is left of a text made mostly of digits.
struct Digits<'a>(&'a [u8]);

impl<'a> Digits<'a> {
    /// Exactly so many digits, few enough for an `i64`.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (taken, rest) = self.0.split_at_checked(digits)?;
        let mut value = 0;
        for digit in taken {
            value = value * 10 + i64::from(char::from(*digit).to_digit(10)?);
        }
        self.0 = rest;
        Some(value)
    }

    /// All digits that follow.
    fn digits(&mut self) -> &'a [u8] {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }
}
