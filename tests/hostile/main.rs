//! Some hundreds of hostile requests, each answered as the contract says; afterwards the
//! registry holds exactly what it held, and the server never panicked.

#![allow(clippy::unwrap_used)]

mod bytes;
mod grpc;
mod json;
#[path = "../support/mod.rs"]
mod support;

use serde_json::json;
use support::{Server, watch::Watch};

/// A server with something in it to be harmed; nothing lapses by itself.
fn target() -> Server {
    let server = Server::start(&["--default-ttl", "1h"]);
    for (service, port) in [("steady", 1), ("steady", 2), ("other", 3)] {
        let body = json!({
            "service": service,
            "url": format!("http://{service}:{port}"),
            "info": {"kept": true},
            "labels": {"kept": "yes"},
        });
        server.post_registration(&body);
    }
    server
}

/// What went otherwise than expected, over all cases of a table.
#[derive(Default)]
struct Findings {
    cases: usize,
    wrong: Vec<String>,
}

impl Findings {
    /// Notes one case.
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, got: &T, expect: &T) {
        self.cases += 1;
        if got != expect {
            self.wrong.push(format!("{name}: {got:?}, not {expect:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_crowd_changes_nothing() {
    let mut server = target();
    let before = server.get("/services").text();
    let mut watch = Watch::everything(&server).await;

    let mut findings = Findings::default();
    json::bodies(&server, &mut findings);
    json::paths(&server, &mut findings);
    grpc::messages(&server, &mut findings).await;
    grpc::frames(&server, &mut findings).await;
    bytes::requests(&server, &mut findings);

    assert!(
        findings.wrong.is_empty(),
        "{} of {}:\n{}",
        findings.wrong.len(),
        findings.cases,
        findings.wrong.join("\n")
    );
    assert!(findings.cases >= 200, "{} cases", findings.cases);
    assert_eq!(server.get("/services").text(), before, "what lives, and the revision it lives at");
    watch.catch_up(&server).await;
    assert_eq!(watch.seen, [], "no watcher saw anything");
    assert!(server.alive());
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}
