//! The bytes that the server holds for one connection: requests on their way in, answers on
//! their way out.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::Connection;

/// Bytes that are held for a connection, until it is dropped.
#[derive(Debug)]
pub struct Held {
    connection: Arc<Connection>,
    bytes: usize,
}

/// A connection would have more held for it than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuchHeld {
    /// Bytes that it may.
    pub limit: usize,
}

impl Connection {
    /// Holds an answer of so many bytes, which is about to be made. Whatever its size, it may be
    /// where nothing else is held.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, TooMuchHeld> {
        let mut held = Held { connection: Arc::clone(self), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    /// Holds nothing yet.
    pub(crate) fn hold_nothing(self: &Arc<Self>) -> Held {
        Held { connection: Arc::clone(self), bytes: 0 }
    }

    /// Bytes of requests and answers that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

impl Held {
    /// Holds more, if what else the connection holds leaves room.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), TooMuchHeld> {
        let connection = &*self.connection;
        let before = connection.held.fetch_add(more, Ordering::AcqRel);
        let others = before.saturating_sub(self.bytes);
        if others > 0 && before.saturating_add(more) > connection.max_held {
            connection.held.fetch_sub(more, Ordering::AcqRel);
            connection.traffic.too_much_held.add(1);
            return Err(TooMuchHeld { limit: connection.max_held });
        }
        self.bytes += more;
        Ok(())
    }

    /// Lets go of all, for now.
    pub(crate) fn release(&mut self) {
        if self.bytes > 0 {
            self.connection.held.fetch_sub(self.bytes, Ordering::AcqRel);
            self.bytes = 0;
        }
    }

    /// How many.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The connection it is held for.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Display for TooMuchHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the requests and answers of this connection together pass {} KiB; wait for some before you ask \
             for more, or start the server with a larger --max-connection-bytes",
            self.limit >> 10
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_may_be_of_any_size_and_the_others_must_fit() {
        let connection = Arc::new(Connection::new(100, Arc::default()));
        let first = connection.hold(1_000).expect("nothing else is held");
        assert_eq!(connection.hold(1).expect_err("no room"), TooMuchHeld { limit: 100 });
        assert_eq!((connection.held(), connection.traffic().too_much_held.get()), (1_000, 1));
        drop(first);
        let _half = connection.hold(50).expect("room");
        let mut other = connection.hold(50).expect("room");
        other.grow(1).expect_err("no room");
        other.release();
        other.grow(50).expect("room again");
        drop(other);
        assert_eq!(connection.held(), 50);
    }

    #[test]
    fn one_that_is_alone_may_grow() {
        let connection = Arc::new(Connection::new(100, Arc::default()));
        let mut held = connection.hold(90).expect("room");
        held.grow(90).expect("nothing else is held");
        drop(held);
        assert_eq!(connection.held(), 0);
    }
}
