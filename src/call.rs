//! What the server knows of a call beside its message: who makes it, over which
//! connection. It travels as a request extension, so that no client can forge it, and
//! the JSON paths hand it on to the gRPC service unchanged.
//!
//! The connection layer records facts in [`Connection`]; a stream that ended asks it
//! whose doing that was ([`Connection::end_cause`]). The stream's own end cannot tell:
//! hyper shows a half-close, a reset and its own keepalive timeout alike.

mod held;
mod traffic;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Grant,
    limits::Exceeded,
    types::{Actor, TraceId},
};
pub use held::{Held, TooMuchHeld};
pub use traffic::{Count, Traffic};

/// The target of log lines that tell of a refusal: what is logged under it goes to the audit
/// file, too.
pub const AUDITED: &str = "leasehold::refused";

/// Who makes a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The peer's address; behind a trusted proxy, what that says of it.
    pub peer: SocketAddr,
    /// Whether it comes through a trusted proxy, whose end is not the client's.
    pub proxied: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The request's own authority (`host[:port]`), checked against the Host rule. Empty
    /// only on the health paths, which answer without one.
    pub authority: String,
    /// Which door it came in by.
    pub door: Door,
    /// What the key that it shows is good for; none without a key.
    pub grant: Option<Arc<Grant>>,
    /// The trace that the call belongs to, if it says so.
    pub trace: Option<TraceId>,
    /// Whether it was counted as a request of its peer.
    pub counted: bool,
    /// The limit that it meets as a renewal, which may be let through all the same.
    pub exceeded: Option<Exceeded>,
    /// The connection it came over.
    pub connection: Arc<Connection>,
}

impl Caller {
    /// Who it is, for what it asks.
    pub fn actor(&self) -> Actor {
        Actor {
            peer: self.peer.ip().to_canonical(),
            key: self.grant.as_ref().map(|grant| Arc::clone(grant.name())),
            reach: self.grant.as_ref().and_then(|grant| grant.reach().cloned()),
            trace: self.trace,
        }
    }
}

/// The doors to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// gRPC itself, whose clients take 4 MiB a message unless told otherwise.
    Grpc,
    /// HTTP and JSON.
    Json,
    /// The small name registry's paths.
    Names,
}

/// Whose doing the end of a stream was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The client's, or its network's: half-close, cancel, reset, connection lost, or
    /// silence. What is attached drops.
    Client(&'static str),
    /// Ours: drain, overload, or our own lateness. What is attached lives on by its TTL.
    Server(&'static str),
}

/// One accepted connection, as its streams need to know it.
///
/// Every fact but the keepalive's is recorded before the streams can notice what it
/// explains, and is never taken back.
#[derive(Debug)]
pub struct Connection {
    /// The client was told to go.
    leaving: CancellationToken,
    /// The HTTP/2 library ended the connection with an error, all streams with it.
    goaway_sent: AtomicBool,
    /// The socket gave EOF or an error.
    lost: AtomicBool,
    liveness: watch::Sender<Liveness>,
    /// The names that the client's certificate proves.
    subjects: OnceLock<Vec<String>>,
    open_requests: AtomicUsize,
    began: Instant,
    /// When the last request ended, in microseconds from then.
    last_end: AtomicU64,
    /// Bytes of requests and answers.
    held: AtomicUsize,
    /// As many as there may be.
    max_held: usize,
    traffic: Arc<Traffic>,
}

/// What a keepalive timeout must be judged by.
#[derive(Clone, Copy, Debug, Default)]
struct Liveness {
    /// The keepalive's time is up and it was not set again: hyper gives the connection up.
    silent: bool,
    /// The socket is closed; what was left in it.
    closed: Option<Rest>,
}

/// What a socket still held when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    Nothing,
    /// Bytes of the client that nobody had read.
    Unread,
    /// The end of the client's bytes, or an error.
    Lost,
}

/// Longer than the connection layer ever lets a silent connection linger.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

// === impl Connection: what streams ask ===

impl Connection {
    /// Marks that the client was told to go, by GOAWAY or `retry_after`: whatever ends its
    /// streams from now on is the server's doing. Wakes [`Self::wait_leaving`].
    pub fn leaving(&self) {
        self.leaving.cancel();
    }

    /// Whether the client was told to go.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Returns as soon as the client has been told to go.
    pub async fn wait_leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// Whose doing it was that a request stream of this connection ended, cleanly or by an
    /// error. To be asked right after the end.
    ///
    /// Answers at once, except after a keepalive timeout: that is the client's silence only
    /// if the closing socket held nothing of it that we had not read, which is known when
    /// the connection is closed, within half a second. A connection that takes longer than
    /// one second shows that this server is late, so the end is not held against the client.
    pub async fn end_cause(&self) -> EndCause {
        if self.is_leaving() {
            return EndCause::Server("draining");
        }
        if self.goaway_sent.load(Ordering::Acquire) {
            return EndCause::Server("goaway sent");
        }
        if self.lost.load(Ordering::Acquire) {
            return EndCause::Client("connection lost");
        }
        let mut liveness = self.liveness.subscribe();
        let settled = liveness.wait_for(|now| !now.silent || now.closed.is_some());
        let settled = match timeout(CLOSE_WAIT, settled).await {
            Ok(Ok(settled)) => *settled,
            Ok(Err(_)) | Err(_) => return EndCause::Server("late closing"),
        };
        match settled.closed {
            _ if !settled.silent => EndCause::Client("stream closed"),
            Some(Rest::Unread) => EndCause::Server("late reading"),
            Some(Rest::Lost) => EndCause::Client("connection lost"),
            Some(Rest::Nothing) | None => EndCause::Client("keepalive unanswered"),
        }
    }

    /// The names that the client's certificate proves; none without one.
    pub fn subjects(&self) -> &[String] {
        self.subjects.get().map_or(&[], Vec::as_slice)
    }

    /// How many requests and streams are open.
    pub fn open_requests(&self) -> usize {
        self.open_requests.load(Ordering::Acquire)
    }
}

// === impl Connection: what the connection layer records ===

impl Connection {
    /// A new one, for which at most `max_held` bytes are held, of a server that has `traffic`.
    pub fn new(max_held: usize, traffic: Arc<Traffic>) -> Self {
        Self {
            leaving: CancellationToken::new(),
            goaway_sent: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            liveness: watch::Sender::new(Liveness::default()),
            subjects: OnceLock::new(),
            open_requests: AtomicUsize::new(0),
            began: Instant::now(),
            last_end: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            max_held,
            traffic,
        }
    }

    /// What is counted of the server's connections.
    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Since when no request has been open and no answer been on its way; none while one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = self.began + Duration::from_micros(self.last_end.load(Ordering::Acquire));
        (self.open_requests() == 0 && self.held() == 0).then_some(since)
    }

    /// The client proved these names.
    pub(crate) fn record_subjects(&self, subjects: Vec<String>) {
        // Once a connection: at its handshake.
        let _ = self.subjects.set(subjects);
    }

    /// The HTTP/2 library sends GOAWAY with an error.
    pub(crate) fn record_goaway(&self) {
        self.goaway_sent.store(true, Ordering::Release);
    }

    /// The socket gave EOF or an error.
    pub(crate) fn record_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// The keepalive's time is up (`true`), or it is set anew (`false`).
    pub(crate) fn record_silent(&self, silent: bool) {
        self.liveness.send_if_modified(|liveness| {
            let changed = liveness.silent != silent;
            liveness.silent = silent;
            changed
        });
    }

    /// The socket is about to be closed.
    pub(crate) fn record_closed(&self, rest: Rest) {
        self.liveness.send_modify(|liveness| liveness.closed = Some(rest));
    }

    /// Returns when the keepalive's time has been up for `linger` without the connection
    /// having ended or the keepalive having been set again.
    pub(crate) async fn silent_for(&self, linger: Duration) {
        let mut liveness = self.liveness.subscribe();
        loop {
            // The sender is `self`: neither wait can fail.
            let _ = liveness.wait_for(|now| now.silent).await;
            if timeout(linger, liveness.wait_for(|now| !now.silent)).await.is_err() {
                return;
            }
        }
    }

    /// Returns when no request has been open for `limit`.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = match self.open_requests() {
                0 => {
                    let end = Duration::from_micros(self.last_end.load(Ordering::Acquire));
                    self.began.elapsed().saturating_sub(end)
                }
                _ => Duration::ZERO,
            };
            match limit.saturating_sub(idle) {
                Duration::ZERO => return,
                left => sleep(left).await,
            }
        }
    }

    /// Counts a request as open until the guard is dropped.
    pub(crate) fn open_request(self: &Arc<Self>) -> OpenRequest {
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new(usize::MAX, Arc::default())
    }
}

/// A request that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Connection>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let connection = &*self.0;
        connection.last_end.store(connection.began.elapsed().as_micros() as u64, Ordering::Release);
        connection.open_requests.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `end_cause` answers once `facts` were recorded.
    async fn check(facts: impl Fn(&Connection), expect: EndCause) {
        let connection = Connection::default();
        facts(&connection);
        assert_eq!(connection.end_cause().await, expect);
    }

    #[tokio::test]
    async fn the_first_rule_that_applies_names_the_cause() {
        use EndCause::{Client, Server};
        check(|_| (), Client("stream closed")).await;
        check(Connection::record_lost, Client("connection lost")).await;
        check(Connection::record_goaway, Server("goaway sent")).await;
        check(Connection::leaving, Server("draining")).await;
        let all = |connection: &Connection| {
            connection.record_lost();
            connection.record_goaway();
        };
        check(all, Server("goaway sent")).await;
        let all = |connection: &Connection| {
            all(connection);
            connection.leaving();
        };
        check(all, Server("draining")).await;
    }

    #[tokio::test]
    async fn a_keepalive_timeout_is_judged_by_what_the_socket_held() {
        for (rest, expect) in [
            (Rest::Nothing, EndCause::Client("keepalive unanswered")),
            (Rest::Unread, EndCause::Server("late reading")),
            (Rest::Lost, EndCause::Client("connection lost")),
        ] {
            let connection = Arc::new(Connection::default());
            connection.record_silent(true);
            let asked = tokio::spawn({
                let connection = Arc::clone(&connection);
                async move { connection.end_cause().await }
            });
            tokio::task::yield_now().await;
            assert!(!asked.is_finished(), "answered before the socket closed");
            connection.record_closed(rest);
            assert_eq!(asked.await.expect("the stream's task"), expect);
        }
    }

    #[tokio::test]
    async fn a_keepalive_that_is_set_again_is_no_timeout() {
        let connection = Arc::new(Connection::default());
        connection.record_silent(true);
        let asked = tokio::spawn({
            let connection = Arc::clone(&connection);
            async move { connection.end_cause().await }
        });
        tokio::task::yield_now().await;
        connection.record_silent(false);
        let cause = asked.await.expect("the stream's task");
        assert_eq!(cause, EndCause::Client("stream closed"));
    }

    #[tokio::test]
    async fn a_connection_that_does_not_close_in_time_is_our_lateness() {
        check(|connection| connection.record_silent(true), EndCause::Server("late closing")).await;
    }

    #[tokio::test]
    async fn nobody_is_idle_while_a_request_is_open() {
        let (busy, fresh) = (Arc::new(Connection::default()), Connection::default());
        let limit = Duration::from_millis(1);
        let open = busy.open_request();
        tokio::select! {
            () = busy.idle_for(limit) => panic!("a request is open"),
            () = fresh.idle_for(4 * limit) => {}
        }
        drop(open);
        busy.idle_for(limit).await;
    }

    #[test]
    fn open_requests_are_counted_while_their_guards_live() {
        let connection = Arc::new(Connection::default());
        let first = connection.open_request();
        let second = connection.open_request();
        assert_eq!(connection.open_requests(), 2);
        drop(first);
        drop(second);
        assert_eq!(connection.open_requests(), 0);
    }
}
