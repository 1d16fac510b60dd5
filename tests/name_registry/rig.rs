//! A server with the name registry's listener, and what its clients say.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{
    SOON, Serve, Server,
    http::{Answer, exchange},
    wait_for,
};

pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A server, and where its name registry listens.
pub struct Names {
    pub server: Server,
    pub addr: SocketAddr,
}

impl Names {
    /// One that keeps registrations in memory.
    pub fn start(args: &[&str]) -> Self {
        Self::of(Serve::new().args(["--store", "memory"]).args(args))
    }

    pub fn of(serve: Serve) -> Self {
        let server = serve.args(["--name-registry-listen", "127.0.0.1:0"]).start();
        let said = server.stdout();
        let addr = said.lines().find_map(|line| line.strip_prefix("name registry on http://"));
        let addr = addr.unwrap_or_else(|| panic!("no line for it: {said}")).parse().expect("an address");
        Self { server, addr }
    }

    pub fn get(&self, path: &str) -> Answer {
        exchange(self.addr, "GET", path, &[], b"")
    }

    /// A JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        exchange(self.addr, "POST", path, &[JSON], body.to_string().as_bytes())
    }

    /// Status and body of the answer to a pair.
    pub fn pair(&self, path: &str, service: &str, address: &str) -> (u16, Value) {
        seen(&self.post(path, &json!({ "service": service, "address": address })))
    }

    /// Registers a pair that is new.
    pub fn register(&self, service: &str, address: &str) {
        let (status, body) = self.pair("/register", service, address);
        assert_eq!(status, 201, "{body}");
    }

    /// The addresses under a name, in order; none if it is not known.
    pub fn discover(&self, path: &str) -> Option<Vec<String>> {
        let answer = self.get(&format!("/discover/{path}"));
        (answer.status == 200).then(|| addresses(&answer.json()))
    }

    /// Waits until a name is not known any more.
    pub fn wait_gone(&self, path: &str) {
        wait_for("it to be gone", SOON, || self.discover(path).is_none().then_some(()));
    }
}

pub fn addresses(body: &Value) -> Vec<String> {
    let instances = body["instances"].as_array().expect("a list");
    instances.iter().map(|one| one["address"].as_str().expect("a text").to_owned()).collect()
}

/// Status and body, which has to be JSON.
pub fn seen(answer: &Answer) -> (u16, Value) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
    (answer.status, answer.json())
}

/// The body of most answers.
pub fn said(status: &str, message: impl AsRef<str>) -> Value {
    json!({ "status": status, "message": message.as_ref() })
}
