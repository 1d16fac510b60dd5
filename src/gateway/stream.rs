//! Server streams over HTTP: a line of JSON per message, or Server-Sent Events for who
//! asks for them. The body pulls the messages from the call, so a client that reads
//! slowly slows the service, and one that is gone cancels the call.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{
    HeaderMap, HeaderValue, Response,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::task::yield_now;
use tonic::body::Body;

use super::{
    Inner,
    apart::Apart,
    binding::Binding,
    call::{Answer, Messages},
    error::Failure,
    json::Json,
    metadata, respond,
    schema::{Kind, Message, MessageId, Shape},
};

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// `{"result":…}` lines; an error is a last line `{"error":…}`.
    Lines,
    /// Server-Sent Events; an error is a last event of the type `error`.
    Events,
    /// Each message is a `google.api.HttpBody`: its data, and a line's end.
    Raw,
}

/// What a stream's body needs beside the messages.
#[derive(Clone)]
struct Writer {
    apart: Apart,
    json: Arc<Json>,
    output: MessageId,
    response_body: Option<usize>,
    format: Format,
    /// The place of the string field of a message that becomes an event's id.
    event_id: Option<usize>,
}

impl Inner {
    /// Events only for who names them; any other `Accept` gets lines.
    pub(super) fn format(&self, binding: &Binding, headers: &HeaderMap) -> Format {
        if self.is_http_body(binding) {
            return Format::Raw;
        }
        let named = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"));
        if named && binding.server_streaming && self.options.event_streams.is_some() {
            Format::Events
        } else {
            Format::Lines
        }
    }

    /// Answers with a stream. The head does not wait for a first message; only if the
    /// call has failed by now does it carry the failure's status.
    pub(super) async fn stream(
        &self,
        binding: &Binding,
        format: Format,
        answer: Answer,
    ) -> Result<Response<Body>, Failure> {
        let Answer { mut headers, mut messages, .. } = answer;
        let first = first(&mut messages).await;
        if let Some(Err(failure)) = first {
            return Ok(Failure { headers, ..failure }.into_stream_response(&self.json));
        }
        let status = match self.status(&mut headers) {
            Ok(status) => status,
            Err(failure) => return Err(Failure { headers, ..failure }),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        metadata::outgoing(&headers, response.headers_mut());
        let first = match first {
            // It ended without a message: there is nothing to tell the type of.
            Some(Ok(None)) => return Ok(response),
            Some(Ok(message)) => message,
            Some(Err(_)) | None => None,
        };
        let mut content_type = Some(HeaderValue::from_static("application/json"));
        match format {
            Format::Lines => {}
            Format::Events => {
                content_type = Some(HeaderValue::from_static("text/event-stream"));
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
            // What it is, only the first message can tell.
            Format::Raw => content_type = first.as_ref().and_then(|first| respond::http_body(first).ok()?.0),
        }
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        let lines = Lines { messages: Some(messages), first, writer: self.writer(binding, format) };
        let body = stream::unfold(lines, |mut lines| async move {
            let chunk = lines.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(chunk)), lines))
        });
        *response.body_mut() = Body::new(StreamBody::new(body));
        Ok(response)
    }

    fn writer(&self, binding: &Binding, format: Format) -> Writer {
        let output = self.json.schema().message(binding.output);
        Writer {
            apart: self.apart.clone(),
            json: self.json.clone(),
            output: binding.output,
            response_body: binding.response_body,
            format,
            event_id: self.id_field(output),
        }
    }

    /// The place of the field of a message that carries an event's id.
    pub(super) fn id_field(&self, message: &Message) -> Option<usize> {
        let place = message.place_of_name(&self.options.event_streams.as_ref()?.id_field)?;
        let field = &message.fields[place];
        (field.kind == Kind::String && field.shape == Shape::Single).then_some(place)
    }
}

/// The first message, or the end, if either is there already. A service that answers
/// through a task of its own gets a few turns to do so.
async fn first(messages: &mut Messages) -> Option<Result<Option<Bytes>, Failure>> {
    for _ in 0..4 {
        if let Some(first) = messages.next().now_or_never() {
            return Some(first);
        }
        yield_now().await;
    }
    None
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
        let mut chunk = Vec::new();
        let mut next = match self.first.take() {
            Some(message) => Ok(Some(message)),
            None => messages.next().await,
        };
        loop {
            let written = match next {
                Ok(Some(message)) => {
                    let writer = self.writer.clone();
                    let written =
                        self.writer.apart.answers.work(message.len(), move || writer.message(&message));
                    written.await.map(|text| chunk.extend_from_slice(&text))
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
    fn message(&self, encoded: &Bytes) -> Result<Vec<u8>, Failure> {
        let mut out = String::with_capacity(encoded.len() * 2 + 64);
        let end = match self.format {
            Format::Raw => {
                let mut data = respond::http_body(encoded)?.1.to_vec();
                data.push(b'\n');
                return Ok(data);
            }
            Format::Lines => {
                out.push_str("{\"result\":");
                "}\n"
            }
            Format::Events => {
                if let Some(id) = self.event_id(encoded) {
                    out.push_str("id: ");
                    out.push_str(id);
                    out.push('\n');
                }
                out.push_str("data: ");
                "\n\n"
            }
        };
        match self.response_body {
            Some(place) => self.json.write_field(self.output, place, encoded, &mut out)?,
            None => self.json.write(self.output, encoded, &mut out)?,
        }
        out.push_str(end);
        Ok(out.into_bytes())
    }

    /// An id that would break out of its line is none.
    fn event_id<'a>(&self, encoded: &'a [u8]) -> Option<&'a str> {
        let id = self.json.string_field(self.output, self.event_id?, encoded);
        id.filter(|id| !id.is_empty() && !id.contains(['\n', '\r', '\0']))
    }

    fn failure(&self, out: &mut Vec<u8>, failure: &Failure) {
        let line = failure.to_line(&self.json);
        if self.format == Format::Events {
            out.extend_from_slice(b"event: error\ndata: ");
        }
        out.extend_from_slice(line.as_bytes());
        if self.format == Format::Events {
            out.push(b'\n');
        }
    }
}
