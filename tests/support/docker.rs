//! A Docker engine of a test's own, real, and apart from any other on the machine: it runs in
//! namespaces of its own for networks, mounts and processes, and what it leaves goes with them.
//!
//! Its published ports are at [`Engine::address`]; its containers reach this machine at
//! [`Engine::host`]. There is no way out to any other network, and no image can be pulled:
//! [`Engine::build`] makes images FROM scratch, of the one program in `guest.c`.

use std::{
    ffi::OsStr,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

use super::{START, data_dir::DataDir, installed, process::Process, wait_for};

/// Containers that are stopped one after the other on a busy machine.
const STOP: Duration = Duration::from_mins(3);

/// The namespaces' first process: it ends with its standard input, and all others with it. `/run` is
/// the engine's own, so that nothing of it is left or met there.
const HOLD: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && echo held && cat; exit";

/// A running engine, ended and removed when dropped.
pub struct Engine {
    /// The namespaces, for as long as it runs.
    holder: Process,
    /// `nsenter`, whose child is the engine.
    daemon: Option<Process>,
    args: Vec<String>,
    data: DataDir,
    /// The socket's: paths of sockets have to be short.
    dir: TempDir,
    subnet: Subnet,
    name: String,
}

impl Engine {
    /// Starts one, with the storage driver that works everywhere.
    pub fn start() -> Self {
        Self::start_with(&["--storage-driver=vfs"])
    }

    /// Starts one with these arguments of `dockerd`.
    pub fn start_with(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "a Docker engine needs root: run the tests as root");
        let name = format!("lh{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", HOLD]);
        let mut holder = Process::spawn(command);
        assert_eq!(holder.next_line("namespaces for an engine", START), "held");
        let subnet = Subnet::between(&name, holder.id());
        let mut engine = Self {
            holder,
            daemon: None,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            data: DataDir::new("engine"),
            dir: tempfile::Builder::new().prefix("lh-").tempdir().expect("a temporary directory"),
            subnet,
            name,
        };
        engine.start_again();
        engine
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// The same as a URL: `unix:///…/docker.sock`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What of it is seen outside is named after it: a network interface, and cgroups.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network, as `/proc/…/ns/net` links to it.
    pub fn network(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/ns/net", self.holder.id())).expect("a live process")
    }

    /// Where this machine finds the ports that containers publish.
    pub fn address(&self) -> IpAddr {
        self.subnet.engine.into()
    }

    /// Where containers find this machine: a server that they are to reach listens there.
    pub fn host(&self) -> IpAddr {
        self.subnet.host.into()
    }

    /// Runs Docker's client to its end; must succeed. What it printed to stdout, trimmed.
    pub fn docker(&self, args: &[&str]) -> String {
        self.try_docker(args).unwrap_or_else(|error| panic!("docker {args:?}: {error}"))
    }

    /// The same; what it printed to stderr where it fails.
    pub fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        output(self.client().args(args))
    }

    /// Docker's client for this engine.
    pub fn client(&self) -> Command {
        let mut client = Command::new(installed("LEASEHOLD_TEST_DOCKER"));
        self.environment(&mut client);
        client
    }

    /// Has a command speak to this engine, as whoever runs the tests does not speak to theirs.
    pub fn environment(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DOCKER_") || text.starts_with("COMPOSE_") {
                command.env_remove(&name);
            }
        }
        command.env("DOCKER_HOST", self.url()).env("DOCKER_BUILDKIT", "0");
        command.env("DOCKER_CONFIG", self.dir.path().join("client"));
    }

    /// Builds an image FROM scratch that holds the guest as its entry point, with these lines of a
    /// Dockerfile besides: `EXPOSE 80 53/udp`, `CMD ["serve", "tcp:80"]`, `HEALTHCHECK …`.
    pub fn build(&self, tag: &str, lines: &[&str]) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::copy(guest(), dir.path().join("guest")).expect("room for a program");
        let all = [&["FROM scratch", "COPY guest /guest", "ENTRYPOINT [\"/guest\"]"], lines].concat();
        fs::write(dir.path().join("Dockerfile"), all.join("\n")).expect("room for a Dockerfile");
        self.docker(&["build", "--quiet", "--tag", tag, dir.path().to_str().expect("a path in Unicode")]);
    }

    /// `docker run --detach` with these arguments; the container's id.
    pub fn run(&self, args: &[&str]) -> String {
        self.docker(&[&["run", "--detach"], args].concat())
    }

    /// The ids of the containers that run, paused ones included, sorted.
    pub fn running(&self) -> Vec<String> {
        let mut ids: Vec<String> =
            self.docker(&["ps", "--quiet", "--no-trunc"]).lines().map(str::to_owned).collect();
        ids.sort();
        ids
    }

    /// What Docker knows of a container.
    pub fn inspect(&self, container: &str) -> Value {
        let text = self.docker(&["inspect", "--type", "container", container]);
        let mut all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        all.remove(0)
    }

    /// Removes all containers, running or not.
    pub fn remove_all(&self) {
        let ids = self.docker(&["ps", "--all", "--quiet"]);
        if !ids.is_empty() {
            let words: Vec<&str> = ["rm", "--force", "--volumes"].into_iter().chain(ids.lines()).collect();
            self.docker(&words);
        }
    }

    /// Ends the engine as its service does: containers are stopped, and kept. No one listens on the
    /// socket until [`Engine::start_again`].
    pub fn stop(&mut self) {
        self.signal("TERM");
        self.ended();
    }

    /// `kill -9`: containers go on, without an engine.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.ended();
    }

    fn ended(&mut self) {
        self.daemon.take().expect("a running engine").wait_exit(STOP);
    }

    /// Starts the engine on what it had before; returns when it answers.
    pub fn start_again(&mut self) {
        assert!(self.daemon.is_none(), "it runs");
        // One that was killed leaves it.
        let _ = fs::remove_file(self.socket());
        let url = self.url();
        // A shell between the two: nsenter would stop with a child that is stopped.
        let mut command = self.enter("sh");
        command.args(["-c", "\"$@\"; exit", "sh", "dockerd"]);
        command.args(["--host", &url, "--cgroup-parent", &format!("/{}", self.name), "--data-root"]);
        // systemd's own driver would have it known outside.
        command.arg(self.data.path()).args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.args(&self.args);
        let daemon = self.daemon.insert(Process::spawn(command));
        let mut client = Command::new(installed("LEASEHOLD_TEST_DOCKER"));
        client.args(["--host", &url, "version", "--format", "{{.Server.Version}}"]);
        let mut last = String::new();
        wait_for("the engine to answer", STOP, || {
            assert!(daemon.exited().is_none(), "dockerd ended:\n{}\n{last}", daemon.stderr());
            output(&mut client).map_err(|error| last = error).ok()
        });
    }

    /// Stops and starts it.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Sends `STOP`, `CONT`, … to the engine.
    pub fn signal(&self, name: &str) {
        let script = "kill -s \"$1\" \"$(cat /run/docker.pid)\"";
        output(self.enter("sh").args(["-c", script, "sh", name]))
            .unwrap_or_else(|error| panic!("SIG{name} to the engine: {error}"));
    }

    /// A program that sees what the engine sees: its network, mounts and processes.
    pub fn enter(&self, program: impl AsRef<OsStr>) -> Command {
        let holder = self.holder.id();
        let mut command = Command::new("nsenter");
        command.args(["--target", &holder.to_string(), "--net", "--mount"]);
        command.arg(format!("--pid=/proc/{holder}/ns/pid_for_children")).arg("--").arg(program);
        command
    }

    /// A connection from within the engine's network: to a container's own address, or to a port that is
    /// published on its loopback.
    pub fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.within_network(move || TcpStream::connect_timeout(&addr, START))
    }

    /// A socket in the engine's network.
    pub fn udp(&self) -> io::Result<UdpSocket> {
        self.within_network(|| UdpSocket::bind("0.0.0.0:0"))
    }

    fn within_network<T: Send>(&self, open: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.holder.id()))?;
        // A thread's network is its own, and a socket stays in the one it was opened in.
        let enter = move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            open()
        };
        thread::scope(|scope| scope.spawn(enter).join().expect("no panic"))
    }

    /// What the engine wrote so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Process::stderr).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the engine's last words:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        // All processes within end with the first one, and the mounts and networks with them.
        self.holder.close_stdin();
        if !thread::panicking() {
            self.holder.wait_exit(STOP);
        }
        self.remove_cgroups();
    }
}

impl Engine {
    /// Those of containers that ended with everything else, and the one that held them, whether there is a
    /// hierarchy for each controller or one for all.
    fn remove_cgroups(&self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        for cgroup in roots.map(|root| root.join(&self.name)).filter(|cgroup| cgroup.is_dir()) {
            remove_cgroup(&cgroup);
        }
    }
}

/// A cgroup goes when those in it have gone.
fn remove_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // What cannot be removed is empty, and costs nothing.
    let _ = fs::remove_dir(cgroup);
}

/// Two addresses with a cable between them.
struct Subnet {
    host: Ipv4Addr,
    engine: Ipv4Addr,
}

impl Subnet {
    /// Connects this machine with the network of that process. The cable's end here goes with the other.
    fn between(name: &str, holder: u32) -> Self {
        let script = "ip link add \"$1\" type veth peer name host netns \"$2\" \
            && ip addr add \"$3/30\" dev \"$1\" && ip link set \"$1\" up \
            && nsenter --target \"$2\" --net sh -c 'ip addr add \"$1/30\" dev host && ip link set host up' sh \"$4\"";
        let subnet = Self::free();
        let words = [name, &holder.to_string(), &subnet.host.to_string(), &subnet.engine.to_string()];
        output(Command::new("sh").args(["-c", script, "sh"]).args(words))
            .unwrap_or_else(|error| panic!("no network for an engine: {error}"));
        subnet
    }

    /// One that this machine has no route for, of those that are set aside for tests of networks
    /// (198.18.0.0/15, RFC 2544). Where to begin is chance, so that two runs do not meet.
    fn free() -> Self {
        let first: u32 = rand::random();
        (0..64)
            .map(|step| Ipv4Addr::from_bits(0xc612_0000 | (first.wrapping_add(step) & 0x7fff) << 2))
            .find(|net| {
                let route =
                    Command::new("ip").args(["route", "show", "exact", &format!("{net}/30")]).output();
                route.expect("ip of iproute2").stdout.is_empty()
            })
            .map(|net| Self {
                host: Ipv4Addr::from_bits(net.to_bits() + 1),
                engine: Ipv4Addr::from_bits(net.to_bits() + 2),
            })
            .expect("a free subnet of 198.18.0.0/15")
    }
}

/// The program of [`Engine::build`], compiled once.
fn guest() -> &'static Path {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/guest.c");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let fresh = path.with_extension(process::id().to_string());
        output(Command::new("cc").args(["-static", "-O1", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(source))
            .unwrap_or_else(|error| panic!("{source} does not compile: {error}"));
        fs::rename(&fresh, &path).expect("one file for all");
        path
    })
}

/// Runs a program to its end: what it wrote to stdout, trimmed, or to stderr where it failed.
fn output(command: &mut Command) -> Result<String, String> {
    let ended = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if ended.status.success() {
        Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
    } else {
        Err(format!("{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim()))
    }
}
