//! The binary as people and scripts meet it: what it prints, and the code it ends with.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The binary in an environment without settings, but that a server keeps nothing on this disk.
fn leasehold(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LEASEHOLD_")) {
        command.env_remove(name);
    }
    command.env("LEASEHOLD_STORE", "memory");
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    leasehold(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs, and expects an exit code and a piece of stderr.
#[track_caller]
fn check(arguments: &[&str], code: i32, expect: &str) {
    let output = run(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(expect), "{arguments:?}: {said}");
}

/// A process that does not outlive its test, and the lines it wrote.
struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut leasehold(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The next line of stdout.
    #[track_caller]
    fn line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("a line on stdout")
    }

    /// The next line of stdout that has all these pieces.
    #[track_caller]
    fn line_with(&self, pieces: &[&str]) -> String {
        next_with(&self.stdout, pieces)
    }

    /// The next line of stderr that has all these pieces.
    #[track_caller]
    fn note_with(&self, pieces: &[&str]) -> String {
        next_with(&self.stderr, pieces)
    }

    fn terminate(&self) {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -s TERM {}", self.child.id())).status();
        assert!(kill.unwrap().success());
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the process does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[track_caller]
fn next_with(lines: &Receiver<String>, pieces: &[&str]) -> String {
    let begun = Instant::now();
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            Ok(line) if pieces.iter().all(|piece| line.contains(piece)) => return line,
            Ok(line) => seen.push(line),
            Err(error) => panic!("no line with {pieces:?} ({error}) among {seen:#?}"),
        }
    }
}

/// A server on a port of its own.
fn serve(arguments: &[&str]) -> (Running, String) {
    let server = Running::start(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
    let url = server
        .line_with(&["listening on"])
        .strip_prefix("listening on ")
        .expect("where it listens")
        .to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    (server, url)
}

/// A port that refuses connections and that no other test can get.
struct Nobody {
    _bound: socket2::Socket,
    address: String,
}

impl Nobody {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
        Self { _bound: socket, address }
    }
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A file that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("leasehold-cli-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

// === what needs no server ===

#[test]
fn help_lists_the_commands_and_the_exit_codes() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = stdout(&output);
    for piece in
        ["serve", "register", "ls", "get", "watch", "deregister", "healthcheck", "Exit codes:", "  5  "]
    {
        assert!(help.contains(piece), "{piece}: {help}");
    }
    let help = stdout(&run(&["serve", "--help"]));
    for piece in
        ["--default-ttl", "[default: 30s]", "--mass-expiry-brake", "--config", "LEASEHOLD_DEFAULT_TTL"]
    {
        assert!(help.contains(piece), "{piece}: {help}");
    }
    assert!(stdout(&run(&["--version"])).starts_with("leasehold "));
}

#[test]
fn bad_usage_is_2() {
    check(&[], 2, "Usage");
    check(&["frobnicate"], 2, "frobnicate");
    check(&["serve", "--colour"], 2, "--colour");
    check(&["serve", "--listen", "here"], 2, "--listen: \"here\"");
    check(&["serve", "--min-ttl", "0s"], 2, "1s to 24h");
    check(&["serve", "--store", "etcd://a"], 2, "allowed: embedded or memory");
    check(&["serve", "--lease-token", "secret"], 2, "--lease-token");
    check(&["get"], 2, "ID|NAME");
    check(&["ls", "--label", "x"], 2, "KEY=VALUE");
    check(&["ls", "-o", "xml"], 2, "json");
    check(&["ls", "--server", "ftp://localhost:9000"], 2, "other than http and https");
    check(&["register", "http://a"], 2, "--service");
    check(&["register", "http://a", "--service", "a", "--info", "[]"], 2, "not a JSON object");
    check(&["register", "http://a", "--service", "a", "--ttl", "1500ms"], 2, "whole seconds");
}

#[test]
fn a_bad_configuration_names_the_place() {
    let unknown = File::new("unknown.toml", "colour = \"red\"\n");
    check(&["serve", "--config", unknown.path()], 2, "unknown key `colour`");
    check(&["serve", "--config", "/nonexistent.toml"], 2, "/nonexistent.toml");
    let mut command = leasehold(&["serve"]);
    let output = command.env("LEASEHOLD_MAX_TTL", "a while").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("LEASEHOLD_MAX_TTL: \"a while\""), "{}", stderr(&output));
}

#[test]
fn a_server_out_of_reach_is_5() {
    let server = Nobody::new();
    let nobody = server.address.as_str();
    check(&["ls", "--server", nobody], 5, nobody);
    check(&["get", "a", "--server", nobody], 5, "--server or LEASEHOLD_SERVER");
    check(&["watch", "--server", nobody], 5, nobody);
    check(&["deregister", "a", "--server", nobody], 5, nobody);
    check(&["register", "http://a", "--service", "a", "--server", nobody], 5, nobody);
    check(&["healthcheck", "--server", nobody], 5, nobody);
}

#[test]
fn the_server_comes_from_the_environment() {
    let server = Nobody::new();
    let nobody = server.address.as_str();
    let output = leasehold(&["ls"]).env("LEASEHOLD_SERVER", nobody).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains(nobody));
    let port = nobody.rsplit_once(':').unwrap().1;
    let output =
        leasehold(&["healthcheck"]).env("LEASEHOLD_LISTEN", format!("0.0.0.0:{port}")).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains(nobody), "{}", stderr(&output));
}

#[test]
fn a_port_that_is_taken_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&["serve", "--listen", &address], 1, "choose another with --listen");
}

#[test]
fn nobody_reading_is_no_panic() {
    let mut child = leasehold(&["--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[test]
fn sigterm_ends_the_server_with_0() {
    let (mut server, _) = serve(&[]);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn listening_for_everyone_is_warned_about_once() {
    let mut server = Running::start(&["serve", "--listen", "0.0.0.0:0", "--log-format", "json"]);
    server.line_with(&["listening on http://0.0.0.0:"]);
    let line = server.note_with(&["beyond loopback"]);
    assert_eq!(json(&line)["level"], "WARN");
    server.terminate();
    server.wait();
    assert!(server.stderr.iter().all(|line| !line.contains("beyond loopback")));
}

// === what needs a server ===

#[test]
fn a_registration_is_seen_by_every_command() {
    let (_server, url) = serve(&[]);
    let healthy = run(&["healthcheck", "--server", &url]);
    assert_eq!((healthy.status.code(), stdout(&healthy).as_str()), (Some(0), "healthy\n"));

    let watch = Running::start(&["watch", "--server", &url]);
    let watch_json = Running::start(&["watch", "-o", "json", "--service", "orders", "--server", &url]);
    assert_eq!(json(&watch_json.line_with(&["SYNCED"]))["type"], "SYNCED");

    let mut register = Running::start(&[
        "register",
        "http://10.0.0.1:80",
        "--service",
        "Orders",
        "--label",
        "tier=gold",
        "--zone",
        "a",
        "--weight",
        "3",
        "--info",
        r#"{"version": "1.2", "n": 1}"#,
        "--server",
        &url,
    ]);
    let id = register.line();
    assert_eq!(id.len(), 26, "{id}");
    register.note_with(&["holding", &id]);
    watch.line_with(&["REGISTERED", "orders", "http://10.0.0.1:80", &id]);
    let changes = json(&watch_json.line_with(&["CHANGES", &id]));
    assert_eq!(changes["events"][0]["reason"], "NEW");
    assert_eq!(changes["events"][0]["instance"]["info"]["n"], 1);

    let ls = stdout(&run(&["ls", "--service", "orders", "--label", "tier=gold", "--server", &url]));
    let row: Vec<&str> = ls.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["orders", "http://10.0.0.1:80", &id, "alive", "a", "tier=gold"], "{ls}");
    let none = stdout(&run(&["ls", "--service", "other", "--server", &url]));
    assert_eq!(none.lines().count(), 1, "{none}");

    let list = json(&stdout(&run(&["ls", "-o", "json", "--server", &url])));
    assert_eq!(list["count"], 1);
    assert_eq!(list["services"][0]["id"], id.as_str());
    assert_eq!(list["services"][0]["weight"], 3);
    assert_eq!(list["next_page_token"], "");
    assert!(list["services"][0]["revision"].is_string(), "64 bits are a string in JSON: {list}");

    let get = stdout(&run(&["get", "orders", "--server", &url]));
    assert!(get.contains(&id) && get.contains(r#"{"n":1,"version":"1.2"}"#), "{get}");
    let instance = json(&stdout(&run(&["get", &id, "-o", "json", "--server", &url])));
    assert_eq!(instance["labels"]["tier"], "gold");

    // The end of the holder is a deregistration, not a dropped stream.
    register.terminate();
    assert_eq!(register.wait().code(), Some(0));
    watch.line_with(&["DEREGISTERED", "CLIENT", &id]);
    check(&["get", &id, "--server", &url], 3, "not found");
}

#[test]
fn deregister_ends_a_registration_and_its_holder_registers_again() {
    let (_server, url) = serve(&[]);
    let register =
        Running::start(&["register", "http://10.0.0.1:80", "--service", "a", "-o", "json", "--server", &url]);
    let answer = json(&register.line());
    let id = answer["id"].as_str().unwrap();
    assert_eq!(answer["status"], "registered");
    register.note_with(&["holding", id]);
    let gone = json(&stdout(&run(&["deregister", id, "-o", "json", "--server", &url])));
    assert_eq!(gone["status"], "deregistered");
    assert_eq!(gone["service"]["id"], id);
    check(&["deregister", id, "--server", &url], 3, "not found");
    register.note_with(&["registered again as"]);
}

#[test]
fn refusals_are_4_and_name_the_fields() {
    let (_server, url) = serve(&[]);
    let bad = ["register", "not-a-url", "--service", "a", "--server", &url];
    check(&bad, 4, "\n  url: ");
    check(&["watch", "--resume-token", "nonsense", "--server", &url], 4, "refused by");
    let many: Vec<Running> = ["http://10.0.0.1:80", "http://10.0.0.2:80"]
        .iter()
        .map(|replica| Running::start(&["register", replica, "--service", "twin", "--server", &url]))
        .collect();
    for replica in &many {
        replica.note_with(&["holding"]);
    }
    check(&["deregister", "twin", "--server", &url], 4, "refused by");
}

#[test]
fn the_lease_token_comes_from_the_environment() {
    let (_server, url) = serve(&["--require-lease-token"]);
    let register =
        Running::start(&["register", "http://10.0.0.1:80", "--service", "a", "-o", "json", "--server", &url]);
    let answer = json(&register.line());
    let (id, token) = (answer["id"].as_str().unwrap(), answer["lease_token"].as_str().unwrap());
    register.note_with(&["holding", id]);
    check(&["deregister", id, "--server", &url], 4, "refused by");
    let mut command = leasehold(&["deregister", id, "--server", &url]);
    let output = command.env("LEASEHOLD_LEASE_TOKEN", token).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_server_that_stops_is_waited_for_and_registered_with_again() {
    let (mut server, url) = serve(&[]);
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let mut register =
        Running::start(&["register", "http://10.0.0.1:80", "--service", "a", "--server", &address]);
    let first = register.line();
    register.note_with(&["holding", &first]);
    let mut watch = Running::start(&["watch", "--server", &url]);
    watch.line_with(&["REGISTERED", &first]);

    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    watch.note_with(&["connection lost", "resuming"]);
    // A memory store starts empty.
    let again = Running::start(&["serve", "--listen", &address]);
    again.line_with(&["listening on"]);
    register.note_with(&["registered again as"]);
    watch.note_with(&["shown anew"]);
    watch.line_with(&["http://10.0.0.1:80"]);

    for client in [&mut register, &mut watch] {
        client.terminate();
        assert_eq!(client.wait().code(), Some(0));
    }
}

#[test]
fn the_environment_that_starts_a_server_finds_it() {
    let file = File::new("server.toml", "listen = \"127.0.0.1:0\"\n");
    let server = Running::start(&["serve", "--config", file.path()]);
    let address =
        server.line_with(&["listening on"]).strip_prefix("listening on http://").unwrap().to_owned();
    let found = File::new("found.toml", &format!("listen = \"{address}\"\n"));
    let output = run(&["healthcheck", "--config", found.path()]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "healthy\n"));
}
