//! A server that runs out of descriptors: it waits without spinning, says so once, and
//! goes on when some come free.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use support::{SOON, Server};

const GET: &[u8] = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// Longer than a served request takes, and than the first retries.
const UNSERVED: Duration = Duration::from_secs(2);

/// Whether `stream` is answered within `limit`.
fn answered(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut start = [0; 12];
    match stream.read_exact(&mut start) {
        Ok(()) => {
            assert_eq!(&start, b"HTTP/1.1 200");
            true
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("cut instead of kept waiting: {error}"),
    }
}

#[test]
fn out_of_descriptors_the_server_waits_and_recovers() {
    let args = ["--log-format", "json", "--log-level", "debug", "--header-timeout", "5m"];
    let mut server = Server::start_with_descriptors(64, &args);
    let mut open = Vec::new();
    let mut waiting = loop {
        assert!(open.len() < 64, "the limit was never reached");
        let mut stream = server.connect();
        stream.write_all(GET).unwrap();
        if !answered(&mut stream, UNSERVED) {
            break stream;
        }
        open.push(stream);
    };
    drop(open);
    assert!(answered(&mut waiting, SOON), "served once others have gone");
    assert!(server.alive());

    let log = server.stderr();
    // One line for the episode, however often accepting failed in it; and few tries.
    assert_eq!(log.matches("\"level\":\"ERROR\"").count(), 1, "{log}");
    let tries = log.matches("still cannot accept").count();
    assert!((1..20).contains(&tries), "{tries} more tries");
}
