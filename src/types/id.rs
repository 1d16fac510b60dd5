//! The id of a registration, and the ways a caller may name one.

use std::{fmt, str::FromStr};

use ulid::Ulid;

use super::{NameError, ServiceName};

/// The ULID of a registration: one for each, never given twice.
// Aligned to 8 bytes, not 16: there are millions of them, each in several structures.
#[repr(Rust, packed(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u128);

impl LeaseId {
    /// A number for tables of ids. Ids are random but for their first 6 bytes, and given by us:
    /// nobody can choose some that meet.
    pub fn table_hash(self) -> u64 {
        let both = (self.0 >> 64) as u64 ^ self.0 as u64;
        both.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Reads a ULID, upper or lower case; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        // A ULID holds 128 bits in 130: a first digit above 7 would overflow.
        let fits = text.len() == 26 && matches!(text.as_bytes()[0], b'0'..=b'7');
        if !fits {
            return None;
        }
        Ulid::from_str(text).ok().map(|ulid| Self(ulid.0))
    }
}

impl LeaseId {
    /// Reads a ULID as it is printed, in upper case; nothing else. For those who read many.
    pub fn read(text: &[u8; 26]) -> Option<Self> {
        let (mut strange, mut parts) = (text[0] > b'7', [0_u64; 3]);
        // 48, 40 and 40 bits.
        for (part, digits) in parts.iter_mut().zip([&text[..10], &text[10..18], &text[18..]]) {
            for digit in digits {
                let value = DIGITS[usize::from(*digit)];
                strange |= value == NO_DIGIT;
                *part = *part << 5 | u64::from(value & 31);
            }
        }
        let [high, middle, low] = parts.map(u128::from);
        (!strange).then_some(Self(high << 80 | middle << 40 | low))
    }
}

const NO_DIGIT: u8 = u8::MAX;
/// What a character stands for in Crockford's base 32.
const DIGITS: [u8; 256] = {
    let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < alphabet.len() {
        digits[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ulid(self.0), f)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What `{id}` in a path may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One registration.
    Id(LeaseId),
    /// A service, of which one registration is to be found.
    Name(ServiceName),
}

impl Target {
    /// Reads an `{id}`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if let Some(id) = LeaseId::parse(text) {
            return Ok(Self::Id(id));
        }
        // Folding would make `register` of `$register`: a mistyped path is not a name.
        if text.starts_with('$') {
            return Err(TargetError::Dollar(text.chars().take(64).collect()));
        }
        Ok(Self::Name(ServiceName::fold(text)?))
    }
}

/// Why a text names no registration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is empty.
    #[error("is empty; give a ULID or a service name")]
    Empty,
    /// It starts with `$`, as only verbs do.
    #[error("{0:?} starts with $, as only verbs do")]
    Dollar(String),
    /// It is neither a ULID nor a service name.
    #[error("is not a ULID, and as a service name: {0}")]
    Name(#[from] NameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulids_are_told_from_names() {
        let check = |text: &str, is_id: bool| {
            assert_eq!(LeaseId::parse(text).is_some(), is_id, "{text}");
        };
        check("01K83B5V85PQZ1HTH4DQ7NC9JM", true);
        check("01k83b5v85pqz1hth4dq7nc9jm", true);
        check("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", true);
        check("8ZZZZZZZZZZZZZZZZZZZZZZZZZ", false);
        check("01K83B5V85PQZ1HTH4DQ7NC9J", false);
        check("01K83B5V85PQZ1HTH4DQ7NC9J\u{e9}", false);
        check("billing", false);
        check("", false);
    }

    #[test]
    fn ids_print_as_they_were_read() {
        let text = "01K83B5V85PQZ1HTH4DQ7NC9JM";
        assert_eq!(LeaseId::parse(text).map(|id| id.to_string()), Some(text.to_owned()));
    }

    #[test]
    fn reading_is_parsing_of_upper_case() {
        let mut bits: u128 = 1;
        for _ in 0..1000 {
            bits = bits.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(11);
            let id = LeaseId(bits);
            let mut text: [u8; 26] = id.to_string().as_bytes().try_into().unwrap();
            assert_eq!(LeaseId::read(&text), Some(id));
            text[bits as usize % 26] = (bits >> 64) as u8;
            let parsed = std::str::from_utf8(&text).ok().and_then(LeaseId::parse);
            let upper = !text.iter().any(u8::is_ascii_lowercase);
            assert_eq!(LeaseId::read(&text), parsed.filter(|_| upper), "{text:?}");
        }
    }

    #[test]
    fn a_verb_is_no_target() {
        assert_eq!(Target::parse("$register"), Err(TargetError::Dollar("$register".to_owned())));
        assert_eq!(Target::parse(""), Err(TargetError::Empty));
    }
}
