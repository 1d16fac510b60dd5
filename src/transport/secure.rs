//! TLS over a connection's socket, and what becomes of those who speak plain text to a port
//! that speaks TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::io::{PREFACE, Socket};
use crate::{
    call::Connection,
    tls::{self, Tls},
};

/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// How long a client may take to read why it is refused.
const LINGER: Duration = Duration::from_secs(1);
/// So much of what it sends is read; closing with bytes unread could lose the answer.
const MOST_READ: u64 = 64 << 10;

const SPEAKS_TLS: &str = "this port speaks TLS; use https://";

/// A TLS connection over a socket. Its end is recorded as the socket's own would be: a client
/// says it within TLS too, and its socket may be open for some time yet.
#[derive(Debug)]
pub struct Secure {
    /// Some kilobytes, which the frames of plain connections should not have to make room for.
    stream: Box<TlsStream<Socket>>,
    connection: Arc<Connection>,
}

impl Secure {
    /// Whether the client chose HTTP/2; none if it did not say what it speaks.
    pub fn speaks_http2(&self) -> Option<bool> {
        self.stream.get_ref().1.alpn_protocol().map(|protocol| protocol == tls::PROTOCOLS[0])
    }
}

/// Shakes hands; none if the client speaks plain text, which it is told. Sets no deadline of its
/// own.
///
/// # Errors
///
/// Those of the socket, and those of the handshake.
pub async fn accept(mut socket: Socket, tls: &Tls) -> io::Result<Option<Secure>> {
    let mut head = Vec::with_capacity(PREFACE.len());
    if (&mut socket).take(PREFACE.len() as u64).read_buf(&mut head).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut handshake = Handshake(Some(Arc::clone(socket.connection())));
    if head[0] != HANDSHAKE {
        refuse_plain(socket, &head).await?;
        return Ok(None);
    }
    socket.give_back(&head);
    let connection = Arc::clone(socket.connection());
    let stream = match TlsAcceptor::from(tls.current()).accept(socket).into_fallible().await {
        Ok(stream) => Box::new(stream),
        Err((error, socket)) => {
            // The alert that says why waits in it.
            let _ = part(socket).await;
            return Err(error);
        }
    };
    handshake.0 = None;
    if let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        connection.record_subjects(tls::subjects(certificate));
    }
    Ok(Some(Secure { stream, connection }))
}

/// A handshake that has begun; it counts as failed if it is dropped with the connection in it.
struct Handshake(Option<Arc<Connection>>);

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.traffic().failed_handshakes.add(1);
        }
    }
}

/// Says that TLS is spoken here, in the protocol that the client seems to speak.
async fn refuse_plain(mut socket: Socket, head: &[u8]) -> io::Result<()> {
    tracing::debug!("plain text on a port that speaks TLS");
    if head[..] == PREFACE[..head.len()] {
        socket.write_all(&goaway()).await?;
    } else if head[0].is_ascii_uppercase() {
        let length = SPEAKS_TLS.len() + 1;
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{SPEAKS_TLS}\n"
        );
        socket.write_all(answer.as_bytes()).await?;
    }
    part(socket).await
}

/// Sends what is left to be sent, and gives the client time to read it.
async fn part(mut socket: Socket) -> io::Result<()> {
    socket.shutdown().await?;
    let (mut rest, mut nowhere) = (socket.take(MOST_READ), tokio::io::sink());
    // It is refused whatever it still sends, or does not.
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut nowhere)).await;
    Ok(())
}

/// SETTINGS without any, and GOAWAY with `INADEQUATE_SECURITY` (RFC 9113, sections 6.5, 6.8, 7).
fn goaway() -> Vec<u8> {
    let length = (8 + SPEAKS_TLS.len() as u32).to_be_bytes();
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    frames.extend_from_slice(&length[1..]);
    frames.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
    frames.extend_from_slice(SPEAKS_TLS.as_bytes());
    frames
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let result = ready!(Pin::new(&mut *self.stream).poll_read(cx, buf));
        if result.is_err() || (had_room && buf.filled().len() == before) {
            self.connection.record_lost();
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
