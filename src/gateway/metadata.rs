//! Which HTTP headers a call carries on as metadata, and under which names. All others
//! stay behind, so that a client cannot speak for a proxy or for the transport.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use super::error::Failure;

/// What is passed on under its own name when it comes with this prefix.
const PREFIX: &str = "grpc-metadata-";

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
pub(super) fn incoming(headers: &HeaderMap, allowed: &[HeaderName]) -> Result<HeaderMap, Failure> {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        if value.to_str().is_err() {
            continue;
        }
        if PERMANENT.contains(&name.as_str()) {
            add(&mut metadata, &format!("grpcgateway-{name}"), value);
        }
        if *name == AUTHORIZATION || allowed.contains(name) {
            add(&mut metadata, name.as_str(), value);
        } else if let Some(bare) = name.as_str().strip_prefix(PREFIX)
            && !reserved(bare)
        {
            let value = if bare.ends_with("-bin") { &binary(name, value)? } else { value };
            add(&mut metadata, bare, value);
        }
    }
    Ok(metadata)
}

/// The deadline that a `Grpc-Timeout` header sets: up to eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("(no text)");
    parse_timeout(text).map(Some).ok_or_else(|| Failure::invalid(format!("invalid grpc-timeout: {text}")))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let digits = &text[..at];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Names that the transport or a proxy speaks under; a client may not, even with the
/// prefix.
fn reserved(name: &str) -> bool {
    name.starts_with("grpc-")
        || name.starts_with("grpcgateway-")
        || name.starts_with("x-forwarded-")
        || matches!(
            name,
            "connection"
                | "content-length"
                | "content-type"
                | "forwarded"
                | "host"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

fn binary(name: &HeaderName, value: &HeaderValue) -> Result<HeaderValue, Failure> {
    BASE64
        .decode(value.as_bytes())
        .ok()
        .and_then(|bytes| HeaderValue::from_str(&BASE64.encode(bytes)).ok())
        .ok_or_else(|| Failure::invalid(format!("invalid binary header {name}: not base64")))
}

/// A name that HTTP has no way to write, or one more header than a map can hold, is
/// left out.
fn add(metadata: &mut HeaderMap, name: &str, value: &HeaderValue) {
    if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
        let _ = metadata.try_append(name, value.clone());
    }
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
            ("grpc-metadata-x-forwarded-for", "1.2.3.4", ""),
            ("grpc-metadata-forwarded", "for=1.2.3.4", ""),
            ("grpc-metadata-grpc-timeout", "1S", ""),
            ("grpc-metadata-te", "x", ""),
            ("grpc-metadata-", "x", ""),
            ("grpc-metadata-a-bin", "AQI=", "a-bin=AQI"),
            ("x-forwarded-for", "1.2.3.4", ""),
            ("x-forwarded-host", "evil", ""),
            ("forwarded", "for=1.2.3.4", ""),
            ("host", "h", ""),
        ];
        let allowed = [HeaderName::from_static("x-service-key")];
        for (name, value, expect) in cases {
            let mut headers = HeaderMap::new();
            add(&mut headers, name, &HeaderValue::from_str(value).unwrap());
            let mut found: Vec<String> = incoming(&headers, &allowed)
                .unwrap()
                .iter()
                .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
                .collect();
            found.sort();
            assert_eq!(found.join(" "), expect, "{name}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("grpc-metadata-a-bin", HeaderValue::from_static("***"));
        assert!(incoming(&headers, &[]).is_err());
        headers.clear();
        headers.insert("x-service-key", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(incoming(&headers, &allowed).unwrap().is_empty());
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
            ("999999999S", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_timeout(text), expect, "{text}");
        }
    }
}
