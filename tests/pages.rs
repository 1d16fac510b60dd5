//! Web pages of other origins: what a browser sends for them is told by its `Origin` and
//! `Sec-Fetch-Site` headers, and changes nothing unless the operator allows their origin.

#![allow(clippy::unwrap_used)]

mod support;

use leasehold::proto::DeregisterRequest;
use serde_json::json;
use support::{Server, replica};
use tonic::{Code, Request};

const EVIL: (&str, &str) = ("Origin", "http://evil.example");
const CONSOLE: (&str, &str) = ("Origin", "https://console.example");
/// What a page may send without asking first.
const SIMPLE: (&str, &str) = ("Content-Type", "text/plain");

fn urls(server: &Server) -> Vec<String> {
    let list = server.get("/services").json();
    list["services"].as_array().unwrap().iter().map(|one| one["url"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_page_of_another_origin_changes_nothing() {
    let server = Server::start(&[]);
    let known = server.post_registration(&json!({"service": "known", "url": "http://known:1"}));
    let id = known["id"].as_str().unwrap();
    let (ping, one) = (format!("/services/{id}/$ping"), format!("/services/{id}"));
    let body = br#"{"service": "evil", "url": "http://evil:1"}"#;
    for page in [EVIL, ("Origin", "null"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")]
    {
        for (method, path) in [
            ("POST", "/services/$register"),
            ("POST", "/services/$batchRegister"),
            ("PUT", &*ping),
            ("DELETE", &*one),
        ] {
            let answer = server.http(method, path, &[page, SIMPLE], body);
            assert_eq!((answer.status, answer.error_code()), (403, 7), "{method} {path} {page:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(urls(&server), ["http://known:1"]);
    assert!(server.stderr().contains("--cors-origin"), "the log says what would allow it");

    // Its own pages, the user's own doing, and what is no browser at all.
    let own = ("Origin", &*server.url());
    for page in [own, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "none"), ("Accept", "*/*")] {
        assert_eq!(server.http("PUT", &ping, &[page], b"").status, 200, "{page:?}");
    }
    // Reading is the browser's to guard: the page gets no answer to see.
    let read = server.http("GET", "/services", &[EVIL, ("Sec-Fetch-Site", "cross-site")], b"");
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, None));
}

#[test]
fn an_allowed_origin_may_call_and_read() {
    let server = Server::start(&["--cors-origin", "https://console.example"]);
    let asks = [
        CONSOLE,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let preflight = server.http("OPTIONS", "/services/$register", &asks, b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://console.example"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("x-service-key"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("PUT"));

    let body = br#"{"service": "console", "url": "http://console:1"}"#;
    let page = [CONSOLE, ("Sec-Fetch-Site", "cross-site"), ("Content-Type", "application/json")];
    let registered = server.http("POST", "/services/$register", &page, body);
    assert_eq!(registered.status, 200, "{}", registered.text());
    assert_eq!(registered.header("access-control-allow-origin"), Some("https://console.example"));
    assert_eq!(registered.header("vary"), Some("origin"));
    // A refusal can be read as well.
    let refused = server.http("POST", "/services/$register", &page, b"{");
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (400, Some("https://console.example"))
    );

    let other = server.http("OPTIONS", "/services/$register", &[EVIL, asks[1]], b"");
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert_eq!(server.http("POST", "/services/$register", &[EVIL], body).status, 403);
}

#[tokio::test]
async fn grpc_is_guarded_alike() {
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let id = client.register(replica("known", "http://known:1")).await.unwrap().into_inner().id;
    let mut evil = Request::new(replica("evil", "http://evil:1"));
    evil.metadata_mut().insert("origin", "http://evil.example".parse().unwrap());
    assert_eq!(client.register(evil).await.unwrap_err().code(), Code::PermissionDenied);
    let mut evil = Request::new(DeregisterRequest { id, ..DeregisterRequest::default() });
    evil.metadata_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(client.deregister(evil).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(urls(&server), ["http://known:1"]);
}
