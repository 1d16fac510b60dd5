//! Holding one lease over a `KeepAlive` stream, whatever becomes of the connection.
//!
//! A session attaches the lease by its id and beats when the server asks for it. When the
//! session ends by the connection or the server, the same id is attached anew after a wait: that
//! revives it if it lapsed meanwhile. Only an answer that says the id is gone for good leads to
//! a new registration. Nothing here knows of terminals or exit codes but through [`Failure`]:
//! start at [`Lease::hold`].

use std::{fmt, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Failure,
    backoff::Backoff,
    failure::{is_transient, reason},
    remote::{Remote, call},
};
use crate::proto::{
    DeregisterRequest, KeepAliveRequest, KeepAliveResponse, RegisterRequest, RegisterResponse,
    keep_alive_response::lost::Reason,
};

#[cfg(test)]
mod tests;

/// A server that takes a stream answers its first beat well within this.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait between two tries.
const RETRY_CAP: Duration = Duration::from_secs(10);
/// A session shorter than this does not end a row of failures: two holders that replace each
/// other must slow down.
const STEADY: Duration = Duration::from_secs(10);
/// No server can make us beat faster.
const SHORTEST_BEAT: Duration = Duration::from_millis(50);

/// A registration, and what it takes to keep it.
pub struct Lease {
    remote: Remote,
    request: RegisterRequest,
    id: String,
    token: String,
    ttl: Duration,
    backoff: Backoff,
    stop: CancellationToken,
}

/// What became of the lease; displays as a line for people.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// It is attached to a stream.
    Attached(String),
    /// The connection or the server went away; the next try is after the wait.
    Disconnected(String, Duration),
    /// The server is being stopped or restarted; the next try is after the wait.
    Draining(Duration),
    /// The TTL passed; it is being brought back under its id.
    Lapsed,
    /// It is gone; a new registration follows.
    Gone,
    /// It has a new id.
    RegisteredAgain(String),
    /// It was deregistered by us.
    Deregistered(String),
}

/// How a session ended.
enum End {
    /// By us; what came of deregistering.
    Stopped(Result<(), Failure>),
    /// By the connection or the server: attach again, not before the wait is over.
    Broken { news: fn(String, Duration) -> News, why: String, floor: Duration },
    /// The id is gone for good: register again.
    Gone,
    /// Nothing that can be mended from here.
    Failed(Failure),
}

/// What an answer asks for.
enum Next {
    Beat,
    Attach,
    End(End),
}

impl Lease {
    /// Of the registration that `answer` confirmed; `request` is what made it.
    pub fn new(
        remote: Remote,
        request: RegisterRequest,
        answer: RegisterResponse,
        stop: CancellationToken,
    ) -> Self {
        let mut lease = Self {
            remote,
            request,
            id: String::new(),
            token: String::new(),
            ttl: Duration::ZERO,
            backoff: Backoff::new(RETRY_CAP),
            stop,
        };
        lease.adopt(answer);
        lease
    }

    /// Holds it until `stop`, then deregisters. An error: it was refused, or another holder took
    /// it over.
    pub async fn hold(mut self, mut tell: impl FnMut(News)) -> Result<(), Failure> {
        loop {
            let begun = Instant::now();
            let end = self.session(&mut tell).await;
            if begun.elapsed() >= STEADY {
                self.backoff.reset();
            }
            match end {
                End::Stopped(result) => return result,
                End::Failed(failure) => return Err(failure),
                End::Broken { news, why, floor } => {
                    let wait = self.backoff.next(floor);
                    tell(news(why, wait));
                    if self.pause(wait).await {
                        return self.deregister(&mut tell).await;
                    }
                }
                End::Gone => {
                    tell(News::Gone);
                    if !self.register_again(&mut tell).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One stream, from attaching to its end.
    async fn session(&mut self, tell: &mut impl FnMut(News)) -> End {
        // Two: an attach may follow a beat that was not sent yet.
        let (beats, outgoing) = mpsc::channel(2);
        // Before the call: a server may answer the call only with its first answer.
        if beats.try_send(self.attach()).is_err() {
            return End::Failed(Failure::other("cannot queue the first beat"));
        }
        let mut registry = self.remote.registry.clone();
        let opened = tokio::select! {
            opened = timeout(OPEN_TIMEOUT, registry.keep_alive(ReceiverStream::new(outgoing))) => opened,
            () = self.stop.cancelled() => return End::Stopped(self.deregister(tell).await),
        };
        let mut answers = match opened {
            Ok(Ok(answers)) => answers.into_inner(),
            Ok(Err(status)) => return self.broken(&status),
            Err(_) => return End::disconnected("the server did not answer".to_owned()),
        };
        let mut attached = false;
        let mut interval = self.ttl / 3;
        let mut next_beat = Instant::now() + interval;
        loop {
            let beat = tokio::select! {
                // The stream is still open here: watchers see a deregistration, not a drop.
                () = self.stop.cancelled() => return End::Stopped(self.deregister(tell).await),
                () = sleep_until(next_beat) => KeepAliveRequest::default(),
                answer = answers.message() => match answer {
                    Ok(None) => return End::disconnected("the server ended the stream".to_owned()),
                    Err(status) => return self.broken(&status),
                    Ok(Some(answer)) => {
                        interval = self.interval(&answer);
                        match self.judge(&answer) {
                            Next::End(end) => return end,
                            Next::Attach => {
                                tell(News::Lapsed);
                                self.attach()
                            }
                            Next::Beat => {
                                if !attached {
                                    attached = true;
                                    tell(News::Attached(self.id.clone()));
                                }
                                next_beat = Instant::now() + interval;
                                continue;
                            }
                        }
                    }
                },
            };
            // Full: the connection takes nothing at the moment. What is queued is a beat too.
            let _ = beats.try_send(beat);
            next_beat = Instant::now() + interval;
        }
    }

    /// Answers whether it was: not if it was stopped before.
    async fn register_again(&mut self, tell: &mut impl FnMut(News)) -> Result<bool, Failure> {
        // The token belonged to the registration that is gone.
        self.request.lease_token.clear();
        let mut wait = self.backoff.next(Duration::ZERO);
        loop {
            if self.pause(wait).await {
                return Ok(false);
            }
            // Not cut short by a stop: a registration that was made must be known, to be ended.
            match self.remote.registry.register(call(self.request.clone())).await {
                Ok(answer) => {
                    self.adopt(answer.into_inner());
                    tell(News::RegisteredAgain(self.id.clone()));
                    return Ok(true);
                }
                Err(status) if is_transient(&status) || status.code() == Code::ResourceExhausted => {
                    wait = self.backoff.next(retry_delay(&status));
                    tell(News::Disconnected(reason(&status), wait));
                }
                Err(status) => return Err(self.remote.failure(&status)),
            }
        }
    }

    async fn deregister(&mut self, tell: &mut impl FnMut(News)) -> Result<(), Failure> {
        let request = DeregisterRequest { id: self.id.clone(), lease_token: self.token.clone() };
        match self.remote.registry.deregister(call(request)).await {
            Ok(_) => {
                tell(News::Deregistered(self.id.clone()));
                Ok(())
            }
            // Someone else ended it; that is what was wanted.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => {
                let failure = self.remote.failure(&status);
                Err(failure.context(&format!("{} was not deregistered and ends by its TTL", self.id)))
            }
        }
    }

    fn adopt(&mut self, answer: RegisterResponse) {
        self.id = answer.id;
        self.token = answer.lease_token;
        self.ttl = Duration::from_secs(u64::from(answer.ttl_seconds.max(1)));
        // An outage shorter than the TTL should not cost the lease.
        self.backoff.set_cap(RETRY_CAP.min(self.ttl / 2));
    }

    fn attach(&self) -> KeepAliveRequest {
        let mut beat = KeepAliveRequest { ids: vec![self.id.clone()], ..Default::default() };
        if !self.token.is_empty() {
            beat.lease_tokens.insert(self.id.clone(), self.token.clone());
        }
        beat
    }

    /// As the server spreads the beats, but never so late that one lost beat costs the lease.
    fn interval(&self, answer: &KeepAliveResponse) -> Duration {
        let asked = answer.next_beat_in.and_then(|wait| Duration::try_from(wait).ok());
        asked.unwrap_or(self.ttl / 3).min(self.ttl / 2).max(SHORTEST_BEAT)
    }

    fn judge(&self, answer: &KeepAliveResponse) -> Next {
        // The last word counts.
        if let Some(lost) = answer.lost.iter().rfind(|lost| lost.id == self.id) {
            return match lost.reason() {
                Reason::NotFound | Reason::Deregistered => Next::End(End::Gone),
                // Also what a newer server may call it: naming the id tells what it is worth.
                Reason::TtlLapsed | Reason::Unspecified => Next::Attach,
                // Taking it back would start a tug-of-war.
                Reason::Moved => Next::End(End::Failed(Failure::other(format!(
                    "{} was taken over by another process that registered the same service and url, or \
                     attached the same id",
                    self.id
                )))),
                Reason::PermissionDenied => Next::End(End::Failed(Failure::refused(format!(
                    "the server no longer takes the lease token of {}",
                    self.id
                )))),
            };
        }
        if let Some(wait) = answer.retry_after {
            let floor = Duration::try_from(wait).unwrap_or_default().min(self.ttl);
            return Next::End(End::Broken {
                news: |_, wait| News::Draining(wait),
                why: String::new(),
                floor,
            });
        }
        Next::Beat
    }

    fn broken(&self, status: &Status) -> End {
        if is_transient(status) || status.code() == Code::ResourceExhausted {
            End::Broken { news: News::Disconnected, why: reason(status), floor: retry_delay(status) }
        } else {
            End::Failed(self.remote.failure(status))
        }
    }

    /// Answers whether it was stopped meanwhile.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = sleep(wait) => false,
            () = self.stop.cancelled() => true,
        }
    }
}

impl End {
    fn disconnected(why: String) -> Self {
        Self::Broken { news: News::Disconnected, why, floor: Duration::ZERO }
    }
}

/// What a busy server asks to be left alone for.
fn retry_delay(status: &Status) -> Duration {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    asked.unwrap_or_default().min(RETRY_CAP)
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached(id) => write!(f, "holding {id}"),
            Self::Disconnected(why, wait) => {
                write!(f, "connection lost: {why}; trying again in {:.1}s", wait.as_secs_f64())
            }
            Self::Draining(wait) => {
                write!(f, "the server is going down; trying again in {:.1}s", wait.as_secs_f64())
            }
            Self::Lapsed => f.write_str("the lease lapsed; reviving it"),
            Self::Gone => f.write_str("the registration is gone; registering again"),
            Self::RegisteredAgain(id) => write!(f, "registered again as {id}"),
            Self::Deregistered(id) => write!(f, "deregistered {id}"),
        }
    }
}
