//! HTTP/2 by hand, just enough to hold a KeepAlive stream and to decide when a PING of the
//! server is answered: a proper client library answers at once.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use leasehold::proto::{KeepAliveRequest, KeepAliveResponse};
use prost::Message as _;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What the server said, as far as a KeepAlive client cares.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// An answer of the stream.
    Answer(KeepAliveResponse),
    /// A PING that waits for [`RawKeepAlive::answer_ping`].
    Ping([u8; 8]),
    /// The stream or the connection is over, and by which frame.
    Ended(&'static str),
}

/// An open KeepAlive stream on a connection of its own.
pub struct RawKeepAlive {
    socket: TcpStream,
    read: Vec<u8>,
}

impl RawKeepAlive {
    /// Connects and opens the stream; nothing is attached.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        socket.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut stream = Self { socket, read: Vec::new() };
        stream.socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.send(SETTINGS, 0, 0, &[])?;
        stream.send(HEADERS, END_HEADERS, 1, &request_headers(addr))?;
        Ok(stream)
    }

    /// One beat with these ids.
    pub fn beat(&mut self, ids: &[String]) -> io::Result<()> {
        let message = KeepAliveRequest { ids: ids.to_vec(), ..KeepAliveRequest::default() }.encode_to_vec();
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).expect("a short message").to_be_bytes());
        framed.extend_from_slice(&message);
        self.send(DATA, 0, 1, &framed)
    }

    /// Answers a PING.
    pub fn answer_ping(&mut self, payload: [u8; 8]) -> io::Result<()> {
        self.send(PING, ACK, 0, &payload)
    }

    /// What came next; `None` when nothing does for some milliseconds.
    pub fn heard(&mut self) -> io::Result<Option<Heard>> {
        let mut part = [0; 4096];
        match self.socket.read(&mut part) {
            Ok(0) => return Ok(Some(Heard::Ended("the connection was closed"))),
            Ok(read) => self.read.extend_from_slice(&part[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        while let Some((kind, flags, payload)) = self.next_frame() {
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[])?,
                PING if flags & ACK == 0 => {
                    return Ok(Some(Heard::Ping(payload.try_into().expect("eight bytes"))));
                }
                DATA if !payload.is_empty() => {
                    let answer = KeepAliveResponse::decode(&payload[5..]).expect("one message a frame");
                    return Ok(Some(Heard::Answer(answer)));
                }
                DATA | HEADERS if flags & END_STREAM != 0 => return Ok(Some(Heard::Ended("END_STREAM"))),
                RST_STREAM => return Ok(Some(Heard::Ended("RST_STREAM"))),
                GOAWAY => return Ok(Some(Heard::Ended("GOAWAY"))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Takes a whole frame off what was read: kind, flags, payload.
    fn next_frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let head = self.read.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        if self.read.len() < 9 + length {
            return None;
        }
        let frame: Vec<u8> = self.read.drain(..9 + length).collect();
        Some((kind, flags, frame[9..].to_vec()))
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.socket.write_all(&frame)
    }
}

/// The request's header block (RFC 7541): fields of the static table, and literals without
/// indexing.
fn request_headers(addr: SocketAddr) -> Vec<u8> {
    let literal = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).expect("a short text"));
        block.extend_from_slice(text.as_bytes());
    };
    // :method POST, :scheme http.
    let mut block = vec![0x83, 0x86];
    // :path, then :authority.
    block.push(0x04);
    literal(&mut block, "/leasehold.v1.Registry/KeepAlive");
    block.push(0x01);
    literal(&mut block, &addr.to_string());
    // content-type, the static table's entry 31.
    block.extend_from_slice(&[0x0f, 0x10]);
    literal(&mut block, "application/grpc");
    block.push(0x00);
    literal(&mut block, "te");
    literal(&mut block, "trailers");
    block
}
