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

use crate::call::{Connection, OpenRequest};

/// A request's body.
pub struct RequestBody {
    inner: Incoming,
    deadline: Deadline,
    connection: Arc<Connection>,
}

impl RequestBody {
    /// Guards `inner`: where there is a `limit`, the body errs with `DEADLINE_EXCEEDED`
    /// when it is not complete that long after it was first waited for.
    pub fn new(inner: Incoming, limit: Option<Duration>, connection: Arc<Connection>) -> Self {
        let deadline = limit.map_or(Deadline::None, Deadline::Within);
        Self { inner, deadline, connection }
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
                    self.connection.record_goaway();
                }
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
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
    _open: OpenRequest,
}

impl ResponseBody {
    /// Counts `open` until the body is dropped.
    pub fn new(inner: Body, open: OpenRequest) -> Self {
        Self { inner, _open: open }
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
        polled.unwrap_or_else(|panic| Poll::Ready(Some(Err(panicked(&*panic)))))
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
