//! `leasehold healthcheck`: whether a server serves, for a container's health check. Without
//! `--server` it asks the server that the same environment and file would start.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
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
/// configuration file tells of, on this machine; over TLS if `LEASEHOLD_TLS_CERT` or `tls_cert` is
/// set. Whose certificate that shows is not checked: it is asked for nothing but its health, by an
/// address. It needs no key.
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
        let (server, is_own) = self.server()?;
        timeout(PATIENCE, self.ask(&server, is_own)).await.map_err(|_| {
            Failure::unavailable(format!("unhealthy: {server} did not answer within {}s", PATIENCE.as_secs()))
        })?
    }

    /// The server, and whether it is the one of these settings.
    fn server(&self) -> Result<(String, bool), Failure> {
        if let Some(named) = self.target.named() {
            return Ok((remote::server_url(named)?, false));
        }
        let file = self.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let (listen, tls) = settings::resolve_listen(file, |name| env::var_os(name))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok((format!("{scheme}://{}", reachable(listen)), true))
    }

    async fn ask(&self, server: &str, is_own: bool) -> Result<(), Failure> {
        let credentials = self.target.credentials();
        let secure = |endpoint: Endpoint| {
            if is_own { credentials.secure_unverified(endpoint) } else { credentials.secure(endpoint) }
        };
        check(server, remote::channel(server, secure).await?).await
    }
}

async fn check(server: &str, channel: Channel) -> Result<(), Failure> {
    let mut health = HealthClient::new(channel);
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
