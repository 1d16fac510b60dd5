//! Requests over HTTP/1.1, one at a time on each connection.

use std::{net::SocketAddr, rc::Rc, time::Instant};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep_until,
};

use super::{Meter, Pace, measure};
use crate::bench::{Bench, Result, Sample, process::Server};

/// Sends requests that `requests` appends to a buffer, told which client of how many it is for, over
/// as many connections as are in flight. Without `keep_alive` each request has a connection of
/// its own.
pub async fn load<R>(
    bench: &Bench,
    server: &Server,
    keep_alive: bool,
    requests: impl Fn(u64, u64) -> R,
) -> Result<Sample>
where
    R: FnMut(&mut Vec<u8>),
{
    let meter = Rc::new(Meter::default());
    let (begin, count) = (Instant::now(), bench.in_flight.max(1));
    let clients = (0..count).map(|index| {
        let pace = Pace::new(bench.rate, index, count, 1, begin);
        client(server.address(), keep_alive, requests(index as u64, count as u64), pace, Rc::clone(&meter))
    });
    let clients = clients.collect();
    measure(bench, server, meter, clients).await
}

async fn client(
    address: SocketAddr,
    keep_alive: bool,
    mut request: impl FnMut(&mut Vec<u8>),
    mut pace: Pace,
    meter: Rc<Meter>,
) -> Result<()> {
    let (mut out, mut answer) = (Vec::new(), BytesMut::new());
    let mut open = None;
    loop {
        let since = loop {
            if let Some(since) = pace.take(Instant::now()) {
                break since;
            }
            let Some(wakes) = pace.wakes() else { bail!("a client that waits for nobody") };
            sleep_until(wakes.into()).await;
        };
        out.clear();
        request(&mut out);
        let mut socket = match open.take() {
            Some(socket) => socket,
            None => connect(address).await?,
        };
        socket.write_all(&out).await.context("the connection broke")?;
        answer.clear();
        read(&mut socket, &mut answer).await?;
        meter.done(1, since, Instant::now());
        pace.give_back();
        if keep_alive {
            open = Some(socket);
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    socket.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    Ok(socket)
}

/// Reads one answer; anything but a success is an error that shows it.
async fn read(socket: &mut TcpStream, answer: &mut BytesMut) -> Result<()> {
    loop {
        if socket.read_buf(answer).await.context("the connection broke")? == 0 {
            bail!("the server closed the connection");
        }
        let Some(head) = Head::of(answer) else { continue };
        while answer.len() < head.size + head.body {
            if socket.read_buf(answer).await.context("the connection broke")? == 0 {
                bail!("the server closed the connection");
            }
        }
        if !head.is_success {
            bail!("refused: {}", String::from_utf8_lossy(answer));
        }
        answer.advance(head.size + head.body);
        return if answer.is_empty() { Ok(()) } else { bail!("more than one answer to one request") };
    }
}

/// Of an answer with a length; those in chunks are not understood, and count as empty.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    is_success: bool,
    /// Up to the body.
    size: usize,
    body: usize,
}

impl Head {
    /// Once all of it is there.
    fn of(answer: &[u8]) -> Option<Self> {
        let size = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let mut lines = answer[..size].split(|byte| *byte == b'\n');
        let is_success = lines.next()?.get(9) == Some(&b'2');
        let body = lines.find_map(length).unwrap_or(0);
        Some(Self { is_success, size, body })
    }
}

fn length(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    let value = name.eq_ignore_ascii_case(NAME).then_some(value)?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_lengths() {
        #[track_caller]
        fn check(answer: &str, expect: Option<(bool, usize, usize)>) {
            let head = Head::of(answer.as_bytes()).map(|head| (head.is_success, head.size, head.body));
            assert_eq!(head, expect);
        }
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{", Some((true, 39, 12)));
        check("HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length:3\r\n\r\n", Some((false, 50, 3)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Some((true, 27, 0)));
    }
}
