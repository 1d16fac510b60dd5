//! gRPC and JSON on one port: which door a request takes, who it is said to come from, and
//! that a bug behind a door costs one request.

use std::io::Write as _;

use leasehold::{
    config::ConnectionLimits,
    proto::{GetRequest, RegisterRequest, registry_client::RegistryClient},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    answer, ask, raw,
    rig::{self, MAX_MESSAGE, Rig},
};

/// The head and body of the answer to a request with these `lines`.
fn http1(rig: &Rig, lines: &[&str]) -> String {
    ask(rig.addr, &format!("{}\r\n\r\n", lines.join("\r\n")))
}

async fn channel(rig: &Rig) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", rig.addr)).expect("a URL");
    endpoint.connect().await.expect("connects")
}

#[tokio::test]
async fn grpc_is_served() {
    let rig = rig::start(ConnectionLimits::default());
    let channel = channel(&rig).await;
    let request = HealthCheckRequest::default();
    HealthClient::new(channel.clone()).check(request).await.expect("healthy");
    let request = RegisterRequest { id: "a".to_owned(), ..Default::default() };
    let response = RegistryClient::new(channel).register(request).await;
    assert_eq!(response.expect("an answer").into_inner().id, "a");
}

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted() {
    let rig = rig::start(ConnectionLimits::default());
    let request = RegisterRequest { id: "a".repeat(MAX_MESSAGE + 1), ..Default::default() };
    let status = RegistryClient::new(channel(&rig).await).register(request).await;
    assert_eq!(status.expect_err("too large").code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_panic_behind_the_grpc_door_costs_one_call() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = RegistryClient::new(channel(&rig).await);
    let status = client.get(GetRequest::default()).await.expect_err("a panic");
    assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    client.register(RegisterRequest::default()).await.expect("lives");
}

#[test]
fn a_panic_behind_the_json_door_costs_one_request() {
    let rig = rig::start(ConnectionLimits::default());
    let mut stream = raw(rig.addr, b"GET /panic HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut body = Vec::new();
    while !body.ends_with(b"}") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).expect("an answer");
        body.extend(byte);
    }
    let said = String::from_utf8(body).expect("text");
    assert!(said.starts_with("HTTP/1.1 500"), "{said}");
    assert!(said.ends_with(r#"{"code":13,"details":[],"message":"internal error"}"#), "{said}");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("writes");
    answer(&mut stream);
    // A body can only panic when the head is out: that connection ends.
    let mut stream = raw(rig.addr, b"GET /panic-late HTTP/1.1\r\nhost: localhost\r\n\r\n");
    crate::read_to_end(&mut stream);
    http1(&rig, &["GET / HTTP/1.1", "host: localhost"]);
}

#[test]
fn the_caller_is_what_the_connection_knows() {
    let rig = rig::start(ConnectionLimits::default());
    let forged =
        ["GET / HTTP/1.1", "host: localhost:7", "x-forwarded-proto: https", "x-forwarded-host: evil"];
    let said = http1(&rig, &forged);
    assert!(said.ends_with("\r\n\r\nhttp localhost:7 0 1\n"), "{said}");
    // An absolute target replaces the Host header (RFC 9112, section 3.2.2).
    let said = http1(&rig, &["GET http://127.0.0.1/ HTTP/1.1", "host: localhost"]);
    assert!(said.ends_with("\r\n\r\nhttp 127.0.0.1 0 1\n"), "{said}");
}

#[test]
fn each_refusal_names_its_reason() {
    let rig = rig::start(ConnectionLimits::default());
    for (lines, status, text) in [
        (&["GET / HTTP/1.1", "host: evil.example:9000"][..], "403", r#""code":7"#),
        (&["GET / HTTP/1.1", "host: evil.example:9000"], "403", "--allowed-host evil.example"),
        (&["GET / HTTP/1.1", "host: evil.example:9000"], "403", r#""details":[]"#),
        (&["GET http://evil.example/ HTTP/1.1", "host: localhost"], "403", r#""code":7"#),
        (&["GET / HTTP/1.1", "host: a b"], "400", r#""code":3"#),
        (&["GET / HTTP/1.1", "host:"], "400", r#""code":3"#),
        (&["GET / HTTP/1.1", "host: localhost", "host: localhost"], "400", r#""code":3"#),
        (&["GET / HTTP/1.1"], "400", r#""code":3"#),
        (&["POST /a HTTP/1.1", "host: localhost", "content-type: application/grpc+proto"], "505", "HTTP/2"),
        (&["GET /health HTTP/1.1", "host: evil.example"], "200", "http evil.example 0 1"),
        (&["GET /healthz HTTP/1.0"], "200", "http  0 1"),
    ] {
        let request = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
        let said = crate::read_to_end(&mut raw(rig.addr, request.as_bytes()));
        let code = said.split(' ').nth(1);
        assert_eq!(code, Some(status), "{lines:?}: {said}");
        assert!(said.contains(text), "{lines:?}: {said}");
    }
}

#[tokio::test]
async fn a_refused_host_reads_as_permission_denied_in_grpc() {
    let rig = rig::start(ConnectionLimits::default());
    let endpoint = Channel::from_shared(format!("http://{}", rig.addr)).expect("a URL");
    let endpoint = endpoint.origin("http://evil.example".parse().expect("a URL"));
    let channel = endpoint.connect().await.expect("connects");
    let status = RegistryClient::new(channel.clone()).register(RegisterRequest::default()).await;
    let status = status.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("--allowed-host evil.example"), "{status}");
    let request = HealthCheckRequest::default();
    HealthClient::new(channel).check(request).await.expect("exempt");
}
