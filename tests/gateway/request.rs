//! A request that can be sent to several servers, byte for byte the same.

use std::{
    fmt::{self, Write as _},
    io::{self, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::support::http::{Answer, open, read_answer, request_bytes};

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Any token.
    pub method: String,
    /// What stands in the request line, the query included.
    pub target: String,
    /// In this order. `Host` and `Content-Length` are added unless they are here.
    pub headers: Vec<(String, String)>,
    /// None is no body at all.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into(), ..Self::default() }
    }

    /// With one header more.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Whether a header has this value.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.headers.iter().any(|(key, is)| key.eq_ignore_ascii_case(name) && is == value)
    }

    fn bytes(&self, addr: SocketAddr) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        let length = body.len().to_string();
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let framed = |name: &str| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        };
        if self.body.is_some() && !headers.iter().any(|(name, _)| framed(name)) {
            headers.push(("Content-Length", &length));
        }
        request_bytes(addr, &self.method, &self.target, &headers, body)
    }
}

/// A command that repeats the request by hand, `$URL` being the server.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "curl -si --path-as-is -X {}", self.method)?;
        if self.method == "HEAD" {
            f.write_str(" -I")?;
        }
        write!(f, " $URL{}", quoted(self.target.as_bytes()))?;
        for (name, value) in &self.headers {
            write!(f, " -H {}", quoted(format!("{name}: {value}").as_bytes()))?;
        }
        if let Some(body) = &self.body {
            if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                f.write_str(" -H Content-Type:")?;
            }
            write!(f, " --data-binary {}", quoted(body))?;
        }
        Ok(())
    }
}

/// As a word of bash.
fn quoted(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c == '\'' || c.is_control()) => format!("'{text}'"),
        _ => {
            let mut word = "$'".to_owned();
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => write!(word, "\\{}", char::from(*byte)),
                    0x20..0x7f => write!(word, "{}", char::from(*byte)),
                    _ => write!(word, "\\x{byte:02x}"),
                }
                .expect("writes to a string");
            }
            word.push('\'');
            word
        }
    }
}

/// A client that keeps its connection as long as the server does.
pub struct Client {
    /// The server.
    pub addr: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of `addr`; nothing is sent yet.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, connection: None }
    }

    /// Sends the request and reads its answer. An error is a connection that ended without one.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        if let Some(mut kept) = self.connection.take()
            && let Ok(answer) = self.exchange(&mut kept, request)
        {
            self.keep(kept, &answer);
            return Ok(answer);
        }
        // The server may have ended the kept one just now: only a fresh one says so surely.
        let mut fresh = BufReader::new(open(self.addr));
        let answer = self.exchange(&mut fresh, request)?;
        self.keep(fresh, &answer);
        Ok(answer)
    }

    fn exchange(&self, connection: &mut BufReader<TcpStream>, request: &Request) -> io::Result<Answer> {
        // A refusal may come before all of the request has been read.
        let _ = connection.get_mut().write_all(&request.bytes(self.addr));
        read_answer(connection, request.method == "HEAD")
    }

    fn keep(&mut self, connection: BufReader<TcpStream>, answer: &Answer) {
        let framed =
            answer.header("content-length").is_some() || answer.header("transfer-encoding").is_some();
        let closing = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if framed && !closing && connection.buffer().is_empty() {
            self.connection = Some(connection);
        }
    }
}
