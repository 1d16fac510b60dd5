//! What trusted proxies say of their clients. Anyone can send `X-Forwarded-*`: only what a
//! trusted peer sends is believed.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The proxies that are believed; none unless they are named.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

/// What a request's trusted proxy says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Whether it comes through a trusted proxy.
    pub(super) proxied: bool,
    /// The client; its port is not known.
    pub(super) peer: Option<SocketAddr>,
    pub(super) scheme: Option<&'static str>,
    /// The authority that the client named; unchecked.
    pub(super) host: Option<String>,
}

impl Proxies {
    /// Believes the proxies in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// What `headers` say if `peer` is trusted. Of the addresses in `X-Forwarded-For` the last
    /// one that is no trusted proxy counts: what stands before it the client may have written
    /// itself. Of the other headers the last value counts, for the same reason.
    pub(super) fn forwarded(&self, peer: SocketAddr, headers: &HeaderMap) -> Forwarded {
        if !self.trusts(peer.ip()) {
            return Forwarded::default();
        }
        let hops: Option<Vec<IpAddr>> = values(headers, "x-forwarded-for").map(address).collect();
        // One hop that is no address makes the others a guess.
        let client = hops.unwrap_or_default().into_iter().rev().find(|hop| !self.trusts(*hop));
        Forwarded {
            proxied: true,
            peer: client.map(|ip| SocketAddr::new(ip, 0)),
            scheme: match values(headers, "x-forwarded-proto").last() {
                Some("https") => Some("https"),
                Some("http") => Some("http"),
                _ => None,
            },
            host: values(headers, "x-forwarded-host").last().map(str::to_owned),
        }
    }
}

/// The comma-separated values of all headers of this name.
fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty())
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn check(peer: &str, sent: &[(&'static str, &'static str)], expect: &Forwarded) {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let forwarded = proxies.forwarded(SocketAddr::new(peer.parse().unwrap(), 7), &headers);
        assert_eq!(&forwarded, expect, "{peer} {sent:?}");
    }

    fn from(ip: &str) -> Forwarded {
        let peer = Some(SocketAddr::new(ip.parse().unwrap(), 0));
        Forwarded { proxied: true, peer, ..Forwarded::default() }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let lies =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-host", "evil"), ("x-forwarded-proto", "https")];
        check("192.168.0.1", &lies, &Forwarded::default());
        let nothing = Forwarded { proxied: true, ..Forwarded::default() };
        check("10.1.2.3", &[], &nothing);
        check("::ffff:10.1.2.3", &[], &nothing);
        check("10.1.2.3", &[("x-forwarded-for", "2.2.2.2")], &from("2.2.2.2"));
        check("::1", &[("x-forwarded-for", "[2001:db8::1]:55")], &from("2001:db8::1"));
        check("::1", &[("x-forwarded-for", "[2001:db8::1]")], &from("2001:db8::1"));
        check("10.1.2.3", &[("x-forwarded-for", "2.2.2.2:1234")], &from("2.2.2.2"));
        let said =
            Forwarded { scheme: Some("https"), host: Some("registry.example".to_owned()), ..nothing.clone() };
        let headers = [("x-forwarded-proto", "http, https"), ("x-forwarded-host", "registry.example")];
        check("10.1.2.3", &headers, &said);
        check("10.1.2.3", &[("x-forwarded-proto", "gopher")], &nothing);
    }

    #[test]
    fn what_the_client_wrote_before_the_proxies_does_not_count() {
        check("10.0.0.1", &[("x-forwarded-for", "9.9.9.9, 2.2.2.2, 10.0.0.2")], &from("2.2.2.2"));
        let several = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "2.2.2.2")];
        check("10.0.0.1", &several, &from("2.2.2.2"));
        let nothing = Forwarded { proxied: true, ..Forwarded::default() };
        check("10.0.0.1", &[("x-forwarded-for", "2.2.2.2, unknown")], &nothing);
        check("10.0.0.1", &[("x-forwarded-for", "10.0.0.3")], &nothing);
    }
}
