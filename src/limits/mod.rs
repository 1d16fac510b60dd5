//! What one peer or one key may ask for: requests in a second, streams open at once. How much
//! may be registered is the engine's to say.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::config::Rates;

/// The limits of one server, and how much of each is used.
#[derive(Debug, Default)]
pub struct Limits;

/// Which limit was met; the name is the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// `peer_requests`, `key_requests`, …
    pub limit: &'static str,
    /// When to try again.
    pub retry_after: Duration,
}

impl Limits {
    /// Limits with nothing used.
    pub fn new(_: &Rates) -> Self {
        Self
    }

    /// Counts a request of a peer, and of the named key that it shows.
    pub fn request(&self, _peer: IpAddr, _key: Option<&Arc<str>>) -> Result<(), Exceeded> {
        Ok(())
    }
}
