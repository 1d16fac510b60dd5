//! JSON numbers as what a field holds. Source: protojson, which takes `1.0` and `1e2` for
//! the integers that they are.

/// The integer that a JSON number is. None if it has a fraction, or is so written that
/// its digits and its exponent together go beyond 20 digits: no field holds that.
pub(super) fn integer(literal: &str) -> Option<i128> {
    if literal.len() <= 18
        && let Ok(small) = literal.parse::<i64>()
    {
        return Some(i128::from(small));
    }
    let (negative, literal) = match literal.strip_prefix('-') {
        Some(literal) => (true, literal),
        None => (false, literal),
    };
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (whole, fraction) = (whole.strip_prefix('0').unwrap_or(whole), fraction.trim_end_matches('0'));
    if whole.is_empty() && fraction.is_empty() {
        return Some(0);
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    let value = if exponent < 0 {
        let (kept, dropped) = whole.split_at_checked(whole.len().checked_sub(shift)?)?;
        let is_whole = fraction.is_empty() && dropped.bytes().all(|digit| digit == b'0');
        is_whole.then(|| joined(kept, "", 0))??
    } else {
        joined(whole, fraction, shift)?
    };
    Some(if negative { -value } else { value })
}

/// The integer that is left when the point behind `whole` goes `shift` digits to the right.
fn joined(whole: &str, fraction: &str, shift: usize) -> Option<i128> {
    let zeros = shift.checked_sub(fraction.len())?;
    if whole.len().saturating_add(shift) > MAX_DIGITS {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', zeros));
    Some(digits.fold(0, |value: i128, digit| value * 10 + i128::from(digit - b'0')))
}

/// A `u64` has no more.
const MAX_DIGITS: usize = 20;

/// The double nearest to a JSON number; none if it is beyond all doubles.
pub(super) fn double(literal: &str) -> Option<f64> {
    literal.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The float nearest to a JSON number; none if it is beyond all floats.
pub(super) fn float(literal: &str) -> Option<f32> {
    literal.parse().ok().filter(|number: &f32| number.is_finite())
}
