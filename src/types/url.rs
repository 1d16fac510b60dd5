//! The address of a replica, kept as it was sent.

use std::{fmt, net::Ipv6Addr, sync::Arc};

/// An absolute URL with an authority, `scheme://host[:port][/path]`, of at most 2 KiB.
/// It is compared as it is written: two spellings are two replicas.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceUrl(Arc<str>);

impl ServiceUrl {
    /// The longest in bytes.
    pub const MAX: usize = 2048;

    /// Checks a URL as RFC 3986 writes its scheme and authority.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The same without keeping it.
    pub fn check(text: &str) -> Result<(), UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Blank);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAbsolute)?;
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !scheme_ok {
            return Err(UrlError::NotAbsolute);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        check_authority(authority)
    }

    /// A text that was checked before.
    pub(super) fn trusted(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_authority(authority: &str) -> Result<(), UrlError> {
    let (host_ok, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        // A zone id (`%25eth0`) belongs to the machine that wrote it, but is legal.
        let address = address.split("%25").next().unwrap_or_default();
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or(UrlError::Host)?),
        };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let ok = !host.is_empty() && !host.contains(['[', ']', '\\', '"', '<', '>', '^', '`', '{', '|', '}']);
        (ok, port)
    };
    if !host_ok {
        return Err(UrlError::Host);
    }
    match port {
        None => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(1..) => Ok(()),
            _ => Err(UrlError::Port),
        },
        Some(_) => Err(UrlError::Port),
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no URL of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is empty.
    #[error("is required: scheme://host[:port][/path]")]
    Empty,
    /// It is longer than 2 KiB.
    #[error("is longer than 2 KiB")]
    TooLong,
    /// It has blanks or control characters.
    #[error("has blanks or control characters")]
    Blank,
    /// It has no scheme with an authority.
    #[error("is not absolute: scheme://host[:port][/path]")]
    NotAbsolute,
    /// It has a user or a password, which everyone who lists services would see.
    #[error("has user info, which a registry would show to everyone; leave it out")]
    UserInfo,
    /// Its host is empty or malformed.
    #[error("has no valid host: scheme://host[:port][/path]")]
    Host,
    /// Its port is not one of 1 to 65535.
    #[error("has a port that is not one of 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expect: Result<(), UrlError>| {
            assert_eq!(ServiceUrl::parse(text).map(|_| ()), expect, "{text:?}");
        };
        for good in [
            "http://a:8000",
            "https://a",
            "grpc://10.0.0.1:50051",
            "tcp://[::1]:22/x",
            "udp://h:1",
            "ws://h/p?q=1#f",
            "coap+tcp://h",
            "http://[fe80::1%25eth0]:80/",
            "http://m\u{fc}nchen:80",
            "http://a/user@host",
        ] {
            check(good, Ok(()));
        }
        check("", Err(UrlError::Empty));
        check("a:8000", Err(UrlError::NotAbsolute));
        check("//a", Err(UrlError::NotAbsolute));
        check("1http://a", Err(UrlError::NotAbsolute));
        check("mailto:x", Err(UrlError::NotAbsolute));
        check("://a", Err(UrlError::NotAbsolute));
        check("http://", Err(UrlError::Host));
        check("http:///x", Err(UrlError::Host));
        check("http://:80", Err(UrlError::Host));
        check("http://[::1", Err(UrlError::Host));
        check("http://[zz]", Err(UrlError::Host));
        check("http://u:p@h", Err(UrlError::UserInfo));
        check("http://h:0", Err(UrlError::Port));
        check("http://h:65536", Err(UrlError::Port));
        check("http://h:", Err(UrlError::Port));
        check("http://h:1x", Err(UrlError::Port));
        check("http://h:+1", Err(UrlError::Port));
        check("http://::1", Err(UrlError::Host));
        check("http://a b", Err(UrlError::Blank));
        check("http://a\n", Err(UrlError::Blank));
        check("http://a\u{0}", Err(UrlError::Blank));
        check(&format!("http://a/{}", "x".repeat(2048)), Err(UrlError::TooLong));
    }
}
