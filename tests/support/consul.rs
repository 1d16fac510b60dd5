//! A Consul of a test's own, real: a cluster of one server, spoken to by its HTTP API.

use std::{net::SocketAddr, process::Command};

use serde_json::{Value, json};

use super::{
    START,
    data_dir::DataDir,
    free_address,
    http::{exchange, try_exchange},
    installed,
    process::Process,
    wait_for,
};

/// A running Consul, ended and removed when dropped.
pub struct Consul {
    process: Option<Process>,
    dir: DataDir,
    /// Of HTTP, of the servers' own protocol, and of gossip within the site.
    ports: [SocketAddr; 3],
}

impl Consul {
    /// Starts one on free ports of the loopback; returns when it has elected itself.
    pub fn start() -> Self {
        wait_for("free ports for Consul", START, || {
            let dir = DataDir::new("consul");
            let mut consul = Self { process: None, dir, ports: std::array::from_fn(|_| free_address()) };
            // Another may have taken a port meanwhile.
            consul.try_start().then_some(consul)
        })
    }

    /// Where its HTTP API is.
    pub fn addr(&self) -> SocketAddr {
        self.ports[0]
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("a running Consul").kill();
    }

    /// Starts it on the same ports and data.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        wait_for("Consul's ports to be free", START, || self.try_start().then_some(()));
    }

    /// Sends `STOP`, `CONT`, …
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("a running Consul").signal(name);
    }

    /// A GET under `/v1/`: `catalog/services`, `catalog/service/web`, `catalog/node/host`, …
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null)
    }

    /// A PUT under `/v1/`: `catalog/register`, `catalog/deregister`, …
    pub fn put(&self, path: &str, body: &Value) -> Value {
        self.call("PUT", path, body)
    }

    /// The catalog's services of a node, by their id; empty when there is no such node.
    pub fn services_of(&self, node: &str) -> serde_json::Map<String, Value> {
        self.get(&format!("catalog/node/{node}"))["Services"].as_object().cloned().unwrap_or_default()
    }

    /// The names of the nodes in the catalog, sorted; the server itself is `test`.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.get("catalog/nodes");
        let names = nodes.as_array().expect("a list").iter().map(|node| &node["Node"]);
        let mut names: Vec<String> = names.map(|name| name.as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let bytes = if body.is_null() { String::new() } else { body.to_string() };
        let answer = exchange(self.addr(), method, &format!("/v1/{path}"), &[], bytes.as_bytes());
        assert_eq!(answer.status, 200, "{method} {path} {bytes}: {}", answer.text());
        answer.json()
    }

    /// Whether it serves; not so if it ended, for want of a port.
    fn try_start(&mut self) -> bool {
        let [http, server, gossip] = self.ports.map(|addr| addr.port());
        let ports = json!({
            "http": http, "server": server, "serf_lan": gossip,
            "dns": -1, "https": -1, "grpc": -1, "serf_wan": -1,
        });
        let config = json!({
            "node_name": "test", "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "ports": ports,
            "server": true, "bootstrap_expect": 1, "data_dir": self.dir.path().join("data"),
            "log_level": "error", "disable_update_check": true, "connect": {"enabled": false},
            // For an election at once.
            "performance": {"raft_multiplier": 1},
        });
        let file = self.dir.path().join("consul.json");
        std::fs::write(&file, config.to_string()).expect("room for a configuration");
        let mut command = Command::new(installed("LEASEHOLD_TEST_CONSUL"));
        command.arg("agent").arg("-config-file").arg(&file);
        let mut process = Process::spawn(command);
        let elected = wait_for("Consul to elect itself", START, || {
            if process.exited().is_some() {
                return Some(false);
            }
            let leader = try_exchange(self.addr(), "GET", "/v1/status/leader", &[], b"").ok()?;
            let registered = try_exchange(self.addr(), "GET", "/v1/catalog/node/test", &[], b"").ok()?;
            let ready =
                leader.status == 200 && leader.text().len() > 2 && registered.text().contains("\"test\"");
            ready.then_some(true)
        });
        if elected {
            self.process = Some(process);
        } else {
            process.kill();
            let said = format!("{}\n{}", process.stdout(), process.stderr());
            assert!(said.contains("address already in use"), "Consul ended:\n{said}");
        }
        elected
    }
}
