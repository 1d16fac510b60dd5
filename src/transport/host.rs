//! The Host rule: which authorities a request may name. On loopback it keeps web pages
//! from reaching the registry under a name that they made resolve to 127.0.0.1; elsewhere
//! it keeps `ping_url` from being made of a host that the operator does not want.
//!
//! Pure: it looks nothing up.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;

use crate::config::HttpConfig;

/// Which hosts are served.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// None: every well-formed host. Else only these: lower case, without port, without a
    /// final dot, IPv6 addresses in brackets.
    only: Option<Vec<String>>,
}

/// Why an authority is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not `host[:port]`.
    #[error("{0:?} is not a host with an optional port")]
    Malformed(String),
    /// It is none that this server answers to.
    #[error("host {0:?} is not served here; start the server with --allowed-host {0} if it should be")]
    NotAllowed(String),
}

/// The names that always mean this machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl HostRule {
    /// The rule for a listener at `listen`: on loopback, the loopback names, its own
    /// address and the allowed hosts; elsewhere every host, unless a public URL or allowed
    /// hosts are set: then these and the loopback names.
    pub fn new(listen: SocketAddr, http: &HttpConfig) -> Self {
        let loopback = listen.ip().to_canonical().is_loopback();
        if !loopback && http.public_url.is_none() && http.allowed_hosts.is_empty() {
            return Self { only: None };
        }
        let mut only: Vec<String> = LOOPBACK.map(str::to_owned).into();
        only.extend(http.allowed_hosts.iter().map(|host| folded(host)));
        if loopback {
            only.push(match listen.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        } else {
            only.extend(http.public_url.as_deref().and_then(host_of_url));
        }
        Self { only: Some(only) }
    }

    /// Whether a request that names `authority` (`host[:port]`) is served.
    pub fn check(&self, authority: &str) -> Result<(), Refusal> {
        // Nearly all name a host as the rule has it.
        if self.only.as_ref().is_some_and(|only| only.iter().any(|host| host == bare(authority))) {
            return Ok(());
        }
        let host = host(authority).ok_or_else(|| Refusal::Malformed(authority.to_owned()))?;
        match &self.only {
            Some(only) if !only.contains(&host) => Err(Refusal::NotAllowed(host)),
            _ => Ok(()),
        }
    }
}

/// The folded host of `host[:port]`; none if that is malformed.
fn host(authority: &str) -> Option<String> {
    // `Authority` also takes user info, which a Host may not have, and a port of any text.
    let parsed: Authority = authority.parse().ok()?;
    let host = parsed.host();
    let port = authority.strip_prefix(host)?;
    let port_fits = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok());
    (port_fits && !folded(host).is_empty()).then(|| folded(host))
}

/// What stands before a port, if there is one.
fn bare(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    }
}

/// The host of `scheme://authority[/…]`.
fn host_of_url(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    host(rest.split(['/', '?', '#']).next()?)
}

/// As hosts are compared: DNS knows neither case nor a final dot.
fn folded(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(listen: &str, public_url: Option<&str>, allowed: &[&str]) -> HostRule {
        let http = HttpConfig {
            public_url: public_url.map(str::to_owned),
            allowed_hosts: allowed.iter().map(|&host| host.to_owned()).collect(),
            ..HttpConfig::default()
        };
        HostRule::new(listen.parse().expect("an address"), &http)
    }

    #[test]
    fn each_listener_serves_its_hosts() {
        let local = rule("127.0.0.1:9000", None, &[]);
        let local6 = rule("[::1]:9000", None, &[]);
        let mapped = rule("[::ffff:127.0.0.1]:9000", None, &[]);
        let other_loopback = rule("127.0.0.2:9000", None, &[]);
        let local_allowed = rule("127.0.0.1:9000", None, &["Registry.Example", "[fd00::1]"]);
        let local_public = rule("127.0.0.1:9000", Some("https://public.example"), &[]);
        let open = rule("0.0.0.0:9000", None, &[]);
        let allowed = rule("0.0.0.0:9000", None, &["registry.example"]);
        let public = rule("10.0.0.1:9000", Some("https://public.example:8443/v2"), &[]);
        let both = rule("[::]:9000", Some("https://public.example"), &["b.example"]);
        for (rule, authority, served) in [
            (&local, "localhost", true),
            (&local, "LOCALHOST:1", true),
            (&local, "localhost.:9000", true),
            (&local, "127.0.0.1:9000", true),
            (&local, "[::1]:80", true),
            (&local, "127.0.0.2", false),
            (&local, "localhost.example", false),
            (&local, "example:9000", false),
            (&local, "10.0.0.1", false),
            (&local6, "[::1]:9000", true),
            (&local6, "localhost", true),
            (&local6, "example", false),
            (&mapped, "localhost", true),
            (&mapped, "example", false),
            (&other_loopback, "127.0.0.2:9000", true),
            (&other_loopback, "127.0.0.3:9000", false),
            (&local_allowed, "registry.EXAMPLE:8080", true),
            (&local_allowed, "[FD00::1]:8080", true),
            (&local_allowed, "other.example", false),
            (&local_public, "public.example", false),
            (&open, "anything.example:1", true),
            (&open, "leasehold", true),
            (&open, "10.1.2.3:9000", true),
            (&allowed, "registry.example", true),
            (&allowed, "localhost:9000", true),
            (&allowed, "other.example", false),
            (&public, "PUBLIC.example:8443", true),
            (&public, "public.example", true),
            (&public, "10.0.0.1:9000", false),
            (&public, "127.0.0.1:9000", true),
            (&both, "b.example", true),
            (&both, "public.example", true),
            (&both, "c.example", false),
        ] {
            assert_eq!(rule.check(authority).is_ok(), served, "{authority} by {rule:?}");
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_malformed_everywhere() {
        let open = rule("0.0.0.0:9000", None, &[]);
        for authority in [
            "",
            ".",
            ":80",
            "a b",
            "user@host",
            "localhost@evil",
            "host:port",
            "host:70000",
            "host:1:2",
            "http://host",
            "host/path",
            "[::1",
            "::1",
            "ho\u{0}st",
        ] {
            let refusal = Refusal::Malformed(authority.to_owned());
            assert_eq!(open.check(authority), Err(refusal));
        }
    }

    #[test]
    fn a_refusal_names_the_host_and_the_way_out() {
        let refusal = rule("127.0.0.1:9000", None, &[]).check("Evil.example:9000");
        let text = refusal.expect_err("not allowed").to_string();
        assert!(text.contains("--allowed-host evil.example"), "{text}");
    }
}
