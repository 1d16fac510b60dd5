//! What goes over the connections of a server, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one server's listeners.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections that were accepted.
    pub accepted: Count,
    /// Of those, that are open.
    pub open: Count,
    /// Idle ones that were closed to make room.
    pub shed: Count,
    /// Those that failed in their TLS handshake.
    pub failed_handshakes: Count,
    /// Bytes that were read.
    pub received: Count,
    /// Bytes that were written.
    pub sent: Count,
    /// Requests and answers that were refused for what the connection held already.
    pub too_much_held: Count,
}

/// A number that many add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes off.
    pub fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    /// As it stands.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
