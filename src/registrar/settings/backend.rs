//! The backend's address.

use std::net::Ipv6Addr;

use super::values::{is_host_name, port};

const FORMS: &str = "write leasehold://host[:9000] (leasehold+https:// for TLS), etcd://host[:2379][,host…] or \
                     consul://host[:8500]";

/// A backend's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendUri {
    /// `leasehold://host[:9000]` as `http://host:9000`, `leasehold+https://host[:9000]` as `https://host:9000`: what
    /// [`Client::builder`](crate::client::Client::builder) takes.
    Leasehold(String),
    /// `etcd://host[:2379]`, a comma between several: host:port each.
    Etcd(Vec<String>),
    /// `consul://host[:8500]`: host:port.
    Consul(String),
}

/// Reads it. A user and a password are refused.
pub fn parse(text: &str) -> Result<BackendUri, String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("it is no URI; {FORMS}"))?;
    if rest.contains('@') {
        return Err(format!("a user and a password are not taken here, where others can read them; {FORMS}"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let one = |default| host_and_port(rest, default);
    match scheme {
        "leasehold" => Ok(BackendUri::Leasehold(format!("http://{}", one(9000)?))),
        "leasehold+https" => Ok(BackendUri::Leasehold(format!("https://{}", one(9000)?))),
        "etcd" => {
            let hosts = rest.split(',').map(|host| host_and_port(host.trim(), 2379));
            Ok(BackendUri::Etcd(hosts.collect::<Result<_, _>>()?))
        }
        "consul" => Ok(BackendUri::Consul(one(8500)?)),
        _ => Err(format!("there is no backend {scheme:?}; {FORMS}")),
    }
}

/// `host:port`; an IPv6 address in brackets.
fn host_and_port(text: &str, default: u16) -> Result<String, String> {
    let (host, after) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, after)) => {
            ip.parse::<Ipv6Addr>().map_err(|_| format!("[{ip}] is no IPv6 address; {FORMS}"))?;
            (format!("[{ip}]"), after)
        }
        None => match text.find(':') {
            Some(colon) => (text[..colon].to_owned(), &text[colon..]),
            None => (text.to_owned(), ""),
        },
    };
    let is_ipv4 = host.parse::<std::net::Ipv4Addr>().is_ok();
    if !host.starts_with('[') && !is_ipv4 && !is_host_name(&host) {
        return Err(format!("{host:?} is no host; {FORMS}"));
    }
    let port = match after.strip_prefix(':') {
        Some(text) => port(text)?,
        None if after.is_empty() => default,
        None => return Err(format!("{after:?} is no port; {FORMS}")),
    };
    Ok(format!("{host}:{port}"))
}
