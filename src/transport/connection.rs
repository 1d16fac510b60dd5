//! One connection, from its first byte to its last: which protocol it speaks, what it may
//! take, and how it ends.

use std::{
    convert::Infallible,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::{
    Handler, Origin,
    body::{RequestBody, ResponseBody, panicked},
    front,
    io::{Protocol, Sniffed, Socket, sniff},
    keepalive::KeepaliveTimer,
};
use crate::{call::Connection, config::ConnectionLimits};

/// How long a silent client's connection may take to flush our GOAWAY: its socket may be
/// full, and would then hold on until TCP gives up.
const SILENT_LINGER: Duration = Duration::from_millis(500);

/// Headers of one request, in bytes.
const MAX_HEADERS: u32 = 16 << 10;

/// What the server knows of every connection it serves.
pub struct Shared<H> {
    /// What a connection may take.
    pub limits: ConnectionLimits,
    /// What requests are handed to.
    pub handler: H,
    /// Cancelled when the connections are to end.
    pub leave: CancellationToken,
}

/// Serves one accepted connection until it ends. Once `shared.leave` is cancelled, its
/// streams are told so, new requests are refused, and it ends when those under way have.
pub async fn serve<H: Handler>(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared<H>>) {
    let connection = Arc::new(Connection::default());
    let socket = Socket::new(stream, Arc::clone(&connection));
    let sniffed = tokio::select! {
        sniffed = timeout(shared.limits.handshake_timeout, sniff(socket)) => sniffed,
        () = shared.leave.cancelled() => return,
    };
    let (protocol, io) = match sniffed {
        Ok(Ok(sniffed)) => sniffed,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "ended before it spoke"),
        Err(_) => return tracing::debug!(%peer, "did not say its protocol in time"),
    };
    let origin = Origin { peer, proxied: false, scheme: "http", connection };
    let served = match protocol {
        Protocol::Http1 => serve_http1(io, origin, shared).await,
        Protocol::Http2 => serve_http2(io, origin, shared).await,
    };
    if let Err(error) = served {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(%peer, error, "connection failed");
    }
}

async fn serve_http1<H: Handler>(
    io: Sniffed<Socket>,
    origin: Origin,
    shared: Arc<Shared<H>>,
) -> hyper::Result<()> {
    let connection = Arc::clone(&origin.connection);
    let leave = shared.leave.clone();
    // Counted from the end of the last answer to the next request's complete headers.
    let idle_limit = shared.limits.header_timeout;
    let mut builder = http1::Builder::new();
    builder
        // `drive` watches over it: hyper would set up a timer for each request.
        .header_read_timeout(None)
        .max_header_size(MAX_HEADERS as usize)
        .max_buf_size(64 << 10);
    let service = service_fn(move |request| answer(request, origin.clone(), Arc::clone(&shared)));
    let conn = builder.serve_connection(TokioIo::new(io), service);
    drive(conn, http1::Connection::graceful_shutdown, &connection, Some(idle_limit), &leave).await
}

async fn serve_http2<H: Handler>(
    io: Sniffed<Socket>,
    origin: Origin,
    shared: Arc<Shared<H>>,
) -> hyper::Result<()> {
    let connection = Arc::clone(&origin.connection);
    let leave = shared.leave.clone();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(KeepaliveTimer(Arc::clone(&connection)))
        .keep_alive_interval(shared.limits.keepalive_interval)
        .keep_alive_timeout(shared.limits.keepalive_timeout)
        .max_concurrent_streams(shared.limits.max_streams)
        .max_header_list_size(MAX_HEADERS)
        // Streams that the client reset before we looked at them (rapid reset), and that we
        // had to reset for the client's faults; more of either ends the connection.
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(1_000)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10);
    let service = service_fn(move |request| answer(request, origin.clone(), Arc::clone(&shared)));
    let conn = builder.serve_connection(TokioIo::new(io), service);
    drive(conn, http2::Connection::graceful_shutdown, &connection, None, &leave).await
}

/// Runs `conn` to its end: its own, its client's silence, idleness beyond `idle_limit`, or
/// the end that `shut_down` begins once `leave` is cancelled.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    conn: C,
    shut_down: fn(Pin<&mut C>),
    connection: &Connection,
    idle_limit: Option<Duration>,
    leave: &CancellationToken,
) -> hyper::Result<()> {
    let mut conn = pin!(conn);
    // Declared after `conn`, so dropped before it.
    let mut abandoned = Abandoned(Some(connection));
    // Each request wakes this task; what seldom happens is looked at only when it has.
    let mut notices = FuturesUnordered::<Pin<Box<dyn Future<Output = Notice> + Send + '_>>>::new();
    notices.push(Box::pin(async {
        leave.cancelled().await;
        Notice::Leave
    }));
    notices.push(Box::pin(async move {
        connection.silent_for(SILENT_LINGER).await;
        Notice::Silent
    }));
    if let Some(limit) = idle_limit {
        notices.push(Box::pin(async move {
            connection.idle_for(limit).await;
            Notice::Idle
        }));
    }
    let ended = loop {
        tokio::select! {
            biased;
            ended = conn.as_mut() => break ended,
            Some(notice) = notices.next() => match notice {
                Notice::Leave => {
                    connection.leaving();
                    shut_down(conn.as_mut());
                }
                Notice::Silent => break Ok(()),
                Notice::Idle => {
                    tracing::debug!("no headers in time");
                    break Ok(());
                }
            },
        }
    };
    abandoned.0 = None;
    ended
}

/// What a connection's task may hear of beside the connection itself.
enum Notice {
    /// The server ends.
    Leave,
    /// The client does not answer.
    Silent,
    /// It has asked for nothing for too long.
    Idle,
}

/// Marks a connection that is dropped before it ended: a drain that ran out of time, or a
/// bug. Either way its streams end by our doing.
struct Abandoned<'a>(Option<&'a Connection>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.leaving();
        }
    }
}

/// Hands one request on, its bodies guarded and the handler's panics caught.
async fn answer<H: Handler>(
    request: Request<Incoming>,
    origin: Origin,
    shared: Arc<Shared<H>>,
) -> Result<Response<Body>, Infallible> {
    let open = origin.connection.open_request();
    let is_grpc = front::is_grpc(&request);
    let limit = (!front::is_client_stream(&request)).then_some(shared.limits.body_timeout);
    let connection = Arc::clone(&origin.connection);
    let request = request.map(|body| Body::new(RequestBody::new(body, limit, connection)));

    let answer = async { shared.handler.handle(request, origin).await };
    let response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => front::refusal(is_grpc, &panicked(&*panic)),
    };
    Ok(response.map(|body| Body::new(ResponseBody::new(body, open))))
}
