//! The server as a client's command sees it: its address, a connection, and what a failed
//! call means to the person.

use std::{env, time::Duration};

use clap::Args;
use tokio::time::timeout;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::{Failure, credentials::Credentials};
use crate::{
    client::{Client, Service, address, cause::root_cause, handshake},
    proto::{admin_client::AdminClient, registry_client::RegistryClient},
};

/// Where a server listens unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9000";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a call that is no stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream on a connection that died without a word is noticed within their sum.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which server is meant, and what is shown to it.
#[derive(Args, Debug)]
pub struct Target {
    /// The server, a URL or host:port [default: 127.0.0.1:9000]
    #[arg(long, value_name = "URL", env = "LEASEHOLD_SERVER")]
    server: Option<String>,

    #[command(flatten)]
    credentials: Credentials,
}

/// A connected server.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Calls on it; a clone shares the connection, which is made anew when it breaks.
    pub registry: RegistryClient<Service>,
    /// The same for those who run the server.
    pub admin: AdminClient<Service>,
    server: String,
}

impl Target {
    /// The server that was named, if one was; an empty variable names none.
    pub fn named(&self) -> Option<&str> {
        self.server.as_deref().filter(|server| !server.is_empty())
    }

    /// What is shown to it.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether it makes sense as it was typed; nothing is read, and nobody is asked.
    #[cfg(unix)]
    pub fn check(&self) -> Result<(), Failure> {
        server_url(self.named().unwrap_or(DEFAULT_SERVER))?;
        self.credentials.check()
    }

    /// A client of the server that was named, or of the default one; nothing is connected yet.
    pub fn client(&self) -> Result<Client, Failure> {
        let server = server_url(self.named().unwrap_or(DEFAULT_SERVER))?;
        self.credentials.client(&server)
    }

    /// Connects to the server that was named, or to the default one.
    pub async fn connect(&self) -> Result<Remote, Failure> {
        let server = server_url(self.named().unwrap_or(DEFAULT_SERVER))?;
        Remote::connect(&server, &self.credentials).await
    }
}

impl Remote {
    /// Connects to `server`, a URL as [`server_url`] gives it.
    pub async fn connect(server: &str, credentials: &Credentials) -> Result<Self, Failure> {
        let show = credentials.service_key()?;
        let channel = channel(server, |endpoint| credentials.secure(endpoint)).await?;
        let service = InterceptedService::new(channel, show);
        let admin = AdminClient::new(service.clone());
        Ok(Self { registry: RegistryClient::new(service), admin, server: server.to_owned() })
    }

    /// What `status`, which a call ended with, means to the person.
    pub fn failure(&self, status: &Status) -> Failure {
        Failure::call(&self.server, status)
    }
}

/// A call that gives up after a while.
pub fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// Connects to `server`, a URL as [`server_url`] gives it; `secure` sets up TLS for `https`.
pub async fn channel(
    server: &str,
    secure: impl FnOnce(Endpoint) -> Result<Endpoint, Failure>,
) -> Result<Channel, Failure> {
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|error| Failure::usage(format!("the server {server:?} is no URL: {}", root_cause(&error))))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if endpoint.uri().scheme_str() == Some("https") {
        endpoint = secure(endpoint)?;
    }
    let reason = match timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => match handshake::explain(&error) {
            Some(why) => return Err(Failure::unavailable(format!("cannot talk to {server}: {why}"))),
            None => root_cause(&error),
        },
        Err(_) => format!("no connection within {}s", CONNECT_TIMEOUT.as_secs()),
    };
    Err(Failure::unavailable(format!(
        "cannot reach {server}: {reason}; is a leasehold server running there? \
         Name another with --server or LEASEHOLD_SERVER"
    )))
}

/// The lease token, which never stands on a command line: others can read those.
pub fn lease_token() -> Result<String, Failure> {
    match env::var("LEASEHOLD_LEASE_TOKEN") {
        Ok(token) => Ok(token),
        Err(env::VarError::NotPresent) => Ok(String::new()),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Failure::usage("LEASEHOLD_LEASE_TOKEN is no text; set it to the token as it was answered"))
        }
    }
}

/// `http://host:port` or `https://host:port` of what was typed: a URL, or `host[:port]`.
pub fn server_url(typed: &str) -> Result<String, Failure> {
    address(typed).map_err(|error| Failure::usage(format!("{error} (--server, LEASEHOLD_SERVER)")))
}
