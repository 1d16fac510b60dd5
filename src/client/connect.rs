//! Which server is meant, and what is shown to it: what a [`Client`] is made of.

use std::{fmt, sync::Arc, time::Duration};

use http::uri::{Authority, Uri};
use thiserror::Error;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{cause::root_cause, lease::Holder};
use crate::proto::registry_client::RegistryClient;

/// The port of a server that was named by its host alone.
const DEFAULT_PORT: u16 = 9000;
/// Within this a connection is made, or it failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that died without a word is noticed within their sum, even while nothing is sent.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that shows the key with each call.
pub type Service = InterceptedService<Channel, ShowKey>;

/// A registry, as one process sees it: where it is and what is shown to it. Cheap to clone; a clone
/// means the same registry.
///
/// Nothing is connected until something is asked for, so a registry that is away is no error here.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) dial: Dial,
    /// What this client and its clones hold.
    pub(super) holder: Arc<Holder>,
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    endpoint: Endpoint,
    key: ShowKey,
}

/// What a [`Client`] is made from; begun by [`Client::builder`].
#[derive(Debug)]
pub struct Builder {
    server: String,
    ca: Option<Vec<u8>>,
    identity: Option<Identity>,
    key: ShowKey,
}

/// Shows a key with each call, if there is one. Its `Debug` does not show it.
#[derive(Clone, Debug, Default)]
pub struct ShowKey(Option<MetadataValue<Ascii>>);

/// Why no client could be made. Nothing was sent anywhere.
#[derive(Debug, Error)]
pub enum SetupError {
    /// What was given is no address of a server.
    #[error("the server {server:?} {why}; write http://host:port, https://host:port or host:port")]
    Address {
        /// As it was given.
        server: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key holds what cannot be sent in a header.
    #[error("the service key has characters that cannot be sent")]
    Key,
    /// The certificates cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Client {
    /// A client of the registry at `server`: `http://host:port`, `https://host:port`, or `host[:port]`.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder { server: server.into(), ca: None, identity: None, key: ShowKey::default() }
    }

    /// The same, without TLS settings and key.
    pub fn new(server: impl Into<String>) -> Result<Self, SetupError> {
        Self::builder(server).build()
    }

    /// The generated client, for calls of your own, on a connection of its own: it is made at the
    /// first call, and again after it broke.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn registry(&self) -> RegistryClient<Service> {
        self.dial.registry()
    }

    /// The server's address, as errors name it.
    pub fn server(&self) -> &Uri {
        self.dial.endpoint.uri()
    }
}

impl Dial {
    /// A client on a connection of its own.
    pub(super) fn registry(&self) -> RegistryClient<Service> {
        RegistryClient::new(InterceptedService::new(self.endpoint.connect_lazy(), self.key.clone()))
    }
}

impl Builder {
    /// Trusts the authorities in `pem`, and no others. Without it: the system's.
    #[must_use]
    pub fn ca_pem(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { ca: Some(pem.into()), ..self }
    }

    /// Shows this certificate to a server that asks for one.
    #[must_use]
    pub fn identity_pem(self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        Self { identity: Some(Identity::from_pem(certificate, key)), ..self }
    }

    /// Shows this key with each call.
    pub fn service_key(self, key: &str) -> Result<Self, SetupError> {
        Ok(Self { key: ShowKey::new(key)?, ..self })
    }

    /// Checks all of it.
    pub fn build(self) -> Result<Client, SetupError> {
        let server = address(&self.server)?;
        let mut endpoint = Endpoint::from_shared(server)
            .map_err(|_| SetupError::Address { server: self.server, why: "is no URL" })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if endpoint.uri().scheme_str() == Some("https") {
            // The brackets of an IPv6 address are the URL's.
            let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let mut tls = ClientTlsConfig::new().domain_name(host);
            tls = match self.ca {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_native_roots(),
            };
            if let Some(identity) = self.identity {
                tls = tls.identity(identity);
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| SetupError::Tls(root_cause(&error)))?;
        }
        let dial = Dial { endpoint, key: self.key };
        Ok(Client { holder: Arc::new(Holder::new(dial.clone())), dial })
    }
}

impl ShowKey {
    /// Shows `key`.
    pub fn new(key: &str) -> Result<Self, SetupError> {
        let mut value = MetadataValue::try_from(key).map_err(|_| SetupError::Key)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for ShowKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("x-service-key", key.clone());
        }
        Ok(request)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.server())
    }
}

/// `http://host:port` or `https://host:port` of what was typed: a URL, or `host[:port]`.
pub fn address(typed: &str) -> Result<String, SetupError> {
    let bad = |why| SetupError::Address { server: typed.to_owned(), why };
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
            match (address(typed), expect) {
                (Ok(url), Ok(expect)) => assert_eq!(url, expect),
                (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
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
