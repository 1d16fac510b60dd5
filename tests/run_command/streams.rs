//! What the child has of us: streams, environment, folder, and the signals that are ignored.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use super::{
    rig::{Family, NOWHERE, child, command_line, hear, signal},
    support::{BINARY, SOON, process::Process, secret, wait_for},
};

#[test]
fn streams_and_folder_are_the_childs() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(BINARY);
    program.current_dir(folder.path());
    let script = "pwd; echo to stderr >&2; cat";
    let mut process = Process::spawn(command_line(program, NOWHERE, "streams", &[], &["sh", "-c", script]));
    hear(&mut process, folder.path().canonicalize().unwrap().to_str().unwrap());
    process.write_line("through stdin");
    hear(&mut process, "through stdin");
    process.close_stdin();
    assert_eq!(process.wait_exit(SOON).code(), Some(0));
    assert!(process.stderr().lines().any(|line| line == "to stderr"), "{}", process.stderr());
}

#[test]
fn who_reads_its_output_sees_the_child_close_it() {
    // The second one reads to the end of the first one's output, which goes on without it.
    let script = "\"$@\" | { cat; echo 'its output ended'; }";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", BINARY]);
    let child = ["sh", "-c", "exec >&-; read line"];
    let mut process = Process::spawn(command_line(shell, NOWHERE, "closed", &[], &child));
    hear(&mut process, "its output ended");
    assert!(process.exited().is_none(), "the child has not ended");
}

#[test]
fn the_environment_is_the_childs_but_for_our_secrets() {
    let key = secret("a key");
    let mut program = command_line(Command::new(BINARY), NOWHERE, "environment", &[], &["env"]);
    program
        .env("LEASEHOLD_SERVICE_KEY", &key)
        .env("LEASEHOLD_LEASE_TOKEN", &key)
        .env("SERVICEKIT_REGISTRATION_KEY", "for-the-child")
        .env("OTHER", "kept");
    let mut process = Process::spawn(program);
    assert!(process.wait_exit(SOON).success());
    let environment = process.stdout();
    assert!(environment.contains("OTHER=kept") && environment.contains("SERVICEKIT_REGISTRATION_KEY="));
    assert!(!environment.contains("LEASEHOLD_SERVICE_KEY") && !environment.contains("LEASEHOLD_LEASE_TOKEN"));
}

#[test]
fn what_was_ignored_stays_so_and_nothing_else() {
    let ignored = |before: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before} exec \"$@\""), "sh", BINARY]);
        let look = ["grep", "-E", "^Sig(Ign|Blk):", "/proc/self/status"];
        let mut process = Process::spawn(command_line(shell, NOWHERE, "ignored", &[], &look));
        assert!(process.wait_exit(SOON).success(), "{}", process.stderr());
        let mask = |name: &str| {
            let text = process.stdout();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            u64::from_str_radix(&line, 16).unwrap()
        };
        (mask("SigIgn:"), mask("SigBlk:"))
    };
    let bit = |signal: u32| 1 << (signal - 1);
    let (plain, blocked) = ignored("");
    let (nohup, _) = ignored("trap '' HUP;");
    assert_eq!(plain & (bit(1) | bit(13) | bit(15) | bit(17) | bit(20)), 0, "{plain:x}");
    assert_eq!(blocked & (bit(15) | bit(17)), 0, "{blocked:x}");
    assert_eq!(nohup & bit(1), bit(1), "as nohup has it: {nohup:x}");
}

#[test]
fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let (_unread, mut stderr) = std::io::pipe().unwrap();
    // As much as a pipe takes.
    stderr.write_all(&vec![b'.'; 65536]).unwrap();
    let words = child(&["USR1"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = command_line(Command::new(BINARY), NOWHERE, "full", &[], &words);
    let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines().map_while(Result::ok);
    let family = lines.find_map(|line| Family::read(&line)).unwrap();
    signal("USR1", family.parent);
    assert_eq!(lines.next().as_deref(), Some("got USR1 1"));
    writeln!(run.stdin.take().unwrap(), "exit 6").unwrap();
    let status = wait_for("its end", SOON, || run.try_wait().unwrap());
    assert_eq!(status.code(), Some(6));
}
