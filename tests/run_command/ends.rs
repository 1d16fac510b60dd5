//! What it ends with: the child's code, the child's signal, or why there was no child.

use std::{fs, os::unix::process::ExitStatusExt as _, process::Command};

use super::{
    rig::{NOWHERE, command_line, run, run_child},
    support::{BINARY, Ended, SOON, leasehold, process::Process},
};

#[test]
fn the_childs_code_is_ours() {
    for code in [0, 1, 7, 125, 255] {
        let mut process = run(NOWHERE, "code", &[], &["sh", "-c", &format!("exit {code}")]);
        assert_eq!(process.wait_exit(SOON).code(), Some(code));
    }
}

#[test]
fn the_childs_signal_is_ours_too() {
    for (name, number) in [("TERM", 15), ("INT", 2), ("KILL", 9), ("USR1", 10), ("SEGV", 11), ("PIPE", 13)] {
        let (mut process, _) = run_child(NOWHERE, "signal", &[], &[]);
        process.write_line(&format!("die {name}"));
        let status = process.wait_exit(SOON);
        assert_eq!((status.code(), status.signal()), (None, Some(number)), "{name}");
        assert!(!status.core_dumped(), "the child's core is the one to look at");
    }
}

#[test]
fn a_shell_shows_it_as_ever() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\"; echo \"code $?\"", "sh", BINARY]);
    let mut process =
        Process::spawn(command_line(shell, NOWHERE, "shell", &[], &["sh", "-c", "kill -TERM $$"]));
    process.expect_line("the code", SOON, |line| (line == "code 143").then_some(()));
}

#[test]
fn what_cannot_be_started_has_the_codes_of_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-program");
    fs::write(&file, "text").unwrap();
    for (command, code) in
        [("no-such-command-here", 127), ("/no/such/file", 127), (file.to_str().unwrap(), 126)]
    {
        let ended = Ended::wait(run(NOWHERE, "none", &[], &[command]));
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(command), "{}", ended.stderr);
    }
}

#[test]
fn bad_usage_ends_it_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("started");
    let good = ["--service", "a", "--url", "http://a:1"];
    let bad: [&[&str]; 12] = [
        &["--service", "a"],
        &["--url", "http://a:1"],
        &["--service", "a", "--url", "a:1"],
        &["--service", "??", "--url", "http://a:1"],
        &["--health", "nonsense"],
        &["--health", "udp://127.0.0.1:1"],
        &["--health", "tcp://127.0.0.1"],
        &["--health-interval", "0s"],
        &["--stop-signal", "KILL"],
        &["--server", "ftp://registry"],
        &["--cert", "cert.pem"],
        &["--label", "novalue"],
    ];
    for flags in bad {
        let is_whole = flags.iter().any(|flag| ["--service", "--url"].contains(flag));
        let given = if is_whole { flags.to_vec() } else { [&good, flags].concat() };
        let words = [&["run"], given.as_slice(), &["--", "touch", mark.to_str().unwrap()]].concat();
        let ended = leasehold(&words);
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty() && !mark.exists(), "{flags:?}");
    }
    let without_dashes = leasehold(["run", "--service", "a", "--url", "http://a:1", "true"]);
    assert_eq!(without_dashes.code, Some(2), "{}", without_dashes.stderr);
}

#[test]
fn an_end_is_seen_even_if_nothing_tells_of_it() {
    let mut blocked = Command::new("env");
    blocked.args(["--block-signal=CHLD", BINARY]);
    let mut process = Process::spawn(command_line(blocked, NOWHERE, "blocked", &[], &["sh", "-c", "exit 4"]));
    assert_eq!(process.wait_exit(SOON).code(), Some(4));
}

#[test]
fn an_end_waits_for_no_registry() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for registry in [NOWHERE, &address] {
        let mut process = run(registry, "away", &[], &["sh", "-c", "exit 3"]);
        assert_eq!(process.wait_exit(SOON).code(), Some(3), "{registry}");
    }
}
