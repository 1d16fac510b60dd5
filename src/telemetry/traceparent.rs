//! `traceparent`, by which a caller says which trace its call belongs to.
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

use http::{HeaderMap, HeaderName};

use crate::types::TraceId;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Of version 00; later ones may go on behind it.
const LENGTH: usize = 55;

/// What a call is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub span: u64,
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceParent {
    /// What the headers say, if they say it well; anything else is as if it were not there.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version, trace, span, flags] = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
        let dashed = [known[2], known[35], known[52]] == [b'-'; 3];
        let version = hex(version)?;
        // What a later version adds stands behind a dash.
        let ended = rest.is_empty() || (version > 0 && rest[0] == b'-');
        let (trace, span, flags) = (hex(trace)?, hex(span)? as u64, hex(flags)?);
        let good = dashed && ended && version != 0xff && trace != 0 && span != 0;
        good.then_some(Self { trace: TraceId(trace), span, sampled: flags & 1 == 1 })
    }
}

/// Lower case only, as the specification has it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[track_caller]
    fn check(text: &str, good: bool) {
        assert_eq!(TraceParent::parse(text.as_bytes()).is_some(), good, "{text:?}");
    }

    #[test]
    fn what_is_not_well_formed_is_not_there() {
        let parsed = TraceParent::parse(GOOD.as_bytes()).expect("a good one");
        assert_eq!(parsed.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parsed.span, parsed.sampled), (0x00f0_67aa_0ba9_02b7, true));
        check(&GOOD.replace("-01", "-00"), true);
        check(&GOOD.replacen("00", "cc", 1), true);
        check(&format!("{}-more", GOOD.replacen("00", "cc", 1)), true);
        check(&format!("{GOOD}-more"), false);
        check(&format!("{}more", GOOD.replacen("00", "cc", 1)), false);
        check(&GOOD.replacen("00", "ff", 1), false);
        check(&GOOD.to_uppercase(), false);
        check(&GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false);
        check(&GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)), false);
        check(&GOOD.replace('-', "_"), false);
        check(&GOOD[..54], false);
        check("", false);
    }

    #[test]
    fn two_of_them_say_nothing() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, http::HeaderValue::from_static(GOOD));
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, http::HeaderValue::from_static(GOOD));
        assert_eq!(TraceParent::of(&headers), None);
    }
}
