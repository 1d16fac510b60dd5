//! Bytes that are no proper HTTP, and connections that go nowhere.

use std::{
    io::{BufReader, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Findings, Server,
    support::http::{open, read_answer, request_bytes, send_raw},
    target,
};

/// How long a silent server is waited for where nothing may come.
const QUIET: Duration = Duration::from_millis(500);

/// The HTTP/1 status of what came back; `None` where it is no HTTP/1 answer.
fn status(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer.get(..12)?).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// Raw requests, and the status they get; `None` is a connection closed, or left, without
/// an HTTP/1 answer.
pub fn requests(server: &Server, findings: &mut Findings) {
    let get = "GET /services HTTP/1.1\r\nHost: localhost\r\n";
    let post = "POST /services/$register HTTP/1.1\r\nHost: localhost\r\n";
    let body = "{\"id\":\"hostile\",\"url\":\"http://hostile:1\"}";
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("zeros", vec![0; 4_096], Some(400)),
        ("0xff", vec![0xff; 4_096], Some(400)),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Some(400)),
        ("a line of text", b"hello\r\n\r\n".to_vec(), Some(400)),
        ("a method alone", b"GET\r\n\r\n".to_vec(), Some(400)),
        ("HTTP/0.9", b"GET /services\r\n\r\n".to_vec(), Some(400)),
        ("HTTP/9.9", b"GET /services HTTP/9.9\r\nHost: localhost\r\n\r\n".to_vec(), Some(400)),
        ("a header without a colon", format!("{get}nonsense\r\n\r\n").into(), Some(400)),
        ("a blank in a header's name", format!("{get}X Y: z\r\n\r\n").into(), Some(400)),
        ("a NUL in a header", format!("{get}X: a\0b\r\n\r\n").into(), Some(400)),
        ("a negative length", format!("{post}Content-Length: -1\r\n\r\n").into(), Some(400)),
        ("a length of words", format!("{post}Content-Length: many\r\n\r\n").into(), Some(400)),
        (
            "two lengths",
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{body}").into(),
            Some(400),
        ),
        (
            "a length over all bounds",
            format!("{post}Content-Length: 99999999999999999999\r\n\r\n").into(),
            Some(400),
        ),
        ("a length of 10 GiB", format!("{post}Content-Length: 10737418240\r\n\r\n{body}").into(), Some(429)),
        ("a chunk of words", format!("{post}Transfer-Encoding: chunked\r\n\r\nmany\r\n").into(), Some(400)),
        (
            "a transfer coding nobody knows",
            format!("{post}Transfer-Encoding: rot13\r\n\r\n{body}").into(),
            Some(400),
        ),
        ("a header of 2 MiB", format!("{get}X: {}\r\n\r\n", "x".repeat(2 << 20)).into(), Some(431)),
        ("a thousand headers", format!("{get}{}\r\n", "X: y\r\n".repeat(1_000)).into(), Some(431)),
        ("half a preface", b"PRI * HT".to_vec(), None),
        (
            "a preface and garbage",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            None,
        ),
        ("half a request", b"GET /services HTTP/1.1\r\nHost: lo".to_vec(), None),
        ("half a body", format!("{post}Content-Length: 50\r\n\r\n{{").into(), None),
        ("nothing", Vec::new(), None),
    ];
    for (name, bytes, expect) in cases {
        let answer = send_raw(server.addr, &bytes, QUIET);
        findings.check(&format!("bytes: {name}"), &status(&answer), &expect);
    }

    let mut chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..40 {
        chunked.extend_from_slice(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).as_bytes());
    }
    let answer = send_raw(server.addr, &chunked, QUIET);
    findings.check("bytes: chunks over 1 MiB", &status(&answer), &Some(429));

    let grpc = [("Content-Type", "application/grpc"), ("TE", "trailers")];
    let answer = server.http("POST", "/leasehold.v1.Registry/List", &grpc, b"\0\0\0\0\0");
    findings.check("gRPC over HTTP/1.1 is refused", &matches!(answer.status, 400..600), &true);

    pipelined(server, findings);
}

/// Requests that come before the answers to those before them are answered in order, up
/// to the first that is broken.
fn pipelined(server: &Server, findings: &mut Findings) {
    let mut bytes = Vec::new();
    for path in ["/health", "/nowhere", "/services/%zz", "/services?page_size=x"] {
        bytes.extend(request_bytes(server.addr, "GET", path, &[], b""));
    }
    bytes.extend_from_slice(b"\0\0\0\0\r\n\r\n");
    let mut stream = open(server.addr);
    stream.write_all(&bytes).unwrap();
    let mut reader = BufReader::new(stream);
    for expect in [200, 404, 400, 400] {
        // A server may close after a bad request, but not skip one.
        let Ok(answer) = read_answer(&mut reader, false) else { break };
        findings.check("a pipelined request", &answer.status, &expect);
    }
}

#[test]
fn half_open_connections_are_cut_and_keep_nobody_else_waiting() {
    let server = target();
    let starts: [&[u8]; 4] =
        [b"", b"PRI * HT", b"GET /services HTTP/1.1\r\nHost: lo", b"GET /services HTTP/1.1\r\n"];
    let idle: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = open(server.addr);
            stream.write_all(starts[number % starts.len()]).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        let begin = Instant::now();
        assert_eq!(server.get("/services").json()["count"], 3);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    // One that sends a byte of its head now and then is cut as well: what counts is the
    // whole head.
    let mut slow = open(server.addr);
    let slow = thread::spawn(move || {
        slow.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let begin = Instant::now();
        slow.write_all(b"GET /services HTTP/1.1\r\nX: ").unwrap();
        while begin.elapsed() < Duration::from_secs(40) {
            let ended = match slow.read(&mut [0; 64]) {
                Ok(read) => read == 0,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            if ended || slow.write_all(b"x").is_err() {
                return true;
            }
        }
        false
    });
    // The bound is 10 s from accept or from the first byte; the reads wait for 20 s.
    for (number, mut stream) in idle.into_iter().enumerate() {
        let mut rest = Vec::new();
        let closed = match stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(closed, "{:?} was cut", String::from_utf8_lossy(starts[number % starts.len()]));
    }
    assert!(slow.join().unwrap(), "a head that never ends was cut");
    assert_eq!(server.get("/services").json()["count"], 3);
}
