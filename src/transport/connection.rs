//! One connection, from its first byte to its last: which protocol it speaks, what it may
//! take, and how it ends.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

use super::{
    Handler, Origin, Proxies,
    body::{RequestBody, ResponseBody, panicked},
    front,
    io::{Protocol, Sniffed, Socket, sniff},
    keepalive::KeepaliveTimer,
    proxy_protocol,
    seats::LEAST_IDLE,
    secure::{self, Secure},
};
use crate::{
    call::{Connection, Held},
    config::ConnectionLimits,
    tls::Tls,
};

/// How long a silent client's connection may take to flush our GOAWAY: its socket may be
/// full, and would then hold on until TCP gives up.
const SILENT_LINGER: Duration = Duration::from_millis(500);

/// Answers up to this, in bytes, are not counted as held.
const UNCOUNTED: u64 = 4 << 10;

/// Headers of one request, in bytes.
const MAX_HEADERS: u32 = 16 << 10;

/// How long a connection that gives way to others may take to end in order.
const SHED_LINGER: Duration = Duration::from_secs(2);

/// What the server knows of every connection it serves.
pub struct Shared<H> {
    /// What a connection may take.
    pub limits: ConnectionLimits,
    /// What requests are handed to.
    pub handler: H,
    /// The certificate that is shown; none speaks plain text.
    pub tls: Option<Arc<Tls>>,
    /// Who may say whose connection it is.
    pub proxies: Proxies,
    /// Cancelled when the connections are to end.
    pub leave: CancellationToken,
}

/// Bytes of a connection that are made sense of.
enum Spoken {
    Plain(Protocol, Sniffed<Socket>),
    Secure(Protocol, Sniffed<Secure>),
}

/// Serves one accepted connection until it ends. Once `shared.leave` is cancelled, its
/// streams are told so, new requests are refused, and it ends when those under way have.
pub async fn serve<H: Handler>(
    stream: TcpStream,
    mut peer: SocketAddr,
    connection: Arc<Connection>,
    shared: Arc<Shared<H>>,
) {
    let _open = Open::new(&connection);
    let socket = Socket::new(stream, Arc::clone(&connection));
    let begun = Box::pin(timeout(shared.limits.handshake_timeout, begin(socket, peer, &shared)));
    let begun = tokio::select! {
        begun = begun => begun,
        () = shared.leave.cancelled() => return,
        () = connection.wait_leaving() => return,
    };
    let (client, spoken) = match begun {
        Ok(Ok(Some(begun))) => begun,
        Ok(Ok(None)) => return,
        // Neither a scan nor a lost connection: somebody has to be told.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return tracing::info!(%peer, %error, "a connection failed at its start");
        }
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "ended before it spoke"),
        Err(_) => return tracing::debug!(%peer, "did not say its protocol in time"),
    };
    let proxied = client.is_some();
    peer = client.unwrap_or(peer);
    let scheme = if shared.tls.is_some() { "https" } else { "http" };
    let origin = Origin { peer, proxied, scheme, connection };
    let served = match spoken {
        Spoken::Plain(Protocol::Http1, io) => serve_http1(io, origin, shared).await,
        Spoken::Plain(Protocol::Http2, io) => serve_http2(io, origin, shared).await,
        Spoken::Secure(Protocol::Http1, io) => serve_http1(io, origin, shared).await,
        Spoken::Secure(Protocol::Http2, io) => serve_http2(io, origin, shared).await,
    };
    if let Err(error) = served {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(%peer, error, "connection failed");
    }
}

/// Reads as far as is needed to know who speaks, and what; none if the client was sent away. The
/// client's address where a proxy says one.
async fn begin<H>(
    mut socket: Socket,
    peer: SocketAddr,
    shared: &Shared<H>,
) -> io::Result<Option<(Option<SocketAddr>, Spoken)>> {
    let mut client = None;
    if shared.proxies.trusts(peer.ip()) {
        client = proxy_protocol::read(&mut socket).await?;
    }
    let Some(tls) = &shared.tls else {
        let (protocol, io) = sniff(socket).await?;
        return Ok(Some((client, Spoken::Plain(protocol, io))));
    };
    let Some(secure) = secure::accept(socket, tls).await? else { return Ok(None) };
    let (protocol, io) = match secure.speaks_http2() {
        Some(true) => (Protocol::Http2, Sniffed::untouched(secure)),
        Some(false) => (Protocol::Http1, Sniffed::untouched(secure)),
        None => sniff(secure).await?,
    };
    Ok(Some((client, Spoken::Secure(protocol, io))))
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Connection>);

impl Open {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.traffic().open.add(1);
        Self(Arc::clone(connection))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.traffic().open.sub(1);
    }
}

async fn serve_http1<H: Handler, S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    io: Sniffed<S>,
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

async fn serve_http2<H: Handler, S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    io: Sniffed<S>,
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
        .max_local_error_reset_streams(100)
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
        tokio::select! {
            () = leave.cancelled() => Notice::Leave,
            () = connection.wait_leaving() => Notice::GiveWay,
        }
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
                Notice::GiveWay => {
                    shut_down(conn.as_mut());
                    notices.push(Box::pin(async {
                        sleep(SHED_LINGER).await;
                        // A request may have crossed our GOAWAY.
                        connection.idle_for(LEAST_IDLE).await;
                        Notice::Silent
                    }));
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
    /// The connection is to make room.
    GiveWay,
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
    let is_stream = front::is_client_stream(&request);
    let limit = (!is_stream).then_some(shared.limits.body_timeout);
    let connection = Arc::clone(&origin.connection);
    let request = request.map(|body| Body::new(RequestBody::new(body, limit, is_stream, &connection)));

    let answer = async { shared.handler.handle(request, origin).await };
    let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => front::refusal(is_grpc, &panicked(&*panic)),
    };
    // What was held while the answer was made.
    let mut held = response.extensions_mut().remove::<Arc<Held>>();
    if !is_grpc && let Some(size) = response.body().size_hint().exact().filter(|size| *size > UNCOUNTED) {
        // Instead of what it was made of, which is gone by now.
        drop(held);
        held = match connection.hold(size as usize) {
            Ok(held) => Some(Arc::new(held)),
            Err(too_much) => {
                response = front::refusal(false, &Status::resource_exhausted(too_much.to_string()));
                None
            }
        };
    }
    Ok(response.map(|body| Body::new(ResponseBody::new(body, open, held))))
}
