//! Clients at other addresses than the test's own: all of 127.0.0.0/8 is this machine.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use leasehold::proto::registry_client::RegistryClient;
use socket2::{Domain, Socket, Type};
use tonic::transport::{Channel, Endpoint};

use super::{
    SOON, Server,
    http::{Answer, read_answer, request_bytes},
};

/// How long a read or a write of these clients may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// 127.0.0.`last`.
pub fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A connection from there.
pub fn connect_from(source: IpAddr, addr: SocketAddr) -> TcpStream {
    try_connect_from(source, addr).expect("the server accepts")
}

/// The same, if there is one to be had.
pub fn try_connect_from(source: IpAddr, addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&addr.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One HTTP/1.1 request from there, on a connection of its own.
pub fn exchange_from(source: IpAddr, addr: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = connect_from(source, addr);
    stream.write_all(&request_bytes(addr, method, path, &[], body.as_bytes())).expect("the server reads");
    read_answer(&mut BufReader::new(stream), false)
        .unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
}

/// A gRPC client there, on a connection of its own.
pub async fn registry_from(source: IpAddr, server: &Server) -> RegistryClient<Channel> {
    let endpoint = Endpoint::from_shared(server.url()).expect("a url").connect_timeout(SOON);
    let channel = endpoint.local_address(Some(source)).connect().await.expect("the server accepts");
    RegistryClient::new(channel)
}

/// The memory that a process has in use, in MiB.
pub fn resident_mib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a live process");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}
