//! Patterns of service names.

use std::hash::{Hash, Hasher};

use wildmatch::WildMatch;

use super::ServiceName;

/// Some patterns; a service is meant if any of them fits its folded name. `*` stands for any text,
/// none included, and `?` for one character.
#[derive(Clone, Debug)]
pub struct Globs(Box<[WildMatch]>);

/// Why a text is no pattern of service names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// There is nothing in it.
    #[error("is empty; * stands for all services")]
    Empty,
    /// It is longer than any name.
    #[error("is longer than a service name can be, {max} characters", max = ServiceName::MAX)]
    TooLong,
    /// No folded name has this character.
    #[error(
        "holds {0:?}, which no service name has: they are of a-z, 0-9, '.', '_' and '-'; * stands for any text, ? for one character"
    )]
    Character(char),
}

impl Globs {
    /// Reads patterns; their order and repetition mean nothing. An error names the one at fault.
    pub fn parse<T: AsRef<str>>(patterns: &[T]) -> Result<Self, (String, GlobError)> {
        let mut sorted: Vec<&str> = patterns.iter().map(AsRef::as_ref).collect();
        sorted.sort_unstable();
        sorted.dedup();
        for pattern in &sorted {
            check(pattern).map_err(|error| (pattern.chars().take(ServiceName::MAX).collect(), error))?;
        }
        Ok(Self(sorted.into_iter().map(WildMatch::new).collect()))
    }

    /// Whether a service is meant.
    pub fn cover(&self, service: &ServiceName) -> bool {
        self.0.iter().any(|pattern| pattern.matches(service.as_str()))
    }

    /// The patterns, sorted, each once.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(WildMatch::pattern)
    }
}

fn check(pattern: &str) -> Result<(), GlobError> {
    if pattern.is_empty() {
        return Err(GlobError::Empty);
    }
    if pattern.len() > ServiceName::MAX {
        return Err(GlobError::TooLong);
    }
    let known = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '*' | '?');
    pattern.chars().find(|c| !known(c)).map_or(Ok(()), |c| Err(GlobError::Character(c)))
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(WildMatch::pattern_chars).eq(other.0.iter().map(WildMatch::pattern_chars))
    }
}

impl Eq for Globs {}

impl Hash for Globs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|pattern| pattern.pattern_chars().hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_meant_if_any_pattern_fits() {
        #[track_caller]
        fn check(patterns: &[&str], service: &str, expect: bool) {
            let globs = Globs::parse(patterns).unwrap();
            assert_eq!(globs.cover(&ServiceName::fold(service).unwrap()), expect, "{patterns:?} {service}");
        }
        check(&["billing-*"], "billing-api", true);
        check(&["billing-*"], "Billing API", true);
        check(&["billing-*"], "billing", false);
        check(&["billing-*"], "my-billing-api", false);
        check(&["*"], "x", true);
        check(&["a?c"], "abc", true);
        check(&["a?c"], "ac", false);
        check(&["x", "*-api"], "billing-api", true);
        check(&["x"], "xx", false);
        check(&[], "x", false);
    }

    #[test]
    fn what_no_name_can_fit_is_refused() {
        let check = |pattern: &str, expect| {
            assert_eq!(Globs::parse(&[pattern]).unwrap_err(), (pattern.to_owned(), expect));
        };
        check("", GlobError::Empty);
        check("Billing-*", GlobError::Character('B'));
        check("billing/*", GlobError::Character('/'));
        assert_eq!(Globs::parse(&["a".repeat(254)]).unwrap_err().1, GlobError::TooLong);
    }

    #[test]
    fn order_means_nothing() {
        assert_eq!(Globs::parse(&["b", "a", "b"]), Globs::parse(&["a", "b"]));
        assert_ne!(Globs::parse(&["ab"]), Globs::parse(&["a", "b"]));
    }
}
