//! Whose doing the end of a stream is.

use std::{
    io::Write as _,
    net::Shutdown,
    time::{Duration, Instant},
};

use leasehold::{
    call::EndCause::{Client as ByClient, Server as ByServer},
    config::ConnectionLimits,
};

use crate::{
    h2raw::{ACK, CANCEL, Client, DATA, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY, PING},
    raw,
    rig::{self, KEEP_ALIVE, Rig},
};

/// Opens a `KeepAlive` stream, number 1, that has answered one message.
fn stream(rig: &Rig) -> Client {
    let mut client = Client::connect(rig.addr);
    client.send(&[Frame::grpc_call(1, KEEP_ALIVE)]);
    beat(&mut client);
    client
}

/// Sends a message on stream 1 and waits for its answer.
fn beat(client: &mut Client) {
    client.send(&[Frame::message(1, &[])]);
    client.until("an answer", |frame| frame.kind == DATA && frame.stream == 1);
}

/// Limits under which a silent client is found within 500 ms, patience included.
fn short_keepalive() -> ConnectionLimits {
    ConnectionLimits {
        keepalive_interval: Duration::from_millis(200),
        keepalive_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    }
}

/// A client with a stream and the server's ping unanswered.
fn with_ping_in_flight(rig: &Rig) -> (Client, Frame) {
    let mut client = stream(rig);
    client.answers_pings = false;
    let ping = client.until("a ping", |frame| frame.kind == PING && frame.flags & ACK == 0);
    let ack = Frame::new(PING, ACK, 0, ping.payload);
    (client, ack)
}

#[test]
fn a_half_close_is_the_clients() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = stream(&rig);
    client.send(&[Frame::new(DATA, END_STREAM, 1, [])]);
    assert_eq!(rig.cause(), ByClient("stream closed"));
    client.ping();
}

#[test]
fn a_half_close_after_a_quiet_time_is_judged_at_once() {
    let rig = rig::start(short_keepalive());
    let mut client = stream(&rig);
    for _ in 0..2 {
        client.until("a ping", |frame| frame.kind == PING);
    }
    let began = Instant::now();
    client.send(&[Frame::new(DATA, END_STREAM, 1, [])]);
    assert_eq!(rig.cause(), ByClient("stream closed"));
    assert!(began.elapsed() < Duration::from_millis(400), "waited in doubt");
}

#[test]
fn a_cancel_is_the_clients() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = stream(&rig);
    client.send(&[Frame::reset(1, CANCEL)]);
    assert_eq!(rig.cause(), ByClient("stream closed"));
    client.ping();
}

#[test]
fn a_closed_socket_is_the_clients() {
    let rig = rig::start(ConnectionLimits::default());
    let client = stream(&rig);
    client.stream.shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(rig.cause(), ByClient("connection lost"));
}

#[test]
fn a_reset_socket_is_the_clients() {
    let rig = rig::start(ConnectionLimits::default());
    let client = stream(&rig);
    let linger = socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
    linger.expect("an option");
    drop(client);
    assert_eq!(rig.cause(), ByClient("connection lost"));
}

#[test]
fn silence_is_the_clients_and_ends_the_connection() {
    let rig = rig::start(short_keepalive());
    let (mut client, _) = with_ping_in_flight(&rig);
    let began = Instant::now();
    assert_eq!(rig.cause(), ByClient("keepalive unanswered"));
    client.read_to_end();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(150), "closed after {took:?}");
    assert!(took < Duration::from_secs(5), "closed after {took:?}");
}

/// A client that reads nothing fills the socket: GOAWAY cannot be flushed, and the
/// connection must not wait for TCP to give up.
#[test]
fn silence_with_a_full_socket_ends_too() {
    let rig = rig::start(short_keepalive());
    let mut client = stream(&rig);
    client.answers_pings = false;
    // Each ping of ours is answered, until no answer fits in the socket any more.
    let ping = Frame::new(PING, 0, 0, [0; 8]).encode().repeat(1000);
    let timeout = Some(Duration::from_millis(50));
    client.stream.set_write_timeout(timeout).expect("an option");
    while client.stream.write_all(&ping).is_ok() {}
    // Pings wait unread in the server's socket: it cannot say that we were silent.
    let began = Instant::now();
    assert_eq!(rig.cause(), ByServer("late reading"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// The server is blocked from before the keepalive's end until long after it, while the
/// client's answer lies in the socket: the connection lives on.
#[test]
fn a_stall_with_a_ping_in_flight_ends_nothing() {
    let rig = rig::start(short_keepalive());
    let (mut client, ack) = with_ping_in_flight(&rig);
    let _blocker = raw(rig.addr, b"GET /block/700 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    rig.wait_blocked();
    client.send(&[ack]);
    client.answers_pings = true;
    beat(&mut client);
    client.send(&[Frame::new(DATA, END_STREAM, 1, [])]);
    assert_eq!(rig.cause(), ByClient("stream closed"));
}

/// Two stalls: the first makes the keepalive's end be noticed late, the second covers the
/// patience after it. Only then does the client's answer come, unread when hyper gives up.
#[test]
fn an_answer_left_unread_is_our_lateness() {
    let rig = rig::start(short_keepalive());
    let (mut client, ack) = with_ping_in_flight(&rig);
    let _blocker = raw(rig.addr, b"GET /block/400,600 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    rig.wait_blocked();
    rig.wait_blocked();
    client.send(&[ack, Frame::message(1, &[])]);
    assert_eq!(rig.cause(), ByServer("late reading"));
}

#[test]
fn a_socket_closed_during_a_stall_is_the_clients() {
    let rig = rig::start(short_keepalive());
    let (client, _) = with_ping_in_flight(&rig);
    let _blocker = raw(rig.addr, b"GET /block/400,600 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    rig.wait_blocked();
    rig.wait_blocked();
    client.stream.shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(rig.cause(), ByClient("connection lost"));
}

#[test]
fn a_connection_that_the_server_refuses_ends_by_the_server() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = stream(&rig);
    // DATA on stream 0 is a connection error (RFC 9113, section 6.1).
    client.send(&[Frame::new(DATA, 0, 0, [0])]);
    client.until("GOAWAY", |frame| frame.kind == GOAWAY && frame.code() != 0);
    assert_eq!(rig.cause(), ByServer("goaway sent"));
}

#[test]
fn overload_ends_by_the_server() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = stream(&rig);
    let flood: Vec<_> = (1..=60)
        .flat_map(|n| [Frame::grpc_call(2 * n + 1, KEEP_ALIVE), Frame::reset(2 * n + 1, CANCEL)])
        .collect();
    client.send(&flood);
    client.until("GOAWAY", |frame| frame.kind == GOAWAY && frame.code() == ENHANCE_YOUR_CALM);
    assert_eq!(rig.cause(), ByServer("goaway sent"));
}

#[test]
fn a_drain_is_the_servers() {
    let rig = rig::start(ConnectionLimits::default());
    let mut client = stream(&rig);
    rig.shut_down();
    assert_eq!(rig.cause(), ByServer("draining"));
    client.read_to_end();
}

#[test]
fn a_half_close_after_goaway_is_the_servers() {
    let rig = rig::start_with(rig::Setup { stubborn: true, ..rig::Setup::default() });
    let mut client = stream(&rig);
    rig.shut_down();
    client.until("GOAWAY", |frame| frame.kind == GOAWAY);
    client.send(&[Frame::new(DATA, END_STREAM, 1, [])]);
    assert_eq!(rig.cause(), ByServer("draining"));
}

#[test]
fn a_server_that_is_dropped_ends_its_streams_itself() {
    let rig = rig::start(ConnectionLimits::default());
    let _client = stream(&rig);
    rig.abandon();
    assert_eq!(rig.cause(), ByServer("draining"));
}
