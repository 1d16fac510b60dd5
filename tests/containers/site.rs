//! An engine with the project's own image on it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    docker::Engine,
    http::{Answer, exchange_on},
    installed,
    process::Process,
    wait_for,
};

/// The project's folder.
pub const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// The image's tag.
pub const IMAGE: &str = "leasehold";
/// All dependencies are built, on a machine that has other work.
pub const BUILD: Duration = Duration::from_mins(40);
/// Python and its imports take their time, and so does an engine.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// What makes the build cheaper, and works without a network. None of it is in the Dockerfile.
const RUST_ENVIRONMENT: [&str; 5] = [
    "CARGO_HOME=/usr/local/cargo",
    "CARGO_NET_OFFLINE=true",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16",
    "CARGO_PROFILE_RELEASE_LTO=off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL=0",
];
const PYTHON_ENVIRONMENT: [&str; 2] = ["PIP_FIND_LINKS=/srv/wheels", "PIP_NO_INDEX=1"];

/// The engine, and what every test does with it.
pub struct Site {
    pub engine: Engine,
}

impl Site {
    /// Starts an engine, with whatever driver copies least here, and builds the image as a user does.
    pub fn build() -> Self {
        let site = Self { engine: Engine::start_with(&[]) };
        site.import("rust", &argument("Dockerfile", "BUILD_IMAGE"), &RUST_ENVIRONMENT);
        site.import("debian", &argument("Dockerfile", "RUNTIME_IMAGE"), &[]);
        site.import("python", &argument("examples/compose/Dockerfile", "PYTHON_IMAGE"), &PYTHON_ENVIRONMENT);
        let mut build = site.engine.client();
        build.args(["build", "--force-rm", "--tag", IMAGE, "--build-arg", "VERSION=of-a-test", PROJECT]);
        finish(build, BUILD);
        site
    }

    fn import(&self, name: &str, tag: &str, environment: &[&str]) {
        let archive = installed("LEASEHOLD_TEST_CONTAINER_BASES").join(name).with_extension("tar");
        let mut import = self.engine.client();
        import.arg("import");
        for variable in environment {
            import.args(["--change", &format!("ENV {variable}")]);
        }
        finish_with(import.args(["-", tag]), File::open(&archive).expect("an archive of tests/run"));
    }

    /// Waits until a container is healthy.
    pub fn healthy(&self, container: &str) {
        wait_for("a healthy container", PATIENCE, || {
            let state = &self.engine.inspect(container)["State"];
            assert_eq!(state["Status"], "running", "{container}: {}", self.logs(container));
            (state["Health"]["Status"] == "healthy").then_some(())
        });
    }

    /// All that a container wrote.
    pub fn logs(&self, container: &str) -> String {
        let ended = self.engine.client().args(["logs", container]).output().expect("a client");
        String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned()
    }

    /// A request to a port of the engine's own loopback.
    pub fn http(&self, port: u16, method: &str, path: &str, body: &str) -> Answer {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = self.engine.connect(addr).expect("a published port");
        exchange_on(stream, addr, method, path, &[], body.as_bytes()).expect("an answer")
    }

    /// The services in the registry at that port, by name.
    pub fn services(&self, port: u16) -> Vec<Value> {
        let listed = self.http(port, "GET", "/services", "").json();
        let mut services = listed["services"].as_array().expect("a list").clone();
        services.sort_by_key(|service| service["service"].to_string());
        services
    }
}

/// The default of an ARG in a Dockerfile.
pub fn argument(file: &str, name: &str) -> String {
    let text = fs::read_to_string(Path::new(PROJECT).join(file)).expect("a Dockerfile");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}=")));
    line.unwrap_or_else(|| panic!("{file} has no ARG {name}")).to_owned()
}

/// Runs a program to its end; must succeed.
pub fn finish(command: Command, limit: Duration) {
    let mut process = Process::spawn(command);
    let status = process.wait_exit(limit);
    assert!(status.success(), "{status}:\n{}\n{}", process.stdout(), process.stderr());
}

fn finish_with(command: &mut Command, input: File) {
    let ended = command.stdin(input).output().expect("a program");
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}
