//! The connection layer: accepts connections, gives each what it may take and no more,
//! hands requests to a [`Handler`], and drains. It knows HTTP, and nothing of leases.
//!
//! Start from [`Server`], which owns a listener, and [`Front`], the handler that parts gRPC
//! from JSON. A bad client can cost its own connection, never the server: that is the rule
//! by which each limit here was set.

mod accept;
mod body;
mod connection;
mod entry;
mod front;
mod host;
mod io;
mod keepalive;
mod proxy;
mod proxy_protocol;
mod seats;
mod secure;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use tokio::{
    net::TcpListener,
    task::{Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use self::{
    accept::Acceptor,
    connection::Shared,
    seats::{LOOK_EVERY, Seats},
};
pub use self::{
    entry::Entry,
    front::{Front, refusal},
    host::{HostRule, Refusal},
    proxy::Proxies,
};
pub use crate::call::{Count, Traffic};
use crate::{call::Connection, config::ConnectionLimits, tls::Tls};

/// What requests are handed to.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, whose origin the connection vouches for. A panic is answered as
    /// an internal error. The request's body errs with `DEADLINE_EXCEEDED` when it takes
    /// longer than the body timeout, unless it is a client stream.
    fn handle(&self, request: Request<Body>, origin: Origin) -> impl Future<Output = Response<Body>> + Send;
}

/// Where a request comes from, as its connection knows it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer's address; an IPv4 one is written as such whatever the listener.
    pub peer: SocketAddr,
    /// Whether a trusted proxy said so.
    pub proxied: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The connection it came over.
    pub connection: Arc<Connection>,
}

/// A listener with what its connections may take.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    limits: ConnectionLimits,
    drain_timeout: Duration,
    tls: Option<Arc<Tls>>,
    proxies: Proxies,
    traffic: Arc<Traffic>,
}

/// How the connections that were open at shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// In time, by themselves.
    pub ended: usize,
    /// Cut after the drain timeout.
    pub cut: usize,
}

impl Server {
    /// Will serve `listener` in plain text. A drain waits `drain_timeout` for connections to end.
    pub fn new(listener: TcpListener, limits: ConnectionLimits, drain_timeout: Duration) -> Self {
        let (proxies, traffic) = (Proxies::default(), Arc::default());
        Self { listener, limits, drain_timeout, tls: None, proxies, traffic }
    }

    /// Speaks TLS, where there is a certificate to show.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Believes these proxies whose connections theirs are, by the PROXY protocol.
    #[must_use]
    pub fn trusting(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Counts what it does there.
    #[must_use]
    pub fn counted_in(self, traffic: Arc<Traffic>) -> Self {
        Self { traffic, ..self }
    }

    /// Serves until `shutdown` is cancelled, then drains: accepts no more, marks every
    /// connection as leaving (so that `KeepAlive` streams can say `retry_after`), sends
    /// GOAWAY, waits for what is under way and cuts what is left after the drain timeout.
    /// Returns when no connection is open.
    ///
    /// Dropping the future cuts every connection at once; their streams then end by the
    /// server's doing.
    pub async fn run<H: Handler>(self, handler: H, shutdown: CancellationToken) -> Drained {
        let (max, max_held) = (self.limits.max_connections, self.limits.max_bytes);
        let shared = Arc::new(Shared {
            limits: self.limits,
            handler,
            tls: self.tls,
            proxies: self.proxies,
            leave: CancellationToken::new(),
        });
        let mut acceptor = Acceptor::new(self.listener);
        let mut connections = JoinSet::new();
        let mut seats = Seats::new(max);
        let mut newcomer = None;
        let mut warned = false;
        loop {
            let full = !seats.has_room();
            if newcomer.is_some()
                && (!full || seats.shed())
                && let Some((stream, peer)) = newcomer.take()
            {
                let connection = Arc::new(Connection::new(max_held, Arc::clone(&self.traffic)));
                let serving = connection::serve(stream, peer, Arc::clone(&connection), Arc::clone(&shared));
                seats.take(connections.spawn(serving).id(), connection);
            }
            if newcomer.is_some() && !warned {
                let open = connections.len();
                tracing::warn!(open, "no more connections are accepted until one ends or is idle");
            }
            // Said again only after a real lull, not at each end and accept around the cap.
            warned = newcomer.is_some() || (warned && connections.len() > max / 10 * 9);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next_with_id() => seats.leave(report(ended)),
                accepted = acceptor.accept(), if newcomer.is_none() => {
                    self.traffic.accepted.add(1);
                    newcomer = Some(accepted);
                }
                () = sleep(LOOK_EVERY), if newcomer.is_some() => {}
            }
        }
        drop(acceptor);
        shared.leave.cancel();
        drain(connections, self.drain_timeout).await
    }
}

/// Waits for `connections`, which were told to end, and cuts those that have not by then.
async fn drain(mut connections: JoinSet<()>, limit: Duration) -> Drained {
    let open = connections.len();
    let all_ended = async {
        while let Some(ended) = connections.join_next_with_id().await {
            report(ended);
        }
    };
    let in_time = timeout(limit, all_ended).await.is_ok();
    let cut = connections.len();
    connections.shutdown().await;
    if in_time {
        tracing::info!(connections = open, "drained");
    } else {
        tracing::warn!(connections = open, cut, "drain timed out; the rest was cut");
    }
    Drained { ended: open - cut, cut }
}

/// A connection's task ends by panic only through a bug; the others go on. Which it was.
fn report(ended: Result<(Id, ()), JoinError>) -> Id {
    match ended {
        Ok((id, ())) => id,
        Err(error) => {
            if error.is_panic() {
                tracing::error!(%error, "a connection's task panicked");
            }
            error.id()
        }
    }
}
