//! Which HTTP headers a call carries on as metadata, and which metadata an answer carries
//! on as headers, each under which name. All others stay behind.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CACHE_CONTROL, HOST, PRAGMA},
    request::Parts,
};

use tokio::time::Instant;

use super::{error::Failure, options::RemoteAddr};

/// Before the names of metadata, among the headers, both ways.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// Before the names of trailing metadata, among the trailers.
const TRAILER_PREFIX: &str = "grpc-trailer-";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Registered headers that pass as `grpcgateway-<name>`.
const PERMANENT: [&str; 23] = [
    "accept",
    "accept-charset",
    "accept-language",
    "accept-ranges",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "date",
    "expect",
    "from",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-schedule-tag-match",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "warning",
];

/// Base64 with or without padding, as gRPC accepts it in `-bin` metadata.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The metadata of a call. `allowed` headers pass under their own names. Values that
/// are no text are left out.
pub(super) fn incoming(head: &Parts, allowed: &[HeaderName]) -> Result<HeaderMap, Failure> {
    let mut metadata = HeaderMap::new();
    for (name, value) in &head.headers {
        if *name == FORWARDED_FOR || *name == FORWARDED_HOST {
            continue;
        }
        if *name == AUTHORIZATION {
            add(&mut metadata, name.as_str(), value);
        }
        if PERMANENT.contains(&name.as_str()) {
            add(&mut metadata, &format!("grpcgateway-{name}"), value);
            continue;
        }
        let passed = match name.as_str().strip_prefix(METADATA_PREFIX) {
            Some(bare) if reserved(bare) => continue,
            Some(bare) => bare,
            None if allowed.contains(name) => name.as_str(),
            None => continue,
        };
        let value = if passed.ends_with("-bin") { &binary(name, value)? } else { value };
        add(&mut metadata, passed, value);
    }
    // As Go's HTTP server reads HTTP/1.0's word for it.
    let pragma = head.headers.get(PRAGMA).filter(|pragma| *pragma == "no-cache");
    if let (Some(pragma), None) = (pragma, head.headers.get(CACHE_CONTROL)) {
        add(&mut metadata, "grpcgateway-cache-control", pragma);
    }
    forwarded(head, &mut metadata);
    Ok(metadata)
}

/// What proxies say to each other: for which client, under which name it called.
fn forwarded(head: &Parts, metadata: &mut HeaderMap) {
    let headers = &head.headers;
    let authority = head.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    let called = authority.as_ref().or(headers.get(HOST));
    let named = headers.get(&FORWARDED_HOST).filter(|host| is_printable(host));
    if let Some(host) = named.into_iter().chain(called).find(|host| !host.is_empty()) {
        add(metadata, FORWARDED_HOST.as_str(), host);
    }
    let mut hops: Vec<Vec<u8>> =
        headers.get_all(&FORWARDED_FOR).iter().map(|v| v.as_bytes().to_vec()).collect();
    hops.extend(
        head.extensions.get::<RemoteAddr>().map(|addr| addr.0.ip().to_canonical().to_string().into_bytes()),
    );
    if !hops.is_empty()
        && let Ok(hops) = HeaderValue::from_bytes(&hops.join(&b", "[..]))
    {
        add(metadata, FORWARDED_FOR.as_str(), &hops);
    }
}

/// Adds response metadata to an answer's headers, under the names that HTTP clients see.
pub(super) fn outgoing(metadata: &HeaderMap, headers: &mut HeaderMap) {
    add_prefixed(METADATA_PREFIX, metadata, headers);
}

/// Trailing metadata under the names that HTTP clients see.
pub(super) fn trailers(metadata: &HeaderMap) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    add_prefixed(TRAILER_PREFIX, metadata, &mut trailers);
    trailers
}

/// gRPC's own bookkeeping stays behind.
fn add_prefixed(prefix: &str, metadata: &HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in metadata.iter().filter(|(name, _)| !name.as_str().starts_with("grpc-")) {
        if let Ok(name) = HeaderName::from_bytes(format!("{prefix}{name}").as_bytes()) {
            let _ = headers.try_append(name, value.clone());
        }
    }
}

/// A header's name as people write it, `Grpc-Trailer-X`.
pub(super) fn canonical(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// The deadline that a `Grpc-Timeout` header sets from now on: digits and a unit. None
/// if there is no such header, if it says 0, or more than the clock can count.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Failure> {
    let Some(value) = headers.get("grpc-timeout").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match parse_timeout(&text) {
        Some(Duration::ZERO) => Ok(None),
        Some(timeout) => Ok(Instant::now().checked_add(timeout)),
        None => Err(Failure::invalid(format!("invalid grpc-timeout: {text}"))),
    }
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let digits = &text[..at];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count.saturating_mul(3600)),
        'M' => Duration::from_secs(count.saturating_mul(60)),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// A timeout as gRPC carries it: at most eight digits, in the finest unit that holds it,
/// rounded up.
pub(super) fn timeout_value(timeout: Duration) -> Option<HeaderValue> {
    let nanos = timeout.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let fits = |(size, unit): (u128, char)| {
        let count = nanos.div_ceil(size);
        (count < 100_000_000).then(|| format!("{count}{unit}"))
    };
    // What minutes cannot count is no limit: 190 years.
    HeaderValue::from_str(&units.into_iter().find_map(fits)?).ok()
}

/// Names that the transport or this gateway speaks under; a client may not, even with
/// the prefix.
fn reserved(name: &str) -> bool {
    name.starts_with("grpcgateway-")
        || matches!(
            name,
            "grpc-accept-encoding"
                | "grpc-encoding"
                | "grpc-message"
                | "grpc-message-type"
                | "grpc-status"
                | "grpc-status-details-bin"
                | "grpc-timeout"
                | "connection"
                | "content-length"
                | "content-type"
                | "host"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "user-agent"
        )
}

fn binary(name: &HeaderName, value: &HeaderValue) -> Result<HeaderValue, Failure> {
    BASE64
        .decode(value.as_bytes())
        .ok()
        .and_then(|bytes| HeaderValue::from_str(&BASE64.encode(bytes)).ok())
        .ok_or_else(|| Failure::invalid(format!("invalid binary header {name}: not base64")))
}

/// What gRPC cannot carry is left out: a value that is not printable ASCII, a name that
/// HTTP has no way to write; and one more header than a map can hold.
fn add(metadata: &mut HeaderMap, name: &str, value: &HeaderValue) {
    if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
        && is_printable(value)
    {
        let _ = metadata.try_append(name, value.clone());
    }
}

fn is_printable(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_under_which_name() {
        let cases = [
            ("authorization", "x", "authorization=x grpcgateway-authorization=x"),
            ("x-service-key", "k", "x-service-key=k"),
            ("x-other", "k", ""),
            ("user-agent", "u", "grpcgateway-user-agent=u"),
            ("grpc-metadata-a", "b", "a=b"),
            ("grpc-metadata-grpcgateway-host", "evil", ""),
            ("grpc-metadata-user-agent", "evil", ""),
            ("grpc-metadata-grpc-timeout", "1S", ""),
            ("grpc-metadata-grpc-accept-encoding", "gzip", ""),
            ("grpc-metadata-grpc-foo", "1", "grpc-foo=1"),
            ("pragma", "no-cache", "grpcgateway-cache-control=no-cache grpcgateway-pragma=no-cache"),
            ("grpc-metadata-te", "x", ""),
            ("grpc-metadata-", "x", ""),
            ("grpc-metadata-a-bin", "AQI=", "a-bin=AQI"),
            ("x-forwarded-for", "1.2.3.4", "x-forwarded-for=1.2.3.4, 192.0.2.7"),
            ("x-forwarded-host", "named", "x-forwarded-host=named"),
            ("x-forwarded-host", "", ""),
            ("forwarded", "for=1.2.3.4", ""),
            ("host", "h", "x-forwarded-host=h"),
        ];
        let allowed = [HeaderName::from_static("x-service-key")];
        for (name, value, expect) in cases {
            let mut head = head(name, value.as_bytes());
            if name.starts_with("x-forwarded-for") {
                head.extensions.insert(RemoteAddr("192.0.2.7:81".parse().unwrap()));
            }
            let mut found: Vec<String> = incoming(&head, &allowed)
                .unwrap()
                .iter()
                .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
                .collect();
            found.sort();
            assert_eq!(found.join(" "), expect, "{name}");
        }
        assert!(incoming(&head("grpc-metadata-a-bin", b"***"), &[]).is_err());
        assert!(incoming(&head("x-service-key", b"\xff"), &allowed).unwrap().is_empty());
    }

    fn head(name: &str, value: &[u8]) -> Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        head.headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        head
    }

    #[test]
    fn timeouts_fit_in_eight_digits() {
        for (timeout, expect) in [
            (Duration::from_nanos(1), Some("1n")),
            (Duration::from_secs(5), Some("5000000u")),
            (Duration::from_nanos(100_000_001), Some("100001u")),
            (Duration::from_hours(99_999_999), None),
            (Duration::MAX, None),
        ] {
            let value = timeout_value(timeout);
            assert_eq!(value.as_ref().map(|value| value.to_str().unwrap()), expect);
        }
    }

    #[test]
    fn timeouts() {
        let cases = [
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("5m", Some(Duration::from_millis(5))),
            ("2M", Some(Duration::from_mins(2))),
            ("7u", Some(Duration::from_micros(7))),
            ("8n", Some(Duration::from_nanos(8))),
            ("abc", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("1é", None),
            ("-1S", None),
            ("999999999S", Some(Duration::from_secs(999_999_999))),
            ("18446744073709551616n", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_timeout(text), expect, "{text}");
        }
    }
}
