//! Server streams over HTTP: a line of JSON per message, or Server-Sent Events for who
//! asks for them. The body pulls the messages from the call, so a client that reads
//! slowly slows the service, and one that is gone cancels the call.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{
    HeaderMap, HeaderValue, Response,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body::Frame;
use http_body_util::StreamBody;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor};
use tonic::{Code, body::Body};

use super::{
    apart::Apart,
    call::{Answer, Messages},
    error::Failure,
    json_write,
};

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// `{"result":…}` lines; an error is a last line `{"error":…}`.
    Lines,
    /// Server-Sent Events; an error is a last event of the type `error`.
    Events,
}

/// What a stream's body needs beside the messages.
#[derive(Clone)]
pub(super) struct Writer {
    pub apart: Apart,
    pub pool: DescriptorPool,
    pub output: MessageDescriptor,
    pub format: Format,
    /// The string field of a message that becomes an event's id.
    pub event_id: Option<FieldDescriptor>,
}

impl Format {
    /// Events only for who names them; any other `Accept` gets lines.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let named = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"));
        if named { Self::Events } else { Self::Lines }
    }
}

/// Answers with a stream. The head does not wait for a first message; only if the call
/// has failed by now does it carry the failure's status.
pub(super) fn respond(answer: Answer, writer: Writer) -> Response<Body> {
    let Answer { headers, mut messages } = answer;
    let first = match messages.next().now_or_never() {
        None => None,
        Some(Ok(Some(message))) => Some(message),
        Some(Ok(None)) => {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = headers;
            return response;
        }
        Some(Err(mut failure)) => {
            failure.headers = headers;
            return failure.into_stream_response(&writer.pool);
        }
    };
    let content_type = match writer.format {
        Format::Lines => "application/json",
        Format::Events => "text/event-stream",
    };
    let events = writer.format == Format::Events;
    let lines = Lines { messages: Some(messages), first, writer };
    let body = stream::unfold(lines, |mut lines| async move {
        let chunk = lines.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), lines))
    });
    let mut response = Response::new(Body::new(StreamBody::new(body)));
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if events {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

struct Lines {
    /// None once the stream has ended.
    messages: Option<Messages>,
    first: Option<Bytes>,
    writer: Writer,
}

impl Lines {
    /// What is to be sent next: the next message with all that came along with it.
    async fn next(&mut self) -> Option<Bytes> {
        let messages = self.messages.as_mut()?;
        let mut chunk = String::new();
        let mut next = match self.first.take() {
            Some(message) => Ok(Some(message)),
            None => messages.next().await,
        };
        loop {
            let written = match next {
                Ok(Some(message)) => {
                    let writer = self.writer.clone();
                    let written = self.writer.apart.work(message.len(), move || writer.message(&message));
                    written.await.map(|text| chunk.push_str(&text))
                }
                Ok(None) => {
                    self.messages = None;
                    return None;
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = written {
                self.writer.failure(&mut chunk, &failure);
                self.messages = None;
                break;
            }
            next = messages.buffered();
            if let Ok(None) = next {
                break;
            }
        }
        Some(Bytes::from(chunk))
    }
}

impl Writer {
    fn message(&self, encoded: &[u8]) -> Result<String, Failure> {
        let message = decode(&self.output, encoded)?;
        let mut out = String::with_capacity(encoded.len() * 2);
        if self.format == Format::Events {
            if let Some(id) = self.event_id(&message) {
                out.push_str("id: ");
                out.push_str(&id);
                out.push('\n');
            }
            out.push_str("data: ");
        } else {
            out.push_str("{\"result\":");
        }
        json_write::message(&mut out, &message)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        out.push_str(match self.format {
            Format::Lines => "}\n",
            Format::Events => "\n\n",
        });
        Ok(out)
    }

    /// An id that would break out of its line is none.
    fn event_id(&self, message: &DynamicMessage) -> Option<String> {
        let value = message.get_field(self.event_id.as_ref()?);
        let id = value.as_str()?;
        let fits = !id.is_empty() && !id.contains(['\n', '\r', '\0']);
        fits.then(|| id.to_owned())
    }

    fn failure(&self, out: &mut String, failure: &Failure) {
        let line = failure.to_line(&self.pool);
        match self.format {
            Format::Lines => out.push_str(&line),
            Format::Events => {
                out.push_str("event: error\ndata: ");
                out.push_str(&line);
                out.push('\n');
            }
        }
    }
}

/// An encoded message of the service's.
pub(super) fn decode(descriptor: &MessageDescriptor, encoded: &[u8]) -> Result<DynamicMessage, Failure> {
    DynamicMessage::decode(descriptor.clone(), encoded).map_err(|error| {
        Failure::new(Code::Internal, format!("the service's answer does not decode: {error}"))
    })
}
