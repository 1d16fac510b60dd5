//! Servers as processes of their own: started on a free port, watched, and never left behind.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::{Bench, Result};

/// A server that has not said where it listens by then is not coming.
const START: Duration = Duration::from_mins(2);

/// What a peer, a service or a registry may have, as the variables that set it end.
const LIMITS: [&str; 10] = [
    "REGISTRATIONS",
    "REGISTRATIONS_PER_SERVICE",
    "REGISTRATIONS_PER_PEER",
    "REGISTRATION_BYTES",
    "REGISTRATION_BYTES_PER_SERVICE",
    "REGISTRATION_BYTES_PER_PEER",
    "REQUESTS_PER_PEER",
    "REQUESTS_PER_KEY",
    "WATCHERS_PER_PEER",
    "KEEPALIVES_PER_PEER",
];

/// What a process has used up, and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time so far; a hundredth of a second is the kernel's unit.
    pub cpu: Option<Duration>,
    /// Resident memory, in bytes.
    pub rss: Option<u64>,
    /// The most it ever was.
    pub peak_rss: Option<u64>,
}

impl Usage {
    /// The CPU time used since an earlier look.
    pub fn cpu_since(self, earlier: Self) -> Option<Duration> {
        Some(self.cpu?.saturating_sub(earlier.cpu?))
    }

    /// Of both; what is not known of one is not known.
    fn and(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.zip(other.cpu).map(|(own, other)| own + other),
            rss: self.rss.zip(other.rss).map(|(own, other)| own + other),
            peak_rss: self.peak_rss.zip(other.peak_rss).map(|(own, other)| own + other),
        }
    }
}

/// A running server. Dropping it kills it, and removes its directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    /// Held until the process is gone.
    dir: Option<TempDir>,
    /// Another process that is a part of it.
    part: Option<Box<Server>>,
}

impl Server {
    /// `leasehold serve` of this binary with further arguments, such as `["--store", "memory"]`,
    /// and a fresh data directory in the benchmark's.
    pub fn leasehold(bench: &Bench, args: &[&str]) -> Result<Self> {
        Self::leasehold_of(&own_binary()?, bench, args)
    }

    /// The same of another binary.
    pub fn leasehold_of(binary: &Path, bench: &Bench, args: &[&str]) -> Result<Self> {
        let dir = data_dir(&bench.dir)?;
        let mut server = Self::leasehold_in(binary, dir.path(), args)?;
        server.dir = Some(dir);
        Ok(server)
    }

    /// `leasehold serve` on a data directory that outlives it, for restarts.
    pub fn leasehold_in(binary: &Path, data_dir: &Path, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(args);
        // What the shell has for another server is not for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LEASEHOLD_") {
                command.env_remove(name);
            }
        }
        // One peer is all the peers there are. Builds that know none of these take no notice.
        for limit in LIMITS {
            command.env(format!("LEASEHOLD_MAX_{limit}"), "off");
        }
        Self::start(command)
    }

    /// A null server: see [`super::null`].
    pub fn null(kind: &str) -> Result<Self> {
        let mut command = Command::new(own_binary()?);
        command.args(["bench-null", kind]);
        Self::start(command)
    }

    /// Starts a server that says on stdout where it listens: `… http://IP:PORT`. Its log on
    /// stderr is thrown away.
    pub fn start(mut command: Command) -> Result<Self> {
        let shown = shown(&command);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = spawned.with_context(|| format!("cannot start {shown}"))?;
        // Killed from here on, whatever happens.
        let mut server = Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), dir: None, part: None };
        let stdout = server.child.stdout.take().context("a child without a standard output")?;
        server.address = announced(stdout).with_context(|| format!("{shown} does not serve"))?;
        Ok(server)
    }

    /// A process that listens where it was told to.
    pub fn start_at(mut command: Command, address: SocketAddr, dir: Option<TempDir>) -> Result<Self> {
        let shown = shown(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
        Ok(Self { child, address, dir, part: None })
    }

    /// With another process that serves it: its usage counts, and it ends with this one.
    #[must_use]
    pub fn with(mut self, part: Server) -> Self {
        self.part = Some(Box::new(part));
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        let own = usage(self.child.id());
        self.part.as_ref().map_or(own, |part| own.and(part.usage()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Has it stop in order, and waits for that.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        terminate(&self.child)?;
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() > deadline {
                bail!("the server does not stop within {} s", patience.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(target_os = "linux")]
fn terminate(child: &Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};

    kill_process(Pid::from_child(child), Signal::TERM).context("cannot stop the server")
}

#[cfg(not(target_os = "linux"))]
fn terminate(_child: &Child) -> Result<()> {
    bail!("servers are stopped in order on Linux only")
}

/// The running binary.
pub fn own_binary() -> Result<PathBuf> {
    std::env::current_exe().context("cannot tell which binary this is")
}

/// A directory that is gone when this is dropped.
pub fn data_dir(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("leasehold-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))
}

/// A free port of this machine. Another process could take it before it is used.
pub fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
    listener.local_addr().context("cannot tell the address listened on")
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The address in the first line that has one. What follows is read and thrown away, so that
/// the process never waits for us.
fn announced(stdout: impl Read + Send + 'static) -> Result<SocketAddr> {
    let (said, hear) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
            // Heard once; nobody waits for more.
            let _ = said.send(line);
        }
    });
    let mut lines = Vec::new();
    loop {
        match hear.recv_timeout(START) {
            Ok(line) => {
                let address = line.split_once("http://").map(|(_, rest)| rest.trim_end_matches('/').trim());
                if let Some(address) = address.and_then(|address| address.parse().ok()) {
                    return Ok(address);
                }
                lines.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("it said nothing for {} s", START.as_secs()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("it ended before it listened; run it by hand to see why: {}", lines.join(" / "))
            }
        }
    }
}

/// What the process has used, as far as the system tells.
#[cfg(target_os = "linux")]
pub fn usage(id: u32) -> Usage {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).ok();
    let status = read("status");
    let memory = |name: &str| status.as_deref().and_then(|status| kib(status, name));
    let cpu = read("stat")
        .and_then(|stat| ticks(&stat))
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64));
    Usage { cpu, rss: memory("VmRSS:"), peak_rss: memory("VmHWM:") }
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub fn usage(_id: u32) -> Usage {
    Usage::default()
}

/// `utime` and `stime`; the name before them may hold blanks and brackets.
#[cfg(any(target_os = "linux", test))]
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(any(target_os = "linux", test))]
fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "1 (a (b) c) S 2 3 4 5 6 7 8 9 10 11 120 34 0 0 20 0";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("1 (a"), None);
        assert_eq!(kib("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t    1024 kB\n", "VmRSS:"), Some(1 << 20));
        assert_eq!(kib("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn a_server_says_where_it_listens() {
        let text = "keeping registrations in memory\nlistening on http://127.0.0.1:4711\nmore";
        assert_eq!(announced(text.as_bytes()).unwrap(), "127.0.0.1:4711".parse().unwrap());
        let error = announced("error: no disk\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("error: no disk"), "{error}");
    }

    #[test]
    fn nothing_is_left_behind() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let server = Server::start_at(command, free_address().unwrap(), None).unwrap();
        let stat = format!("/proc/{}/stat", server.id());
        drop(server);
        assert!(!Path::new(&stat).exists());
    }
}
