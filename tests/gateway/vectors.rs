//! Replays recorded exchanges. `vectors.json` was recorded from a gRPC-gateway v2 in front
//! of the echo service, with proto names, unset fields written, unknown fields passed over,
//! and the `x-http-code` option of its manual. Files named in `GATEWAY_VECTORS`
//! (colon-separated) are replayed too.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde::Deserialize;

use crate::{
    compare::{Body, UNCOMPARED, missing_trailers},
    deviations::{Row, table},
    peers::Peer,
    request::{Client, Request},
    support::http::Answer,
};

/// A recorded exchange.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// What it shows; no two are named alike.
    pub name: String,
    method: String,
    path: String,
    req_headers: BTreeMap<String, String>,
    req_body: Option<String>,
    /// The status code of the answer.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body of the answer.
    pub body: String,
}

impl Vector {
    /// The recordings of this repository.
    pub fn recorded() -> Vec<Self> {
        serde_json::from_str(include_str!("vectors.json")).expect("tests/gateway/vectors.json")
    }

    fn more() -> Vec<Self> {
        let Some(paths) = env::var_os("GATEWAY_VECTORS") else {
            return Vec::new();
        };
        let read = |path: PathBuf| -> Vec<Self> {
            let shown = path.display();
            let text = fs::read(&path).unwrap_or_else(|error| panic!("GATEWAY_VECTORS: {shown}: {error}"));
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("GATEWAY_VECTORS: {shown}: {error}"))
        };
        env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).flat_map(read).collect()
    }

    /// The request that was answered.
    pub fn request(&self) -> Request {
        Request {
            method: self.method.clone(),
            target: self.path.clone(),
            headers: self.req_headers.clone().into_iter().collect(),
            body: self.req_body.clone().map(String::into_bytes),
        }
    }

    /// What is otherwise than recorded.
    fn differences(&self, answer: &Answer, own: &str) -> Vec<String> {
        let mut found = Vec::new();
        if answer.status != self.status {
            found.push(format!("status {}, recorded {}", answer.status, self.status));
        }
        if Body::parse(&answer.text(), Some(own)) != Body::parse(&self.body, None) {
            found.push(format!("body     {}\n    recorded {}", answer.text(), self.body));
        }
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            let have: Vec<&str> = answer
                .headers
                .iter()
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.as_str())
                .collect();
            if !UNCOMPARED.contains(&name.as_str()) && !have.contains(&value.as_str()) {
                found.push(format!("header {name}: {have:?}, recorded {value:?}"));
            }
        }
        found.extend(
            missing_trailers(answer).iter().map(|name| format!("trailer {name} is announced, but missing")),
        );
        found
    }
}

#[test]
fn recorded_exchanges() {
    let echo = Peer::echo(&[]);
    let mut client = Client::new(echo.addr);
    let mut deviations = table("## Deviations");
    deviations.retain(Row::is_recorded);
    let mut deviating = vec![false; deviations.len()];
    let mut failures = Vec::new();

    let recorded = [Vector::recorded(), Vector::more()].concat();
    for vector in &recorded {
        let found = match client.send(&vector.request()) {
            Ok(answer) => vector.differences(&answer, &echo.addr.to_string()),
            Err(error) => vec![format!("no answer: {error}")],
        };
        if found.is_empty() {
            continue;
        }
        let mut excused = false;
        for (deviation, deviating) in deviations.iter().zip(&mut deviating) {
            if deviation.fits(vector) {
                *deviating = true;
                excused = true;
            }
        }
        if !excused {
            failures.push(format!("{}: {}\n    {}", vector.name, vector.request(), found.join("\n    ")));
        }
    }
    let failed = failures.len();
    for (deviation, _) in deviations.iter().zip(deviating).filter(|(_, deviating)| !deviating) {
        failures.push(format!("docs/gateway.md says that {} deviates; nothing does", deviation.what));
    }
    assert!(
        failures.is_empty(),
        "{failed} of {} exchanges fail\n\n{}",
        recorded.len(),
        failures.join("\n\n")
    );
}
