//! gRPC over HTTP/2, as little of it as a load generator needs: requests' headers go through
//! HPACK's dynamic table as any client's do, flow control is kept, but the answers' headers are
//! not read. A call that was answered with a message was answered well, since an error has none;
//! why one failed is for a complete client to find out.

use std::{collections::VecDeque, io::ErrorKind, net::SocketAddr, time::Instant};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{io::Interest, net::TcpStream, time::timeout_at};

use crate::bench::Result;

mod frame;
mod hpack;
#[cfg(test)]
mod tests;

use frame::{Head, Kind};
use hpack::Table;

/// What we grant the server, per stream and per connection; renewed when half is used.
const WINDOW: u32 = 0x7fff_ffff;
/// What everyone is granted until they hear otherwise: RFC 9113, 6.5.2 and 6.9.2.
const DEFAULT_WINDOW: i64 = 65_535;
const DEFAULT_FRAME: usize = 16_384;
/// Room for one read.
const READ: usize = 1 << 16;

/// A connection, with all streams that are open on it.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    out: Vec<u8>,
    written: usize,
    read: BytesMut,
    table: Table,
    window: i64,
    stream_window: i64,
    frame: usize,
    received: u32,
    /// Open streams, from number `first` on; ended ones in between are none.
    streams: VecDeque<Option<Stream>>,
    first: u32,
    /// Streams with bytes that no window had room for.
    blocked: VecDeque<u32>,
}

#[derive(Debug)]
struct Stream {
    window: i64,
    received: u32,
    /// Bytes that wait for the window.
    waiting: Vec<u8>,
    ends: bool,
    /// The begin of a message.
    partial: BytesMut,
    messages: u64,
    since: Instant,
}

/// What a server said.
#[derive(Debug)]
pub struct Heard {
    /// On which stream.
    pub stream: u32,
    /// What was given to [`Connection::call`].
    pub since: Instant,
    /// What.
    pub what: What,
}

/// See [`Heard`].
#[derive(Debug)]
pub enum What {
    /// A message, without its prefix.
    Message(Bytes),
    /// The stream's end.
    End {
        /// It was not reset.
        in_order: bool,
        /// Messages that came before.
        messages: u64,
    },
}

impl Connection {
    /// Connects, and sends what every connection begins with.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let socket =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let mut out = frame::PREFACE.to_vec();
        frame::settings(&mut out, WINDOW);
        frame::window_update(&mut out, 0, WINDOW - DEFAULT_WINDOW as u32);
        Ok(Self {
            socket,
            out,
            written: 0,
            read: BytesMut::with_capacity(READ),
            table: Table::new(&address.to_string()),
            window: DEFAULT_WINDOW,
            stream_window: DEFAULT_WINDOW,
            frame: DEFAULT_FRAME,
            received: 0,
            streams: VecDeque::new(),
            first: 0,
            blocked: VecDeque::new(),
        })
    }

    /// Begins a call of `path` (`/package.Service/Method`); `since` is given back with what is
    /// heard of it. Sent with the next [`exchange`](Self::exchange).
    pub fn call(&mut self, path: &'static str, since: Instant) -> u32 {
        let number = self.first + self.streams.len() as u32;
        let id = 2 * number + 1;
        let at = frame::begin(&mut self.out, Kind::HEADERS, frame::END_HEADERS, id);
        self.table.write(path, &mut self.out);
        frame::end(&mut self.out, at);
        self.streams.push_back(Some(Stream {
            window: self.stream_window,
            received: 0,
            waiting: Vec::new(),
            ends: false,
            partial: BytesMut::new(),
            messages: 0,
            since,
        }));
        id
    }

    /// Sends bytes on a stream: messages with their prefixes, see [`prefix`]. `ends` half-closes it.
    /// Nothing happens on a stream that has ended.
    pub fn send(&mut self, id: u32, bytes: &[u8], ends: bool) {
        let (mut window, frame) = (self.window, self.frame);
        let Some(stream) = stream(&mut self.streams, self.first, id) else { return };
        stream.ends |= ends;
        if stream.waiting.is_empty() {
            let sent = frame::data(&mut self.out, id, bytes, ends, frame, window.min(stream.window));
            stream.window -= sent as i64;
            window -= sent as i64;
            self.window = window;
            if sent == bytes.len() {
                return;
            }
            stream.waiting.extend_from_slice(&bytes[sent..]);
            self.blocked.push_back(id);
        } else {
            stream.waiting.extend_from_slice(bytes);
        }
    }

    /// Resets a stream: `CANCEL`.
    pub fn cancel(&mut self, id: u32) {
        if stream(&mut self.streams, self.first, id).is_some() {
            frame::reset(&mut self.out, id);
            self.forget(id);
        }
    }

    /// Sends what waits, and reads until there is something to hear.
    pub async fn exchange(&mut self, heard: &mut Vec<Heard>) -> Result<()> {
        loop {
            self.write()?;
            self.read.reserve(READ);
            match self.socket.try_read_buf(&mut self.read) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(_) => {
                    self.take_frames(heard)?;
                    if !heard.is_empty() {
                        return self.write();
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the connection broke"),
            }
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            self.socket.ready(interest).await.context("the connection broke")?;
        }
    }

    /// The same, but until then at most.
    pub async fn exchange_until(&mut self, heard: &mut Vec<Heard>, until: Option<Instant>) -> Result<()> {
        match until {
            None => self.exchange(heard).await,
            // Nothing is lost when an exchange is broken off: it only waits for the socket.
            Some(until) => timeout_at(until.into(), self.exchange(heard)).await.unwrap_or(Ok(())),
        }
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.socket.try_write(&self.out[self.written..]) {
                Ok(sent) => self.written += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the connection broke"),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn take_frames(&mut self, heard: &mut Vec<Heard>) -> Result<()> {
        while let Some(head) = Head::read(&self.read) {
            if self.read.len() < Head::SIZE + head.length {
                break;
            }
            self.read.advance(Head::SIZE);
            let payload = self.read.split_to(head.length).freeze();
            self.take(&head, payload, heard)?;
        }
        Ok(())
    }

    fn take(&mut self, head: &Head, payload: Bytes, said: &mut Vec<Heard>) -> Result<()> {
        match head.kind {
            Kind::DATA => {
                self.grant(head);
                let data = head.without_padding(payload)?;
                self.messages(head.stream, data, said)?;
            }
            Kind::RESET => self.ended(head.stream, false, said),
            Kind::SETTINGS if !head.has(frame::ACK) => self.settle(&payload),
            Kind::PING if !head.has(frame::ACK) => frame::pong(&mut self.out, &payload),
            Kind::WINDOW_UPDATE if payload.len() >= 4 => {
                let more = i64::from((&payload[..4]).get_u32() & WINDOW);
                if head.stream == 0 {
                    self.window += more;
                } else if let Some(stream) = stream(&mut self.streams, self.first, head.stream) {
                    stream.window += more;
                }
                self.unblock();
            }
            Kind::GOAWAY => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                bail!("the server ends the connection: GOAWAY {reason}");
            }
            _ => {}
        }
        if matches!(head.kind, Kind::DATA | Kind::HEADERS) && head.has(frame::END_STREAM) {
            self.ended(head.stream, true, said);
        }
        Ok(())
    }

    /// Lets the server send on, once it has used up half of what it may.
    fn grant(&mut self, head: &Head) {
        let length = head.length as u32;
        self.received += length;
        if self.received > WINDOW / 2 {
            frame::window_update(&mut self.out, 0, self.received);
            self.received = 0;
        }
        if let Some(stream) = stream(&mut self.streams, self.first, head.stream) {
            stream.received += length;
            if stream.received > WINDOW / 2 {
                frame::window_update(&mut self.out, head.stream, stream.received);
                stream.received = 0;
            }
        }
    }

    fn messages(&mut self, id: u32, mut data: Bytes, heard: &mut Vec<Heard>) -> Result<()> {
        let Some(stream) = stream(&mut self.streams, self.first, id) else { return Ok(()) };
        if !stream.partial.is_empty() {
            stream.partial.extend_from_slice(&data);
            data = std::mem::take(&mut stream.partial).freeze();
        }
        while data.len() >= PREFIX {
            let length = (&data[1..PREFIX]).get_u32() as usize;
            if data[0] != 0 {
                bail!("a compressed answer, which nobody asked for");
            }
            if data.len() < PREFIX + length {
                break;
            }
            data.advance(PREFIX);
            stream.messages += 1;
            let what = What::Message(data.split_to(length));
            heard.push(Heard { stream: id, since: stream.since, what });
        }
        if !data.is_empty() {
            stream.partial = BytesMut::from(data);
        }
        Ok(())
    }

    fn ended(&mut self, id: u32, in_order: bool, heard: &mut Vec<Heard>) {
        if let Some(stream) = stream(&mut self.streams, self.first, id) {
            let what = What::End { in_order, messages: stream.messages };
            heard.push(Heard { stream: id, since: stream.since, what });
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u32) {
        if let Some(slot) = self.streams.get_mut((id / 2 - self.first) as usize) {
            *slot = None;
        }
        while let Some(None) = self.streams.front() {
            self.streams.pop_front();
            self.first += 1;
        }
    }

    fn settle(&mut self, payload: &[u8]) {
        for entry in payload.chunks_exact(6) {
            let (id, value) = ((&entry[..2]).get_u16(), (&entry[2..]).get_u32());
            match id {
                frame::INITIAL_WINDOW => {
                    let more = i64::from(value) - self.stream_window;
                    self.stream_window += more;
                    self.streams.iter_mut().flatten().for_each(|stream| stream.window += more);
                }
                frame::MAX_FRAME => self.frame = value as usize,
                _ => {}
            }
        }
        frame::settings_ack(&mut self.out);
        self.unblock();
    }

    /// Sends what found no room before.
    fn unblock(&mut self) {
        for _ in 0..self.blocked.len() {
            let Some(id) = self.blocked.pop_front() else { break };
            let Some(stream) = stream(&mut self.streams, self.first, id) else { continue };
            let room = self.window.min(stream.window);
            let sent = frame::data(&mut self.out, id, &stream.waiting, stream.ends, self.frame, room);
            stream.window -= sent as i64;
            self.window -= sent as i64;
            stream.waiting.drain(..sent);
            if !stream.waiting.is_empty() {
                self.blocked.push_back(id);
            }
        }
    }
}

fn stream(streams: &mut VecDeque<Option<Stream>>, first: u32, id: u32) -> Option<&mut Stream> {
    streams.get_mut((id / 2).checked_sub(first)? as usize)?.as_mut()
}

/// Bytes before every message of gRPC.
pub const PREFIX: usize = 5;

/// Appends a message with its prefix; `write` appends the message.
pub fn prefixed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    write(out);
    let length = (out.len() - start - PREFIX) as u32;
    out[start + 1..start + PREFIX].copy_from_slice(&length.to_be_bytes());
}
