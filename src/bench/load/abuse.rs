//! What hostile clients do, from another address of this machine and on threads of their own, so
//! that the load generator's is not held up.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

use crate::bench::Result;

/// Threads that flood, each over one connection at a time.
const THREADS: usize = 2;
/// Where it comes from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// When the socket takes nothing and gives nothing.
const PAUSE: Duration = Duration::from_micros(200);
/// Frames, or requests, of one connection.
const FRAMES: u32 = 10_000;

/// A way to be a nuisance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Streams that are opened and reset.
    RapidReset,
    /// PING frames.
    Pings,
    /// SETTINGS frames.
    Settings,
    /// Connections that say nothing; so many.
    Idle(usize),
    /// Registrations over HTTP/1.1, pipelined, as fast as they are taken.
    NoisyPeer,
}

/// An attack that goes on until this is dropped.
#[derive(Debug)]
pub struct Attack {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _idle: Vec<TcpStream>,
}

impl Pattern {
    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid resets",
            Self::Pings => "a ping flood",
            Self::Settings => "a settings flood",
            Self::Idle(_) => "idle connections",
            Self::NoisyPeer => "a noisy peer",
        }
    }

    /// Begins it.
    pub fn begin(self, address: SocketAddr) -> Result<Attack> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut threads, mut idle) = (Vec::new(), Vec::new());
        if let Self::Idle(count) = self {
            for _ in 0..count {
                idle.push(connect(address)?);
            }
        } else {
            let bytes: Arc<[u8]> = self.bytes().into();
            for _ in 0..THREADS {
                let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&bytes));
                threads.push(thread::spawn(move || {
                    yield_to_others();
                    while !stop.load(Ordering::Relaxed) {
                        pour(address, &bytes, &stop);
                    }
                }));
            }
        }
        Ok(Attack { stop, threads, _idle: idle })
    }

    /// What one connection sends.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut bytes, 4, 0, 0, &[]);
        for number in 0..FRAMES {
            match self {
                Self::RapidReset => {
                    let stream = 2 * number + 1;
                    frame(&mut bytes, 1, 4, stream, &call("/leasehold.v1.Registry/List"));
                    frame(&mut bytes, 3, 0, stream, &8_u32.to_be_bytes());
                }
                Self::Pings => frame(&mut bytes, 6, 0, 0, &u64::from(number).to_be_bytes()),
                Self::Settings => {
                    let [a, b, c, d] = (4096 * (number % 2)).to_be_bytes();
                    frame(&mut bytes, 4, 0, 0, &[0, 1, a, b, c, d]);
                }
                Self::Idle(_) | Self::NoisyPeer => {}
            }
        }
        if self != Self::NoisyPeer {
            return bytes;
        }
        let register = |number| {
            let body = format!(r#"{{"service":"noise-{}","url":"http://noise:1/{number}"}}"#, number % 1_000);
            format!(
                "POST /services/$register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        (0..FRAMES).map(register).collect::<String>().into_bytes()
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whether it panicked changes nothing any more.
            let _ = thread.join();
        }
    }
}

/// Gives this thread what CPU the server and the honest client leave: in earnest the abuser has a
/// machine of its own.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    // Where that is not allowed, it competes.
    let _ = rustix::process::setpriority_process(None, 19);
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, None).context("cannot make a socket")?;
    // Where the machine has no such address, it comes from where all do.
    let _ = socket.bind(&SocketAddr::from((SOURCE, 0)).into());
    socket
        .connect_timeout(&address.into(), Duration::from_secs(5))
        .with_context(|| format!("cannot connect to {address}"))?;
    Ok(socket.into())
}

/// Sends `bytes` over a new connection as fast as they are taken, and throws away what is said
/// of them.
fn pour(address: SocketAddr, bytes: &[u8], stop: &AtomicBool) {
    let Ok(mut stream) = connect(address) else { return thread::sleep(PAUSE) };
    if stream.set_nonblocking(true).is_err() {
        return;
    }
    let (mut sent, mut heard) = (0, [0; 1 << 14]);
    while sent < bytes.len() && !stop.load(Ordering::Relaxed) {
        let wrote = stream.write(&bytes[sent..]);
        let read = stream.read(&mut heard);
        let waits = |result: &std::io::Result<usize>| {
            result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        match (&wrote, &read) {
            (Ok(more), _) => sent += more,
            (Err(_), _) if !waits(&wrote) => return,
            (Err(_), read) if waits(read) => thread::sleep(PAUSE),
            (Err(_), Ok(1..)) => {}
            (Err(_), _) => return,
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The headers of a gRPC call, as literals (RFC 7541, section 6.2.2).
fn call(path: &str) -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut out = Vec::new();
    for (name, value) in headers {
        out.push(0);
        for text in [name, value] {
            // All are shorter than 127.
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}
