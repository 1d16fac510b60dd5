//! The child's registration: held while it is wanted, and told of.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time::sleep};

use super::{
    news::{Course, News},
    presence::Presence,
};
use crate::{
    client::{Client, Ended, Lease, Registration, State},
    proto::RegisterRequest,
};

/// After so long a registry that refused is asked again: its keys or quotas may have changed, or ours.
pub const RETRY: Duration = Duration::from_secs(30);

/// Holds the registration while the child's [`Presence`] wants it.
pub struct Keeper<C, T> {
    registration: RegisterRequest,
    connect: C,
    presence: watch::Receiver<Presence>,
    /// Whether the child may be in the registry.
    listed: watch::Sender<bool>,
    tell: T,
}

/// Why a client is of no more use.
enum Done {
    /// The child has ended.
    Over,
    /// The registry does not take us as we are.
    Refused,
}

impl<C, T> Keeper<C, T>
where
    C: Fn() -> Result<Client, String> + Clone + Send + 'static,
    T: Fn(News),
{
    /// The other one tells whether the child may be in the registry.
    pub fn new(
        registration: RegisterRequest,
        connect: C,
        presence: watch::Receiver<Presence>,
        tell: T,
    ) -> (Self, watch::Receiver<bool>) {
        let (listed, is_listed) = watch::channel(false);
        (Self { registration, connect, presence, listed, tell }, is_listed)
    }

    /// Goes on until the child has ended and was deregistered.
    pub async fn keep(mut self) {
        loop {
            match self.client().await {
                Ok(client) => {
                    if let Done::Over = self.hold_with(&client).await {
                        return;
                    }
                }
                Err(why) => (self.tell)(News::NoClient(why)),
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                _ = self.presence.wait_for(|presence| presence.is_over()) => return,
            }
        }
    }

    /// On a thread of its own: it may read files and the system's roots, and signals must not wait.
    async fn client(&self) -> Result<Client, String> {
        let connected = tokio::task::spawn_blocking(self.connect.clone()).await;
        connected.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn hold_with(&mut self, client: &Client) -> Done {
        loop {
            let called = self.presence.wait_for(|presence| presence.is_wanted() || presence.is_over()).await;
            if called.is_ok_and(|presence| presence.is_over()) {
                return Done::Over;
            }
            self.listed.send_replace(true);
            let ended = self.hold(client.hold(Registration::from(self.registration.clone()))).await;
            self.listed.send_replace(false);
            match ended {
                Some(Ended::Refused(why)) => {
                    (self.tell)(News::Refused(why));
                    return Done::Refused;
                }
                // Taking it back would start a tug-of-war.
                Some(Ended::TakenOver) => {
                    (self.tell)(News::TakenOver);
                    let _ = self.presence.wait_for(|presence| !presence.is_wanted()).await;
                }
                Some(Ended::Deregistered | Ended::Left) | None => {}
            }
        }
    }

    /// Holds it until it is not wanted, or ended otherwise: then it says how.
    async fn hold(&mut self, lease: Lease) -> Option<Ended> {
        let mut states = lease.states();
        let mut course = Course::default();
        loop {
            let state = states.borrow_and_update().clone();
            if let State::Ended(ended) = state {
                return Some(ended);
            }
            if let Some(news) = course.take(state, Instant::now()) {
                (self.tell)(news);
            }
            tokio::select! {
                changed = states.changed() => {
                    if changed.is_err() {
                        return Some(Ended::Left);
                    }
                }
                _ = self.presence.wait_for(|presence| !presence.is_wanted()) => break,
            }
        }
        let deregistered = lease.deregister().await;
        if course.was_registered() {
            (self.tell)(deregistered.map_or_else(News::NotDeregistered, |()| News::Deregistered));
        }
        None
    }
}
