//! How the text of one setting is read. An error is the list of what is allowed: the caller
//! knows the setting and the text.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use http::uri::{Authority, Uri};
use ipnet::IpNet;

use crate::config::{ClientAuth, DuplicateId, Durability, StoreKind};

/// Bounds of a duration, and how they read.
pub type Bounds = (RangeInclusive<Duration>, &'static str);

/// A drain may be instant; an hour is longer than any supervisor waits.
pub const UP_TO_1H: Bounds = (Duration::ZERO..=Duration::from_hours(1), "0s to 1h");
/// As long as the longest TTL.
pub const UP_TO_24H: Bounds = (Duration::ZERO..=Duration::from_hours(24), "0s to 24h");
/// What is kept of lapsed leases takes memory.
pub const UP_TO_7D: Bounds = (Duration::ZERO..=Duration::from_hours(7 * 24), "0s to 7days");
/// A limit on a connection: zero would refuse every one.
pub const TIMEOUT: Bounds = (Duration::from_millis(100)..=Duration::from_hours(1), "100ms to 1h");

const MIB: u64 = 1 << 20;
/// A revision may hold half a MiB; a ring that cannot keep two of them serves nobody.
const HISTORY: RangeInclusive<u64> = MIB..=(1 << 20) * MIB;

/// A duration within bounds.
pub fn duration((range, bounds): Bounds) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| format!("a duration such as 30s or 1m30s, {bounds}"))
    }
}

/// A TTL: whole seconds, because the wire has whole seconds.
pub fn ttl(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|ttl| (1..=86_400).contains(&ttl.as_secs()) && *ttl <= Duration::from_hours(24))
        .filter(|ttl| ttl.subsec_nanos() == 0)
        .ok_or_else(|| "a duration in whole seconds such as 30s or 1m30s, 1s to 24h".to_owned())
}

/// Where to listen. A name is not taken: it may mean several addresses, or another tomorrow.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000".to_owned()
    })
}

/// What holds the registrations.
pub fn store(text: &str) -> Result<StoreKind, String> {
    match text {
        "embedded" => Ok(StoreKind::Embedded),
        "memory" => Ok(StoreKind::Memory),
        _ => Err("embedded or memory".to_owned()),
    }
}

/// A directory; an empty name would mean the one that the server happens to be started in.
pub fn data_dir(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Err("a directory".to_owned()) } else { Ok(Some(PathBuf::from(text))) }
}

/// When a change counts as written.
pub fn durability(text: &str) -> Result<Durability, String> {
    [Durability::Sync, Durability::Os, Durability::None]
        .into_iter()
        .find(|durability| durability.name() == text)
        .ok_or_else(|| "sync, os or none".to_owned())
}

/// What a second registration of the same id means.
pub fn duplicate_id(text: &str) -> Result<DuplicateId, String> {
    match text {
        "replica" => Ok(DuplicateId::Replica),
        "replace" => Ok(DuplicateId::Replace),
        _ => Err("replica or replace".to_owned()),
    }
}

/// A switch, in the spellings that TOML, compose files and people use.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("on or off, true or false".to_owned()),
    }
}

/// How many of something a server may hold.
pub fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count))
        .ok_or_else(|| "a whole number, 1 to 1000000".to_owned())
}

/// How much history is kept.
pub fn history(text: &str) -> Result<usize, String> {
    bytes(text)
        .filter(|bytes| HISTORY.contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "a number of bytes such as 67108864, 64MiB or 1GB, 1MiB to 1TiB".to_owned())
}

/// A bound on how many of something there may be; off is none.
pub fn bound(text: &str) -> Result<Option<u64>, String> {
    if text == "off" {
        return Ok(None);
    }
    let count = text.parse().ok().filter(|count| (1..=1_000_000_000).contains(count));
    count.map(Some).ok_or_else(|| "a whole number, 1 to 1000000000, or off".to_owned())
}

/// The same for a second, or at once.
pub fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    Ok(bound(text)?.and_then(|count| NonZeroU32::new(count as u32)))
}

/// A bound in bytes; off is none.
pub fn byte_bound(text: &str) -> Result<Option<u64>, String> {
    if text == "off" {
        return Ok(None);
    }
    let allowed = "a number of bytes such as 268435456, 256MiB or 1GB, 64KiB at least, or off";
    bytes(text).filter(|bytes| *bytes >= 64 << 10).map(Some).ok_or_else(|| allowed.to_owned())
}

/// What may be held for one connection: a message has to fit.
pub fn held(text: &str) -> Result<usize, String> {
    bytes(text)
        .filter(|bytes| (2 * MIB..=1024 * MIB).contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "a number of bytes such as 16777216 or 16MiB, 2MiB to 1GiB".to_owned())
}

/// A file; whether it is there is seen when it is read.
pub fn file(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Err("a file".to_owned()) } else { Ok(Some(PathBuf::from(text))) }
}

/// Whether clients show certificates.
pub fn client_auth(text: &str) -> Result<ClientAuth, String> {
    match text {
        "none" => Ok(ClientAuth::None),
        "optional" => Ok(ClientAuth::Optional),
        "required" => Ok(ClientAuth::Required),
        _ => Err("none, optional or required".to_owned()),
    }
}

/// The origin of a web page, as browsers send it: scheme and authority in lower case.
pub fn origin(text: &str) -> Result<String, String> {
    let origin = public_url(text).ok().flatten().map(|origin| origin.to_ascii_lowercase());
    origin.ok_or_else(|| "origins such as https://console.example or http://localhost:3000".to_owned())
}

/// Where a collector listens.
pub fn endpoint(text: &str) -> Result<Option<String>, String> {
    public_url(text).map_err(|_| {
        "http:// or https://, a host and perhaps a port, such as http://127.0.0.1:4317".to_owned()
    })
}

/// A number with a unit: 1024 for KiB, MiB, GiB, TiB; 1000 for kB, MB, GB, TB; none or B for bytes.
fn bytes(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let size: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(size)
}

/// `scheme://authority` and no more.
pub fn public_url(text: &str) -> Result<Option<String>, String> {
    let allowed = || {
        "http:// or https://, a host and perhaps a port, such as https://registry.example; \
         no path, query or user info"
            .to_owned()
    };
    let uri: Uri = text.parse().map_err(|_| allowed())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(allowed()) };
    // What the parser normalised away, a path of "/" for one, was not only scheme and authority.
    let bare = text.eq_ignore_ascii_case(&format!("{scheme}://{authority}"));
    if !bare || !matches!(scheme, "http" | "https") || !is_plain(authority) {
        return Err(allowed());
    }
    Ok(Some(text.to_owned()))
}

/// A host without port, in lower case. An IPv6 address may come without its brackets.
pub fn host(text: &str) -> Result<String, String> {
    let allowed =
        || "host names or addresses without scheme, port or path, such as registry.example".to_owned();
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{}]", text.to_ascii_lowercase()));
    }
    let authority: Authority = text.parse().map_err(|_| allowed())?;
    if !is_plain(&authority) || authority.port().is_some() || authority.host() != text {
        return Err(allowed());
    }
    Ok(text.to_ascii_lowercase())
}

/// A network, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse()).map_err(|_| "addresses or networks such as 10.0.0.0/8 or ::1".to_owned())
}

/// A host, and a port that is one.
fn is_plain(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port_is_good = text.len() == authority.host().len() || authority.port_u16().is_some();
    !authority.host().is_empty() && !text.contains('@') && port_is_good
}

/// A path that stands before others: segments of unreserved characters, none of them dots only.
pub fn prefix(text: &str) -> Result<String, String> {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    let good = text.is_empty() || text.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment));
    if good {
        return Ok(text.to_owned());
    }
    Err("a path that starts with / and does not end with it, of letters, digits and -._~, such as /v2"
        .to_owned())
}
