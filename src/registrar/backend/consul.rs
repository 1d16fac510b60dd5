//! Consul's catalog: a service instance for each document, on a node named like this host. The catalog knows
//! no TTL, so both modes work alike: passes remove what ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Backend, CALL_TIMEOUT, CONCURRENT, Complaints, Done, Failure, MARKER, Pass};
use crate::registrar::document::Document;

/// Within this a connection is made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Of a container's environment: the datacenter that its services are put into.
const DATACENTER: &str = "CONSUL_DC";

/// Documents in Consul's catalog.
#[derive(Debug)]
pub struct Consul {
    client: Client,
    base: String,
    host: String,
    ipaddress: String,
    /// What the ids of our services begin with, its slash included.
    prefix: String,
    /// By datacenter, an empty one being that of the agent asked; every one that we have had to do with.
    datacenters: BTreeMap<String, Catalog>,
    complaints: Complaints,
}

/// What we know of this host's node in a datacenter.
#[derive(Clone, Debug, Default)]
struct Catalog {
    /// The node is there, and not by our doing.
    foreign_node: bool,
    /// Services of ours, by id.
    services: BTreeMap<String, Service>,
    /// Ids of services that others have put on it.
    taken: BTreeSet<String>,
}

/// A service instance, as the catalog takes it and gives it back; it leaves out what is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Service")]
    name: String,
    #[serde(deserialize_with = "nothing_is_empty")]
    tags: Vec<String>,
    address: String,
    port: u16,
    #[serde(deserialize_with = "nothing_is_empty")]
    meta: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Register<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    datacenter: &'a str,
    node: &'a str,
    address: &'a str,
    node_meta: BTreeMap<&'a str, &'a str>,
    skip_node_update: bool,
    service: &'a Service,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Deregister<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    datacenter: &'a str,
    node: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServices {
    node: Node,
    services: BTreeMap<String, Service>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    #[serde(deserialize_with = "nothing_is_empty")]
    meta: BTreeMap<String, String>,
}

impl Consul {
    /// Keeps the services of `host`, reached at `ipaddress`, in the catalog behind the agent at `address`
    /// (`host:port`), showing `token` if there is one. An error: what cannot be sent.
    pub fn new(
        address: &str,
        host: String,
        ipaddress: String,
        prefix: &str,
        token: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut headers = header::HeaderMap::new();
        if let Some(token) = token {
            let mut value = header::HeaderValue::try_from(token)
                .map_err(|_| Failure("CONSUL_HTTP_TOKEN has characters that cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            headers.insert("x-consul-token", value);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .default_headers(headers)
            .no_proxy()
            .build()
            .map_err(|error| Failure(format!("no HTTP client can be made: {}", told(&error))))?;
        Ok(Self {
            client,
            base: format!("http://{address}/v1/catalog"),
            host,
            ipaddress,
            prefix: format!("{}/", prefix.trim_end_matches('/')),
            datacenters: BTreeMap::from([(String::new(), Catalog::default())]),
            complaints: Complaints::default(),
        })
    }

    /// What the catalog has of us.
    async fn list(&self, datacenter: &str) -> Result<Catalog, Failure> {
        let node = utf8_percent_encode(&self.host, NON_ALPHANUMERIC);
        let mut url = format!("{}/node/{node}", self.base);
        if !datacenter.is_empty() {
            url.push_str("?dc=");
            url.extend(utf8_percent_encode(datacenter, NON_ALPHANUMERIC));
        }
        let answer = self.call("list what is there", self.client.get(url)).await?;
        let node: Option<NodeServices> =
            answer.json().await.map_err(|error| self.failure("list what is there", &error))?;
        let Some(node) = node else { return Ok(Catalog::default()) };
        let foreign_node = node.node.meta.get(MARKER.0).map(String::as_str) != Some(MARKER.1);
        let (services, taken): (BTreeMap<_, _>, BTreeMap<_, _>) =
            node.services.into_iter().partition(|(_, service)| self.owns(service));
        Ok(Catalog { foreign_node, services, taken: taken.into_keys().collect() })
    }

    /// Whether a registrar of this host put it there. The original's services carry no mark, but ids that are
    /// paths under the prefix.
    fn owns(&self, service: &Service) -> bool {
        let marked = service.meta.get(MARKER.0).map(String::as_str) == Some(MARKER.1)
            && service.meta.get("host") == Some(&self.host);
        marked || (service.meta.is_empty() && service.id.starts_with(&self.prefix))
    }

    async fn register(&self, datacenter: &str, service: &Service, foreign_node: bool) -> Result<(), Failure> {
        let body = Register {
            datacenter,
            node: &self.host,
            address: &self.ipaddress,
            node_meta: BTreeMap::from([MARKER]),
            // A node that somebody else keeps up is not ours to change.
            skip_node_update: foreign_node,
            service,
        };
        let request = self.client.put(format!("{}/register", self.base)).json(&body);
        self.call("register", request).await.map(drop)
    }

    async fn deregister(&self, datacenter: &str, id: &str) -> Result<(), Failure> {
        let body = Deregister { datacenter, node: &self.host, service_id: id };
        let request = self.client.put(format!("{}/deregister", self.base)).json(&body);
        self.call("deregister what ended", request).await.map(drop)
    }

    async fn call(&self, tried: &str, request: RequestBuilder) -> Result<reqwest::Response, Failure> {
        let answer = request.send().await.map_err(|error| self.failure(tried, &error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text: String = answer.text().await.unwrap_or_default().trim().chars().take(200).collect();
        Err(Failure(format!("Consul at {} does not {tried}: {status}: {text}", self.base)))
    }

    fn failure(&self, tried: &str, error: &reqwest::Error) -> Failure {
        Failure(format!("Consul at {} does not {tried}: {}", self.base, told(error)))
    }

    /// Makes one datacenter as it should be.
    async fn pass(&self, datacenter: &str, catalog: &Catalog, wanted: &[Service]) -> Result<Done, Failure> {
        let begun = Instant::now();
        let put: Vec<&Service> =
            wanted.iter().filter(|service| catalog.services.get(&service.id) != Some(service)).collect();
        let foreign = catalog.foreign_node;
        let registers: Vec<_> =
            put.iter().map(|service| self.register(datacenter, service, foreign).boxed()).collect();
        all(registers).await?;
        let setting = begun.elapsed();
        let ids: BTreeSet<&str> = wanted.iter().map(|service| service.id.as_str()).collect();
        let stale: Vec<&String> = catalog.services.keys().filter(|id| !ids.contains(id.as_str())).collect();
        let removals: Vec<_> = stale.iter().map(|id| self.deregister(datacenter, id).boxed()).collect();
        all(removals).await?;
        let pruning = begun.elapsed().saturating_sub(setting);
        Ok(Done { written: put.len(), removed: stale.len(), setting, pruning })
    }
}

#[async_trait]
impl Backend for Consul {
    async fn apply(&mut self, wanted: &[Document], pass: Pass) -> Result<Done, Failure> {
        self.complaints.keep(wanted);
        let mut by_datacenter: BTreeMap<String, Vec<Service>> = BTreeMap::new();
        for document in wanted {
            let datacenter = document.env.get(DATACENTER).cloned().unwrap_or_default();
            by_datacenter.entry(datacenter).or_default().push(service(document));
        }
        for datacenter in by_datacenter.keys() {
            self.datacenters.entry(datacenter.clone()).or_default();
        }
        let (mut done, mut failed) = (Done::default(), None);
        for datacenter in self.datacenters.keys().cloned().collect::<Vec<_>>() {
            let wanted = by_datacenter.remove(&datacenter).unwrap_or_default();
            match self.datacenter(&datacenter, wanted, pass).await {
                Ok(of_it) => done.add(of_it),
                // One datacenter that is away does not keep the others from theirs.
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(done), Err)
    }

    async fn leave(&mut self) {}
}

impl Consul {
    async fn datacenter(
        &mut self,
        datacenter: &str,
        wanted: Vec<Service>,
        pass: Pass,
    ) -> Result<Done, Failure> {
        let catalog = match pass {
            Pass::Whole => self.list(datacenter).await?,
            Pass::Known => self.datacenters.get(datacenter).cloned().unwrap_or_default(),
        };
        let (taken, wanted): (Vec<Service>, Vec<Service>) =
            wanted.into_iter().partition(|service| catalog.taken.contains(&service.id));
        for service in taken {
            self.complaints.tell(&service.id, "another's service has this id".to_owned());
        }
        for service in &wanted {
            self.complaints.settle(&service.id);
        }
        let done = self.pass(datacenter, &catalog, &wanted).await?;
        let services = wanted.into_iter().map(|service| (service.id.clone(), service)).collect();
        self.datacenters.insert(datacenter.to_owned(), Catalog { services, ..catalog });
        Ok(done)
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.removed += other.removed;
        self.setting += other.setting;
        self.pruning += other.pruning;
    }
}

/// Makes these calls, some at a time.
async fn all(calls: Vec<BoxFuture<'_, Result<(), Failure>>>) -> Result<(), Failure> {
    stream::iter(calls).buffer_unordered(CONCURRENT).try_collect().await
}

/// What the catalog is told of a document. Its environment is not.
fn service(document: &Document) -> Service {
    let port = document.host_port.as_ref().or(document.port.as_ref());
    let meta = [
        MARKER,
        ("host", &document.host),
        ("container", &document.id),
        ("proto", document.proto.as_deref().unwrap_or_default()),
    ];
    Service {
        id: document.path.clone(),
        name: document.service.clone(),
        tags: document.tags.clone(),
        address: document.ipaddress.clone(),
        port: port.and_then(|port| port.parse().ok()).unwrap_or_default(),
        meta: meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

/// Go writes null for what is empty.
fn nothing_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The innermost cause, without the URL.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", CALL_TIMEOUT.as_secs());
    }
    crate::client::cause::root_cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consul() -> Consul {
        let host = "h1".to_owned();
        Consul::new("127.0.0.1:8500", host, "10.0.0.1".to_owned(), "/services", None).expect("a client")
    }

    fn document() -> Document {
        Document {
            id: "c1".to_owned(),
            host: "h1".to_owned(),
            path: "/services/prod/web".to_owned(),
            service: "web".to_owned(),
            port: Some("80".to_owned()),
            env: BTreeMap::from([("SECRET".to_owned(), "s3cret".to_owned())]),
            ..Document::default()
        }
    }

    #[test]
    fn only_what_this_host_put_there_is_its_own() {
        #[track_caller]
        fn check(consul: &Consul, change: impl Fn(&mut Service), expect: bool) {
            let mut service = service(&document());
            change(&mut service);
            assert_eq!(consul.owns(&service), expect, "{service:?}");
        }
        let consul = consul();
        check(&consul, |_| {}, true);
        check(&consul, |service| service.meta.clear(), true);
        check(&consul, |service| drop(service.meta.insert("host".to_owned(), "h2".to_owned())), false);
        let foreign = |service: &mut Service| {
            service.meta.clear();
            service.id = "consul".to_owned();
        };
        check(&consul, foreign, false);
    }

    #[test]
    fn the_catalog_learns_the_port_that_is_reached_and_no_environment() {
        let mut document = document();
        assert_eq!(service(&document).port, 80);
        document.host_port = Some("49155".to_owned());
        assert_eq!(service(&document).port, 49155);
        assert!(!serde_json::to_string(&service(&document)).expect("JSON").contains("s3cret"));
    }

    #[test]
    fn what_the_catalog_answers_is_read() {
        let json = r#"{"Node": {"Node": "h1", "Meta": null}, "Services": {"x": {"ID": "x", "Service": "x",
            "Tags": null, "Address": "", "Weights": {"Passing": 1}}}}"#;
        let node: NodeServices = serde_json::from_str(json).expect("an answer of Consul's");
        assert!(node.services["x"].tags.is_empty() && node.node.meta.is_empty());
    }
}
