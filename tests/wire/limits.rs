//! What a connection may take, and that each limit costs the client its connection or
//! stream, never the server.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use leasehold::config::ConnectionLimits;

use crate::{
    answer, ask,
    h2raw::{
        CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS,
        PREFACE, REFUSED_STREAM, RST_STREAM, SETTINGS, block,
    },
    raw, read_to_end,
    rig::{self, KEEP_ALIVE, REGISTER},
};

const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The deadline under test, where there is one.
const DEADLINE: Duration = Duration::from_millis(300);

/// Expects the server to close `stream` at [`DEADLINE`] after `began`; what it said.
fn closed_at_deadline(stream: &mut TcpStream, began: Instant) -> String {
    let said = read_to_end(stream);
    let took = began.elapsed();
    assert!(took >= DEADLINE, "closed after {took:?}");
    assert!(took < DEADLINE + Duration::from_secs(5), "closed after {took:?}");
    said
}

/// Expects that nothing comes from `stream` for a while.
fn says_nothing(stream: &mut TcpStream) {
    let before = stream.read_timeout().expect("an option");
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    let error = stream.read(&mut [0]).expect_err("nothing to read");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    stream.set_read_timeout(before).expect("an option");
}

#[test]
fn the_limits_are_advertised() {
    let rig = rig::start(ConnectionLimits { max_streams: 7, ..ConnectionLimits::default() });
    let mut client = Client::connect(rig.addr);
    let settings = client.until("settings", |frame| frame.kind == SETTINGS).payload;
    let setting = |id: u16| {
        let mut entries = settings.chunks(6);
        let entry = entries.find(|entry| entry[..2] == id.to_be_bytes());
        entry.map(|entry| u32::from_be_bytes(entry[2..].try_into().expect("four bytes")))
    };
    assert_eq!(setting(3), Some(7), "MAX_CONCURRENT_STREAMS");
    assert_eq!(setting(4), Some(256 << 10), "INITIAL_WINDOW_SIZE");
    assert_eq!(setting(6), Some(16 << 10), "MAX_HEADER_LIST_SIZE");
}

#[test]
fn a_stream_beyond_the_limit_is_refused_and_the_others_live() {
    let rig = rig::start(ConnectionLimits { max_streams: 2, ..ConnectionLimits::default() });
    let mut client = Client::connect(rig.addr);
    client.send(&[1, 3, 5].map(|stream| Frame::grpc_call(stream, KEEP_ALIVE)));
    let reset = client.until("a reset", |frame| frame.kind == RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (5, REFUSED_STREAM));
    client.send(&[Frame::message(3, &[])]);
    client.until("an answer", |frame| frame.kind == DATA && frame.stream == 3);
}

#[test]
fn a_rapid_reset_flood_ends_the_connection() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = Client::connect(rig.addr);
    let flood: Vec<_> = (0..60)
        .map(|n| 2 * n + 1)
        .flat_map(|stream| [Frame::grpc_call(stream, REGISTER), Frame::reset(stream, 8)])
        .collect();
    client.send(&flood);
    let goaway = client.until("GOAWAY", |frame| frame.kind == GOAWAY);
    assert_eq!(goaway.code(), ENHANCE_YOUR_CALM);
    client.read_to_end();
    assert!(ask(rig.addr, GET).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_flood_of_faulty_streams_ends_the_connection() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = Client::connect(rig.addr);
    // A request without a method is malformed (RFC 9113, section 8.3.1).
    let faulty = block(&[(":scheme", "http"), (":path", "/")]);
    let flood: Vec<_> = (0..1_200)
        .map(|n| Frame::new(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, faulty.clone()))
        .collect();
    client.send(&flood);
    let goaway = client.until("GOAWAY", |frame| frame.kind == GOAWAY);
    assert_eq!(goaway.code(), ENHANCE_YOUR_CALM);
    client.read_to_end();
    assert!(ask(rig.addr, GET).starts_with("HTTP/1.1 200"));
}

#[test]
fn headers_beyond_the_limit_are_refused_and_the_connection_lives() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = Client::connect(rig.addr);
    let large = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/"),
        ("large", &"x".repeat(20 << 10)),
    ]);
    let (first, rest) = large.split_at(16 << 10);
    client.send(&[Frame::new(HEADERS, END_STREAM, 1, first), Frame::new(CONTINUATION, END_HEADERS, 1, rest)]);
    // 431, a literal with the static table's :status (8) as its name, Huffman-coded.
    let refused = client.until("an answer", |frame| frame.stream == 1);
    assert_eq!(refused.kind, HEADERS);
    assert!(refused.ends_stream());
    assert_eq!(refused.payload[..4], [0x48, 0x83, 0x69, 0x90]);
    client.ping();

    let large = format!("GET / HTTP/1.1\r\nhost: localhost\r\nlarge: {}\r\n\r\n", "x".repeat(20 << 10));
    let said = read_to_end(&mut raw(rig.addr, large.as_bytes()));
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
}

#[test]
fn silence_and_half_a_preface_end_at_the_handshake_deadline() {
    let rig = rig::start(ConnectionLimits { handshake_timeout: DEADLINE, ..ConnectionLimits::default() });
    for bytes in [&b""[..], &PREFACE[..10]] {
        let began = Instant::now();
        let mut stream = raw(rig.addr, bytes);
        assert_eq!(closed_at_deadline(&mut stream, began), "");
    }
}

#[test]
fn half_a_header_and_an_idle_http1_connection_end_at_the_header_deadline() {
    let rig = rig::start(ConnectionLimits { header_timeout: DEADLINE, ..ConnectionLimits::default() });
    let began = Instant::now();
    let mut half = raw(rig.addr, b"GET / HTTP/1.1\r\nhost: loc");
    let said = closed_at_deadline(&mut half, began);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");

    let mut idle = raw(rig.addr, GET.as_bytes());
    answer(&mut idle);
    idle.write_all(GET.as_bytes()).expect("the connection is kept");
    let began = Instant::now();
    answer(&mut idle);
    closed_at_deadline(&mut idle, began);
}

#[test]
fn a_body_that_does_not_arrive_errs_and_a_stream_may_wait() {
    let rig = rig::start(ConnectionLimits { body_timeout: DEADLINE, ..ConnectionLimits::default() });
    let mut client = Client::connect(rig.addr);
    client.send(&[
        Frame::grpc_call(1, KEEP_ALIVE),
        Frame::grpc_call(3, REGISTER),
        Frame::new(DATA, 0, 3, [0, 0, 0, 0, 9, 1]),
    ]);
    let began = Instant::now();
    let refused = client.until("an answer", |frame| frame.stream == 3 && frame.ends_stream());
    assert!(began.elapsed() >= DEADLINE / 2);
    // Nothing but headers: an error.
    assert_eq!(refused.kind, HEADERS);
    client.send(&[Frame::message(1, &[])]);
    client.until("an answer", |frame| frame.kind == DATA && frame.stream == 1);

    let half = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf";
    let said = ask(rig.addr, half);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(said.ends_with("DeadlineExceeded\n"), "{said}");
}

#[test]
fn at_the_cap_the_longest_idle_connection_gives_way() {
    let rig = rig::start(ConnectionLimits { max_connections: 2, ..ConnectionLimits::default() });
    let mut first = Client::connect(rig.addr);
    first.ping();
    let mut second = raw(rig.addr, GET.as_bytes());
    answer(&mut second);
    let mut third = raw(rig.addr, GET.as_bytes());
    answer(&mut third);
    let frames = first.read_to_end();
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() == 0), "{frames:?}");
    second.write_all(GET.as_bytes()).expect("it was left alone");
    answer(&mut second);
}

#[test]
fn beyond_the_cap_a_connection_waits_while_the_others_have_streams() {
    let rig = rig::start(ConnectionLimits { max_connections: 2, ..ConnectionLimits::default() });
    let mut streams = [Client::connect(rig.addr), Client::connect(rig.addr)];
    for client in &mut streams {
        client.send(&[Frame::grpc_call(1, KEEP_ALIVE), Frame::message(1, &[])]);
        client.until("an answer", |frame| frame.kind == DATA);
    }
    let mut third = raw(rig.addr, GET.as_bytes());
    says_nothing(&mut third);
    let [first, mut second] = streams;
    drop(first);
    answer(&mut third);
    second.send(&[Frame::message(1, &[])]);
    second.until("an answer", |frame| frame.kind == DATA);
}
