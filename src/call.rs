//! What the server knows of a call beside its message: who makes it, over which
//! connection. It travels as a request extension, so that no client can forge it, and
//! the JSON paths hand it on to the gRPC service unchanged.

use std::{net::SocketAddr, sync::Arc};

/// Who makes a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The peer's address.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The request's own authority (`host[:port]`), checked against the Host rule.
    pub authority: String,
    /// The connection it came over.
    pub connection: Arc<Connection>,
}

/// One accepted connection, as its streams need to know it.
#[derive(Debug, Default)]
pub struct Connection {}

/// Whose doing the end of a stream was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The client's, or its network's: half-close, cancel, reset, connection lost, or
    /// silence. What is attached drops.
    Client(&'static str),
    /// Ours: drain, overload, or our own lateness. What is attached lives on by its TTL.
    Server(&'static str),
}
