//! The PROXY protocol, versions 1 and 2: what a trusted proxy writes before the client's own
//! bytes to say who the client is (haproxy.org/download/3.2/doc/proxy-protocol.txt).

use std::{io, net::SocketAddr};

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;

use super::io::Socket;

/// The longest header that is read: the longest of version 1, and one of version 2 with a few
/// hundred bytes of additions, which are passed over.
const LONGEST: usize = 2 << 10;
/// The longest of version 1, as the protocol has it.
const LONGEST_V1: usize = 107;
const START_V1: &[u8] = b"PROXY ";

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// No header: the client's own bytes.
    Other,
    /// It may become one.
    Incomplete,
    /// A header of so many bytes, and the client it names, if any.
    Header(usize, Option<SocketAddr>),
}

/// Reads the header that `socket` begins with, if it does; what comes after it is read next.
/// The client's address, if it says one: a proxy's own connections, checks of health for
/// example, and clients it cannot name have none. Sets no deadline of its own.
///
/// # Errors
///
/// Those of `socket`, and `InvalidData` of a header that is none.
pub async fn read(socket: &mut Socket) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::with_capacity(256);
    loop {
        let room = LONGEST.saturating_sub(bytes.len());
        if room == 0 {
            return Err(malformed("is too long"));
        }
        if (&mut *socket).take(room as u64).read_buf(&mut bytes).await? == 0 {
            socket.give_back(&bytes);
            return Ok(None);
        }
        match first(&bytes)? {
            First::Incomplete => {}
            First::Other => {
                socket.give_back(&bytes);
                return Ok(None);
            }
            First::Header(length, client) => {
                socket.give_back(&bytes[length..]);
                return Ok(client);
            }
        }
    }
}

fn first(bytes: &[u8]) -> io::Result<First> {
    let is_v2 = agree(bytes, v2::PROTOCOL_PREFIX);
    if !is_v2 && !agree(bytes, START_V1) {
        return Ok(First::Other);
    }
    if is_v2 { version_2(bytes) } else { version_1(bytes) }
}

/// Whether one begins with the other.
fn agree(bytes: &[u8], start: &[u8]) -> bool {
    let shorter = bytes.len().min(start.len());
    bytes[..shorter] == start[..shorter]
}

fn version_1(bytes: &[u8]) -> io::Result<First> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_V1 { Ok(First::Incomplete) } else { Err(malformed("has no end")) };
    };
    let length = end + 2;
    let header = v1::Header::try_from(&bytes[..length]).map_err(|error| malformed(&error.to_string()))?;
    let client = match header.addresses {
        v1::Addresses::Tcp4(pair) => Some((pair.source_address, pair.source_port).into()),
        v1::Addresses::Tcp6(pair) => Some((pair.source_address, pair.source_port).into()),
        v1::Addresses::Unknown => None,
    };
    Ok(First::Header(length, client.map(canonical)))
}

fn version_2(bytes: &[u8]) -> io::Result<First> {
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => return Ok(First::Incomplete),
        Err(error) => return Err(malformed(&error.to_string())),
    };
    let client = match header.addresses {
        _ if header.command == v2::Command::Local => None,
        v2::Addresses::IPv4(pair) => Some((pair.source_address, pair.source_port).into()),
        v2::Addresses::IPv6(pair) => Some((pair.source_address, pair.source_port).into()),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    };
    Ok(First::Header(header.len(), client.map(canonical)))
}

/// An IPv4 address is written as such.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the proxy's PROXY header cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

    fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&START_V2[..], &[command, family], &length, rest].concat()
    }

    #[track_caller]
    fn check(header: &[u8], client: Option<&str>) {
        let client = client.map(|client| client.parse().expect("an address"));
        let whole = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(first(&whole).expect("a header"), First::Header(header.len(), client));
        for end in 1..header.len() {
            assert_eq!(first(&header[..end]).expect("a start"), First::Incomplete, "{end}");
        }
    }

    #[test]
    fn both_versions_name_the_client() {
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 9000\r\n", Some("192.0.2.7:5000"));
        check(b"PROXY TCP6 2001:db8::1 ::1 5000 9000\r\n", Some("[2001:db8::1]:5000"));
        check(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 5000 9000\r\n", Some("192.0.2.7:5000"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN what ever\r\n", None);
        let pair = [192, 0, 2, 7, 10, 0, 0, 1, 0x13, 0x88, 0x23, 0x28];
        check(&v2_header(0x21, 0x11, &pair), Some("192.0.2.7:5000"));
        check(&v2_header(0x21, 0x11, &[&pair[..], &[0xea, 0, 2, 1, 2]].concat()), Some("192.0.2.7:5000"));
        check(&v2_header(0x20, 0x11, &pair), None);
        check(&v2_header(0x20, 0, &[]), None);
        check(&v2_header(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn what_is_no_header_is_the_clients() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"PUT", b"PROXIMITY", b"\x16\x03", b"\r\nG"]
        {
            assert_eq!(first(bytes).expect("no header"), First::Other);
        }
    }

    #[test]
    fn a_bad_header_is_an_error() {
        let bad: [Vec<u8>; 6] = [
            b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
            b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY GET / HTTP/1.1\r\n".to_vec(),
            [START_V1, &[b'x'; 120]].concat(),
            v2_header(0x11, 0x11, &[0; 12]),
            v2_header(0x21, 0x11, &[0; 4]),
        ];
        for bytes in bad {
            let error = first(&bytes).expect_err(&String::from_utf8_lossy(&bytes));
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
