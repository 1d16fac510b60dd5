//! One engine, one registry and one registrar between them, for all kinds.

use std::{
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::support::{BINARY, START, Server, docker::Engine, process::Process, wait_for};

/// The Docker host's name in what is advertised.
pub const HOST: &str = "kinds.example";

/// All that a row of the table needs.
pub struct Rig {
    pub engine: Engine,
    server: Server,
    registrar: Process,
}

/// An instance as it is listed.
#[derive(Clone, Debug)]
pub struct Listed(Value);

impl Rig {
    pub fn start() -> Self {
        let engine = Engine::start();
        engine.build("web:1", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]"]);
        engine.build("bare:1", &[]);
        let dns = ["EXPOSE 53/tcp 53/udp", "CMD [\"serve\", \"tcp:53\", \"udp:53\"]"];
        engine.build("dns:1", &dns);
        let check = "CMD [\"/guest\", \"check\"]";
        let often = format!("HEALTHCHECK --interval=500ms --retries=1 {check}");
        engine.build("checked:1", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]", &often]);
        let seldom = format!("HEALTHCHECK --interval=1h {check}");
        engine.build("starting:1", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]", &seldom]);

        let server = Server::start(&[]);
        let mut command = Command::new(BINARY);
        command.env_clear().args(["registrar", "run", "--interval", "1000", "--hostname", HOST]);
        command.args(["--backend", &format!("leasehold://{}", server.addr)]);
        command.args(["--addr", &engine.address().to_string(), "--publish-env", "LANG"]);
        command.env("DOCKER_SOCKET", engine.socket());
        Self { registrar: Process::spawn(command), engine, server }
    }

    /// Starts a container of this name with these arguments.
    pub fn run(&self, name: &str, args: &[&str]) -> String {
        self.engine.run(&[&["--name", name], args].concat())
    }

    /// What is advertised of the container of this name, in the order of the paths.
    pub fn listed(&self, name: &str) -> Vec<Listed> {
        let answer = self.server.get("/services").json();
        let all = answer["services"].as_array().expect("a list").iter().cloned().map(Listed);
        let mut of_it: Vec<Listed> = all.filter(|one| one.info("name") == format!("/{name}")).collect();
        of_it.sort_by(|one, other| one.path().cmp(other.path()));
        of_it
    }

    /// Waits until exactly these services and URLs are advertised of it, in the order of their paths.
    pub fn expect(&self, name: &str, endpoints: &[(&str, String)]) -> Vec<Listed> {
        let expected: Vec<(&str, &str)> =
            endpoints.iter().map(|(service, url)| (*service, url.as_str())).collect();
        self.wait(name, |listed| {
            let endpoints: Vec<(&str, &str)> =
                listed.iter().map(|one| (one.text("service"), one.text("url"))).collect();
            endpoints == expected
        })
    }

    /// Waits until what is advertised of it is as `good` says.
    pub fn wait(&self, name: &str, good: impl Fn(&[Listed]) -> bool) -> Vec<Listed> {
        let mut last = Vec::new();
        let waited = catch_unwind(AssertUnwindSafe(|| {
            wait_for("what is advertised", START, || {
                last = self.listed(name);
                good(&last).then(|| last.clone())
            })
        }));
        waited.unwrap_or_else(|panic| {
            eprintln!("of {name} is advertised: {last:#?}\nthe registrar: {}", self.registrar.stdout());
            resume_unwind(panic)
        })
    }

    /// Returns when the registrar has looked at whatever ran before: what is started now is advertised.
    pub fn looked(&self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("marker-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.run(&name, &["web:1"]);
        self.wait(&name, |listed| !listed.is_empty());
        self.engine.docker(&["rm", "--force", &name]);
        self.wait(&name, <[Listed]>::is_empty);
    }

    /// The address of a container in one of its networks, `IPAddress` or `GlobalIPv6Address`.
    pub fn address(&self, name: &str, network: &str, field: &str) -> IpAddr {
        let inspected = self.engine.inspect(name);
        let text = inspected["NetworkSettings"]["Networks"][network][field].as_str().expect("an address");
        text.parse().expect("an IP address")
    }

    /// Where the engine published a port: the first binding's host port.
    pub fn published(&self, name: &str, port: &str) -> u16 {
        let inspected = self.engine.inspect(name);
        let bindings = &inspected["NetworkSettings"]["Ports"][port];
        bindings[0]["HostPort"].as_str().expect("a binding").parse().expect("a port")
    }

    /// `tcp://` and where the engine's published ports are found.
    pub fn at_host(&self, proto: &str, port: u16) -> String {
        format!("{proto}://{}", SocketAddr::new(self.engine.address(), port))
    }

    /// Waits until someone answers at this URL: a container is advertised as soon as its process is there, which
    /// may be before it listens.
    pub fn answers(&self, url: &str) {
        let addr: SocketAddr = url.strip_prefix("tcp://").expect("a TCP port").parse().expect("an address");
        wait_for(&format!("an answer of {url}"), START, || self.engine.connect(addr).ok());
    }
}

impl Listed {
    /// A field of the instance.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().expect("a text")
    }

    /// A field of the document.
    pub fn info(&self, field: &str) -> &str {
        self.0["info"][field].as_str().unwrap_or_default()
    }

    /// The variables that are published.
    pub fn env(&self) -> Vec<String> {
        let env = self.0["info"]["env"].as_object().expect("the environment");
        env.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect()
    }

    /// A label.
    pub fn label(&self, name: &str) -> &str {
        self.0["labels"][name].as_str().unwrap_or_default()
    }

    /// Where a directory backend would keep it.
    pub fn path(&self) -> &str {
        self.info("path")
    }
}
