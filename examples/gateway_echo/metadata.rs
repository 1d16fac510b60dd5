//! What a call came with, written as a server of grpc-go's sees it.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::HeaderName;
use tonic::Request;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The metadata as `key=v1|v2`, sorted; values of `-bin` keys decoded.
pub fn listing<T>(request: &Request<T>) -> Vec<Vec<u8>> {
    let headers = request.metadata().clone().into_headers();
    let mut parts: Vec<Vec<u8>> = headers
        .keys()
        .filter(|name| !is_transport(name))
        .map(|name| {
            let binary = name.as_str().ends_with("-bin");
            let values: Vec<Vec<u8>> = headers
                .get_all(name)
                .iter()
                .map(|value| match BASE64.decode(value) {
                    Ok(bytes) if binary => bytes,
                    _ => value.as_bytes().to_vec(),
                })
                .collect();
            [name.as_str().as_bytes(), b"=", &values.join(&b"|"[..])].concat()
        })
        .collect();
    parts.sort();
    parts
}

/// Headers that the gRPC library keeps to itself.
fn is_transport(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "grpc-accept-encoding"
            | "grpc-encoding"
            | "grpc-message"
            | "grpc-message-type"
            | "grpc-status"
            | "grpc-timeout"
            | "host"
            | "te"
    )
}

/// The call's deadline, from now; none if it has none. tonic leaves it to the service.
pub fn time_left<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = count.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count.saturating_mul(3600)),
        "M" => Duration::from_secs(count.saturating_mul(60)),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}
