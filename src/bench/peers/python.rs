//! servicekit's own orchestrator in Python, which keeps registrations in Redis: the example
//! `registration/orchestrator.py` of its repository, unmodified, one worker of uvicorn, and a Redis of
//! its own as Debian ships it. Both processes' CPU counts.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{net::TcpStream, time::sleep};

use crate::bench::{
    Bench, Result, Subject,
    process::{self, Server},
    subject::{Load, Served},
};

/// The subject's name.
pub const NAME: &str = "python and redis";

/// Python and its imports take their time.
const START: Duration = Duration::from_secs(30);

/// The subject, where it is to be had.
pub fn subject(bench: &Bench, load: &Load) -> Option<Box<dyn Subject>> {
    let dir = bench.peers.python.clone()?;
    let promise = "redis' default: a crash may lose up to an hour";
    Some(Served::new(NAME, promise, move |bench: &Bench| start(&dir, bench), load))
}

/// `dir` is a virtual environment with servicekit and the valkey client, in which the example lies
/// as `orchestrator.py`; redis-server is found in `PATH`.
fn start(dir: &Path, bench: &Bench) -> Result<Server> {
    let dir = &dir.canonicalize().with_context(|| format!("cannot read {}", dir.display()))?;
    let example = dir.join("orchestrator.py");
    if !example.exists() {
        bail!(
            "there is no {}: servicekit's example examples/registration/orchestrator.py",
            example.display()
        );
    }
    let redis = process::free_address()?;
    let data = process::data_dir(&bench.dir)?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &redis.port().to_string(), "--dir"]).arg(data.path());
    let redis_server = Server::start_at(command, redis, Some(data))?;

    let address = process::free_address()?;
    let mut command = Command::new(dir.join("bin/python"));
    // As the example runs itself, but that it does not watch its files.
    let run = format!("run_app('orchestrator:app', port={}, reload=False)", address.port());
    command.arg("-c").arg(format!("from servicekit.api import run_app; {run}"));
    command.current_dir(dir).env("VALKEY_URL", format!("redis://{redis}"));
    Ok(Server::start_at(command, address, None)?.with(redis_server))
}

/// Waits until it listens.
pub async fn await_start(address: SocketAddr) -> Result<()> {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START, listening)
        .await
        .context("the orchestrator does not listen; is redis-server there?")
}
