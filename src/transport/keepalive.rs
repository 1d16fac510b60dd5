//! The timer of HTTP/2 keepalives. It exists because hyper looks at its keepalive's timer
//! before it reads the socket: after a stall of ours, it would give up a live client whose
//! answer lies unread. Here, time that is up gives the socket one more chance to be read,
//! and hyper's giving up is recorded, since it shows as a clean end of every stream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use tokio::time;

use crate::call::Connection;

/// How long the socket is read between the moment a keepalive's end is noticed and the
/// moment it counts. Long enough for a burst to be read, short against any keepalive.
const GRACE: Duration = Duration::from_millis(100);

/// Makes the sleeps of one HTTP/2 connection's keepalive.
#[derive(Debug)]
pub struct KeepaliveTimer(pub Arc<Connection>);

impl Timer for KeepaliveTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// A sleep is only ever made to set the keepalive anew.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.record_silent(false);
        Box::pin(PatientSleep {
            sleep: Box::pin(time::sleep_until(deadline.into())),
            noticed: false,
            connection: Arc::clone(&self.0),
        })
    }
}

/// A sleep that counts its last [`GRACE`] from when it was first seen to be over, however
/// late that is.
struct PatientSleep {
    sleep: Pin<Box<time::Sleep>>,
    noticed: bool,
    connection: Arc<Connection>,
}

impl Future for PatientSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.sleep.as_mut().poll(cx));
        if !self.noticed {
            self.noticed = true;
            self.sleep.as_mut().reset(time::Instant::now() + GRACE);
            ready!(self.sleep.as_mut().poll(cx));
        }
        // Unless hyper makes a new sleep before it lets go of the connection again, it has
        // given the client up.
        self.connection.record_silent(true);
        Poll::Ready(())
    }
}

impl Sleep for PatientSleep {}
