//! `leasehold run`: a child process, registered while it is up.
//!
//! [`run`] starts the child at once. Then three things go on beside each other: signals and the child's end
//! (here, with `child.rs` and `signals.rs`), its health check (`health.rs`), and its registration
//! (`keeper.rs`). They meet in a [`Presence`], which says whether the child is to be in the registry; that,
//! and the rules of which signal is passed on (`relay.rs`), are pure.

mod child;
mod health;
mod keeper;
mod news;
mod presence;
mod relay;
mod signals;

use std::{ffi::OsString, io, time::Duration};

use rustix::process::Signal;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use self::{
    child::Child,
    keeper::Keeper,
    presence::Presence,
    relay::Sender,
    signals::{Arrival, Signals},
};
pub use self::{
    child::{Ended, die_of},
    health::Check,
    news::News,
    presence::Pace,
    signals::named as signal_named,
};
use crate::{client::Client, proto::RegisterRequest};

/// The longest that our own end waits for the deregistration after the child's.
const FAREWELL: Duration = Duration::from_secs(2);
/// The longest that a signal which asks the child to stop waits for the deregistration.
const HELD_BACK: Duration = Duration::from_millis(100);
/// What the terminal sent before this may have come before the child.
const SETTLING: Duration = Duration::from_millis(1);
/// The child is looked at so often even if nothing tells of it: whoever started us may have SIGCHLD blocked.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be run, and what it is to the registry.
#[derive(Debug)]
pub struct Plan {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The variables of our environment that the child does not get.
    pub withheld: &'static [&'static str],
    /// What is registered while the child is up.
    pub registration: RegisterRequest,
    /// What tells that the child is up; without it, it is from its start.
    pub check: Option<(Check, Pace)>,
    /// The signal that asks the child to stop: it is deregistered before it gets this one.
    pub stop_signal: Signal,
}

/// Why nothing was started.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no such program.
    #[error("cannot start {0:?}: {1}")]
    NotFound(OsString, #[source] io::Error),
    /// There is, but it cannot be run.
    #[error("cannot start {0:?}: {1}")]
    NotExecutable(OsString, #[source] io::Error),
    /// The system gives us no way to watch over it.
    #[error("cannot watch over a command: {0}")]
    Setup(#[source] io::Error),
}

/// Runs the child to its end, and keeps it registered while it is up.
///
/// `connect` gives the registry. It may read files and take its time, and is asked again after a while when
/// it fails or when the registry refused. `tell` must not block: signals would wait.
pub fn run<C, T>(plan: Plan, connect: C, tell: T) -> Result<Ended, StartError>
where
    C: Fn() -> Result<Client, String> + Clone + Send + Sync + 'static,
    T: Fn(News) + Clone + Send + Sync + 'static,
{
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Setup)?;
    let ended = runtime.block_on(async {
        // Before there is a child: a signal that comes now is for it, too.
        let signals = Signals::catch().map_err(StartError::Setup)?;
        let child = Child::start(&plan.command, plan.withheld)?;
        Ok(watch_over(child, signals, plan, connect, tell).await)
    });
    // A name that is still being resolved must not hold the process back.
    runtime.shutdown_background();
    ended
}

async fn watch_over<C, T>(child: Child, mut signals: Signals, plan: Plan, connect: C, tell: T) -> Ended
where
    C: Fn() -> Result<Client, String> + Clone + Send + Sync + 'static,
    T: Fn(News) + Clone + Send + Sync + 'static,
{
    let presence = watch::Sender::new(Presence::new(plan.check.is_some()));
    let (keeper, listed) = Keeper::new(plan.registration, connect, presence.subscribe(), tell.clone());
    let keeping = tokio::spawn(keeper.keep());
    if let Some((check, pace)) = plan.check {
        tokio::spawn(health::watch(check, pace, presence.clone(), tell.clone()));
    }
    let relay = Relay {
        child,
        is_settled: false,
        stop_signal: plan.stop_signal,
        presence: &presence,
        listed,
        tell: &tell,
    };
    let ended = relay.until_the_end(&mut signals).await;
    presence.send_modify(Presence::child_ended);
    tokio::select! {
        // Too late or not, what there was to tell has been told.
        _ = timeout(FAREWELL, keeping) => {}
        () = signals.hurry() => {}
    }
    ended
}

/// Passes signals on until the child has ended.
struct Relay<'a, T> {
    child: Child,
    /// Whatever was sent before the child was there has been read.
    is_settled: bool,
    stop_signal: Signal,
    presence: &'a watch::Sender<Presence>,
    /// Whether the child may be in the registry.
    listed: watch::Receiver<bool>,
    tell: &'a T,
}

impl<T: Fn(News)> Relay<'_, T> {
    async fn until_the_end(mut self, signals: &mut Signals) -> Ended {
        // The signal that asks the child to stop, while the registry is told.
        let mut held: Option<(Signal, Instant)> = None;
        let settling = Instant::now() + SETTLING;
        loop {
            tokio::select! {
                biased;
                arrival = signals.next() => {
                    if let Some(ended) = self.child.look() {
                        return ended;
                    }
                    if let Some(signal) = self.for_the_child(arrival) {
                        let is_again = held.is_some();
                        // What came before goes before.
                        self.release(&mut held);
                        if signal == self.stop_signal && !is_again && *self.listed.borrow() {
                            held = Some((signal, Instant::now() + HELD_BACK));
                        } else {
                            self.child.send(signal);
                        }
                    }
                    self.child.follow();
                }
                () = deregistered(&mut self.listed, held), if held.is_some() => self.release(&mut held),
                () = sleep(LOOK) => {
                    if let Some(ended) = self.child.look() {
                        return ended;
                    }
                    self.child.follow();
                }
                () = sleep_until(settling), if !self.is_settled => self.is_settled = true,
            }
        }
    }

    fn for_the_child(&mut self, arrival: Arrival) -> Option<Signal> {
        let (signal, sender) = match arrival {
            Arrival::Signal(signal, process) => match self.child.sender(process) {
                // The child was not there to be sent it by the terminal, or can be sent it twice: it has only begun.
                Sender::Kernel if !self.is_settled => (signal, Sender::Other),
                sender => (signal, sender),
            },
            Arrival::ChildTurned => return None,
            Arrival::Nameless(number) => {
                (self.tell)(News::NotPassedOn(number));
                return None;
            }
        };
        if signal == self.stop_signal && sender != Sender::Child {
            self.presence.send_modify(Presence::asked_to_stop);
        }
        self.child.takes(signal, sender).then_some(signal)
    }

    fn release(&self, held: &mut Option<(Signal, Instant)>) {
        if let Some((signal, _)) = held.take() {
            self.child.send(signal);
        }
    }
}

/// Returns when the child is out of the registry, or has been held back long enough.
async fn deregistered(listed: &mut watch::Receiver<bool>, held: Option<(Signal, Instant)>) {
    if let Some((_, until)) = held {
        let _ = timeout_at(until, listed.wait_for(|listed| !listed)).await;
    }
}
