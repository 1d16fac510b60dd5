//! What an engine offers to be tested: a way to start it, and two ways to end it. Start
//! with [`Subject`].

use std::{sync::Arc, time::Duration};

use leasehold::{config::LeaseConfig, engine::Engine};

/// An engine under test, with a place of its own where it remembers, if it does. At most one
/// engine runs in the place at a time. Dropping the subject ends it and cleans up.
pub trait Subject: Sized {
    /// What there is again after an end.
    const REMEMBERS: Remembers;
    /// Whether the epoch goes on after a kill, so that readers resume. Only an engine that
    /// remembers [`Remembers::Always`] may say so.
    const KEEPS_EPOCH_AFTER_KILL: bool;

    /// A place in which no engine has run yet.
    fn new() -> Self;

    /// Starts an engine in the place, on what the one before it has left. If that one was
    /// killed and still runs, it is ended for good first.
    async fn start(&mut self, settings: &Settings) -> Arc<dyn Engine>;

    /// Ends the engine as the server does when it is asked to leave.
    async fn stop(&mut self);

    /// The process dies at some instant of this call: of what the engine does from then on,
    /// nothing lasts. It may go on answering until the next start, for a process cannot
    /// be killed from within; whoever asks it meanwhile takes no answer for an answer.
    async fn kill(&mut self);
}

/// What there is again when an engine starts where another one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembers {
    /// Nothing: each start is the first.
    Nothing,
    /// All that was acknowledged, if the engine was stopped in order. After a kill there is
    /// what was acknowledged up to some revision, in a new epoch.
    AfterStop,
    /// All that was acknowledged, after any end.
    Always,
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How leases behave.
    pub leases: LeaseConfig,
    /// How much memory the history may take.
    pub history_bytes: usize,
}

impl Default for Settings {
    /// As the server's, but that no lease ends by itself unless its registration wished for a TTL.
    fn default() -> Self {
        let leases = LeaseConfig { default_ttl: Duration::from_hours(1), ..LeaseConfig::default() };
        Self { leases, history_bytes: 64 << 20 }
    }
}

/// How an engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Stop,
    /// At once.
    Kill,
}

/// The ends after which everything acknowledged is back. Each promise about restarts is
/// tried with each of them.
pub fn survived<S: Subject>() -> &'static [End] {
    match S::REMEMBERS {
        Remembers::Nothing => &[],
        Remembers::AfterStop => &[End::Stop],
        Remembers::Always => &[End::Stop, End::Kill],
    }
}

/// Whether the epoch goes on after this end.
pub fn keeps_epoch<S: Subject>(end: End) -> bool {
    match end {
        End::Stop => S::REMEMBERS != Remembers::Nothing,
        End::Kill => S::KEEPS_EPOCH_AFTER_KILL,
    }
}
