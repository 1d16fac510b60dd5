//! Accepting: socket options, and patience where accept fails. Out of descriptors, a loop
//! that simply tried again would spin, and one that gave up would end the server.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// A listener that never fails, only waits.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    backoff: Backoff,
    last_failure: Option<Instant>,
}

/// Failures closer together than this are one episode, told once: at the limit, each
/// connection that ends lets one more in before accepting fails again.
const EPISODE: Duration = Duration::from_secs(30);

impl Acceptor {
    /// Accepts from `listener`.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, backoff: Backoff::default(), last_failure: None }
    }

    /// The next connection, its socket set up. Safe to cancel: nothing accepted is lost,
    /// and a wait that is cut short is only begun again if accepting fails again.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.backoff = Backoff::default();
                    set_options(&stream);
                    // On a dual-stack listener an IPv4 peer has the same address as on any other.
                    return (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()));
                }
                Err(error) => error,
            };
            let Some(delay) = self.backoff.after(&error) else {
                continue;
            };
            let last_failure = self.last_failure.replace(Instant::now());
            if last_failure.is_none_or(|last| last.elapsed() > EPISODE) {
                tracing::error!(%error, "cannot accept connections; trying again until it works");
            } else {
                tracing::debug!(%error, "still cannot accept connections");
            }
            sleep(delay).await;
        }
    }
}

/// How long to wait after failed accepts in a row.
#[derive(Debug, Default)]
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    /// The wait after `error`; none if it concerns one connection only, which is gone.
    fn after(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
            NetworkUnreachable, TimedOut,
        };
        // Linux hands a new connection's own network errors on through accept(2). All other
        // errors (descriptors, buffers, memory used up, what nobody thought of) may last.
        if matches!(
            error.kind(),
            ConnectionAborted
                | ConnectionRefused
                | ConnectionReset
                | HostUnreachable
                | Interrupted
                | NetworkDown
                | NetworkUnreachable
                | TimedOut
        ) {
            return None;
        }
        self.0 = (self.0 * 2).clamp(Self::FIRST, Self::LONGEST);
        Some(self.0)
    }
}

/// No delay for small answers, and an end for peers that vanished: a silent one after
/// 30 s, one that takes nothing of what we send after 5 minutes. Linux counts a reader that
/// pauses with its window closed among the latter: it needs that long to come back. An option that cannot be
/// set is no reason to refuse: HTTP/2 has its own keepalive, HTTP/1 its idle deadline.
fn set_options(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15));
    #[cfg(any(
        target_os = "android",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        windows
    ))]
    let keepalive = keepalive.with_interval(Duration::from_secs(5)).with_retries(3);

    let socket = SockRef::from(stream);
    let set = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let set = set.and_then(|()| socket.set_tcp_user_timeout(Some(Duration::from_mins(5))));
    if let Err(error) = set {
        tracing::debug!(%error, "socket options");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_failure_waits_longer_each_time_up_to_a_second() {
        let mut backoff = Backoff::default();
        let too_many_open_files = io::Error::from_raw_os_error(24);
        let waits: Vec<_> =
            (0..7).map(|_| backoff.after(&too_many_open_files).map(|wait| wait.as_millis())).collect();
        let expect = [50, 100, 200, 400, 800, 1000, 1000];
        assert_eq!(waits, expect.map(Some));
    }

    #[test]
    fn a_connection_that_died_in_the_backlog_costs_no_wait() {
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(Backoff::default().after(&aborted), None);
    }
}
