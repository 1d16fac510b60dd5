//! What is noted of every RPC, whichever door it came in by: how it ended, how long it took, and,
//! where traces are sent, its span.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use crate::{
    call::{Caller, Door},
    metrics::{Rpcs, code_name},
    telemetry::{Span, TraceParent, Traces},
};

use super::Rpc;

/// What notes the RPCs of one server.
#[derive(Debug)]
pub struct Observed {
    /// Their counters, by [`Rpc::number`].
    pub rpcs: Arc<Rpcs>,
    /// Where their spans go, if anywhere.
    pub traces: Option<Traces>,
}

impl Observed {
    /// Counts all RPCs, and sends their spans to `traces`.
    pub fn new(traces: Option<Traces>) -> Self {
        Self { rpcs: Arc::new(Rpcs::new(Rpc::all().map(|rpc| (rpc.name, rpc.streams)))), traces }
    }

    /// A call begins: notes in the caller which trace it belongs to.
    pub fn begin(self: &Arc<Self>, rpc: Rpc, headers: &HeaderMap, caller: &mut Caller) -> Call {
        let parent = TraceParent::of(headers);
        caller.trace = parent.map(|parent| parent.trace);
        let span = self.traces.as_ref().filter(|_| rpc.is_call()).map(|traces| {
            let door = match caller.door {
                Door::Grpc => "grpc",
                Door::Json => "json",
                Door::Names => "names",
            };
            let span = traces.span(rpc.method(), parent, caller.peer.ip().to_canonical(), door);
            caller.trace = Some(span.trace());
            Box::new(span)
        });
        Call { observed: Arc::clone(self), rpc, began: Instant::now(), span, ended: false }
    }
}

/// A call that is under way. One that is dropped was cancelled.
#[derive(Debug)]
pub struct Call {
    observed: Arc<Observed>,
    rpc: Rpc,
    began: Instant,
    span: Option<Box<Span>>,
    ended: bool,
}

impl Call {
    /// Notes whose key the caller showed.
    pub fn by(&mut self, caller: &Caller) {
        if let (Some(span), Some(grant)) = (&mut self.span, &caller.grant) {
            span.key(grant.name());
        }
    }

    /// It is answered; a stream goes on.
    pub(super) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        match code_of(response.headers()) {
            Some(code) => self.end(code),
            None if self.rpc.streams => {
                return response.map(|body| Body::new(Streaming { body, call: self }));
            }
            None => self.end(Code::Ok),
        }
        response
    }

    /// It ended with this code.
    pub fn end(&mut self, code: Code) {
        if self.ended {
            return;
        }
        self.ended = true;
        // As the front door says it (`transport/front.rs`).
        let code = if code == Code::OutOfRange { Code::ResourceExhausted } else { code };
        self.observed.rpcs.handled(self.rpc.number, code as usize, self.began.elapsed());
        if let Some(span) = self.span.take() {
            span.end(code as i32, code_name(code as usize));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// The answers of a stream; the call ends with them.
struct Streaming {
    body: Body,
    call: Call,
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.end(code);
                }
            }
            Some(Err(status)) => self.call.end(status.code()),
            None => self.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
