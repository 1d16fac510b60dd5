//! Both sides of a comparison as child processes: the echo example, and the real
//! gRPC-gateway in front of any gRPC server.

use std::{net::SocketAddr, process::Command};

use crate::support::{SOON, examples::example, installed, process::Process};

/// A server that says where it listens; ended when dropped.
pub struct Peer {
    // Kept for its end, and for its stdin: the gateway ends when that does.
    _process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Peer {
    /// The echo example: gRPC and our JSON door on one port.
    pub fn echo(flags: &[&str]) -> Self {
        let mut command = Command::new(example("gateway_echo"));
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        Self::start(command)
    }

    /// gRPC-gateway for the `api` (`echo` or `leasehold`) that `backend` serves.
    pub fn grpc_gateway(api: &str, backend: SocketAddr, flags: &[&str]) -> Self {
        let mut command = Command::new(installed("LEASEHOLD_TEST_GRPC_GATEWAY"));
        command.args(["--api", api, "--backend", &backend.to_string()]).args(flags);
        Self::start(command)
    }

    fn start(command: Command) -> Self {
        let mut process = Process::spawn(command);
        let addr = process.expect_line("the line `listening on http://…`", SOON, |line| {
            line.trim().strip_prefix("listening on http://")?.parse().ok()
        });
        Self { _process: process, addr }
    }
}
