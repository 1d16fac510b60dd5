//! More than one client should have: connections, answers that it does not read, requests.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use leasehold::proto::{BatchRegisterRequest, RegisterRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    attacker,
    support::{
        Serve, Server,
        h2raw::{END_STREAM, Frame, PREFACE, SETTINGS},
        http::{read_answer, request_bytes},
        info,
        peers::{connect_from, loopback, try_connect_from},
        replica,
    },
    withstand, withstand_as,
};

/// Has this process open as many files as it may; how many that are.
fn open_files() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is not allowed, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections() {
    let count = (open_files().saturating_sub(2_000)).min(10_000);
    if count < 10_000 {
        eprintln!("this process may not open more files: {count} connections in place of 10000");
    }
    let limit = "ulimit -n \"$(ulimit -Hn)\" && exec \"$0\" \"$@\"";
    let server = Serve::through(["sh", "-c", limit]).args(["--store", "memory"]).start();
    withstand_as(server, move |attack| {
        let connect = |number: usize| {
            // From several addresses; some say who they are, most nothing.
            let mut stream = try_connect_from(loopback(60 + (number % 4) as u8), attack.addr).ok()?;
            if number.is_multiple_of(4) {
                let mut begin = PREFACE.to_vec();
                begin.extend(Frame::new(SETTINGS, 0, 0, []).encode());
                let _ = stream.write_all(&begin);
            }
            Some(stream)
        };
        let idle: Vec<Option<TcpStream>> = (0..count).map(connect).collect();
        attack.hold(idle);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads() {
    let server = Server::start(&[]);
    let large = |number| RegisterRequest {
        ttl_seconds: 3600,
        info: Some(info("text", &"x".repeat(2_000))),
        ..replica("large", &format!("http://large:{number}"))
    };
    let batch = (0..400).map(large).collect::<BatchRegisterRequest>();
    server.registry().await.batch_register(batch).await.unwrap();
    withstand_as(server, |attack| {
        let held: Vec<TcpStream> = (0..4)
            .map(|_| {
                let mut stream = connect_from(attacker(), attack.addr);
                let mut bytes = PREFACE.to_vec();
                // INITIAL_WINDOW_SIZE 0: not a byte of an answer may be sent.
                bytes.extend(Frame::new(SETTINGS, 0, 0, [0, 4, 0, 0, 0, 0]).encode());
                for stream in (0..25).map(|number| 2 * number + 1) {
                    bytes.extend(Frame::grpc_call(stream, "/leasehold.v1.Registry/List").encode());
                    let mut message = Frame::message(stream, &[]);
                    message.flags = END_STREAM;
                    bytes.extend(message.encode());
                }
                stream.write_all(&bytes).unwrap();
                stream
            })
            .collect();
        // In HTTP/1.1 a window is the socket's: requests without end, and nothing read.
        let mut pipelined = connect_from(attacker(), attack.addr);
        pipelined.set_nonblocking(true).unwrap();
        let get = request_bytes(attack.addr, "GET", "/services", &[], b"");
        for _ in 0..1_000 {
            if pipelined.write_all(&get).is_err() {
                break;
            }
        }
        attack.hold((held, pipelined));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_peer_without_end() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    withstand(&["--max-requests-per-peer", "200"], move |attack| {
        let body = br#"{"service": "noise", "url": "http://noise:1", "ttl_seconds": 600}"#;
        let get = request_bytes(attack.addr, "GET", "/services?service=noise", &[], b"");
        let register = request_bytes(attack.addr, "POST", "/services/$register", &[], body);
        let wave = |addr| {
            let mut stream = connect_from(attacker(), addr);
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for _ in 0..20 {
                stream.write_all(&[&get[..], &register].concat().repeat(50)).unwrap();
                for _ in 0..100 {
                    let answer = read_answer(&mut reader, false).unwrap();
                    assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
                    counted.fetch_add(usize::from(answer.status == 429), Ordering::Relaxed);
                }
            }
        };
        attack.waves(wave);
        // On a machine that is busy it may take some more to be too many.
        while attack.progress.goes_on() && counted.load(Ordering::Relaxed) == 0 {
            wave(attack.addr);
        }
    })
    .await;
    assert!(refused.load(Ordering::Relaxed) > 0, "it asked for more than it may");
}
