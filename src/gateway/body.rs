//! Request bodies, read up to a bound.

use std::{error::Error, pin::pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use tonic::Code;

use super::error::Failure;

/// A body that nobody has read yet.
pub(super) struct Unread<B> {
    body: Option<B>,
    max: usize,
}

impl<B> Unread<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Of more than `max` bytes none are kept.
    pub(super) fn new(body: B, max: usize) -> Self {
        Self { body: Some(body), max }
    }

    /// The whole body; nothing, if it was read before. A larger one is refused by its
    /// length if that is known, else as soon as it has grown too large.
    pub(super) async fn read(&mut self, headers: &HeaderMap) -> Result<Bytes, Failure> {
        match self.body.take() {
            Some(body) => read(body, headers, self.max).await,
            None => Ok(Bytes::new()),
        }
    }

    /// Reads what nobody wants, so that the connection can be used further.
    pub(super) async fn discard(self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(body) = self.body else { return Ok(()) };
        if announced(headers, &body) > self.max as u64 {
            return Err(too_large(self.max));
        }
        let mut body = pin!(body);
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            // What breaks off is not missed.
            let Ok(frame) = frame else { return Ok(()) };
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > self.max {
                return Err(too_large(self.max));
            }
        }
        Ok(())
    }
}

async fn read<B>(body: B, headers: &HeaderMap, max: usize) -> Result<Bytes, Failure>
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
                Some(status) if matches!(status.code(), Code::DeadlineExceeded | Code::ResourceExhausted) => {
                    Failure::new(status.code(), status.message())
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
