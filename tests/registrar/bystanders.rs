//! What one registrar says of itself: statistics, a log file, and what is wrong with its settings.

use std::net::UdpSocket;

use crate::{
    registrars::{SETTLE, command},
    registries::{Kind, Registries},
    support::{Ended, docker::Engine, process::Process, wait_for},
};

#[test]
fn statistics_and_log_go_where_the_file_says() {
    let engine = Engine::start();
    engine.build("web:1", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]"]);
    let id = engine.run(&["--publish=80", "web:1"]);
    let registries = Registries::start();
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.set_read_timeout(Some(SETTLE)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (config, log) = (dir.path().join("registrar.yaml"), dir.path().join("registrar.log"));
    let settings = format!(
        "docker: {}\nlog: {}\ninterval: 200\nhostname: h1\nipaddress: 192.0.2.1\n\
         statsd: {{host: 127.0.0.1, port: {}}}\nprefix_stats: of-ours\n",
        engine.socket().display(),
        log.display(),
        statsd.local_addr().unwrap().port()
    );
    std::fs::write(&config, settings).unwrap();
    let mut run = command();
    run.args(["run", "-d", "-B", &registries.uri(Kind::Leasehold), "-c"]).arg(&config);
    let mut process = Process::spawn(run);

    let mut missing = vec![
        "of-ours.processing.ms:",
        "of-ours.services.set.ms:",
        "of-ours.services.pruning.ms:",
        "of-ours.alive:1|g",
    ];
    let mut packet = [0; 2048];
    while !missing.is_empty() {
        let length = statsd.recv(&mut packet).expect("statistics");
        let text = String::from_utf8_lossy(&packet[..length]).into_owned();
        missing.retain(|name| !text.contains(name));
    }
    assert_eq!(registries.containers(Kind::Leasehold, "h1"), [id]);
    process.signal("TERM");
    assert!(process.wait_exit(SETTLE).success());
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("Docker answers") && text.contains("DEBUG"), "{text}");
    assert_eq!(process.stdout(), "", "the log goes to the file");
}

#[test]
fn an_engine_that_is_not_there_yet_is_waited_for() {
    let registries = Registries::start();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let mut run = command();
    run.args(["run", "-B", &registries.uri(Kind::Etcd), "-H", "h1", "-a", "192.0.2.1"]);
    run.env("DOCKER_SOCKET", &socket);
    let mut process = Process::spawn(run);
    process.expect_line("what it waits for", SETTLE, |line| line.contains("ocket not found").then_some(()));
    let engine = Engine::start();
    engine.build("web:1", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]"]);
    let id = engine.run(&["web:1"]);
    std::os::unix::fs::symlink(engine.socket(), &socket).unwrap();
    wait_for("the container to show", SETTLE, || {
        (registries.containers(Kind::Etcd, "h1") == [id.clone()]).then_some(())
    });
    process.signal("INT");
    assert!(process.wait_exit(SETTLE).success());
}

#[test]
fn what_is_wrong_with_the_settings_is_said_before_anything_is_done() {
    #[track_caller]
    fn check(args: &[&str], expect: &str) {
        let mut run = command();
        run.args(args);
        let ended = Ended::wait(Process::spawn(run));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(expect), "{ended:?}");
    }
    check(&["run", "-B", "zoo://localhost"], "zoo");
    check(&["run", "-i", "soon"], "soon");
    check(&["-c", "/no/such/file", "run"], "/no/such/file");
    check(&["run", "-c", "/no/such/file"], "/no/such/file");
    check(&["run", "-B", "etcd://127.0.0.1", "-l", "/no/such/dir/log"], "/no/such/dir/log");
}
