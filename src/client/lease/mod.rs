//! Holding registrations: one connection, one stream, any number of leases.
//!
//! [`Lease`] is what a holder has. `book/` decides, `task.rs` does what it decided, `holder.rs` is the way from the one
//! to the other.

mod book;
mod fault;
mod holder;
mod registration;
mod state;
mod task;

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

pub(super) use self::holder::Holder;
use self::{
    book::{Handle, How},
    holder::{Command, Facts, Told},
};
pub use self::{
    registration::{IntoInfo, Registration},
    state::{Ended, State},
};
use super::Client;
use crate::proto::RegisterResponse;

/// Whoever waits for the end of a lease waits no longer than this.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The same of all leases of a client, and of what is ended in the background.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A registration that is held: registered as soon as the registry is there, kept alive, taken up again
/// or registered anew after any interruption. Dropping it deregisters, as far as that can be done in
/// the background; [`Lease::deregister`] waits for it.
///
/// ```text
///            the registry took it,              the stream broke, or a beat
///            and the stream holds it            is not answered in time
///   Pending ─────────────────────────► Registered ─────────────────► AtRisk
///                                       ▲  │  ▲                        │ │
///                 its TTL lapsed, or it │  │  └────────────────────────┘ │ `until` passed,
///                 was deregistered by   │  │        attached again        │ or the registry
///                 someone               │  ▼                              │ does not know it
///                                      Lost ◄─────────────────────────────┘
///
///   any ──► Ended: deregistered, left, refused, or taken over
/// ```
///
/// What is at risk or lost is tried again until it is back, with waits that grow to ten seconds, or half
/// the TTL where that is shorter. It comes back under its id where the registry still knows that, and
/// under a new one where not.
///
/// ```
/// use leasehold::client::{Client, Registration, State};
/// # use leasehold::{config::{Config, StoreKind}, reload::Asking, server::{self, Listeners}};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// # let main = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let registry = format!("http://{}", main.local_addr()?);
/// # let mut config = Config::default();
/// # config.store.kind = StoreKind::Memory;
/// # let server = server::open(config, Default::default()).await?;
/// # tokio::spawn(server.run(Listeners { main, names: None }, Asking::default(), std::future::pending()));
///
/// // A registry that is away is no error: everything happens in the background.
/// let client = Client::new(registry)?;
/// let lease = client.hold(Registration::new("orders", "http://10.0.0.7:8080"));
///
/// // Whoever wants to know waits, or follows the states.
/// let id = lease.registered().await?;
/// assert!(matches!(lease.state(), State::Registered { .. }));
///
/// // Other content, under the same id.
/// lease.update(Registration::new("orders", "http://10.0.0.7:8080").label("tier", "gold"));
///
/// // Dropping it would do, but this waits until the registry has confirmed it.
/// lease.deregister().await?;
/// # let _ = id;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Lease {
    handle: Handle,
    holder: Arc<Holder>,
    states: watch::Receiver<State>,
    facts: Arc<Mutex<Facts>>,
}

impl Client {
    /// Registers, and holds the registration until the [`Lease`] is dropped. Returns at once: a registry that
    /// is away is tried until it is there.
    ///
    /// All that a client and its clones hold goes over one connection and one stream, which a task in the background
    /// keeps up: on the current runtime, or on the one that the client was made in. Where there is neither, the lease is
    /// [`Ended::Refused`] from the start.
    ///
    /// A client holds a service at a url once: holding it again ends the former lease as [`Ended::TakenOver`], and goes on
    /// with the same registration.
    pub fn hold(&self, registration: Registration) -> Lease {
        Lease::start(&self.holder, registration, None)
    }

    /// The same of a registration that was made already, by a call of one's own: `answer` confirmed it.
    pub fn hold_registered(&self, registration: Registration, answer: RegisterResponse) -> Lease {
        Lease::start(&self.holder, registration, Some(answer))
    }

    /// Deregisters all that this client and its clones hold, and waits for it, 10 seconds at most. An error: so many were not
    /// confirmed, and why the first of them; they end by their TTL at the latest. The client can hold again.
    pub async fn close(&self) -> Result<(), String> {
        let (answers, ends) = oneshot::channel();
        if !self.holder.tell(Command::Close(CLOSE_WITHIN, answers)) {
            return Ok(());
        }
        let (mut failed, mut first) = (0, None);
        for end in ends.await.unwrap_or_default() {
            if let Ok(Err(why)) = end.await {
                failed += 1;
                first.get_or_insert(why);
            }
        }
        match first {
            Some(why) => {
                Err(format!("{failed} registrations were not deregistered and end by their TTL: {why}"))
            }
            None => Ok(()),
        }
    }
}

impl Lease {
    fn start(holder: &Arc<Holder>, registration: Registration, answer: Option<RegisterResponse>) -> Self {
        let (sender, states) = watch::channel(State::Pending { why: None });
        let facts = Arc::new(Mutex::new(Facts { answer: answer.clone(), refusal: None }));
        let told = Told { states: sender, facts: Arc::clone(&facts) };
        let handle = holder.hold(registration.into_request(), answer, told);
        Self { handle, holder: Arc::clone(holder), states, facts }
    }

    /// What is known of it now.
    pub fn state(&self) -> State {
        self.states.borrow().clone()
    }

    /// The same, and each change of it.
    pub fn states(&self) -> watch::Receiver<State> {
        self.states.clone()
    }

    /// The id that the registry gave it last. It may have another one when it comes back.
    pub fn id(&self) -> Option<String> {
        self.facts.lock().answer.as_ref().map(|answer| answer.id.clone())
    }

    /// What the registry answered to the last registration, with the lease token, which is a secret.
    pub fn answer(&self) -> Option<RegisterResponse> {
        self.facts.lock().answer.clone()
    }

    /// Why the last [`Lease::update`] was refused; it is held as it was before. Watchers of the states are woken by that too.
    pub fn refusal(&self) -> Option<String> {
        self.facts.lock().refusal.clone()
    }

    /// Waits until it is registered and held; its id. An error: it will not be.
    pub async fn registered(&self) -> Result<String, Ended> {
        let mut states = self.states.clone();
        let state =
            states.wait_for(|state| matches!(state, State::Registered { .. } | State::Ended(_))).await;
        match state.as_deref() {
            Ok(State::Registered { id, .. }) => Ok(id.clone()),
            Ok(State::Ended(ended)) => Err(ended.clone()),
            // Whoever shows states ends with one.
            _ => Err(Ended::Left),
        }
    }

    /// Has it be another registration from now on. The same service and url: with other content, under the same id. Others:
    /// the former is deregistered in the background, and the new one registered. Content that the registry refuses changes nothing,
    /// see [`Lease::refusal`].
    pub fn update(&self, registration: Registration) {
        self.holder.tell(Command::Update(self.handle, registration.into_request()));
    }

    /// Deregisters and waits for it, 5 seconds at most. An error: the registry did not confirm it; the registration ends by
    /// its TTL at the latest. What was never registered is no error.
    pub async fn deregister(self) -> Result<(), String> {
        self.end(How::Deregister).await
    }

    /// Stops holding it and leaves it to its TTL.
    pub async fn leave(self) {
        // What the registry did not confirm is left as well.
        let _ = self.end(How::Leave).await;
    }

    async fn end(&self, how: How) -> Result<(), String> {
        let (done, end) = oneshot::channel();
        self.holder.tell(Command::End(self.handle, how, END_WITHIN, Some(done)));
        // Without an answer: it had ended before.
        end.await.unwrap_or(Ok(()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !matches!(*self.states.borrow(), State::Ended(_)) {
            self.holder.tell(Command::End(self.handle, How::Deregister, CLOSE_WITHIN, None));
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("state", &*self.states.borrow()).finish_non_exhaustive()
    }
}
