//! A service called by its name: a tonic channel over the instances that a watch shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use http::Uri;
use tokio::sync::mpsc::Sender;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, channel::Change};

use super::{Snapshot, Watch, cause::root_cause};

/// So many changes wait in the channel, which reads them only when it is called.
const CAPACITY: usize = 1024;
/// As gRPC's own clients have it. While a connection is being made, calls go elsewhere; when it could not be made,
/// one call fails by it. So a shorter one would have more calls fail.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that carries nothing is asked so often, by the kernel, whether it lives. (HTTP/2 pings are for the
/// caller to choose: many servers hang up on clients that ping more often than they like.)
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// A balanced channel that is about to be made; begun by [`Watch::balance`].
pub struct Balance {
    watch: Watch,
    tls: Option<ClientTlsConfig>,
    configure: Box<dyn Fn(Endpoint) -> Endpoint + Send + Sync>,
}

/// Whom to call: the id of the newest registration, by `scheme://host:port`.
type Addresses = BTreeMap<String, String>;

impl Watch {
    /// A channel whose calls are spread at random over the instances that this watch shows, as they come and go:
    /// `GreeterClient::new(client.watch(Filter::service("greeter")).channel())`. It keeps the watch going for as
    /// long as a clone of it exists. To be called on a tokio runtime.
    ///
    /// - An instance is called at the host and port of its url. `http` and `grpc` are HTTP/2 in plain text,
    ///   `https` and `grpcs` TLS with the system's authorities ([`Watch::balance`] takes others); instances
    ///   with other schemes are left out, which is logged once each. A url's path is not used.
    /// - Suspect instances are called: their grace is there because they are believed to live.
    /// - When an instance goes, calls under way on it go on, and the next one goes elsewhere. A new registration
    ///   at an old url gets a new connection.
    /// - While nobody is registered, calls wait, and no deadline that tonic knows of ends that: neither
    ///   [`Endpoint::timeout`] nor [`tonic::Request::set_timeout`] begins before an instance was chosen. Put
    ///   [`tokio::time::timeout`] around a call.
    /// - An instance that is registered and refuses connections fails the calls that fall to it, with
    ///   `UNAVAILABLE`, until its lease ends: try those again that may be. Weights and zones are not looked at.
    /// - While the registry is away, calls go to those who were there when it was last heard.
    ///
    /// ```
    /// # async fn registry() -> std::net::SocketAddr {
    /// #     use leasehold::{audit::Audit, config::*, reload::Asking, server::{self, Listeners}};
    /// #     let store = StoreConfig { kind: StoreKind::Memory, ..StoreConfig::default() };
    /// #     let config = Config { store, ..Config::default() };
    /// #     let main = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// #     let addr = main.local_addr().unwrap();
    /// #     let opened = server::open(config, Audit::open(None).unwrap()).await.unwrap();
    /// #     let listeners = Listeners { main, names: None };
    /// #     tokio::spawn(opened.run(listeners, Asking::default(), std::future::pending()));
    /// #     addr
    /// # }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let addr = registry().await;
    /// use leasehold::client::{Client, Filter, Registration};
    /// use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    ///
    /// let registry = Client::new(format!("http://{addr}"))?;
    /// // A registry has a health service, so it may as well be the one that is called.
    /// let lease = registry.hold(Registration::new("greeter", format!("grpc://{addr}")));
    ///
    /// let mut greeter = HealthClient::new(registry.watch(Filter::service("greeter")).channel());
    /// greeter.check(HealthCheckRequest::default()).await?;
    /// # drop(lease);
    /// # Ok(())
    /// # }
    /// ```
    pub fn channel(&self) -> Channel {
        self.balance().channel()
    }

    /// The same, with settings for the connections to the instances.
    pub fn balance(&self) -> Balance {
        Balance { watch: self.clone(), tls: None, configure: Box::new(|endpoint| endpoint) }
    }
}

impl Balance {
    /// How `https` and `grpcs` instances are talked to, in place of the system's authorities. Unless it names a
    /// domain, an instance's certificate must be for the host of its url.
    #[must_use]
    pub fn tls(self, tls: ClientTlsConfig) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Sets up each connection: timeouts of calls, HTTP/2 keepalive, limits.
    #[must_use]
    pub fn configure(self, configure: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static) -> Self {
        Self { configure: Box::new(configure), ..self }
    }

    /// The channel; see [`Watch::channel`].
    pub fn channel(self) -> Channel {
        let (channel, changes) = Channel::balance_channel(CAPACITY);
        tokio::spawn(self.feed(changes));
        channel
    }

    /// Tells the channel who comes and goes, until it is dropped.
    async fn feed(mut self, changes: Sender<Change<String, Endpoint>>) {
        let mut told = Addresses::new();
        let mut left_out = LeftOut::default();
        loop {
            let wanted = left_out.addresses(&self.watch.current());
            let mut behind = false;
            for step in difference(&told, &wanted) {
                // A channel that is not called takes no changes. What waits here is found anew then, so
                // that it is never told of what was long ago.
                let permit = tokio::select! {
                    biased;
                    permit = changes.reserve() => permit,
                    _ = self.watch.changed() => { behind = true; break }
                };
                let Ok(permit) = permit else { return };
                match step {
                    Step::Remove(address) => {
                        told.remove(&address);
                        permit.send(Change::Remove(address));
                    }
                    Step::Insert(address, id) => {
                        match self.endpoint(&address) {
                            Ok(endpoint) => permit.send(Change::Insert(address.clone(), endpoint)),
                            Err(why) => left_out.warn(&id, &address, &why),
                        }
                        told.insert(address, id);
                    }
                }
            }
            if behind {
                continue;
            }
            tokio::select! {
                _ = self.watch.changed() => {}
                () = changes.closed() => return,
            }
        }
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, String> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|error| root_cause(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Some(TCP_KEEPALIVE));
        if address.starts_with("https:") {
            let mut tls = self.tls.clone().unwrap_or_else(|| ClientTlsConfig::new().with_native_roots());
            // tonic takes the host with the brackets, which are the URL's.
            if let Some(host) =
                endpoint.uri().host().and_then(|host| host.strip_prefix('[')?.strip_suffix(']'))
            {
                tls = tls.domain_name(host);
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| root_cause(&error))?;
        }
        Ok((self.configure)(endpoint))
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("watch", &self.watch).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// One change of what the channel knows.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nobody is there any more.
    Remove(String),
    /// Somebody is, with this id; a connection that is there already makes way.
    Insert(String, String),
}

/// Those who went come first, so that no call is sent to them once the others are known.
fn difference(told: &Addresses, wanted: &Addresses) -> Vec<Step> {
    let gone = told.keys().filter(|address| !wanted.contains_key(*address));
    let fresh = wanted.iter().filter(|(address, id)| told.get(*address) != Some(*id));
    gone.map(|address| Step::Remove(address.clone()))
        .chain(fresh.map(|(address, id)| Step::Insert(address.clone(), id.clone())))
        .collect()
}

/// Who cannot be called, each warned of once.
#[derive(Default)]
struct LeftOut(BTreeSet<String>);

impl LeftOut {
    fn addresses(&mut self, snapshot: &Arc<Snapshot>) -> Addresses {
        self.0.retain(|id| snapshot.get(id).is_some());
        let mut found = Addresses::new();
        for instance in snapshot.iter() {
            match address(&instance.url) {
                Ok(address) => {
                    // Two services may share an address. Ids rise with time.
                    let id = found.entry(address).or_default();
                    if *id < instance.id {
                        id.clone_from(&instance.id);
                    }
                }
                Err(why) => self.warn(&instance.id, &instance.url, why),
            }
        }
        found
    }

    fn warn(&mut self, id: &str, url: &str, why: &str) {
        if self.0.insert(id.to_owned()) {
            tracing::warn!(id, url, why, "this instance cannot be called and is left out");
        }
    }
}

/// Where a gRPC client connects to, of an instance's url.
fn address(url: &str) -> Result<String, &'static str> {
    let url: Uri = url.parse().map_err(|_| "its url is none that HTTP/2 can use")?;
    let scheme = match url.scheme_str() {
        Some("http" | "grpc") => "http",
        Some("https" | "grpcs") => "https",
        _ => return Err("its url's scheme is none of http, https, grpc and grpcs"),
    };
    let authority = url.authority().ok_or("its url has no host")?.as_str().to_ascii_lowercase();
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Instance;

    #[test]
    fn an_address_is_scheme_host_and_port() {
        #[track_caller]
        fn check(url: &str, expect: Result<&str, &str>) {
            match (address(url), expect) {
                (Ok(address), Ok(expect)) => assert_eq!(address, expect),
                (Err(why), Err(expect)) => assert!(why.contains(expect), "{url}: {why}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
        check("http://10.0.0.1:80/path?x=y", Ok("http://10.0.0.1:80"));
        check("grpc://Host:9", Ok("http://host:9"));
        check("HTTPS://host", Ok("https://host"));
        check("grpcs://[::1]:9", Ok("https://[::1]:9"));
        check("http://host:9/#fragment", Ok("http://host:9"));
        check("tcp://host:9", Err("scheme"));
        check("host:9", Err("scheme"));
        check("http:///path", Err("none that"));
        check("", Err("none that"));
    }

    #[test]
    fn the_newest_registration_of_an_address_counts_and_the_rest_is_warned_of_once() {
        let mut snapshot = Snapshot::default();
        for (id, url) in
            [("3", "grpc://a:1/x"), ("2", "http://A:1"), ("1", "https://a:1"), ("4", "tcp://a:1")]
        {
            snapshot.insert(Arc::new(Instance { id: id.into(), url: url.into(), ..Instance::default() }));
        }
        let mut left_out = LeftOut::default();
        let found = left_out.addresses(&Arc::new(snapshot));
        let expect = [("http://a:1", "3"), ("https://a:1", "1")];
        assert!(found.iter().map(|(address, id)| (address.as_str(), id.as_str())).eq(expect), "{found:?}");
        assert_eq!(left_out.0, ["4".to_owned()].into());
        left_out.addresses(&Arc::default());
        assert!(left_out.0.is_empty(), "what is gone is forgotten");
    }

    #[test]
    fn who_went_is_told_first_and_a_new_id_anew() {
        let addresses = |pairs: &[(&str, &str)]| -> Addresses {
            pairs.iter().map(|(address, id)| ((*address).to_owned(), (*id).to_owned())).collect()
        };
        let told = addresses(&[("a", "1"), ("b", "2"), ("z", "3")]);
        let wanted = addresses(&[("a", "1"), ("b", "4"), ("c", "5")]);
        let expect = [
            Step::Remove("z".to_owned()),
            Step::Insert("b".to_owned(), "4".to_owned()),
            Step::Insert("c".to_owned(), "5".to_owned()),
        ];
        assert_eq!(difference(&told, &wanted), expect);
        assert_eq!(difference(&wanted, &wanted), []);
    }
}
