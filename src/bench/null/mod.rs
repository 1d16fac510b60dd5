//! Servers that do nothing: the least that any server of the same protocol takes on this
//! machine. Each is what anyone would write with the library it is named after.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use super::Result;

mod axum;
mod bidi;
mod tonic;
mod watch;

/// The kinds, as `leasehold bench-null` takes them.
pub const KINDS: [&str; 5] = ["tonic", "axum", "axum-json", "bidi", "watch"];

/// Serves on a free port of this machine until the process is killed; says where on stdout.
pub fn serve(kind: &str, announce: impl FnOnce(SocketAddr)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on 127.0.0.1")?;
        announce(listener.local_addr().context("cannot tell the address listened on")?);
        match kind {
            "tonic" => unary(listener).await,
            "axum" => axum::echo(listener).await,
            "axum-json" => axum::parse(listener).await,
            "bidi" => tonic::serve(listener, bidi::Bidi).await,
            "watch" => watch::serve(listener).await,
            _ => bail!("there is no null server {kind}; there are: {}", KINDS.join(", ")),
        }
    })
}

/// Answers Register and `BatchRegister` only.
pub(in crate::bench) async fn unary(listener: TcpListener) -> Result<()> {
    tonic::serve(listener, tonic::Unary).await
}
