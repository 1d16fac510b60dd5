//! `leasehold register`: register one replica and hold it until a signal. What it prints and
//! when it ends is decided here; how a lease is held, in `keepalive.rs`.

use std::time::Duration;

use clap::Args;
use prost_types::Struct;

use super::{
    Failure, info,
    keepalive::Lease,
    output::{self, Output},
    remote::{self, Remote, Target, call},
    signals,
};
use crate::proto::{RegisterRequest, RegisterResponse};

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

    /// The service's name
    #[arg(long, value_name = "NAME")]
    service: String,

    /// The service's own id, a slug for example
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    id: String,

    /// A label; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = info::label)]
    labels: Vec<(String, String)>,

    /// The zone it runs in
    #[arg(long, value_name = "ZONE", default_value = "", hide_default_value = true)]
    zone: String,

    /// A load balancer's weight; 0 is unset
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    weight: u32,

    /// Anything about it: a JSON object, or @FILE with one
    #[arg(long, value_name = "JSON|@FILE", value_parser = info::read)]
    info: Option<Struct>,

    /// The wished TTL, whole seconds [default: the server's]
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds)]
    ttl: Option<u32>,

    /// How long it outlives the drop of its stream [default: the server's]
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    drop_grace: Option<Duration>,

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
        let (output, request) = (self.output, self.request()?);
        let (remote, first) = tokio::select! {
            registered = register(&self.target, &request) => registered?,
            () = stop.cancelled() => return Ok(()),
        };
        let shown = announce(&first, output);
        let lease = Lease::new(remote, request, first, stop.clone());
        match shown {
            // Holding the lease is the work, and it needs no reader.
            Err(failure) if !failure.is_closed_pipe() => stop.cancel(),
            _ => {}
        }
        lease.hold(|news| output::note(&output::plain(&news.to_string()))).await
    }

    fn request(&self) -> Result<RegisterRequest, Failure> {
        let drop_grace = self.drop_grace.map(prost_types::Duration::try_from).transpose();
        Ok(RegisterRequest {
            id: self.id.clone(),
            url: self.url.clone(),
            info: self.info.clone(),
            service: self.service.clone(),
            ttl_seconds: self.ttl.unwrap_or(0),
            labels: self.labels.iter().cloned().collect(),
            zone: self.zone.clone(),
            weight: self.weight,
            drop_grace: drop_grace.map_err(|error| Failure::usage(format!("--drop-grace: {error}")))?,
            lease_token: remote::lease_token()?,
        })
    }
}

async fn register(target: &Target, request: &RegisterRequest) -> Result<(Remote, RegisterResponse), Failure> {
    let mut remote = target.connect().await?;
    let answer = remote.registry.register(call(request.clone())).await;
    let answer = answer.map_err(|status| remote.failure(&status))?.into_inner();
    Ok((remote, answer))
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

fn whole_seconds(text: &str) -> Result<u32, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|ttl| ttl.subsec_nanos() == 0 && !ttl.is_zero())
        .and_then(|ttl| u32::try_from(ttl.as_secs()).ok())
        .ok_or_else(|| "a TTL is whole seconds, such as 30s or 1m30s".to_owned())
}

fn grace(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_hours(24);
    humantime::parse_duration(text)
        .ok()
        .filter(|grace| *grace <= MOST)
        .ok_or_else(|| "a grace is a duration such as 5s or 1m30s, at most 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_checked_before_the_server_sees_them() {
        #[track_caller]
        fn check(ttl: &str, expect: Option<u32>) {
            assert_eq!(whole_seconds(ttl).ok(), expect, "{ttl}");
        }
        check("30s", Some(30));
        check("1m30s", Some(90));
        check("0s", None);
        check("1500ms", None);
        check("30", None);
        check("200years", None);
        assert_eq!(grace("1500ms"), Ok(Duration::from_millis(1500)));
        assert!(grace("25h").is_err());
        assert!(grace("soon").is_err());
    }
}
