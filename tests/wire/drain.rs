//! How a server stops.

use std::time::{Duration, Instant};

use leasehold::{config::ConnectionLimits, transport::Drained};

use crate::{
    answer,
    h2raw::{Client, DATA, Frame, GOAWAY, HEADERS},
    raw, read_to_end,
    rig::{self, KEEP_ALIVE, Setup},
};

#[test]
fn a_stream_gets_its_last_answer_before_the_connection_ends() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = Client::connect(rig.addr);
    client.send(&[Frame::grpc_call(1, KEEP_ALIVE), Frame::message(1, &[])]);
    client.until("an answer", |frame| frame.kind == DATA);
    rig.shut_down();
    let frames = client.read_to_end();
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
    let last = frames.iter().position(|frame| frame.kind == DATA && frame.stream == 1);
    let last = last.expect("retry_after");
    // Field 4 of the response, a message without fields.
    assert_eq!(frames[last].payload, [0, 0, 0, 0, 2, 0x22, 0]);
    assert!(frames[last..].iter().any(|frame| frame.kind == HEADERS && frame.ends_stream()));
    assert_eq!(rig.drained(), Drained { ended: 1, cut: 0 });
}

#[test]
fn what_does_not_end_in_time_is_cut_and_counted() {
    let rig = rig::start_with(Setup {
        drain_timeout: Duration::from_millis(300),
        stubborn: true,
        ..Setup::default()
    });
    let mut client = Client::connect(rig.addr);
    client.send(&[Frame::grpc_call(1, KEEP_ALIVE), Frame::message(1, &[])]);
    client.until("an answer", |frame| frame.kind == DATA);
    assert_eq!(rig.drained(), Drained { ended: 0, cut: 1 });
    client.read_to_end();
}

#[test]
fn idle_and_unborn_connections_end_at_once() {
    let rig = rig::start(ConnectionLimits::default());
    let mut silent = raw(rig.addr, b"");
    let mut http1 = raw(rig.addr, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    answer(&mut http1);
    let mut http2 = Client::connect(rig.addr);
    http2.ping();
    let addr = rig.addr;
    let began = Instant::now();
    rig.shut_down();
    http2.read_to_end();
    assert_eq!(rig.drained(), Drained { ended: 3, cut: 0 });
    assert!(began.elapsed() < Duration::from_secs(5), "waited for the idle");
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(read_to_end(&mut http1), "");
    std::net::TcpStream::connect(addr).expect_err("nobody listens");
}
