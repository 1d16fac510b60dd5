//! An HTTP/2 client made of frames, for tests of what a well-behaved client never sends.
//! It blocks, and never sleeps: every wait is a read with a timeout.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long what must come is waited for, other frames coming or not.
const PATIENCE: Duration = Duration::from_secs(15);

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

/// Flags; ACK and `END_STREAM` share a bit.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113, section 7).
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A reset of `stream`.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// A gRPC message of `bytes`, as a DATA frame.
    pub fn message(stream: u32, bytes: &[u8]) -> Self {
        let mut payload = vec![0];
        payload.extend((bytes.len() as u32).to_be_bytes());
        payload.extend(bytes);
        Self::new(DATA, 0, stream, payload)
    }

    /// HEADERS of a gRPC call of `path`, its body open.
    pub fn grpc_call(stream: u32, path: &str) -> Self {
        let block = block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]);
        Self::new(HEADERS, END_HEADERS, stream, block)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The error code of a reset or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A header block of literals that are not indexed (RFC 7541, section 6.2.2).
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a 7-bit prefix (RFC 7541, section 5.1).
fn length(bytes: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return bytes.push(value as u8);
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A connection. Settings and, unless told otherwise, pings are acknowledged while it is
/// read from.
pub struct Client {
    pub stream: TcpStream,
    /// Whether the server's pings are answered.
    pub answers_pings: bool,
}

impl Client {
    /// Connects and sends the preface and empty settings.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).expect("connects"))
    }

    /// The same over a connection that is open.
    pub fn over(mut stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        stream.write_all(PREFACE).expect("writes");
        let mut client = Self { stream, answers_pings: true };
        client.send(&[Frame::new(SETTINGS, 0, 0, [])]);
        client
    }

    /// Sends `frames` in one write.
    pub fn send(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        self.stream.write_all(&bytes).expect("writes");
    }

    /// The next frame; none at the connection's end, by reset or otherwise.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        let frame = Frame::new(head[3], head[4], stream, payload);
        let answered = match frame.kind {
            SETTINGS => true,
            PING => self.answers_pings,
            _ => false,
        };
        if answered && frame.flags & ACK == 0 {
            let payload = match frame.kind {
                PING => frame.payload.clone(),
                _ => Vec::new(),
            };
            let ack = Frame::new(frame.kind, ACK, 0, payload);
            // The server may be gone by now; the next read tells.
            let _ = self.stream.write_all(&ack.encode());
        }
        Some(frame)
    }

    /// Reads until a frame that `wanted` accepts.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.next() {
                Some(frame) if wanted(&frame) => return frame,
                Some(_) => {}
                None => panic!("the connection ended before {what}"),
            }
        }
        panic!("no {what} in {PATIENCE:?}");
    }

    /// Reads to the connection's end; the frames that came.
    pub fn read_to_end(&mut self) -> Vec<Frame> {
        let began = Instant::now();
        let frames = std::iter::from_fn(|| self.next());
        frames.inspect(|_| assert!(began.elapsed() < PATIENCE, "the connection does not end")).collect()
    }

    /// Proves that the connection lives and the server has read all that was sent: a ping
    /// of ours is answered.
    pub fn ping(&mut self) {
        let payload = *b"roundtrp";
        self.send(&[Frame::new(PING, 0, 0, payload)]);
        self.until("the answer to our ping", |frame| {
            frame.kind == PING && frame.flags & ACK != 0 && frame.payload == payload
        });
    }

    fn fill(&mut self, buf: &mut [u8]) -> Option<()> {
        self.stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        match self.stream.read_exact(buf) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("nothing came for {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }
}
