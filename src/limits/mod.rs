//! What one peer or one key may ask for: requests in a second, streams open at once. How much
//! may be registered is the engine's to say; that it was refused is counted here too.

mod rate;
mod streams;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use streams::Guard;

use crate::{
    config::Rates,
    types::{Network, SHARED_KEY},
};
use rate::Rate;
use streams::Streams;

/// All limits that are met by refusing, as metrics name them.
pub const NAMES: [&str; 12] = [
    "registrations",
    "service_registrations",
    "key_registrations",
    "peer_registrations",
    "registration_bytes",
    "service_registration_bytes",
    "key_registration_bytes",
    "peer_registration_bytes",
    PEER_REQUESTS,
    KEY_REQUESTS,
    PEER_WATCHERS,
    PEER_KEEPALIVES,
];

const PEER_REQUESTS: &str = "peer_requests";
const KEY_REQUESTS: &str = "key_requests";
const PEER_WATCHERS: &str = "peer_watchers";
const PEER_KEEPALIVES: &str = "peer_keepalives";

/// After a refused request the next try makes sense so much later at the earliest.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// Streams are open for long.
const STREAM_WAIT: Duration = Duration::from_secs(10);

/// The limits of one server, and how much of each is used.
#[derive(Debug, Default)]
pub struct Limits {
    peer_requests: Option<Rate<Network>>,
    key_requests: Option<Rate<Arc<str>>>,
    peer_watchers: Option<Arc<Streams>>,
    peer_keepalives: Option<Arc<Streams>>,
    /// How often each of [`NAMES`] was met.
    refusals: [AtomicU64; NAMES.len()],
}

/// Which limit was met; the name is the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// `peer_requests`, `key_requests`, …
    pub limit: &'static str,
    /// How much is allowed.
    pub most: u32,
    /// When to try again.
    pub retry_after: Duration,
}

impl Limits {
    /// Limits with nothing used.
    pub fn new(rates: &Rates) -> Self {
        let Rates { peer_requests, key_requests, peer_watchers, peer_keepalives } = rates;
        Self {
            peer_requests: peer_requests.map(Rate::new),
            key_requests: key_requests.map(Rate::new),
            peer_watchers: peer_watchers.map(|most| Arc::new(Streams::new(most))),
            peer_keepalives: peer_keepalives.map(|most| Arc::new(Streams::new(most))),
            refusals: Default::default(),
        }
    }

    /// Counts a request of a peer.
    pub fn peer_request(&self, peer: IpAddr) -> Result<(), Exceeded> {
        match &self.peer_requests {
            Some(rate) => check(rate, &Network::of(peer), PEER_REQUESTS),
            None => Ok(()),
        }
    }

    /// Counts a request with a named key. A key that all share is nobody's.
    pub fn key_request(&self, key: &Arc<str>) -> Result<(), Exceeded> {
        match &self.key_requests {
            Some(rate) if **key != *SHARED_KEY => check(rate, key, KEY_REQUESTS),
            _ => Ok(()),
        }
    }

    /// Counts a Watch stream of a peer as open as long as the guard lives.
    pub fn watcher(&self, peer: IpAddr) -> Result<Guard, Exceeded> {
        open(self.peer_watchers.as_ref(), peer, PEER_WATCHERS)
    }

    /// Counts a `KeepAlive` stream of a peer as open as long as the guard lives.
    pub fn keepalive(&self, peer: IpAddr) -> Result<Guard, Exceeded> {
        open(self.peer_keepalives.as_ref(), peer, PEER_KEEPALIVES)
    }

    /// Counts a refusal because of this limit, one of [`NAMES`].
    pub fn refused(&self, limit: &str) {
        let known = NAMES.iter().position(|name| *name == limit);
        debug_assert!(known.is_some(), "{limit} is no limit");
        if let Some(count) = known.and_then(|at| self.refusals.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each limit was met since the start.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.refusals.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

fn check<K: std::hash::Hash + Eq + Clone>(
    rate: &Rate<K>,
    whose: &K,
    limit: &'static str,
) -> Result<(), Exceeded> {
    rate.check(whose).map_err(|wait| Exceeded { limit, most: rate.most(), retry_after: wait.max(LEAST_WAIT) })
}

fn open(streams: Option<&Arc<Streams>>, peer: IpAddr, limit: &'static str) -> Result<Guard, Exceeded> {
    let Some(streams) = streams else { return Ok(Guard::default()) };
    let opened = streams.open(Network::of(peer));
    opened.ok_or(Exceeded { limit, most: streams.most(), retry_after: STREAM_WAIT })
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, unit, flag) = match self.limit {
            PEER_REQUESTS => ("requests from this peer", " a second", "--max-requests-per-peer"),
            KEY_REQUESTS => ("requests with this key", " a second", "--max-requests-per-key"),
            PEER_WATCHERS => ("Watch streams from this peer", "", "--max-watchers-per-peer"),
            PEER_KEEPALIVES => ("KeepAlive streams from this peer", "", "--max-keepalives-per-peer"),
            other => (other, "", "the configuration"),
        };
        write!(f, "too many {what}: at most {}{unit}; {flag} sets it", self.most)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const NONE: Rates =
        Rates { peer_requests: None, key_requests: None, peer_watchers: None, peer_keepalives: None };

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of many requests at once are let through.
    fn let_through(limits: &Limits, peer: IpAddr, key: Option<&Arc<str>>) -> usize {
        let request = || {
            limits.peer_request(peer)?;
            key.map_or(Ok(()), |key| limits.key_request(key))
        };
        (0..100).filter(|_| request().is_ok()).count()
    }

    #[test]
    fn a_peer_may_ask_for_two_seconds_worth_at_once() {
        // So slow that nothing is given back while the test runs.
        let limits = Limits::new(&Rates { peer_requests: NonZeroU32::new(1), ..NONE });
        assert_eq!(let_through(&limits, peer("192.0.2.1"), None), 2);
        assert_eq!(let_through(&limits, peer("192.0.2.2"), None), 2, "each for itself");
        assert_eq!(let_through(&limits, peer("2001:db8::1"), None), 2);
        assert_eq!(let_through(&limits, peer("2001:db8::2"), None), 0, "one network is one peer");
        assert_eq!(let_through(&limits, peer("2001:db8:0:1::1"), None), 2);
        let exceeded = limits.peer_request(peer("192.0.2.1")).unwrap_err();
        assert_eq!((exceeded.limit, exceeded.most), ("peer_requests", 1));
        assert!(exceeded.retry_after >= LEAST_WAIT && exceeded.retry_after <= Duration::from_secs(1));
        let told = "too many requests from this peer: at most 1 a second; --max-requests-per-peer sets it";
        assert_eq!(exceeded.to_string(), told);
    }

    #[test]
    fn a_key_is_bounded_wherever_it_is_shown_unless_all_share_it() {
        let limits = Limits::new(&Rates { key_requests: NonZeroU32::new(1), ..NONE });
        let (own, shared) = (Arc::from("billing"), Arc::from(SHARED_KEY));
        assert_eq!(let_through(&limits, peer("192.0.2.1"), Some(&own)), 2);
        assert_eq!(let_through(&limits, peer("192.0.2.2"), Some(&own)), 0);
        assert_eq!(let_through(&limits, peer("192.0.2.2"), Some(&shared)), 100);
        assert_eq!(let_through(&limits, peer("192.0.2.2"), None), 100);
    }

    #[test]
    fn what_a_peer_may_not_ask_does_not_use_up_its_keys_share() {
        let one = NonZeroU32::new(1);
        let limits = Limits::new(&Rates { peer_requests: one, key_requests: NonZeroU32::new(2), ..NONE });
        let key = Arc::from("billing");
        assert_eq!(let_through(&limits, peer("192.0.2.1"), Some(&key)), 2);
        assert_eq!(let_through(&limits, peer("192.0.2.2"), Some(&key)), 2);
        assert_eq!(let_through(&limits, peer("192.0.2.3"), Some(&key)), 0);
    }

    #[test]
    fn streams_count_while_they_are_open() {
        let limits = Limits::new(&Rates { peer_watchers: NonZeroU32::new(2), ..NONE });
        let from = peer("192.0.2.1");
        let first = limits.watcher(from).unwrap();
        let _second = limits.watcher(from).unwrap();
        assert_eq!(limits.watcher(from).unwrap_err().limit, "peer_watchers");
        assert!(limits.watcher(peer("192.0.2.2")).is_ok(), "another peer's are others");
        assert!(limits.keepalive(from).is_ok(), "without a limit");
        drop(first);
        assert!(limits.watcher(from).is_ok());
    }

    #[test]
    fn refusals_are_counted_by_limit() {
        let limits = Limits::default();
        limits.refused("service_registrations");
        limits.refused(PEER_REQUESTS);
        limits.refused(PEER_REQUESTS);
        let met: Vec<_> = limits.refusals().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [("service_registrations", 1), (PEER_REQUESTS, 2)]);
    }
}
