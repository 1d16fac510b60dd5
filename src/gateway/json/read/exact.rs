//! Whether a double gives a decimal number back as it was written, in value if not in
//! spelling: `1.0` and `1e0` are the same number, `9007199254740993` comes back as
//! another.

/// Whether the JSON number `literal` survives the way through a double. The shortest
/// text that reads back as that double is what any reader is shown, so the digits and
/// the exponent of both are compared.
pub(super) fn is_exact(literal: &str) -> bool {
    // Whatever has up to 15 digits and no extreme exponent comes back from a double.
    if literal.len() <= 15 && !literal.contains(['e', 'E']) {
        return true;
    }
    let Ok(double) = literal.parse::<f64>() else {
        return false;
    };
    double.is_finite() && Decimal::of(literal) == Decimal::of(&format!("{double:e}"))
}

/// A decimal number in the one form that equal numbers share: 0.d₁d₂… × 10^exponent,
/// without zeros at either end.
#[derive(Debug, PartialEq)]
struct Decimal {
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn of(literal: &str) -> Self {
        let literal = literal.strip_prefix('-').unwrap_or(literal);
        let (mantissa, exponent) = match literal.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturating(exponent)),
            None => (literal, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        let leading = all().take_while(|digit| *digit == b'0').count();
        let mut digits: Vec<u8> = all().skip(leading).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Self { digits, exponent: 0 };
        }
        let shift =
            i64::try_from(whole.len()).unwrap_or(i64::MAX) - i64::try_from(leading).unwrap_or(i64::MAX);
        Self { digits, exponent: exponent.saturating_add(shift) }
    }
}

/// An exponent beyond all bounds is as good as the bound: no double is near it.
fn saturating(exponent: &str) -> i64 {
    exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_double_gives_back() {
        for literal in [
            "0",
            "-0",
            "0.0",
            "0e999",
            "0.1",
            "1.0",
            "1e3",
            "1E+2",
            "-1.50",
            "100",
            "1e22",
            "9007199254740992",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "5e-324",
            "123456789012345",
            "3.141592653589793",
            "000e-99999999999999999999",
        ] {
            assert!(is_exact(literal), "{literal}");
        }
        for literal in [
            "1e400",
            "-1e400",
            "9007199254740993",
            "3.141592653589793238",
            "1e-400",
            "0.1000000000000000055511151231257827",
            "1e99999999999999999999999",
            "1e-99999999999999999999999",
            "18446744073709551615",
        ] {
            assert!(!is_exact(literal), "{literal}");
        }
    }

    proptest! {
        #[test]
        fn every_double_is_itself(bits: u64) {
            let double = f64::from_bits(bits);
            prop_assume!(double.is_finite());
            prop_assert!(is_exact(&format!("{double}")), "{double}");
            prop_assert!(is_exact(&format!("{double:e}")), "{double:e}");
        }

        #[test]
        fn any_text_is_judged(text in "[-+.eE0-9]{0,40}") {
            is_exact(&text);
        }
    }
}
