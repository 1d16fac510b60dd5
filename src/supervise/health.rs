//! The child's health check: a URL that is asked again and again.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use reqwest::Url;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tonic::{
    Code,
    transport::{ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    news::News,
    presence::{Checkup, Pace, Presence},
};
use crate::client::{
    Anyone,
    cause::{reason, root_cause},
};

/// An answer is read up to here, so that the child need not fail at writing it.
const MOST_READ: usize = 64 << 10;

/// What is asked; displays without what may be secret in it.
#[derive(Clone, Debug)]
pub struct Check {
    kind: Kind,
    shown: String,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A GET must be answered with a 2xx.
    Http(Url),
    /// A connection must be taken: host and port.
    Tcp(String, u16),
    /// `grpc.health.v1.Health/Check` of a service must say SERVING.
    Grpc { server: String, service: String },
}

/// Checks at its pace, and tells `presence` of it, until the child has ended.
pub async fn watch<T: Fn(News)>(check: Check, pace: Pace, presence: watch::Sender<Presence>, tell: T) {
    let http = match http() {
        Ok(http) => http,
        Err(error) => {
            return tell(News::Health(check.shown, super::presence::Turn::NotYet(root_cause(&error))));
        }
    };
    let begun = Instant::now();
    let mut checkup = Checkup::new(pace);
    while !presence.borrow().is_over() {
        let started = Instant::now();
        let result = timeout(pace.timeout, check.kind.ask(&http)).await;
        let result = result.unwrap_or_else(|_| {
            Err(format!("no answer within {}", humantime::format_duration(pace.timeout)))
        });
        if let Some(turn) = checkup.take(result, begun.elapsed()) {
            tell(News::Health(check.shown.clone(), turn));
        }
        presence.send_if_modified(|presence| presence.check_says(checkup.is_passing()));
        sleep_until(started + checkup.interval()).await;
    }
}

/// A connection of its own each time, straight to the child; nothing is followed. Whose certificate it shows is not
/// checked: it is asked for nothing but its health, often under a name that no certificate has.
fn http() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("leasehold/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .tls_danger_accept_invalid_certs(true)
        .build()
}

impl Kind {
    async fn ask(&self, http: &reqwest::Client) -> Result<(), String> {
        match self {
            Self::Http(url) => get(http, url.clone()).await,
            Self::Tcp(host, port) => {
                let connected = TcpStream::connect((host.as_str(), *port)).await;
                connected.map(drop).map_err(|error| root_cause(&error))
            }
            Self::Grpc { server, service } => serves(server, service).await,
        }
    }
}

async fn get(http: &reqwest::Client, url: Url) -> Result<(), String> {
    let answer = http.get(url).send().await.map_err(|error| root_cause(&error.without_url()))?;
    let status = answer.status();
    let mut read = 0;
    let mut body = answer;
    while let Ok(Some(chunk)) = body.chunk().await {
        read += chunk.len();
        if read >= MOST_READ {
            break;
        }
    }
    if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
}

async fn serves(server: &str, service: &str) -> Result<(), String> {
    let mut endpoint = Endpoint::from_shared(server.to_owned()).map_err(|error| root_cause(&error))?;
    if endpoint.uri().scheme_str() == Some("https") {
        let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        let tls = ClientTlsConfig::new().domain_name(host);
        endpoint = endpoint
            .tls_config_with_verifier(tls, Arc::new(Anyone::default()))
            .map_err(|error| root_cause(&error))?;
    }
    let channel = endpoint.connect().await.map_err(|error| root_cause(&error))?;
    let request = HealthCheckRequest { service: service.to_owned() };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            status => Err(format!("it says {}", status.as_str_name())),
        },
        Err(status) if status.code() == Code::NotFound => {
            Err(format!("it knows no health of a service {service:?}"))
        }
        Err(status) if status.code() == Code::Unimplemented => {
            Err("it does not serve grpc.health.v1.Health".to_owned())
        }
        Err(status) => Err(reason(&status)),
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!(
                "{error}; write http://host:port/path, https://…, tcp://host:port or grpc://host:port/service"
            )
        })?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user or a password, and others can read command lines".to_owned());
        }
        let kind = match url.scheme() {
            "http" | "https" => Kind::Http(url.clone()),
            scheme @ ("tcp" | "grpc" | "grpcs") => {
                let port = url.port().ok_or_else(|| format!("a {scheme} check needs a port"))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(format!("a {scheme} check has no query or fragment"));
                }
                let path = url.path().trim_start_matches('/');
                match scheme {
                    "tcp" if !path.is_empty() => return Err("a tcp check has no path".to_owned()),
                    "tcp" => Kind::Tcp(host.trim_matches(['[', ']']).to_owned(), port),
                    "grpc" => {
                        Kind::Grpc { server: format!("http://{host}:{port}"), service: path.to_owned() }
                    }
                    _ => Kind::Grpc { server: format!("https://{host}:{port}"), service: path.to_owned() },
                }
            }
            scheme => {
                return Err(format!(
                    "there is no {scheme} check; there are http, https, tcp, grpc and grpcs"
                ));
            }
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}{}", url.scheme(), url.path());
        Ok(Self { kind, shown })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Default for Pace {
    /// Found failing within three seconds, and registered within a twentieth of being ready.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            start_interval: Duration::from_millis(50),
            timeout: Duration::from_secs(1),
            retries: 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_urls_and_hide_what_is_secret() {
        #[track_caller]
        fn check(text: &str, expect: Result<&str, &str>) {
            match (text.parse::<Check>(), expect) {
                (Ok(check), Ok(expect)) => assert_eq!(check.to_string(), expect),
                (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        check("http://127.0.0.1:8080/health", Ok("http://127.0.0.1:8080/health"));
        check("https://localhost/health?token=s3cret#s3cret", Ok("https://localhost/health"));
        check("https://me:s3cret@localhost/health", Err("command lines"));
        check("http://localhost", Ok("http://localhost/"));
        check("tcp://localhost:5432", Ok("tcp://localhost:5432"));
        check("tcp://[::1]:5432", Ok("tcp://[::1]:5432"));
        check("tcp://localhost:5432/", Ok("tcp://localhost:5432/"));
        check("grpc://localhost:9000", Ok("grpc://localhost:9000"));
        check(
            "grpcs://localhost:9000/leasehold.v1.Registry",
            Ok("grpcs://localhost:9000/leasehold.v1.Registry"),
        );
        check("tcp://localhost", Err("needs a port"));
        check("grpc://localhost", Err("needs a port"));
        check("tcp://localhost:1/x", Err("no path"));
        check("tcp://user@localhost:1", Err("command lines"));
        check("udp://localhost:1", Err("no udp check"));
        check("localhost:8080", Err("no host"));
        check("/health", Err("http://host:port/path"));
        check("http://", Err("host"));
        check("", Err("http://"));
    }
}
