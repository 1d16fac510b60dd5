//! Service names, folded so that two spellings of one service meet.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use triomphe::ThinArc;

use super::LeaseId;

/// A folded service name: 1 to 253 bytes of `[a-z0-9._-]`, the first one of `[a-z0-9]`.
// A pointer of one word: every instance has one.
#[derive(Clone)]
pub struct ServiceName(ThinArc<(), u8>);

impl ServiceName {
    /// The longest name in bytes.
    pub const MAX: usize = 253;

    /// Folds a text: ASCII lower case, every run of other characters than `[a-z0-9._-]`
    /// becomes one `-`, and `-` at the ends goes.
    ///
    /// ```
    /// use leasehold::types::ServiceName;
    ///
    /// let name = ServiceName::fold("My Service v1.2!")?;
    /// assert_eq!(name.as_str(), "my-service-v1.2");
    /// # Ok::<(), leasehold::types::NameError>(())
    /// ```
    pub fn fold(text: &str) -> Result<Self, NameError> {
        let mut folded = String::with_capacity(text.len().min(Self::MAX + 1));
        let mut in_run = false;
        for c in text.chars() {
            let c = c.to_ascii_lowercase();
            let kept = matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
            if kept || !in_run {
                folded.push(if kept { c } else { '-' });
            }
            in_run = !kept;
        }
        let folded = folded.trim_matches('-');
        let shown = || text.chars().take(64).collect::<String>();
        match folded.as_bytes() {
            [] => Err(NameError::Empty(shown())),
            name if name.len() > Self::MAX => Err(NameError::TooLong(shown())),
            [first, ..] if !first.is_ascii_alphanumeric() => Err(NameError::Start(shown())),
            _ if LeaseId::parse(folded).is_some() => Err(NameError::Ulid(shown())),
            _ => Ok(Self(ThinArc::from_header_and_slice((), folded.as_bytes()))),
        }
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        // Made of a text.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.slice
    }
}

impl PartialEq for ServiceName {
    fn eq(&self, other: &Self) -> bool {
        // Most of a service's instances share one text.
        std::ptr::eq(self.0.as_ptr(), other.0.as_ptr()) || self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ServiceName {}

impl PartialOrd for ServiceName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServiceName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for ServiceName {
    // As a text does, which it can be looked up by.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Why a text is no service name. Each carries the text's first 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("{0:?} has no letter or digit of a service name (a-z, 0-9)")]
    Empty(String),
    /// It is longer than 253 bytes.
    #[error("{0:?}… is longer than 253 bytes")]
    TooLong(String),
    /// It starts with `.` or `_`.
    #[error("{0:?} does not start with a letter or digit (a-z, 0-9)")]
    Start(String),
    /// It could be mistaken for a registration's id.
    #[error("{0:?} looks like a ULID; ids are given by the server, names are yours")]
    Ulid(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let folded = ServiceName::fold(text);
        assert_eq!(folded.as_ref().map(ServiceName::as_str), Ok(expect), "{text:?}");
        // Folding what was folded changes nothing: a name from a List works in a path.
        assert_eq!(ServiceName::fold(expect), folded);
    }

    #[test]
    fn names_fold() {
        check("billing", "billing");
        check("My Service", "my-service");
        check("  My   Service!! ", "my-service");
        check("a--b", "a--b");
        check("a - b", "a---b");
        check("a- b", "a--b");
        check("Climate -- Data!", "climate----data");
        check("-a-", "a");
        check("Grüße v1.2_x", "gr-e-v1.2_x");
        check("\u{212a}elvin", "elvin");
        check(&"x".repeat(253), &"x".repeat(253));
    }

    #[test]
    fn what_cannot_be_a_name() {
        let check = |text: &str, expect: fn(String) -> NameError| {
            let shown = text.chars().take(64).collect();
            assert_eq!(ServiceName::fold(text), Err(expect(shown)));
        };
        check("", NameError::Empty);
        check("日本", NameError::Empty);
        check("--", NameError::Empty);
        check(".hidden", NameError::Start);
        check("_x", NameError::Start);
        check(&"x".repeat(254), NameError::TooLong);
        check(&"x".repeat(1 << 20), NameError::TooLong);
        check(&format!("a{}b", "-".repeat(1 << 20)), NameError::TooLong);
        check(&"-".repeat(1 << 20), NameError::Empty);
        check("01K83B5V85PQZ1HTH4DQ7NC9JM", NameError::Ulid);
    }
}
