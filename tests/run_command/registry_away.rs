//! The child lives whatever becomes of the registry.

use std::{fs, process::Command};

use super::{
    rig::{command_line, hear, listed, noted, run_child, state_of, unlisted},
    support::{
        BINARY, SOON, START, Serve, Server, data_dir::DataDir, free_address, process::Process, secret,
        wait_for,
    },
};

#[test]
fn it_registers_when_the_registry_comes() {
    let address = free_address();
    let (mut process, _) = run_child(&address.to_string(), "early", &[], &[]);
    noted(&process, "not registered yet: Connection refused");
    let server = Serve::new().args(["--store", "memory"]).at(address).start();
    listed(&server, "early");
    process.write_line("exit 3");
    assert_eq!(process.wait_exit(SOON).code(), Some(3));
    unlisted(&server, "early");
}

#[test]
fn a_killed_registry_is_outlived_and_taken_up_again() {
    let mut server = Server::start(&[]);
    let address = server.addr;
    let (mut process, family) = run_child(&server.url(), "outlives", &[], &[]);
    noted(&process, "registered as");
    server.kill();
    noted(&process, "at risk");
    process.write_line("say alive");
    hear(&mut process, "said alive");
    // It has lost its memory: the registration is made anew.
    let server = Serve::new().args(["--store", "memory"]).at(address).start();
    wait_for("it to be registered again", START, || {
        (!super::rig::instances(&server, "outlives").is_empty()).then_some(())
    });
    assert!(state_of(family.child).is_some());
    process.write_line("exit 0");
    assert_eq!(process.wait_exit(SOON).code(), Some(0));
    unlisted(&server, "outlives");
}

#[test]
fn a_restarted_registry_finds_it_again() {
    let dir = DataDir::new("run_restart");
    let mut server = Serve::new().on(dir.path()).start();
    let address = server.addr;
    let (mut process, _) = run_child(&server.url(), "stays", &[], &[]);
    noted(&process, "registered as");
    let id = listed(&server, "stays")["id"].clone();
    server.signal("TERM");
    server.wait_exit(START);
    let server = Serve::new().on(dir.path()).at(address).start();
    assert_eq!(listed(&server, "stays")["id"], id);
    // It stands there from the start on; what holds it comes back after a wait.
    let notes = || process.stderr().matches("registered as").count();
    wait_for("it to be held again", START, || (notes() == 2).then_some(()));
    process.write_line("exit 0");
    assert_eq!(process.wait_exit(SOON).code(), Some(0));
    unlisted(&server, "stays");
}

#[test]
fn a_registry_that_dies_holds_no_end_up() {
    let mut server = Server::start(&[]);
    let (mut process, _) = run_child(&server.url(), "late", &[], &[]);
    noted(&process, "registered as");
    server.kill();
    process.write_line("exit 9");
    assert_eq!(process.wait_exit(SOON).code(), Some(9));
    // The same of one that is there and does not answer.
    let server = Server::start(&[]);
    let (mut process, _) = run_child(&server.url(), "later", &[], &[]);
    noted(&process, "registered as");
    server.signal("STOP");
    process.write_line("die TERM");
    assert_eq!(process.wait_exit(SOON).code(), None);
    server.signal("CONT");
}

#[test]
fn a_registry_that_refuses_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("key"), secret("a service key"));
    fs::write(&file, &key).unwrap();
    let server = Server::start(&["--service-key-file", file.to_str().unwrap()]);
    let (mut process, _) = run_child(&server.url(), "keyless", &[], &[]);
    noted(&process, "refused by the registry");
    process.write_line("exit 5");
    assert_eq!(process.wait_exit(SOON).code(), Some(5));
    // With the key in a variable, which the child does not get, or in a file.
    let flags = ["--service-key-file", file.to_str().unwrap()];
    for (name, flags, value) in [("variable", [].as_slice(), key.as_str()), ("file", flags.as_slice(), "")] {
        let mut program = command_line(Command::new(BINARY), &server.url(), name, flags, &["cat"]);
        program.env("LEASEHOLD_SERVICE_KEY", value);
        let mut process = Process::spawn(program);
        listed(&server, name);
        process.close_stdin();
        assert_eq!(process.wait_exit(SOON).code(), Some(0));
        unlisted(&server, name);
    }
}

#[test]
fn what_cannot_be_read_ends_nothing() {
    let (mut process, _) = run_child("https://127.0.0.1:9", "no-ca", &["--ca", "/no/such/ca.pem"], &[]);
    noted(&process, "cannot register: cannot read /no/such/ca.pem");
    process.write_line("exit 5");
    assert_eq!(process.wait_exit(SOON).code(), Some(5));
}

#[test]
fn two_of_the_same_do_not_fight() {
    let server = Server::start(&[]);
    // The first learns of it at its next beat.
    let (mut first, _) = run_child(&server.url(), "twins", &["--ttl", "3s"], &[]);
    noted(&first, "registered as");
    let (mut second, _) = run_child(&server.url(), "twins", &[], &[]);
    noted(&second, "registered as");
    noted(&first, "another process has registered");
    first.write_line("exit 0");
    assert_eq!(first.wait_exit(SOON).code(), Some(0));
    listed(&server, "twins");
    second.write_line("exit 0");
    assert_eq!(second.wait_exit(SOON).code(), Some(0));
    unlisted(&server, "twins");
}
