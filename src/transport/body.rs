//! The bodies of a request and its answer, as the connection layer guards them: a request
//! body has a deadline unless it is a stream, an answer counts its request as open until
//! it is sent and turns a panic into an error.

use std::{
    any::Any,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use crate::call::{Connection, Held, OpenRequest};

/// A request's body.
pub struct RequestBody {
    inner: Incoming,
    deadline: Deadline,
    tally: Tally,
}

impl RequestBody {
    /// Guards `inner`: where there is a `limit`, the body errs with `DEADLINE_EXCEEDED`
    /// when it is not complete that long after it was first waited for. What was read of it, of
    /// a client's stream what was read of a message that is not complete, counts as held for the
    /// connection; where that holds too much, the body errs with `RESOURCE_EXHAUSTED`.
    pub fn new(
        inner: Incoming,
        limit: Option<Duration>,
        is_stream: bool,
        connection: &Arc<Connection>,
    ) -> Self {
        let deadline = limit.map_or(Deadline::None, Deadline::Within);
        let framing = is_stream.then(Framing::default);
        Self { inner, deadline, tally: Tally { framing, bytes: 0, held: connection.hold_nothing() } }
    }
}

/// What was read of a body and is kept somewhere until it is whole.
struct Tally {
    framing: Option<Framing>,
    bytes: usize,
    held: Held,
}

/// Less is not counted: it is as much as a stream takes anyway.
const UNCOUNTED: usize = 4 << 10;

impl Tally {
    fn add(&mut self, data: &[u8]) -> Result<(), Status> {
        let before = self.bytes;
        self.bytes = match &mut self.framing {
            Some(framing) => framing.waiting(data),
            None => before + data.len(),
        };
        if self.bytes < before {
            self.held.release();
        }
        if self.bytes <= UNCOUNTED {
            return Ok(());
        }
        let grown = self.bytes - self.held.bytes();
        self.held.grow(grown).map_err(|too_much| Status::resource_exhausted(too_much.to_string()))
    }
}

/// Where a stream of gRPC messages is: each has five bytes before it, a flag and its length.
#[derive(Debug, Default)]
struct Framing {
    /// Of the prefix that is read, these bytes are there.
    prefix: [u8; 5],
    filled: usize,
    /// Of the message whose prefix is there, so much has come, of so much.
    message: Option<(usize, usize)>,
}

impl Framing {
    /// Takes what came; how many bytes are there of a message that is not whole.
    fn waiting(&mut self, mut data: &[u8]) -> usize {
        while !data.is_empty() {
            if let Some((come, length)) = &mut self.message {
                let taken = data.len().min(*length - *come);
                *come += taken;
                data = &data[taken..];
                if come == length {
                    self.message = None;
                }
                continue;
            }
            let taken = data.len().min(self.prefix.len() - self.filled);
            self.prefix[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
            self.filled += taken;
            data = &data[taken..];
            if self.filled == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.filled = 0;
                self.message =
                    Some((0, u32::from_be_bytes(length) as usize)).filter(|(_, length)| *length > 0);
            }
        }
        self.message.map_or(0, |(come, _)| come) + self.filled
    }
}

/// When a body must be complete. Most are when they are first asked for: they cost no timer.
enum Deadline {
    /// It is a stream.
    None,
    /// Nobody had to wait for it yet.
    Within(Duration),
    At(Pin<Box<Sleep>>),
}

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Within(limit) = *self {
            *self = Self::At(Box::pin(sleep(limit)));
        }
        match self {
            Self::At(sleep) => sleep.as_mut().poll(cx),
            Self::None | Self::Within(_) => Poll::Pending,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                // Recorded before the stream learns of its end, so that it finds the cause.
                if is_own_goaway(&error) {
                    self.tally.held.connection().record_goaway();
                }
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let counted = frame.data_ref().map_or(Ok(()), |data| self.tally.add(data));
                Poll::Ready(Some(counted.map(|()| frame).map_err(Into::into)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.deadline.poll(cx).map(|()| {
                let text = "the request's body did not arrive in time; send it at once";
                Some(Err(Status::deadline_exceeded(text).into()))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether `error` comes from a GOAWAY that our HTTP/2 library decided on, over a fault of the
/// client's or a flood.
fn is_own_goaway(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return h2.is_library() && h2.is_go_away();
        }
        source = cause.source();
    }
    false
}

/// An answer's body.
pub struct ResponseBody {
    inner: Body,
    /// As long as any of its bytes is anywhere, those that were given to a connection included.
    held: Option<Arc<Held>>,
    _open: OpenRequest,
}

impl ResponseBody {
    /// Counts `open` until the body is dropped, and keeps `held` until its bytes are.
    pub fn new(inner: Body, open: OpenRequest, held: Option<Arc<Held>>) -> Self {
        Self { inner, held, _open: open }
    }
}

/// Bytes that are counted as held.
struct Counted {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // A body that panicked is not polled again: the error ends it.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.inner).poll_frame(cx)));
        let polled = polled.unwrap_or_else(|panic| Poll::Ready(Some(Err(panicked(&*panic)))));
        let Some(held) = &self.held else { return polled };
        polled.map_ok(|frame| {
            frame.map_data(|bytes| Bytes::from_owner(Counted { bytes, _held: Arc::clone(held) }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Logs a handler's panic, and makes the status that its caller gets: a panic is a bug of
/// ours, and its text is not for strangers.
pub fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    tracing::error!(panic = text, "a request handler panicked");
    Status::internal("internal error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stream_only_the_unfinished_message_waits() {
        let message = |length: usize| [&[0][..], &(length as u32).to_be_bytes(), &vec![7; length]].concat();
        let two = [message(3), message(10)].concat();
        for step in 1..=two.len() {
            let mut framing = Framing::default();
            let mut read = 0;
            for part in two.chunks(step) {
                read += part.len();
                let waits = match read {
                    0..5 => read,
                    5..8 => read - 5,
                    8..13 => read - 8,
                    _ => (read - 13) % 10,
                };
                assert_eq!(framing.waiting(part), waits, "{step} {read}");
            }
        }
        let beats = [message(0), message(0)].concat();
        assert_eq!(Framing::default().waiting(&beats), 0);
    }

    #[test]
    fn a_body_that_grows_beyond_what_there_is_room_for_errs() {
        let connection = Arc::new(Connection::new(64 << 10, Arc::default()));
        let tally = |framing| Tally { framing, bytes: 0, held: connection.hold_nothing() };
        let (mut first, mut second) = (tally(None), tally(None));
        first.add(&vec![0; 100 << 10]).expect("the first may be of any size");
        second.add(&[0; UNCOUNTED]).expect("little is not counted");
        let status = second.add(&[0]).expect_err("no room");
        assert!(status.message().contains("--max-connection-bytes"), "{status}");
        drop(first);
        second.add(&vec![0; 64 << 10]).expect("room again");
        assert_eq!(connection.held(), UNCOUNTED + 1 + (64 << 10));

        let mut stream = tally(Some(Framing::default()));
        drop(second);
        stream.add(&[&[0, 0, 0, 0x40, 0][..], &[0; 10_000]].concat()).expect("room");
        assert_eq!(connection.held(), 10_000);
        stream.add(&[0; 0x4000 - 10_000]).expect("room");
        assert_eq!(connection.held(), 0);
    }
}
