//! `leasehold register`: register one replica and hold it until a signal. What it prints and
//! when it ends is decided here; the lease is held by the SDK.

use clap::Args;

use super::{
    Failure,
    output::{self, Output},
    registration::Registration,
    remote::{Target, call},
    signals,
};
use crate::{
    client::{Ended, Lease, State},
    proto::{RegisterRequest, RegisterResponse},
};

/// Register a replica and keep it alive until Ctrl-C
///
/// Prints its id, holds its lease over a stream, comes back after a lost connection, and
/// deregisters at the end. Its state goes to stderr. The lease token of a registration that this
/// one updates is read from `LEASEHOLD_LEASE_TOKEN`.
#[derive(Args, Debug)]
pub struct Register {
    /// Where the replica is reached: an absolute URL
    #[arg(value_name = "URL")]
    url: String,

    #[command(flatten)]
    registration: Registration,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    target: Target,
}

impl Register {
    /// Registers, prints, holds, deregisters.
    pub async fn run(self) -> Result<(), Failure> {
        let stop = signals::stop_token()
            .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
        let (output, request) = (self.output, self.registration.request(&self.url)?);
        // The first registration is a call of its own: whoever typed it wants to know at once that it cannot be made.
        let first = tokio::select! {
            registered = register(&self.target, &request) => registered?,
            () = stop.cancelled() => return Ok(()),
        };
        let shown = announce(&first, output);
        let client = self.target.client()?;
        let mut told = Told::new(first.id.clone());
        let lease = client.hold_registered(request.into(), first);
        match shown {
            // Holding the lease is the work, and it needs no reader.
            Err(failure) if !failure.is_closed_pipe() => stop.cancel(),
            _ => {}
        }
        tokio::select! {
            ended = follow(&lease, &mut told) => match ended {
                Ended::Deregistered | Ended::Left => Ok(()),
                Ended::Refused(why) => Err(Failure::refused(format!("refused by {client}: {why}"))),
                Ended::TakenOver => Err(Failure::other(format!(
                    "{} was taken over by another process that registered the same service and url, or attached \
                     the same id",
                    told.id
                ))),
            },
            () = stop.cancelled() => match lease.deregister().await {
                Ok(()) => {
                    note(&format!("deregistered {}", told.id));
                    Ok(())
                }
                Err(why) => {
                    let id = &told.id;
                    Err(Failure::unavailable(format!("{id} was not deregistered and ends by its TTL: {why}")))
                }
            },
        }
    }
}

async fn register(target: &Target, request: &RegisterRequest) -> Result<RegisterResponse, Failure> {
    let mut remote = target.connect().await?;
    let answer = remote.registry.register(call(request.clone())).await;
    Ok(answer.map_err(|status| remote.failure(&status))?.into_inner())
}

/// What was said of a lease so far.
struct Told {
    id: String,
    last: String,
}

/// Says what becomes of a lease, up to its end.
async fn follow(lease: &Lease, told: &mut Told) -> Ended {
    let mut states = lease.states();
    loop {
        let state = states.borrow_and_update().clone();
        if let State::Ended(ended) = state {
            return ended;
        }
        told.tell(&state);
        if states.changed().await.is_err() {
            return Ended::Left;
        }
    }
}

impl Told {
    fn new(id: String) -> Self {
        Self { id, last: String::new() }
    }

    fn tell(&mut self, state: &State) {
        let line = match state {
            State::Pending { .. } | State::Ended(_) => return,
            State::Registered { id, .. } => {
                if *id != self.id {
                    self.id.clone_from(id);
                    note(&format!("registered again as {id}"));
                }
                format!("holding {id}")
            }
            State::AtRisk { why, .. } => format!("connection lost: {why}; trying again"),
            State::Lost { why, .. } => format!("the registration is gone: {why}; bringing it back"),
        };
        if line != self.last {
            note(&line);
            self.last = line;
        }
    }
}

fn note(line: &str) {
    output::note(&output::plain(line));
}

/// The id alone for people: the lease token is a secret, and their screen is not. Scripts that
/// ask for JSON get the whole answer.
fn announce(answer: &RegisterResponse, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        output::line(&output::json("RegisterResponse", answer)?)
    } else {
        output::line(&output::plain(&answer.id))
    }
}
