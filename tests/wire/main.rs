//! The connection layer, tested on the wire: what it grants, what it refuses, how it ends
//! connections and what cause it gives for a stream's end.

mod causes;
mod doors;
mod drain;
#[path = "../support/h2raw.rs"]
mod h2raw;
mod limits;
mod rig;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use rig::PATIENCE;

/// Connects and sends `bytes`.
fn raw(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(bytes).expect("writes");
    stream
}

/// Reads `stream` to its end, by FIN or reset.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            panic!("still open after {PATIENCE:?}, having said {bytes:?}")
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// One HTTP/1 answer that ends with a line break: status line, headers and body.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| bytes.len() > head + 4) && bytes.ends_with(b"\n") {
            return String::from_utf8(bytes).expect("text");
        }
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).expect("an answer");
        assert_ne!(read, 0, "the connection ended after {bytes:?}");
        bytes.extend(&chunk[..read]);
    }
}

/// The answer to `request` on a connection of its own.
fn ask(addr: SocketAddr, request: &str) -> String {
    answer(&mut raw(addr, request.as_bytes()))
}
