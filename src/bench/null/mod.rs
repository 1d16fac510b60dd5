//! Servers that do nothing: the least that any server of the same protocol takes on this
//! machine. Each is what anyone would write with the library it is named after.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::Result;

mod tonic;

/// The kinds, as `leasehold bench-null` takes them.
pub const KINDS: [&str; 1] = ["tonic"];

/// Serves on a free port of this machine until the process is killed; says where on stdout.
pub fn serve(kind: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on 127.0.0.1")?;
        say(listener.local_addr().context("cannot tell the address listened on")?);
        match kind {
            "tonic" => tonic::serve(listener, tonic::Unary).await,
            _ => anyhow::bail!("there is no null server {kind}; there are: {}", KINDS.join(", ")),
        }
    })
}

#[allow(clippy::print_stdout)]
fn say(address: SocketAddr) {
    println!("listening on http://{address}");
}
