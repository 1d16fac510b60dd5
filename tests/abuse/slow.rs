//! Clients that begin something and do not end it.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
};

use crate::{
    Attack, attacker,
    support::{
        h2raw::{END_HEADERS, Frame, HEADERS, PREFACE, SETTINGS, block},
        http::request_bytes,
        peers::{connect_from, try_connect_from},
    },
    withstand,
};

/// Connections that such an attack holds at a time.
const CONNECTIONS: usize = 300;

/// Connections that have sent so much, and nothing since.
fn begun(addr: SocketAddr, bytes: &[u8]) -> Vec<TcpStream> {
    let begin = |_| {
        let mut stream = connect_from(attacker(), addr);
        stream.write_all(bytes).unwrap();
        stream
    };
    (0..CONNECTIONS).map(begin).collect()
}

/// Sends a byte more on each, wave after wave: as slow as it gets without being silent.
fn trickle(attack: &Attack, mut connections: Vec<TcpStream>, byte: u8) {
    attack.waves(|_| {
        for connection in &mut connections {
            // The server may have cut it.
            let _ = connection.write_all(&[byte]);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_preface() {
    withstand(&[], |attack| {
        let silent = begun(attack.addr, b"");
        trickle(attack, begun(attack.addr, &PREFACE[..3]), b'*');
        drop(silent);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers() {
    withstand(&[], |attack| {
        let head = Frame::new(HEADERS, 0, 1, block(&[(":method", "GET"), (":scheme", "http")]));
        let mut http2 = PREFACE.to_vec();
        http2.extend(Frame::new(SETTINGS, 0, 0, []).encode());
        http2.extend(head.encode());
        let begun_in_http2 = begun(attack.addr, &http2);
        trickle(attack, begun(attack.addr, b"GET /services HTTP/1.1\r\nHost: localhost\r\nx: "), b'y');
        drop(begun_in_http2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_body() {
    withstand(&[], |attack| {
        let length = [("content-length", "100000")];
        let http1 = request_bytes(attack.addr, "POST", "/services/$register", &length, b"{");
        let mut http2 = PREFACE.to_vec();
        http2.extend(Frame::new(SETTINGS, 0, 0, []).encode());
        for stream in (0..100).map(|number| 2 * number + 1) {
            http2.extend(Frame::grpc_call(stream, "/leasehold.v1.Registry/Register").encode());
            // The head of a message that never comes.
            http2.extend(Frame::new(0, 0, stream, [0, 0, 1, 0, 0]).encode());
        }
        let begun_in_http2 = begun(attack.addr, &http2);
        trickle(attack, begun(attack.addr, &http1), b' ');
        drop(begun_in_http2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_and_go() {
    let get = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/services/$watch"),
    ]);
    withstand(&[], move |attack| {
        let mut watch = PREFACE.to_vec();
        watch.extend(Frame::new(SETTINGS, 0, 0, []).encode());
        watch.extend(Frame::new(HEADERS, END_HEADERS | 1, 1, get).encode());
        attack.waves(|addr| {
            for _ in 0..200 {
                // Left as soon as it has asked.
                if let Ok(mut stream) = try_connect_from(attacker(), addr) {
                    let _ = stream.write_all(&watch);
                }
            }
        });
    })
    .await;
}
