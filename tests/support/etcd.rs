//! An etcd of a test's own, real, spoken to by its JSON gateway.

use std::{net::SocketAddr, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
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

/// A running etcd, ended and removed when dropped.
pub struct Etcd {
    process: Option<Process>,
    dir: DataDir,
    client: SocketAddr,
    peer: SocketAddr,
}

impl Etcd {
    /// Starts one on free ports of the loopback; returns when it serves.
    pub fn start() -> Self {
        wait_for("free ports for etcd", START, || {
            let dir = DataDir::new("etcd");
            let mut etcd = Self { process: None, dir, client: free_address(), peer: free_address() };
            // Another may have taken a port meanwhile.
            etcd.try_start().then_some(etcd)
        })
    }

    /// Where it serves.
    pub fn addr(&self) -> SocketAddr {
        self.client
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("a running etcd").kill();
    }

    /// Starts it on the same ports and data.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        wait_for("etcd's ports to be free", START, || self.try_start().then_some(()));
    }

    /// Sends `STOP`, `CONT`, …
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("a running etcd").signal(name);
    }

    /// Puts a value under a key.
    pub fn put(&self, key: &str, value: &str) {
        self.call("kv/put", &json!({"key": encode(key), "value": encode(value)}));
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        self.call("kv/deleterange", &json!({"key": encode(key)}));
    }

    /// The value under a key.
    pub fn value(&self, key: &str) -> Option<String> {
        self.range(&json!({"key": encode(key)})).into_iter().next().map(|entry| entry.value)
    }

    /// All whose keys begin so, sorted by key; `""` is everything.
    pub fn list(&self, prefix: &str) -> Vec<Entry> {
        // All keys from the prefix on, up to the first that cannot begin with it.
        let (key, end) = match prefix.as_bytes() {
            [] => (vec![0], vec![0]),
            [head @ .., last] => (prefix.as_bytes().to_vec(), [head, &[last + 1]].concat()),
        };
        let (key, end) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(end));
        self.range(&json!({"key": key, "range_end": end}))
    }

    /// The seconds that a lease was granted, and those it has left; `None` when it is gone.
    pub fn lease_seconds(&self, lease: i64) -> Option<(i64, i64)> {
        let answer = self.call("lease/timetolive", &json!({"ID": lease.to_string()}));
        let left = number(&answer["TTL"]);
        (left >= 0).then(|| (number(&answer["grantedTTL"]), left))
    }

    fn range(&self, request: &Value) -> Vec<Entry> {
        let answer = self.call("kv/range", request);
        let all = answer["kvs"].as_array().cloned().unwrap_or_default();
        all.iter()
            .map(|kv| Entry {
                key: decode(&kv["key"]),
                value: decode(&kv["value"]),
                lease: Some(number(&kv["lease"])).filter(|&lease| lease != 0),
            })
            .collect()
    }

    fn call(&self, method: &str, request: &Value) -> Value {
        let body = request.to_string();
        let answer = exchange(self.client, "POST", &format!("/v3/{method}"), &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{method} {body}: {}", answer.text());
        answer.json()
    }

    /// Whether it serves; not so if it ended, for want of a port.
    fn try_start(&mut self) -> bool {
        let (client, peer) = (format!("http://{}", self.client), format!("http://{}", self.peer));
        let mut command = Command::new(installed("LEASEHOLD_TEST_ETCD"));
        command.args(["--name", "test", "--log-level", "error", "--data-dir"]).arg(self.dir.path());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("test={peer}")]);
        let mut process = Process::spawn(command);
        let serves = wait_for("etcd to serve", START, || {
            if process.exited().is_some() {
                return Some(false);
            }
            let health = try_exchange(self.client, "GET", "/health", &[], b"").ok()?;
            health.text().contains("\"true\"").then_some(true)
        });
        if serves {
            self.process = Some(process);
        } else {
            process.kill();
            let stderr = process.stderr();
            assert!(stderr.contains("address already in use"), "etcd ended:\n{stderr}");
        }
        serves
    }
}

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// The lease that it goes with.
    pub lease: Option<i64>,
}

/// Numbers of 64 bits are strings, and a zero is left out.
fn number(value: &Value) -> i64 {
    value.as_str().map_or(0, |text| text.parse().expect("a number"))
}

fn encode(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// Empty ones are left out.
fn decode(value: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
    String::from_utf8(bytes).expect("text")
}
