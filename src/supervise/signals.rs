//! The signals that are sent to us, with who sent them.

use std::{fs, io};

use futures_util::StreamExt as _;
use rustix::process::Signal;
use signal_hook::{
    consts::SIGCHLD,
    iterator::exfiltrator::{WithOrigin, origin::Process},
};
use signal_hook_tokio::SignalsInfo;

/// What is passed on. What tells of a fault of our own is not, nor is what tells of our terminal: the child has
/// that one from the terminal itself, or does not use it.
const PASSED_ON: [(&str, Signal); 16] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("CONT", Signal::CONT),
    ("TSTP", Signal::TSTP),
    ("ALRM", Signal::ALARM),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("URG", Signal::URG),
    ("IO", Signal::IO),
    ("ABRT", Signal::ABORT),
    ("SYS", Signal::SYS),
];

/// Those of Linux that have no names, and no other meaning than programs give them.
const NAMELESS: std::ops::RangeInclusive<i32> = 34..=64;

/// The signals that came, in no order.
pub struct Signals(SignalsInfo<WithOrigin>);

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub enum Arrival {
    /// A child of ours ended, stopped or goes on.
    ChildTurned,
    /// One to be passed on, and the process that sent it; none: the kernel did.
    Signal(Signal, Option<Process>),
    /// One that we cannot send.
    Nameless(i32),
}

impl Signals {
    /// Catches them from now on, but those that we were started to ignore: the child ignores them, too.
    pub fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let named = PASSED_ON.iter().map(|(_, signal)| signal.as_raw());
        let nameless = NAMELESS.filter(|_| cfg!(target_os = "linux"));
        let caught = named.chain(nameless).filter(|signal| ignored & (1 << (signal - 1)) == 0);
        SignalsInfo::new(caught.chain([SIGCHLD])).map(Self)
    }

    /// The next one.
    pub async fn next(&mut self) -> Arrival {
        let Some(origin) = self.0.next().await else { return std::future::pending().await };
        if origin.signal == SIGCHLD {
            return Arrival::ChildTurned;
        }
        match Signal::from_named_raw(origin.signal) {
            Some(signal) => Arrival::Signal(signal, origin.process),
            None => Arrival::Nameless(origin.signal),
        }
    }

    /// Waits for somebody who wants an end.
    pub async fn hurry(&mut self) {
        let impatient = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
        while !matches!(self.next().await, Arrival::Signal(signal, _) if impatient.contains(&signal)) {}
    }
}

/// The signal of a name such as `TERM` or `SIGTERM`.
pub fn named(name: &str) -> Option<Signal> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    PASSED_ON.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal)
}

/// The signals that we ignore since our start, a bit each. Only Linux tells.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_usual_names() {
        assert_eq!(named("TERM"), Some(Signal::TERM));
        assert_eq!(named("SIGQUIT"), Some(Signal::QUIT));
        assert_eq!(named("sigusr1"), Some(Signal::USR1));
        assert_eq!(named("KILL"), None, "nobody can be told before");
        assert_eq!(named("15"), None);
    }
}
