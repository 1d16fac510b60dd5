//! The programs of `examples/`, against a registry that is killed and started again under them.

use std::{process::Command, time::Duration};

use crate::{
    rig::{NOTICED, durable},
    support::{Server, data_dir::DataDir, examples::example, process::Process, wait_for, without_settings},
};

fn start(name: &str, args: &[&str], server: &Server) -> Process {
    let mut command = Command::new(example(name));
    without_settings(&mut command);
    command.args(args).env("LEASEHOLD_SERVER", server.url());
    Process::spawn(command)
}

/// The next line of it that begins so.
fn expect(process: &mut Process, begin: &str) -> String {
    process.expect_line(begin, NOTICED, |line| line.trim_start().starts_with(begin).then(|| line.to_owned()))
}

#[test]
fn register_watch_and_balance() {
    let dir = DataDir::new("client-watch");
    let mut server = durable(&dir, None);
    let url = format!("grpc://{}", server.addr);
    let mut register = start("register", &["greeter", &url], &server);
    let registered = expect(&mut register, "registered as");

    let mut watch = start("watch", &["greeter"], &server);
    expect(&mut watch, "1 instances at revision");
    let line = watch.next_line("the instance", NOTICED);
    assert!(line.contains(" greeter ") && line.contains(&url) && line.ends_with(" alive"), "{line}");
    // Which of the two is said first is open.
    wait_for("a live watch", NOTICED, || watch.stdout().lines().any(|line| line == "live").then_some(()));

    let mut balance = start("balance", &["greeter"], &server);
    assert_eq!(balance.wait_exit(NOTICED).code(), Some(0), "{}", balance.stderr());
    let calls: Vec<String> = (1..=10).map(|call| format!("call {call}: Serving")).collect();
    assert_eq!(balance.stdout(), calls.join("\n"));

    server.kill();
    expect(&mut register, "at risk");
    expect(&mut watch, "stale");
    let _server = durable(&dir, Some(server.addr));
    assert_eq!(expect(&mut register, "registered as"), registered, "it is the same registration");
    expect(&mut watch, "live");

    register.signal("INT");
    expect(&mut watch, "DEREGISTERED CLIENT");
    assert_eq!(register.wait_exit(NOTICED).code(), Some(0), "{}", register.stderr());
    assert!(register.stdout().ends_with("deregistered"), "{}", register.stdout());
    watch.signal("INT");
    assert_eq!(watch.wait_exit(Duration::from_secs(10)).code(), Some(0), "{}", watch.stderr());
}

#[test]
fn they_say_how_they_are_used() {
    let server = Server::start(&[]);
    for name in ["register", "balance"] {
        let mut process = start(name, &[], &server);
        assert_eq!(process.wait_exit(NOTICED).code(), Some(1));
        assert!(process.stderr().contains("usage: "), "{}", process.stderr());
    }
}
