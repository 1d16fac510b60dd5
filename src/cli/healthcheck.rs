//! `leasehold healthcheck`: whether a server serves, for a container's health check. Without
//! `--server` it asks the server that the same environment and file would start.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use tokio::time::timeout;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    Failure, output,
    remote::{self, Target},
    settings,
};
use crate::proto;

/// A health check that hangs says as much as one that fails.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ask whether a server serves
///
/// Without --server and `LEASEHOLD_SERVER`, the one that `LEASEHOLD_LISTEN` or `listen` in the
/// configuration file tells of, on this machine.
#[derive(Args, Debug)]
pub struct Healthcheck {
    /// The server's TOML file
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    target: Target,
}

impl Healthcheck {
    /// Prints `healthy`, or fails with the reason.
    pub async fn run(self) -> Result<(), Failure> {
        let server = self.server()?;
        timeout(PATIENCE, ask(&server)).await.map_err(|_| {
            Failure::unavailable(format!("unhealthy: {server} did not answer within {}s", PATIENCE.as_secs()))
        })?
    }

    fn server(&self) -> Result<String, Failure> {
        if let Some(named) = self.target.named() {
            return remote::server_url(named);
        }
        let file = self.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let listen = settings::resolve_listen(file, |name| env::var_os(name))?;
        Ok(format!("http://{}", reachable(listen)))
    }
}

async fn ask(server: &str) -> Result<(), Failure> {
    let mut health = HealthClient::new(remote::channel(server).await?);
    let request = HealthCheckRequest { service: proto::SERVICE_NAME.to_owned() };
    let answer = health.check(request).await.map_err(|status| Failure::call(server, &status))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => output::line("healthy"),
        status => Err(Failure::unavailable(format!("unhealthy: {server} says {}", status.as_str_name()))),
    }
}

/// Where a server that listens on `listen` is reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_is_reached_on_loopback() {
        #[track_caller]
        fn check(listen: &str, expect: &str) {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expect);
        }
        check("0.0.0.0:9000", "127.0.0.1:9000");
        check("[::]:9000", "[::1]:9000");
        check("10.1.2.3:9001", "10.1.2.3:9001");
    }
}
