//! An app built on servicekit, unmodified, that registers itself.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use super::{SOON, Server, process::Process, python};

/// Python and its imports take their time.
const START: Duration = Duration::from_mins(1);

/// A running app.
pub struct App {
    pub process: Process,
    pub port: u16,
    /// When its own code began to run; Python and its imports took their time before.
    pub started: Instant,
}

impl App {
    /// Starts it on this port (0: a free one), pinging every second.
    pub fn start(server: &Server, id: &str, port: u16) -> Self {
        Self::start_with(server, id, port, &[])
    }

    /// The same with a key for registering.
    pub fn start_with_key(server: &Server, id: &str, key: &str) -> Self {
        Self::start_with(server, id, 0, &[("SERVICEKIT_REGISTRATION_KEY", key.as_ref())])
    }

    /// One that believes in this authority, as it is told from outside.
    pub fn start_trusting(server: &Server, id: &str, ca: &Path) -> Self {
        Self::start_with(server, id, 0, &[("SSL_CERT_FILE", ca.as_ref())])
    }

    fn start_with(server: &Server, id: &str, port: u16, variables: &[(&str, &OsStr)]) -> Self {
        let mut command = python("servicekit_app.py", &[id, "Climate Data", &port.to_string(), "1"]);
        command.env("SERVICEKIT_ORCHESTRATOR_URL", format!("{}/services/$register", server.url()));
        command.env_remove("SERVICEKIT_REGISTRATION_KEY");
        command.envs(variables.iter().copied());
        let mut process = Process::spawn(command);
        let port = process
            .expect_line("the app's port", START, |line| line.strip_prefix("port ")?.trim().parse().ok());
        Self { process, port, started: Instant::now() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `SIGTERM`, and what it logged up to its end.
    pub fn stop(&mut self) -> String {
        self.process.signal("TERM");
        self.process.wait_exit(START);
        self.process.stdout()
    }

    /// Waits for a ping of this app to be answered; none may have failed.
    pub fn pinged(&mut self) {
        self.process.expect_line("a ping that succeeds", SOON, |line| {
            assert!(!line.contains("keepalive.ping_failed"), "{line}");
            line.contains("keepalive.ping_success").then_some(())
        });
    }

    /// Waits for a ping of this app to be answered, however many failed before.
    pub fn pinged_again(&mut self) {
        self.process.expect_line("a ping that succeeds again", SOON, |line| {
            assert!(!line.contains("keepalive.service_not_found"), "{line}");
            line.contains("keepalive.ping_success").then_some(())
        });
    }
}
