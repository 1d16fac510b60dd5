//! The child process: its start, its turns, its end. Every child of ours is waited for here, and a container's
//! first process has more than it started.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    process::Command,
};

use rustix::{
    process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getrlimit, kill_process, setrlimit,
        wait,
    },
    stdio::{dup2_stdin, dup2_stdout},
};
use signal_hook::low_level::{emulate_default_handler, siginfo::Process};

use super::{
    StartError,
    relay::{Scene, Sender, is_followed, is_passed_on},
};

/// A child process that has not ended, as far as we know.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    is_stopped: bool,
    /// What stopped it, until we did so, too.
    stopped_by: Option<i32>,
    /// It was asked to stop by [`Signal::TSTP`], and was not continued since.
    was_asked: bool,
}

/// How the child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Child {
    /// Starts it in our process group, with our standard streams.
    pub fn start(command: &[OsString], withheld: &[&str]) -> Result<Self, StartError> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| StartError::Setup(io::ErrorKind::InvalidInput.into()))?;
        let mut starting = Command::new(program);
        starting.args(arguments);
        for name in withheld {
            starting.env_remove(name);
        }
        let child = starting.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::NotFound(program.clone(), error),
            _ => StartError::NotExecutable(program.clone(), error),
        })?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let pid = pid.ok_or_else(|| StartError::Setup(io::ErrorKind::InvalidData.into()))?;
        let_go_of_streams();
        Ok(Self { pid, is_stopped: false, stopped_by: None, was_asked: false })
    }

    /// Looks what became of it since the last time; answers its end.
    pub fn look(&mut self) -> Option<Ended> {
        let turns = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        // What was left to us by its parent is waited for, too, and forgotten.
        while let Ok(Some((pid, status))) = wait(turns) {
            if pid != self.pid {
                continue;
            }
            if let Some(ended) = Ended::of(status) {
                return Some(ended);
            }
            self.stopped_by = status.stopping_signal();
            self.is_stopped = self.stopped_by.is_some();
        }
        None
    }

    /// Stops as it did, if it did so for the terminal's sake; returns when we were continued.
    pub fn follow(&mut self) {
        if self.stopped_by.is_some_and(|signal| is_followed(signal, self.was_asked)) {
            self.stopped_by = None;
            self.was_asked = false;
            // A container's first process cannot be stopped; nobody waits for its stop either.
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }

    /// Whose signal it was that `process` sent, or nobody.
    pub fn sender(&self, process: Option<Process>) -> Sender {
        match process {
            None => Sender::Kernel,
            Some(process) if process.pid == self.pid.as_raw_nonzero().get() => Sender::Child,
            Some(_) => Sender::Other,
        }
    }

    /// Whether a signal that was sent to us is to be sent to it.
    pub fn takes(&mut self, signal: Signal, sender: Sender) -> bool {
        match signal {
            Signal::TSTP => self.was_asked = true,
            Signal::CONT => self.was_asked = false,
            _ => {}
        }
        let (own, childs) = (Job::of(getpid()), Job::of(self.pid));
        let scene = Scene {
            shares_group: own.zip(childs).is_none_or(|(own, childs)| own.group == childs.group),
            leads_session: own.is_some_and(|own| own.session == getpid().as_raw_nonzero().get()),
            is_stopped: self.is_stopped,
        };
        is_passed_on(signal, sender, scene)
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) {
        // It was not waited for, so the id is still its own. It may have changed its user since: then it is
        // not ours to signal.
        let _ = kill_process(self.pid, signal);
    }
}

/// Where a process stands among others; 0: with one outside our PID namespace, which the system calls of
/// `rustix` do not foresee.
#[derive(Clone, Copy)]
struct Job {
    group: i32,
    session: i32,
}

impl Job {
    /// As `/proc` tells it, which only Linux has; else nothing is known.
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name before may hold anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2).map(str::parse);
        Some(Self { group: fields.next()?.ok()?, session: fields.next()?.ok()? })
    }
}

impl Ended {
    fn of(status: WaitStatus) -> Option<Self> {
        let code = status.exit_status().and_then(|code| u8::try_from(code).ok()).map(Self::Code);
        code.or_else(|| status.terminating_signal().map(Self::Signal))
    }
}

/// Ends this process by `signal`, so that whoever waits for us sees what it would have seen of the child.
/// Returns only where that cannot be done: a container's first process is immune to its own signals.
pub fn die_of(signal: i32) {
    if getpid().is_init() {
        return;
    }
    // The child's core is the one to look at.
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum });
    let _ = emulate_default_handler(signal);
}

/// The child alone has them: who reads its output or writes to it sees when it closes them. Stderr stays ours, too.
fn let_go_of_streams() {
    if let (Ok(input), Ok(output)) = (File::open("/dev/null"), File::create("/dev/null")) {
        let _ = dup2_stdin(input);
        let _ = dup2_stdout(output);
    }
}
