//! The flags of a registration, which `register` and `run` share.

use std::time::Duration;

use clap::Args;
use prost_types::Struct;

use super::{Failure, info, remote};
use crate::proto::RegisterRequest;

/// What is registered, but for its URL.
#[derive(Args, Debug)]
pub struct Registration {
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
}

impl Registration {
    /// The registration of a replica that is reached at `url`; with the lease token of the environment.
    pub fn request(&self, url: &str) -> Result<RegisterRequest, Failure> {
        let drop_grace = self.drop_grace.map(prost_types::Duration::try_from).transpose();
        Ok(RegisterRequest {
            id: self.id.clone(),
            url: url.to_owned(),
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
