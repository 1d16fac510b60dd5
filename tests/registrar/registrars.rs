//! Registrars of one engine: for each registry one in mode ttl and one in mode prune, as hosts `ttl` and
//! `prune`.

use std::{process::Command, time::Duration};

use crate::{
    registries::{KINDS, Kind, Registries},
    support::{BINARY, START, docker::Engine, process::Process, wait_for, without_settings},
};

/// For registries to show what runs. Long: the machine may be starting containers for others.
pub const SETTLE: Duration = Duration::from_mins(3);

/// The variables of the registrar's settings.
const SETTINGS: [&str; 13] = [
    "BACKEND",
    "DOCKER_SOCKET",
    "HOST",
    "INTERVAL",
    "IPADDRESS",
    "LOGFILE",
    "LOGLEVEL",
    "PREFIX_HOSTS",
    "PREFIX_SERVICES",
    "PREFIX_STATSD",
    "SERVICE_METHOD",
    "TTL",
    "CONSUL_HTTP_TOKEN",
];

/// A registrar, ended when dropped.
pub struct Registrar {
    pub kind: Kind,
    pub host: &'static str,
    process: Process,
}

/// One for each registry and mode.
pub struct Registrars(Vec<Registrar>);

/// `leasehold registrar` in an environment without settings.
pub fn command() -> Command {
    let mut command = Command::new(BINARY);
    without_settings(&mut command);
    for name in SETTINGS {
        command.env_remove(name);
    }
    command.arg("registrar");
    command
}

impl Registrar {
    /// Starts one. A path tells hosts apart, for two of them share this engine.
    pub fn start(engine: &Engine, registries: &Registries, kind: Kind, host: &'static str) -> Self {
        let config = registries.data_dir().join("registrar.yaml");
        let path =
            "prefix_path: ['environment:ENVIRONMENT', 'service:HOST', 'service:HOSTNAME', 'service:PORT']\n";
        std::fs::write(&config, path).unwrap();
        let mut command = command();
        command.arg("-c").arg(config).args(["run", "--backend", &registries.uri(kind), "-H", host]);
        command.args(["-a", if host == "ttl" { "192.0.2.1" } else { "192.0.2.2" }]);
        command.env("DOCKER_SOCKET", engine.socket()).env("SERVICE_METHOD", host);
        Self { kind, host, process: Process::spawn(command) }
    }

    /// Waits for it to say this.
    pub fn expect(&mut self, what: &str) {
        self.process.expect_line(what, SETTLE, |line| line.contains(what).then_some(()));
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        format!("{}\n{}", self.process.stdout(), self.process.stderr())
    }
}

impl Registrars {
    /// Starts all six.
    pub fn start(engine: &Engine, registries: &Registries) -> Self {
        let of = |kind| ["ttl", "prune"].map(|host| Registrar::start(engine, registries, kind, host));
        Self(KINDS.into_iter().flat_map(of).collect())
    }

    /// `kill -9`, all of them.
    pub fn kill(mut self) {
        for registrar in &mut self.0 {
            registrar.process.kill();
        }
    }

    /// SIGTERM: each must end by itself, and well.
    pub fn terminate(&mut self) {
        for registrar in &self.0 {
            registrar.process.signal("TERM");
        }
        for registrar in &mut self.0 {
            let status = registrar.process.wait_exit(START);
            assert!(status.success(), "{status}: {}", registrar.log());
        }
    }

    /// Waits until each says this.
    pub fn expect(&mut self, what: &str) {
        for registrar in &mut self.0 {
            registrar.expect(what);
        }
    }

    /// Waits until each registry shows exactly these containers of each host.
    pub fn settle(&self, registries: &Registries, running: &[String]) {
        let mut differing = String::new();
        let settled = |differing: &mut String| {
            for registrar in &self.0 {
                let shown = registries.containers(registrar.kind, registrar.host);
                if shown != running {
                    let missing = running.iter().filter(|id| !shown.contains(id)).count();
                    *differing = format!(
                        "{:?} {} shows {} of {}, {missing} are missing; its registrar said:\n{}",
                        registrar.kind,
                        registrar.host,
                        shown.len(),
                        running.len(),
                        registrar.log()
                    );
                    return None;
                }
            }
            Some(())
        };
        let begun = std::time::Instant::now();
        wait_for("every registry to show what runs", 2 * SETTLE, || {
            let done = settled(&mut differing);
            assert!(done.is_some() || begun.elapsed() < SETTLE, "{differing}");
            done
        });
    }

    /// Panics unless each registry shows exactly these now.
    pub fn assert_shown(&self, registries: &Registries, expect: &[String]) {
        for registrar in &self.0 {
            let shown = registries.containers(registrar.kind, registrar.host);
            assert_eq!(shown, expect, "{:?} {}:\n{}", registrar.kind, registrar.host, registrar.log());
        }
    }

    /// What all of them wrote.
    pub fn logs(&self) -> String {
        self.0.iter().map(Registrar::log).collect()
    }
}

impl Drop for Registrars {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(!self.logs().contains("panicked"), "a registrar panicked:\n{}", self.logs());
        }
    }
}
