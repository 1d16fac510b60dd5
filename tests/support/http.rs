//! A small HTTP/1.1 client over a plain socket, which sends whatever it is given: hostile
//! requests included.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// How long a read waits before the test fails.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Headers that came behind a chunked body, names in lower case.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of {}: {:?}", self.status, self.text()))
    }

    /// The `code` of an error body; checks its shape.
    pub fn error_code(&self) -> i64 {
        let body = self.json();
        let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(sorted, ["code", "details", "message"], "an error's fields: {body}");
        assert!(body["details"].is_array(), "details is a list: {body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "a message: {body}");
        body["code"].as_i64().expect("a number")
    }
}

/// The bytes of a request. `Host` and `Content-Length` are added unless they are given.
pub fn request_bytes(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let given = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !given("host") {
        write!(head, "Host: {addr}\r\n").expect("writes to a string");
    }
    if !given("content-length") && !given("transfer-encoding") && (!body.is_empty() || method == "POST") {
        write!(head, "Content-Length: {}\r\n", body.len()).expect("writes to a string");
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("writes to a string");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends one request on a connection of its own and reads the answer.
pub fn exchange(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    exchange_on(open(addr), addr, method, path, headers, body)
        .unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
}

/// The same of a server that may be away.
pub fn try_exchange(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    exchange_on(bounded(TcpStream::connect(addr)?), addr, method, path, headers, body)
}

/// Sends one request on this connection and reads the answer.
pub fn exchange_on(
    mut stream: TcpStream,
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    // The server may refuse a large body before it has read all of it.
    let _ = stream.write_all(&request_bytes(addr, method, path, headers, body));
    read_answer(&mut BufReader::new(stream), method == "HEAD")
}

/// Sends bytes as they are, and returns what comes back until the server closes or
/// `quiet` passes without a byte.
pub fn send_raw(addr: SocketAddr, bytes: &[u8], quiet: Duration) -> Vec<u8> {
    let mut stream = open(addr);
    stream.set_read_timeout(Some(quiet)).expect("a timeout");
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut part) {
        all.extend_from_slice(&part[..read]);
    }
    all
}

/// Opens a connection whose reads are bounded.
pub fn open(addr: SocketAddr) -> TcpStream {
    bounded(TcpStream::connect(addr).expect("the server accepts"))
}

fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(READ_TIMEOUT)).expect("a timeout");
    stream.set_write_timeout(Some(READ_TIMEOUT)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Reads one answer, whatever its framing. Interim ones (`100 Continue`) are passed over.
pub fn read_answer(reader: &mut impl BufRead, no_body: bool) -> io::Result<Answer> {
    let (status, headers) = loop {
        let (status, headers) = read_head(reader)?;
        if !(100..200).contains(&status) {
            break (status, headers);
        }
    };
    let mut answer = Answer { status, headers, body: Vec::new(), trailers: Vec::new() };
    if no_body || status == 204 || status == 304 {
        return Ok(answer);
    }
    if is_chunked(&answer.headers) {
        let mut chunked = Chunked::new(reader);
        chunked.read_to_end(&mut answer.body)?;
        answer.trailers = chunked.trailers;
    } else if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().map_err(|_| bad("content-length"))?;
        answer.body.resize(length, 0);
        reader.read_exact(&mut answer.body)?;
    } else {
        reader.read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let first = read_line(reader)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| bad(&first))?;
    Ok((status, read_headers(reader)?))
}

/// Up to the empty line.
fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn is_chunked(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked")
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1: {what:?}"))
}

/// A chunked body.
struct Chunked<R> {
    inner: R,
    left: usize,
    ended: bool,
    trailers: Vec<(String, String)>,
}

impl<R: BufRead> Chunked<R> {
    fn new(inner: R) -> Self {
        Self { inner, left: 0, ended: false, trailers: Vec::new() }
    }
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.left == 0 {
            let size = read_line(&mut self.inner)?;
            self.left = usize::from_str_radix(&size, 16).map_err(|_| bad(&size))?;
            if self.left == 0 {
                self.ended = true;
                self.trailers = read_headers(&mut self.inner)?;
                return Ok(0);
            }
        }
        let wanted = self.left.min(buffer.len());
        let read = self.inner.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        if self.left == 0 {
            read_line(&mut self.inner)?;
        }
        Ok(read)
    }
}

/// A response that goes on: its lines, as they come.
pub struct LineStream {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    lines: BufReader<Chunked<BufReader<TcpStream>>>,
}

impl LineStream {
    /// Sends a GET and reads the head of its answer.
    pub fn get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = open(addr);
        stream.write_all(&request_bytes(addr, "GET", path, headers, b"")).expect("the server reads");
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader).expect("an answer");
        assert!(is_chunked(&headers), "an open answer is chunked: {headers:?}");
        Self { status, headers, lines: BufReader::new(Chunked::new(reader)) }
    }

    /// The next line, without its end; `None` at the end of the body.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("a line in time");
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }
}
