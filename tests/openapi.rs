//! The OpenAPI document: a public validator takes it, schemathesis finds no answer that is
//! not as it says, and streams are what it says, line by line.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{Server, process::Process, python};

/// Python, its imports, and some hundred requests on a machine that others use too.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs a script of `tests/python` against `server`, to its good end.
fn run(script: &str, server: &Server) {
    let mut process = Process::spawn(python(script, &[&server.url()]));
    let status = process.wait_exit(LIMIT);
    let (out, err) = (process.stdout(), process.stderr());
    assert!(status.success(), "{script} ended with {status}\n{out}\n{err}");
    assert!(out.ends_with("conforms"), "{out}\n{err}");
}

fn document(server: &Server) -> Value {
    let answer = server.get("/openapi.json");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

#[test]
fn the_document_is_valid_and_every_answer_is_as_it_says() {
    run("openapi_fuzz.py", &Server::start(&[]));
}

#[test]
fn streams_are_as_the_document_says() {
    run("openapi_watch.py", &Server::start(&[]));
}

#[test]
fn the_document_names_every_path() {
    let server = Server::start(&[]);
    let document = document(&server);
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/health",
            "/healthz",
            "/metrics",
            "/openapi.json",
            "/services",
            "/services/$batchRegister",
            "/services/$register",
            "/services/$watch",
            "/services/{id}",
            "/services/{id}/$ping",
        ]
    );
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let again = server.get("/openapi.json");
    assert_eq!(again.text(), Server::start(&[]).get("/openapi.json").text(), "the same bytes every time");

    for method in ["HEAD", "POST", "DELETE"] {
        assert_eq!(server.http(method, "/openapi.json", &[], b"").status, 501, "{method}");
    }
    let elsewhere = server.http("GET", "/openapi.json", &[("Host", "elsewhere.test")], b"");
    assert_eq!((elsewhere.status, elsewhere.error_code()), (403, 7));
}

#[test]
fn a_prefix_moves_the_paths_of_the_rpcs_only() {
    let server = Server::start(&["--http-prefix", "/v2"]);
    let document = document(&server);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v2/services/$register") && !paths.contains_key("/services/$register"));
    assert!(paths.contains_key("/health") && paths.contains_key("/openapi.json"));
    assert_eq!(server.get("/v2/openapi.json").status, 404);
}
