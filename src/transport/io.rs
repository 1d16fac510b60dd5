//! The byte streams of a connection: [`Socket`] records what a stream's end is judged by,
//! [`Sniffed`] gives back the bytes that were read to learn the protocol.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::coop,
};

use crate::call::{Connection, Rest};

/// So many bytes that are read count as a step of their task, of which it has 128 a turn.
const BYTES_A_STEP: usize = 128;

/// So many bytes wait for a flush at most.
const GATHERED: usize = 64 << 10;

/// A TCP stream that records in its [`Connection`] when bytes came, that it was lost, and
/// what was left in it at the end.
///
/// What is written is gathered until it is flushed, and a flush first lets every other task that
/// is ready have its turn: the answers of many streams of one connection are done at about the
/// same time, each asks for a flush of its own, and a write to a socket costs more than all
/// else that an answer does.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// What was written and not sent; the first bytes of it may have been.
    gathered: Vec<u8>,
    sent: usize,
    /// What was read and given back, to be read again.
    given_back: Vec<u8>,
    /// Whether the others had their turn.
    yielded: bool,
}

impl Socket {
    /// Records `stream`'s facts in `connection`.
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, gathered: Vec::new(), sent: 0, given_back: Vec::new(), yielded: false }
    }

    /// Has `bytes`, which were read from here, read again before all else.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.given_back.splice(0..0, bytes.iter().copied());
    }

    /// The connection that it records in.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Passes `result` on; an error means that the connection is lost.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.connection.record_lost();
        }
        result
    }

    /// Sends what was gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            let result = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered[self.sent..]));
            match self.note(result) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    self.sent += sent;
                    self.connection.traffic().sent.add(sent as u64);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // An idle connection holds no buffer.
        self.gathered = Vec::new();
        self.sent = 0;
        self.yielded = false;
        Poll::Ready(Ok(()))
    }

    /// What the socket holds that was not read. The socket is non-blocking, so the peek
    /// returns at once.
    fn rest(&self) -> Rest {
        let mut byte = [MaybeUninit::uninit(); 1];
        match SockRef::from(&self.stream).peek(&mut byte) {
            Ok(0) => Rest::Lost,
            Ok(_) => Rest::Unread,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Rest::Nothing,
            Err(_) => Rest::Lost,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The stream is a field: the descriptor is still open here.
        self.connection.record_closed(self.rest());
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.given_back.is_empty() {
            let count = self.given_back.len().min(buf.remaining());
            buf.put_slice(&self.given_back[..count]);
            self.given_back.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        if had_room && read == 0 {
            self.connection.record_lost();
        }
        self.connection.traffic().received.add(read as u64);
        take_turns(read, cx);
        Poll::Ready(self.note(result))
    }
}

/// Has a task that read so much give way to the others the sooner: a read counts as one step whatever
/// it brought, and a few kilobytes of the smallest frames are more work than most requests.
fn take_turns(read: usize, cx: &mut Context<'_>) {
    for _ in 0..read / BYTES_A_STEP {
        match coop::poll_proceed(cx) {
            Poll::Ready(step) => step.made_progress(),
            // Whatever the task does next comes after the others' turn.
            Poll::Pending => return,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.gathered.len() + bytes > GATHERED {
            ready!(self.poll_send(cx))?;
        }
        if bytes > GATHERED {
            // Too much to be copied.
            let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
            if let Ok(sent) = result {
                self.connection.traffic().sent.add(sent as u64);
            }
            return Poll::Ready(self.note(result));
        }
        for buf in bufs {
            self.gathered.extend_from_slice(buf);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() && !self.yielded {
            self.yielded = true;
            // A task that wakes itself goes behind all that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1, or something that HTTP/1 will refuse.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads from `io` until its first bytes tell the protocol: the whole HTTP/2 preface, or
/// the first byte that differs from it. Sets no deadline of its own.
///
/// # Errors
///
/// Those of `io`, and `UnexpectedEof` when it ends before the protocol is known.
pub async fn sniff<S: AsyncRead + Unpin>(mut io: S) -> io::Result<(Protocol, Sniffed<S>)> {
    let mut head = [0; PREFACE.len()];
    let mut filled = 0;
    loop {
        let read = io.read(&mut head[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let protocol = if head[..filled] != PREFACE[..filled] {
            Protocol::Http1
        } else if filled == PREFACE.len() {
            Protocol::Http2
        } else {
            continue;
        };
        let sniffed = Sniffed { io, head, unread: 0..filled };
        return Ok((protocol, sniffed));
    }
}

impl<S> Sniffed<S> {
    /// Of a stream of which nothing was read.
    pub fn untouched(io: S) -> Self {
        Self { io, head: [0; PREFACE.len()], unread: 0..0 }
    }
}

/// A stream whose first bytes were read already and are read again from here.
#[derive(Debug)]
pub struct Sniffed<S> {
    io: S,
    head: [u8; PREFACE.len()],
    /// The part of `head` that was read from `io` but not yet from here.
    unread: std::ops::Range<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.unread.len().min(buf.remaining());
        let start = self.unread.start;
        buf.put_slice(&self.head[start..start + count]);
        self.unread.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_differing_byte_decides_and_no_byte_is_lost() {
        for (bytes, expect) in [
            (&PREFACE[..], Protocol::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest", Protocol::Http2),
            (b"PRI * HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"PUT / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"\x16\x03\x01", Protocol::Http1),
        ] {
            let (protocol, mut sniffed) = sniff(bytes).await.expect("a known protocol");
            assert_eq!(protocol, expect);
            let mut again = Vec::new();
            sniffed.read_to_end(&mut again).await.expect("memory reads");
            assert_eq!(again, bytes);
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_too_early_is_an_error() {
        for bytes in [&b""[..], &PREFACE[..23]] {
            let error = sniff(bytes).await.expect_err("no protocol");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
