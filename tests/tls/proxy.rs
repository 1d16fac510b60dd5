//! The PROXY protocol: who a trusted proxy says it is decides, before TLS and without.

use std::{io::Write as _, net::TcpStream};

use serde_json::Value;

use crate::{
    Secure, connect, exchange, request,
    support::{SOON, Server, wait_for},
};

const TRUSTING: [&str; 2] = ["--trusted-proxy", "127.0.0.0/8"];

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 5000 9000\r\n").into_bytes()
}

fn v2(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x13, 0x88, 0x23, 0x28]);
    header
}

/// What a client behind a proxy, which sends `header`, is answered.
fn behind(server: &Server, header: &[u8], request: &str) -> String {
    exchange(connect(server.addr), &[header, request.as_bytes()].concat())
}

fn register(url: &str) -> String {
    let body = format!(r#"{{"service": "orders", "url": "{url}"}}"#);
    request("POST", "/services/$register", "Content-Type: application/json\r\n", &body)
}

#[track_caller]
fn ok(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[test]
fn the_address_a_trusted_proxy_says_decides_whose_registration_it_is() {
    let server = Server::start(&TRUSTING);
    let (first, second) = (v1("192.0.2.1"), v2([192, 0, 2, 2]));
    ok(&behind(&server, &first, &register("http://10.0.0.1:80")));
    let kept = ok(&behind(&server, &second, &register("http://10.0.0.2:80")));
    // A name stands for the caller's own, where there are several.
    let gone = ok(&behind(&server, &first, &request("DELETE", "/services/orders", "", "")));
    assert_eq!(gone["service"]["url"], "http://10.0.0.1:80");
    let listed = server.get("/services").json();
    assert_eq!((listed["count"].as_u64(), &listed["services"][0]["id"]), (Some(1), &kept["id"]));
}

#[test]
fn a_proxy_is_believed_before_tls() {
    let secure = Secure::start(&TRUSTING);
    let over = |header: &[u8], request: &str| {
        let mut socket: TcpStream = connect(secure.server.addr);
        socket.write_all(header).unwrap();
        exchange(secure.over(socket), request.as_bytes())
    };
    let (first, second) = (v2([192, 0, 2, 1]), v1("192.0.2.2"));
    ok(&over(&first, &register("http://10.0.0.1:80")));
    ok(&over(&second, &register("http://10.0.0.2:80")));
    let gone = ok(&over(&second, &request("DELETE", "/services/orders", "", "")));
    assert_eq!(gone["service"]["url"], "http://10.0.0.2:80");
    // Without a header, it is the proxy's own.
    ok(&over(b"", &request("GET", "/health", "", "")));
}

#[test]
fn forwarded_headers_of_who_comes_through_a_proxy_are_judged_by_its_own_address() {
    let server = Server::start(&TRUSTING);
    ok(&behind(&server, &v1("192.0.2.1"), &register("http://10.0.0.1:80")));
    ok(&behind(&server, &v1("192.0.2.2"), &register("http://10.0.0.2:80")));
    let lie = request("DELETE", "/services/orders", "X-Forwarded-For: 192.0.2.1\r\n", "");
    let gone = ok(&behind(&server, &v1("192.0.2.2"), &lie));
    assert_eq!(gone["service"]["url"], "http://10.0.0.2:80");
    // One who comes through two proxies, the second of which says so in headers.
    let chain = request("DELETE", "/services/orders", "X-Forwarded-For: 192.0.2.1\r\n", "");
    let gone = ok(&behind(&server, &v1("127.0.0.9"), &chain));
    assert_eq!(gone["service"]["url"], "http://10.0.0.1:80");
}

#[test]
fn what_names_nobody_leaves_the_proxys_address() {
    let server = Server::start(&TRUSTING);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&b"PROXY UNKNOWN\r\n"[..], local, b""] {
        ok(&behind(&server, header, &request("GET", "/health", "", "")));
    }
}

#[test]
fn a_bad_header_ends_the_connection_and_a_strangers_is_bad_http() {
    let server = Server::start(&TRUSTING);
    for header in [&b"PROXY TCP4 nobody\r\n"[..], b"PROXY of nothing at all\r\n"] {
        assert_eq!(behind(&server, header, &request("GET", "/health", "", "")), "");
    }
    wait_for("lines in the log", SOON, || {
        (server.stderr().matches("the proxy's PROXY header cannot be read").count() == 2).then_some(())
    });
    let untrusting = Server::start(&[]);
    for header in [v1("192.0.2.1"), v2([192, 0, 2, 1])] {
        let said = behind(&untrusting, &header, &request("GET", "/health", "", ""));
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    }
}
