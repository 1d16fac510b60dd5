//! `leasehold run` as a process of the test, and what the registry says of it. Its commands end with their stdin, so
//! that none outlives its test.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use crate::support::{BINARY, SOON, Server, installed, process::Process, wait_for, without_settings};

/// Where no registry is: nobody listens on the port of the discard service.
pub const NOWHERE: &str = "127.0.0.1:9";

/// `leasehold run` of `command`, as the service `name` at `http://name:1`, with these flags besides.
pub fn run(registry: &str, name: &str, flags: &[&str], command: &[&str]) -> Process {
    Process::spawn(command_line(Command::new(BINARY), registry, name, flags, command))
}

/// The same, after `program`, which becomes it or starts it.
pub fn command_line(
    mut program: Command,
    registry: &str,
    name: &str,
    flags: &[&str],
    command: &[&str],
) -> Command {
    program.args(["run", "--server", registry, "--service", name, "--url", &format!("http://{name}:1")]);
    program.args(flags).arg("--").args(command);
    without_settings(&mut program);
    program
}

/// A command that tells of these signals; see `tests/python/run_child.py`.
pub fn child(signals: &[&str]) -> Vec<String> {
    let python = installed("LEASEHOLD_TEST_PYTHON");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/run_child.py");
    let mut words = vec![python.display().to_string(), "-u".to_owned(), script.display().to_string()];
    words.extend(signals.iter().map(|&signal| signal.to_owned()));
    words
}

/// `leasehold run` of [`child`]; returns when the child is ready.
pub fn run_child(registry: &str, name: &str, flags: &[&str], signals: &[&str]) -> (Process, Family) {
    let words = child(signals);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = run(registry, name, flags, &words);
    let family = Family::of(&mut process);
    (process, family)
}

/// The ids of the child and of its parent, as they see them.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub child: u32,
    pub parent: u32,
}

impl Family {
    /// What the child says when it is ready.
    pub fn of(process: &mut Process) -> Self {
        process.expect_line("the child to be ready", SOON, Self::read)
    }

    /// The same of a line.
    pub fn read(line: &str) -> Option<Self> {
        let (child, parent) = line.strip_prefix("ready ")?.split_once(' ')?;
        Some(Self { child: child.parse().ok()?, parent: parent.trim().parse().ok()? })
    }
}

/// Waits for a line of the child.
#[track_caller]
pub fn hear(process: &mut Process, line: &str) {
    process.expect_line(line, SOON, |said| (said == line).then_some(()));
}

/// Waits for a note of ours with this in it.
#[track_caller]
pub fn noted(process: &Process, part: &str) {
    wait_for(part, SOON, || process.stderr().contains(part).then_some(()));
}

/// The instances of a service.
pub fn instances(server: &Server, name: &str) -> Vec<Value> {
    let answer = server.get(&format!("/services?service={name}")).json();
    answer["services"].as_array().cloned().unwrap_or_default()
}

/// Waits until it is in the registry; how it stands there.
#[track_caller]
pub fn listed(server: &Server, name: &str) -> Value {
    wait_for("it to be registered", SOON, || instances(server, name).pop())
}

/// Waits until it is not.
#[track_caller]
pub fn unlisted(server: &Server, name: &str) {
    wait_for("it to be deregistered", SOON, || instances(server, name).is_empty().then_some(()));
}

/// The state letter of a process: `T` is stopped; none: there is no such process, or only what it left.
pub fn state_of(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next().filter(|state| *state != 'Z')
}

/// Sends a signal to a process.
pub fn signal(name: &str, id: u32) {
    let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &id.to_string()]).status();
    assert!(sent.unwrap().success(), "SIG{name} to {id}");
}
