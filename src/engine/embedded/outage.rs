//! What the writer does while the store does not write: it takes no change, lets nothing
//! expire, and says so.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tracing::{error, info};

use crate::{engine::Health, lease::StreamEnd, store::StoreError, types::Moment};

use super::{
    Refusal,
    writer::{Command, Decided, TICK, Writer},
};

/// A store that takes longer for a batch is in trouble, and health says so.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the writer waits before it asks a full store again.
const RETRY: Duration = Duration::from_secs(1);
/// A shorter wait for the store is none that leases would notice.
const NOTICEABLE_MICROS: u64 = 500_000;

impl Writer {
    /// Waits for the store. Nothing expires meanwhile; a long wait shifts deadlines as a stall
    /// of ours does, for it is one.
    pub(super) async fn patiently<T>(
        &self,
        written: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let since = self.shared.clock.now();
        let mut written = pin!(written);
        let mut said = false;
        let result = loop {
            tokio::select! {
                biased;
                result = &mut written => break result,
                () = tokio::time::sleep(TICK) => {}
            }
            self.hold();
            if !said && self.shared.clock.now() > since.plus(PATIENCE) {
                said = true;
                self.fails(&format!("the disk has not written a change for {} s", PATIENCE.as_secs()).into());
            }
        };
        if result.is_ok() {
            self.release(since);
            if said {
                self.serves();
            }
        }
        result
    }

    /// The store could not write what was decided. Until it can, nothing else is decided;
    /// whoever asks is told so. A full store is asked again; one that failed is not. Says
    /// whether the batch was written after all, and told.
    pub(super) async fn hold_out(&mut self, mut error: StoreError, mut decided: Decided) -> bool {
        let since = decided.at;
        let mut refusal = self.fails(&error.to_string().into());
        for answer in decided.answers.drain(..) {
            self.shared.book.lock().unclaimed.extend(answer.unclaimed());
            answer.refuse(&refusal);
        }
        let mut retry = self.shared.clock.now().plus(RETRY);
        loop {
            while let Some(command) = self.waiting.pop_front() {
                match command {
                    Command::Close { reply } => {
                        self.close_late(decided, reply).await;
                        return false;
                    }
                    command => self.turn_away(command, &refusal),
                }
            }
            tokio::select! {
                more = self.receive() => if !more { return false },
                () = tokio::time::sleep(TICK) => {}
            }
            self.hold();
            if error.is_full() && self.shared.clock.now() >= retry {
                match self.retry().await {
                    Ok(()) => break,
                    Err(again) => {
                        if again.to_string() != error.to_string() {
                            refusal = self.fails(&again.to_string().into());
                        }
                        error = again;
                    }
                }
                retry = self.shared.clock.now().plus(RETRY);
            }
        }
        self.release(since);
        self.tell(decided);
        self.serves();
        true
    }

    /// Ends while the store does not write: what it was left with is tried once more.
    async fn close_late(&mut self, decided: Decided, reply: oneshot::Sender<Result<(), StoreError>>) {
        let result = match &self.store {
            Some(store) => store.close().await,
            None => Ok(()),
        };
        if result.is_ok() {
            self.tell(decided);
        }
        drop(reply.send(result));
    }

    async fn retry(&self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut retried = pin!(store.retry());
        loop {
            tokio::select! {
                biased;
                result = &mut retried => return result,
                () = tokio::time::sleep(TICK) => self.hold(),
            }
        }
    }

    /// Refuses a command, but for a stream's end: that is ours, as long as nothing can change.
    fn turn_away(&self, command: Command, refusal: &Refusal) {
        let refusal = refusal.clone();
        match command {
            Command::Register { reply, .. } => drop(reply.send(Err(refusal))),
            Command::Restore { reply, .. } => drop(reply.send(Err(refusal))),
            Command::Deregister { reply, .. } => drop(reply.send(Err(refusal))),
            Command::Attach { reply, .. } => drop(reply.send(Err(refusal))),
            Command::EndStream { stream, at, .. } => self.shared.decide(|book, now| {
                let mut draft = book.draft();
                book.end_stream(stream, StreamEnd::Server, at, now, &mut draft);
            }),
            Command::Close { reply } => drop(reply.send(Ok(()))),
        }
    }

    fn hold(&self) {
        self.shared.decide(|book, now| book.leases.hold(now, now.plus(TICK)));
    }

    fn release(&self, since: Moment) {
        self.shared.decide(|book, now| {
            if now.micros_since(since) > NOTICEABLE_MICROS {
                book.leases.release(since, now);
            }
        });
    }

    /// Says so wherever somebody looks; returns what commands are refused with.
    fn fails(&self, reason: &Arc<str>) -> Refusal {
        error!(%reason, "the store does not write: no change is taken, nothing expires");
        self.shared.metrics.store_failing.set(1);
        self.shared.health.send_replace(Health::Failing(Arc::clone(reason)));
        Refusal::Unavailable(Arc::clone(reason))
    }

    fn serves(&self) {
        info!("the store writes again: changes are taken");
        self.shared.metrics.store_failing.set(0);
        self.shared.health.send_replace(Health::Serving);
    }
}
