//! Secrets, and the hashes that stand for them: a server needs no more than those.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::Secret;

/// What a secret that we make begins with, so that one which was left lying about is found.
const PREFIX: &str = "lh_";

/// The SHA-256 of a secret, which has as many random bits. It is not worth hiding, and tells
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u64; 4]);

impl SecretHash {
    /// How it begins in a file of keys.
    pub const FORM: &str = "sha256:";

    /// The hash of a secret.
    pub fn of(secret: &[u8]) -> Self {
        let bytes: [u8; 32] = Sha256::digest(secret).into();
        Self::from_bytes(&bytes)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::FORM)?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(Self::from_bytes(&bytes))
    }

    /// Whether they are the same, in a time that does not tell where they differ.
    pub fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// The first eight digits: enough for people to know it by.
    pub fn short(&self) -> String {
        format!("{:08x}", self.0[0] >> 32)
    }

    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Self(words)
    }
}

/// As a file of keys has it.
impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::FORM)?;
        self.0.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHash({}…)", self.short())
    }
}

/// A secret of 256 random bits, of the system.
pub fn fresh() -> Result<Secret, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(Secret(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits))))
}

/// Whether a header can carry it: visible characters and blanks within.
pub(super) fn can_be_sent(secret: &str) -> bool {
    secret.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_as_it_is_written() {
        let hash = SecretHash::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(SecretHash::parse(text), Some(hash));
        assert_eq!(SecretHash::parse(&text.to_uppercase().replace("SHA256", "sha256")), Some(hash));
        assert_eq!(hash.short(), "ba7816bf");
        assert!(bool::from(hash.is(&hash)));
        assert!(!bool::from(hash.is(&SecretHash::of(b"abd"))));
    }

    #[test]
    fn what_is_no_hash() {
        let digits = "0".repeat(64);
        for bad in
            ["", "sha256:", &digits, &format!("sha256:{digits}0"), &format!("sha256:{}", "g".repeat(64))]
        {
            assert_eq!(SecretHash::parse(bad), None, "{bad:?}");
        }
        assert_eq!(SecretHash::parse(&format!("sha256:+{}", "0".repeat(63))), None);
        assert_eq!(SecretHash::parse(&format!("sha256:{}é", "0".repeat(62))), None);
    }

    #[test]
    fn fresh_secrets_differ_and_can_be_sent() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, other);
        assert!(one.0.starts_with("lh_") && one.0.len() == 46 && can_be_sent(&one.0));
        assert_eq!(format!("{one:?}"), "Secret(…)");
    }
}
