//! What the end-to-end tests share: the real binary as a child process, the clients that
//! talk to it, and bounded waits.
//!
//! Start with [`Server`], then [`http`] for the JSON side and [`watch::Watch`] for what a
//! consumer sees. A server that panicked fails the test that started it.

// Every test binary uses a part of this.
#![allow(dead_code)]

pub mod h2raw;
pub mod http;
pub mod process;
pub mod watch;

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use leasehold::proto::{RegisterRequest, RegisterResponse, registry_client::RegistryClient};
use prost_types::{Struct, Value, value::Kind};
use tonic::transport::{Channel, Endpoint};

use self::{
    http::{Answer, exchange},
    process::Process,
};

/// For what should happen at once; long, because the machine is shared.
pub const SOON: Duration = Duration::from_secs(10);

/// The binary under test, and where it listens.
const BINARY: &str = env!("CARGO_BIN_EXE_leasehold");
const LISTEN: &str = "127.0.0.1:0";

/// A running leasehold, ended when dropped.
pub struct Server {
    process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Server {
    /// `leasehold serve` on a free port of the loopback, with these flags besides.
    pub fn start(args: &[&str]) -> Self {
        Self::spawn(Command::new(BINARY), args)
    }

    /// The same, with no more than so many descriptors.
    pub fn start_with_descriptors(most: u32, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\""), BINARY]);
        Self::spawn(command, args)
    }

    fn spawn(mut command: Command, args: &[&str]) -> Self {
        command.args(["serve", "--listen", LISTEN]).args(args);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("LEASEHOLD_") || text.starts_with("SERVICEKIT_") {
                command.env_remove(&name);
            }
        }
        let mut process = Process::spawn(command);
        let addr = process.expect_line("the line `listening on http://…`", SOON, |line| {
            line.trim().strip_prefix("listening on http://")?.parse().ok()
        });
        Self { process, addr }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        exchange(self.addr, method, path, headers, body)
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Answer {
        self.http("GET", path, &[], b"")
    }

    /// A JSON registration that must succeed; its answer.
    pub fn post_registration(&self, body: &serde_json::Value) -> serde_json::Value {
        let answer = self.http("POST", "/services/$register", &[], body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.json()
    }

    /// A connection that is open, nothing sent.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("the server accepts");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// A channel of its own: one HTTP/2 connection.
    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url())
            .expect("a url")
            .connect_timeout(SOON)
            .connect()
            .await
            .expect("the server accepts")
    }

    /// A gRPC client on a connection of its own.
    pub async fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel().await)
    }

    /// Registers over gRPC; must succeed.
    pub async fn register(&self, request: RegisterRequest) -> RegisterResponse {
        self.registry().await.register(request).await.expect("a good registration").into_inner()
    }

    /// Sends `TERM`, `STOP`, `CONT`, … to this server.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Whether the process runs.
    pub fn alive(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait_exit(limit)
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// The state letter of the process: `T` is stopped.
    pub fn process_state(&self) -> char {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("a live process");
        let after_name = stat.rsplit(") ").next().expect("fields after the name");
        after_name.chars().next().expect("a state")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill();
        let stderr = self.process.stderr();
        if !thread::panicking() {
            assert!(!stderr.contains("panicked"), "the server panicked:\n{stderr}");
        } else if !stderr.is_empty() {
            eprintln!("the server's stderr:\n{stderr}");
        }
    }
}

/// A registration of `service` at `url`, nothing else set.
pub fn replica(service: &str, url: &str) -> RegisterRequest {
    RegisterRequest { service: service.to_owned(), url: url.to_owned(), ..RegisterRequest::default() }
}

/// `info` with one text in it.
pub fn info(key: &str, text: &str) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Struct { fields: [(key.to_owned(), value)].into() }
}

/// Polls until `probe` gives something; panics after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A future that must be ready within `limit`.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("waited {limit:?} for {what}"))
}

/// A program that `tests/run` installs and names in the environment.
pub fn installed(variable: &str) -> PathBuf {
    let Some(path) = std::env::var_os(variable) else {
        panic!("{variable} is not set: run tests/run, which installs what the tests need");
    };
    PathBuf::from(path)
}

/// A script of `tests/python`, not started yet.
pub fn python(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new(installed("LEASEHOLD_TEST_PYTHON"));
    command
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script))
        .args(args)
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
