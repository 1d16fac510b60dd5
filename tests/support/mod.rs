//! What the end-to-end tests share: the real binary as a child process, the clients that
//! talk to it, and bounded waits.
//!
//! Start with [`Server`] ([`Serve`] where it needs more than flags), then [`http`] for the
//! JSON side and [`watch::Watch`] for what a consumer sees. A server that panicked fails the test that started it.

// Every test binary uses a part of this.
#![allow(dead_code, unused_imports)]

pub mod consul;
pub mod data_dir;
pub mod docker;
pub mod etcd;
pub mod examples;
pub mod grpcio;
pub mod h2raw;
pub mod http;
pub mod link;
pub mod numbers;
pub mod peers;
pub mod process;
pub mod secrets;
pub mod servicekit;
pub mod watch;

use std::{
    ffi::OsStr,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use leasehold::proto::{RegisterRequest, RegisterResponse, registry_client::RegistryClient};
use prost_types::{Struct, Value, value::Kind};
use tonic::transport::{Channel, Endpoint};

pub use self::secrets::secret;
use self::{
    http::{Answer, exchange},
    process::Process,
};

/// For what should happen at once; long, because the machine is shared.
pub const SOON: Duration = Duration::from_secs(10);

/// For a server to start, on a store that may hold much.
pub const START: Duration = Duration::from_mins(1);

/// The binary under test, and where it listens.
pub const BINARY: &str = env!("CARGO_BIN_EXE_leasehold");
const LISTEN: &str = "127.0.0.1:0";

/// A leasehold that is about to serve.
pub struct Serve {
    command: Command,
    listen: SocketAddr,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Serve {
    /// The binary, in an environment without settings; its store is the default one.
    pub fn new() -> Self {
        Self::of(Command::new(BINARY))
    }

    /// The binary, started by a program that takes its command line after these arguments, and
    /// becomes it.
    pub fn through<I: AsRef<OsStr>>(program: impl IntoIterator<Item = I>) -> Self {
        let mut words = program.into_iter();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg(BINARY);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        command.arg("serve");
        without_settings(&mut command);
        Self { command, listen: LISTEN.parse().expect("an address") }
    }

    /// With these arguments besides.
    pub fn args<I: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.command.args(args);
        self
    }

    /// With its store in this directory.
    pub fn on(self, dir: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("--data-dir"), dir.as_ref()])
    }

    /// With this variable in its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// At this address, in place of a free port.
    pub fn at(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Starts it; returns when it listens. An address that is taken is tried again: others
    /// are given free ports meanwhile.
    pub fn start(mut self) -> Server {
        self.command.args(["--listen", &self.listen.to_string()]);
        let busy = format!("cannot listen on {}", self.listen);
        wait_for("the address to be free", START, || {
            let mut process = Process::start(&mut self.command);
            let listening = process.try_expect_line("the line `listening on http://…`", START, |line| {
                let (scheme, addr) = line.trim().strip_prefix("listening on ")?.split_once("://")?;
                Some((if scheme == "https" { "https" } else { "http" }, addr.parse().ok()?))
            });
            match listening {
                Ok((scheme, addr)) => Some(Server { process, addr, scheme }),
                Err(ended) => {
                    assert!(self.listen.port() != 0 && process.stderr().contains(&busy), "{ended}");
                    None
                }
            }
        })
    }

    /// Starts it, and does not wait for it to listen.
    pub fn spawn(mut self) -> Process {
        self.command.args(["--listen", &self.listen.to_string()]);
        Process::start(&mut self.command)
    }

    /// Starts one that must end by itself, and not serve before.
    pub fn refused(self) -> Ended {
        let mut process = self.spawn();
        let serves = |line: &str| line.contains("listening on").then_some(());
        let ended = process.try_expect_line("its end", START, serves);
        assert!(ended.is_err(), "it serves:\n{}\n{}", process.stdout(), process.stderr());
        Ended::wait(process)
    }
}

impl Ended {
    /// Waits for a process to end by itself.
    pub fn wait(mut process: Process) -> Self {
        let code = process.wait_exit(START).code();
        Self { code, stdout: process.stdout(), stderr: process.stderr() }
    }
}

/// Starts the binary with these arguments, in an environment without settings.
pub fn spawn_leasehold<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Process {
    let mut command = Command::new(BINARY);
    command.args(args);
    without_settings(&mut command);
    Process::spawn(command)
}

/// Runs the binary with these arguments to its end.
pub fn leasehold<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Ended {
    Ended::wait(spawn_leasehold(args))
}

/// Has a command know nothing of the settings of whoever runs the tests.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("LEASEHOLD_") || text.starts_with("SERVICEKIT_") {
            command.env_remove(&name);
        }
    }
}

/// A running leasehold, ended when dropped.
pub struct Server {
    process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
}

impl Server {
    /// `leasehold serve` on a free port of the loopback, with these flags besides. Unless they
    /// name a data directory, registrations are kept in memory.
    pub fn start(args: &[&str]) -> Self {
        let serve = Serve::new().args(args);
        if args.contains(&"--data-dir") { serve.start() } else { serve.args(["--store", "memory"]).start() }
    }

    /// The same, with no more than so many descriptors.
    pub fn start_with_descriptors(most: u32, args: &[&str]) -> Self {
        let limit = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        Serve::through(["sh", "-c", &limit]).args(["--store", "memory"]).args(args).start()
    }

    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
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

    /// `kill -9`: it is gone when this returns.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.process.stdout()
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

/// An address of the loopback that is free now: for a program that cannot be told to take any port.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(LISTEN).expect("a free port");
    listener.local_addr().expect("an address")
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
