//! The three registries, and what each shows of one Docker host.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Serve, Server, consul::Consul, etcd::Etcd};

/// One of each, on free ports.
pub struct Registries {
    dir: TempDir,
    leasehold: Option<Server>,
    etcd: Etcd,
    consul: Consul,
}

/// A registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Leasehold,
    Etcd,
    Consul,
}

/// All of them.
pub const KINDS: [Kind; 3] = [Kind::Leasehold, Kind::Etcd, Kind::Consul];

impl Registries {
    /// Starts them; they hold documents of another host and services of another tool.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let leasehold = Some(Serve::new().on(dir.path()).start());
        let registries = Self { dir, leasehold, etcd: Etcd::start(), consul: Consul::start() };
        registries.put_strangers();
        registries
    }

    /// As the registrar is told it.
    pub fn uri(&self, kind: Kind) -> String {
        match kind {
            Kind::Leasehold => format!("leasehold://{}", self.leasehold().addr),
            Kind::Etcd => format!("etcd://{}", self.etcd.addr()),
            Kind::Consul => format!("consul://{}", self.consul.addr()),
        }
    }

    /// The ids of the containers that it shows of `host`, one for each of its documents, sorted.
    pub fn containers(&self, kind: Kind, host: &str) -> Vec<String> {
        let mut ids: Vec<String> = match kind {
            Kind::Leasehold => {
                let of_host = |service: &&Value| {
                    service["labels"]["host"] == host && service["labels"]["registrar"] == "docker"
                };
                self.services().iter().filter(of_host).map(|service| text(&service["info"]["id"])).collect()
            }
            Kind::Etcd => {
                let documents = self.etcd.list("/services/").into_iter();
                let documents =
                    documents.filter_map(|entry| serde_json::from_str::<Value>(&entry.value).ok());
                documents
                    .filter(|document| document["host"] == host)
                    .map(|document| text(&document["id"]))
                    .collect()
            }
            Kind::Consul => self
                .consul
                .services_of(host)
                .values()
                .filter(|service| service["Meta"]["registrar"] == "docker")
                .map(|service| text(&service["Meta"]["container"]))
                .collect(),
        };
        ids.sort();
        ids
    }

    /// What leasehold has of `host`: service, url and id of each.
    pub fn identities(&self, host: &str) -> BTreeSet<(String, String, String)> {
        let of_host = |service: &&Value| {
            service["labels"]["host"] == host && service["labels"]["registrar"] == "docker"
        };
        let identity =
            |service: &Value| (text(&service["service"]), text(&service["url"]), text(&service["id"]));
        self.services().iter().filter(of_host).map(identity).collect()
    }

    /// Everything that the three hold, as text.
    pub fn everything(&self) -> String {
        let etcd = self.etcd.list("");
        let nodes = self.consul.nodes();
        let consul: Vec<Value> =
            nodes.iter().map(|node| self.consul.get(&format!("catalog/node/{node}"))).collect();
        format!("{:?}\n{etcd:?}\n{consul:?}", self.services())
    }

    /// `kill -9`, all three.
    pub fn kill(&mut self) {
        self.leasehold.as_mut().unwrap().kill();
        self.etcd.kill();
        self.consul.kill();
    }

    /// Starts them where they were, on the data they had.
    pub fn start_again(&mut self) {
        let addr = self.leasehold.take().unwrap().addr;
        self.leasehold = Some(Serve::new().on(self.dir.path()).at(addr).start());
        self.etcd.start_again();
        self.consul.start_again();
    }

    /// What is not this host's, and looks as much like it as it can.
    fn put_strangers(&self) {
        self.leasehold().post_registration(&json!({
            "service": "web-80", "url": "tcp://192.0.2.9:80", "ttl_seconds": 3600,
            "labels": {"registrar": "docker", "host": "elsewhere"}, "info": {"host": "elsewhere", "id": "stranger"},
        }));
        for host in ["ttl", "prune"] {
            self.leasehold().post_registration(&json!({
                "service": "by-hand", "url": format!("http://{host}.example:80"), "ttl_seconds": 3600,
                "labels": {"host": host}, "info": {"host": host, "id": "stranger"},
            }));
            self.consul.put("catalog/register", &json!({
                "Node": host, "Address": "192.0.2.1", "Service": {"ID": "by-hand", "Service": "by-hand", "Port": 1},
            }));
        }
        let elsewhere = json!({"id": "stranger", "host": "elsewhere", "path": "/services/test/elsewhere"});
        self.etcd.put("/services/test/elsewhere", &elsewhere.to_string());
        self.etcd.put("/services/no-document", "not JSON");
        self.etcd.put("/servicesbeside", &json!({"host": "ttl"}).to_string());
        self.consul.put("catalog/register", &json!({
            "Node": "elsewhere", "Address": "192.0.2.9",
            "Service": {"ID": "/services/x", "Service": "x", "Meta": {"registrar": "docker", "host": "elsewhere"}},
        }));
    }

    /// Panics unless all that [`Registries::start`] put there is there.
    pub fn assert_strangers(&self) {
        let urls: BTreeSet<String> = self.services().iter().map(|service| text(&service["url"])).collect();
        for url in ["tcp://192.0.2.9:80", "http://ttl.example:80", "http://prune.example:80"] {
            assert!(urls.contains(url), "{url} was removed: {urls:?}");
        }
        for key in ["/services/test/elsewhere", "/services/no-document", "/servicesbeside"] {
            assert!(self.etcd.value(key).is_some(), "{key} was removed");
        }
        for (node, id) in [("ttl", "by-hand"), ("prune", "by-hand"), ("elsewhere", "/services/x")] {
            assert!(self.consul.services_of(node).contains_key(id), "{id} of {node} was removed");
        }
        assert!(self.consul.services_of("test").contains_key("consul"), "consul itself was removed");
    }

    /// Where leasehold keeps its file.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    fn leasehold(&self) -> &Server {
        self.leasehold.as_ref().unwrap()
    }

    fn services(&self) -> Vec<Value> {
        let answer = self.leasehold().get("/services");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["services"].as_array().unwrap().clone()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
