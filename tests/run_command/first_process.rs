//! As a container's first process: in a PID namespace of its own.

use std::{fs, process::Command};

use super::{
    rig::{child, command_line, hear, listed, unlisted},
    support::{BINARY, SOON, Server, process::Process, wait_for},
};

/// `leasehold run` as process 1 of a namespace.
fn first_process(registry: &str, name: &str, command: &[&str]) -> Process {
    let mut unshare = Command::new("unshare");
    // Outside root, a user namespace allows it.
    unshare.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", BINARY]);
    Process::spawn(command_line(unshare, registry, name, &[], command))
}

/// The id, seen from here, of the process that `unshare` started.
fn inside(process: &Process) -> u32 {
    let id = process.id();
    wait_for("the first process", SOON, || {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

#[test]
fn it_passes_signals_on_and_ends_with_the_child() {
    let server = Server::start(&[]);
    let words = child(&["TERM", "INT"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = first_process(&server.url(), "first", &words);
    // The child is the second one, of the first.
    process.expect_line("the child", SOON, |line| {
        (line.starts_with("ready ") && line.ends_with(" 1")).then_some(())
    });
    listed(&server, "first");
    let first = inside(&process);
    super::rig::signal("TERM", first);
    hear(&mut process, "got TERM 1");
    super::rig::signal("INT", first);
    hear(&mut process, "got INT 1");
    process.write_line("exit 7");
    assert_eq!(process.wait_exit(SOON).code(), Some(7));
    unlisted(&server, "first");
}

#[test]
fn the_childs_signal_becomes_a_code() {
    // Nothing can end a first process by its own signal, so the shells' code stands for it.
    let server = Server::start(&[]);
    let mut process = first_process(&server.url(), "code", &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(process.wait_exit(SOON).code(), Some(143));
}

#[test]
fn orphans_are_waited_for() {
    let server = Server::start(&[]);
    // Twenty processes whose parents end before them, so that they become the first process's children. A process
    // that ended and was not waited for still has its folder; the shell itself looks, without another process.
    let script = "
        i=0; while [ $i -lt 20 ]; do (sleep 0.3 &); i=$((i + 1)); done
        while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.05; done
        echo 'nobody is left'
        cat";
    let mut process = first_process(&server.url(), "orphans", &["sh", "-c", script]);
    hear(&mut process, "nobody is left");
    listed(&server, "orphans");
    process.close_stdin();
    assert_eq!(process.wait_exit(SOON).code(), Some(0));
}
