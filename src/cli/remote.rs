//! The server as a client's command sees it: its address, a connection, and what a failed
//! call means to the person.

use std::{env, time::Duration};

use clap::Args;
use http::uri::{Authority, Uri};
use tokio::time::timeout;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::{
    credentials::{Credentials, ShowKey},
    failure::{Failure, root_cause},
    handshake,
};
use crate::proto::{admin_client::AdminClient, registry_client::RegistryClient};

/// Where a server listens unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9000";
const DEFAULT_PORT: u16 = 9000;

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

/// A connection that shows the key with each call.
pub type Service = InterceptedService<Channel, ShowKey>;

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
    let bad = |why: &str| {
        Failure::usage(format!(
            "the server {typed:?} {why}; write http://host:port, https://host:port or host:port (--server, LEASEHOLD_SERVER)"
        ))
    };
    let (scheme, rest) = typed.split_once("://").unwrap_or(("", typed));
    match scheme {
        "" | "http" | "https" => {}
        _ => return Err(bad("has a scheme other than http and https")),
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let authority: Authority = rest.parse().map_err(|_| bad("has no host, or more than host and port"))?;
    if rest.contains('@') {
        return Err(bad("has user info"));
    }
    let has_port = rest.len() > authority.host().len();
    if authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
        return Err(bad("has no good host and port"));
    }
    // A URL without a port means its scheme's; a bare host, ours.
    let port = if scheme.is_empty() && !has_port { format!(":{DEFAULT_PORT}") } else { String::new() };
    let scheme = if scheme.is_empty() { "http" } else { scheme };
    let url = format!("{scheme}://{authority}{port}");
    url.parse::<Uri>().map_err(|_| bad("is no URL"))?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_host_and_port() {
        #[track_caller]
        fn check(typed: &str, expect: Result<&str, &str>) {
            match (server_url(typed), expect) {
                (Ok(url), Ok(expect)) => assert_eq!(url, expect),
                (Err(failure), Err(expect)) => assert!(failure.to_string().contains(expect), "{failure}"),
                (got, _) => panic!("{typed}: {got:?}"),
            }
        }
        check("http://127.0.0.1:9000", Ok("http://127.0.0.1:9000"));
        check("http://registry/", Ok("http://registry"));
        check("registry:9001", Ok("http://registry:9001"));
        check("registry", Ok("http://registry:9000"));
        check("[::1]:9000", Ok("http://[::1]:9000"));
        check("https://registry:9000/", Ok("https://registry:9000"));
        check("https://registry", Ok("https://registry"));
        check("ftp://registry", Err("other than http"));
        check("http://user@registry", Err("user info"));
        check("http://registry/v2", Err("more than host and port"));
        check("registry:x", Err("no good host and port"));
        check("registry:99999", Err("no good host and port"));
        check("http://", Err("no host"));
        check("", Err("no host"));
        check("two words", Err("no host"));
    }
}
