//! Plain text on a port that speaks TLS.

use crate::{
    Secure, connect, exchange,
    support::{SOON, wait_for},
};

#[test]
fn plain_http_is_told_to_use_tls() {
    let secure = Secure::start(&[]);
    for text in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /services/$register HTTP/1.1\r\n\r\n"] {
        let said = exchange(connect(secure.server.addr), text.as_bytes());
        assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
        assert!(said.ends_with("\r\n\r\nthis port speaks TLS; use https://\n"), "{said}");
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let said = exchange(connect(secure.server.addr), preface);
    assert!(said.ends_with("this port speaks TLS; use https://"), "{said:?}");
    let said = exchange(connect(secure.server.addr), b"\0\x01\x02");
    assert_eq!(said, "");
}

#[test]
fn a_broken_handshake_ends_its_own_connection_and_is_logged() {
    let secure = Secure::start(&[]);
    let said = exchange(connect(secure.server.addr), b"\x16\x03\x01\0\x05hello");
    assert!(said.len() < 16, "an alert: {said:?}");
    wait_for("a line in the log", SOON, || {
        secure.server.stderr().contains("a connection failed at its start").then_some(())
    });
    let answer = exchange(
        secure.over(connect(secure.server.addr)),
        crate::request("GET", "/health", "", "").as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn ping_urls_are_https() {
    let secure = Secure::start(&[]);
    let body = r#"{"service": "orders", "url": "http://10.0.0.1:80"}"#;
    let register = crate::request("POST", "/services/$register", "Content-Type: application/json\r\n", body);
    let answer = exchange(secure.over(connect(secure.server.addr)), register.as_bytes());
    assert!(answer.contains(r#""ping_url":"https://localhost/services/"#), "{answer}");
}

#[test]
fn a_handshake_has_a_deadline() {
    let secure = Secure::start(&["--handshake-timeout", "300ms"]);
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        assert_eq!(exchange(connect(secure.server.addr), begun), "");
    }
}
