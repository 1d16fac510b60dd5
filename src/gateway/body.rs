//! Request bodies, read up to a bound.

use std::{error::Error, pin::pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use tonic::Code;

use super::error::Failure;

/// The whole body. A larger one than `max` bytes is refused by its length if that is
/// known, else as soon as it has grown too large.
pub(super) async fn read<B>(body: B, headers: &HeaderMap, max: usize) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if announced(headers, &body) > max as u64 {
        return Err(too_large(max));
    }
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let error: Box<dyn Error + Send + Sync> = error.into();
            // What hyper says of it is for its developers.
            match error.downcast_ref::<tonic::Status>() {
                Some(status) if status.code() == Code::DeadlineExceeded => {
                    Failure::new(Code::DeadlineExceeded, status.message())
                }
                _ => Failure::invalid("the body broke off"),
            }
        })?;
        if let Ok(data) = frame.into_data() {
            if data.len() > max - whole.len() {
                return Err(too_large(max));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

pub(super) fn too_large(max: usize) -> Failure {
    Failure::new(Code::ResourceExhausted, format!("the request is larger than {max} bytes"))
}

fn announced(headers: &HeaderMap, body: &impl http_body::Body) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    body.size_hint().lower().max(length)
}
