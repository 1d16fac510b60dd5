//! Who asked for a change.

use std::{net::IpAddr, sync::Arc};

use super::Globs;

/// Who asks for something: for the log, and for what each may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Where it calls from; an IPv4 address is one, however the socket shows it.
    pub peer: IpAddr,
    /// The name of the key it showed, if it showed one.
    pub key: Option<Arc<str>>,
    /// The services that its key is good for; none for all, and without a key.
    pub reach: Option<Arc<Globs>>,
    /// The trace that the call belongs to (W3C Trace Context), if it said so.
    pub trace: Option<TraceId>,
}

/// A trace's id, which is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl Actor {
    /// Of whom nothing but the address is known.
    pub fn at(peer: IpAddr) -> Self {
        Self { peer: peer.to_canonical(), key: None, reach: None, trace: None }
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
