//! Requests over HTTP/1.1, one at a time on each connection.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, sleep_until},
};

use super::{Meter, Pace, measure};
use crate::bench::{Bench, Result, Sample, process::Server};

/// How long to wait for a port.
const PORTS: Duration = Duration::from_millis(10);

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
    let mut out = Vec::new();
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
        let mut exchange = match open.take() {
            Some(exchange) => exchange,
            None => Exchange::open(address).await?,
        };
        exchange.send(&out).await?;
        meter.done(1, since, Instant::now());
        pace.give_back();
        if keep_alive {
            open = Some(exchange);
        }
    }
}

/// A connection on which one request at a time is answered.
#[derive(Debug)]
pub struct Exchange {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Exchange {
    /// Connects. Where all ports of ours are still held by closed connections, it waits for one.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let socket = loop {
            match TcpStream::connect(address).await {
                Ok(socket) => break socket,
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => sleep(PORTS).await,
                Err(error) => return Err(error).with_context(|| format!("cannot connect to {address}")),
            }
        };
        socket.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        Ok(Self { socket, answer: Vec::with_capacity(4096) })
    }

    /// The body of the answer; anything but a success is an error that shows it.
    pub async fn send(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.socket.write_all(request).await.context("the connection broke")?;
        self.answer.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = Head::of(&self.answer) {
                break head;
            }
        };
        while self.answer.len() < head.size + head.body {
            self.read().await?;
        }
        if !head.is_success {
            bail!("refused: {}", String::from_utf8_lossy(&self.answer));
        }
        if self.answer.len() > head.size + head.body {
            bail!("more than one answer to one request");
        }
        Ok(&self.answer[head.size..])
    }

    async fn read(&mut self) -> Result<()> {
        let read = self.socket.read_buf(&mut self.answer).await.context("the connection broke")?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        Ok(())
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
