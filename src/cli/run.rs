//! `leasehold run`: a command, registered while it is up. What was typed is checked here, before anything is
//! started; the rest is in `supervise/`.

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use clap::Args;
use rustix::process::Signal;

use super::{Failure, output, registration::Registration, remote::Target};
use crate::{
    supervise::{self, Check, Ended, News, Pace, Plan, StartError, signal_named},
    types::{ServiceName, ServiceUrl},
};

/// Secrets that are meant for us. A command that needs one has it in a file, or under another name.
const WITHHELD: [&str; 2] = ["LEASEHOLD_SERVICE_KEY", "LEASEHOLD_LEASE_TOKEN"];

/// The code of a command that does not exist, as shells have it.
const NOT_FOUND: u8 = 127;
/// The code of a command that cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// The code where neither it nor we could start.
const NOT_STARTED: u8 = 125;

/// The longest that our end waits for whoever reads stderr.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// More lines than these are not kept for a stderr that nobody reads.
const MOST_NOTES: usize = 64;

const AFTER_HELP: &str = "\
The command starts at once, with this terminal, these standard streams and this environment \
(without LEASEHOLD_SERVICE_KEY and LEASEHOLD_LEASE_TOKEN). It runs on when the registry is away or refuses.

Signals that are sent to leasehold are passed on to the command. When the command ends, it is deregistered, and \
leasehold ends with its exit code, or by the signal that ended it (a shell shows 128 + the signal's number).

Exit codes of its own: 2 bad usage, 125 leasehold could not start, 126 the command cannot be run, 127 there is no \
such command.";

/// Run a command, and keep it registered while it is up
///
/// Registers when the command has started, or when its --health check passes; keeps the registration alive,
/// and deregisters when the command ends.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Run {
    /// Where the command is reached: an absolute URL
    #[arg(long, value_name = "URL", value_parser = service_url)]
    url: String,

    #[command(flatten)]
    registration: Registration,

    #[command(flatten)]
    health: Health,

    /// The signal that asks the command to stop; it is deregistered before it gets this one
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    stop_signal: Signal,

    /// Say nothing about the registration
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    target: Target,

    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What tells whether the command is up.
#[derive(Args, Debug)]
struct Health {
    /// Registered only while this check passes: an http:// or https:// URL that answers a GET with 2xx,
    /// tcp://host:port that takes connections, or grpc://host:port[/service] (grpcs:// over TLS) that serves
    #[arg(long = "health", value_name = "URL")]
    check: Option<Check>,

    /// From one check to the next
    #[arg(long = "health-interval", value_name = "DURATION", default_value = "1s", value_parser = pause)]
    interval: Duration,

    /// The same until the first one passes
    #[arg(long = "health-start-interval", value_name = "DURATION", default_value = "50ms", value_parser = pause)]
    start_interval: Duration,

    /// A check that takes longer fails
    #[arg(long = "health-timeout", value_name = "DURATION", default_value = "1s", value_parser = pause)]
    timeout: Duration,

    /// So many checks in a row that fail take the command out; one that passes brings it back
    #[arg(long = "health-retries", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    retries: u32,
}

impl Run {
    /// Runs the command to its end.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let registration = self.registration.request(&self.url)?;
        ServiceName::fold(&registration.service)
            .map_err(|error| Failure::usage(format!("--service: {error}")))?;
        self.target.check()?;
        let Health { interval, start_interval, timeout, retries, .. } = self.health;
        let pace = Pace { interval, start_interval, timeout, retries };
        let plan = Plan {
            registration,
            command: self.command,
            withheld: &WITHHELD,
            check: self.health.check.map(|check| (check, pace)),
            stop_signal: self.stop_signal,
        };
        let target = Arc::new(self.target);
        let notes = Notes::new(self.quiet);
        let ended = supervise::run(
            plan,
            move || target.client().map_err(|failure| failure.to_string()),
            notes.teller(),
        );
        notes.finish();
        match ended.map_err(|error| not_started(&error))? {
            Ended::Code(code) => Ok(ExitCode::from(code)),
            Ended::Signal(signal) => {
                supervise::die_of(signal);
                Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)))
            }
        }
    }
}

/// Lines for stderr, written by a thread of their own: a terminal that stands still must hold nothing up.
struct Notes {
    lines: Option<mpsc::SyncSender<String>>,
    written: mpsc::Receiver<()>,
}

impl Notes {
    fn new(is_quiet: bool) -> Self {
        let (lines, queue) = mpsc::sync_channel::<String>(MOST_NOTES);
        let (done, written) = mpsc::channel();
        if is_quiet {
            return Self { lines: None, written };
        }
        // Without a thread nothing is said; the command runs all the same.
        let _ = thread::Builder::new().spawn(move || {
            for line in queue {
                output::note(&line);
            }
            drop(done);
        });
        Self { lines: Some(lines), written }
    }

    fn teller(&self) -> impl Fn(News) + Clone + Send + Sync + 'static {
        let lines = self.lines.clone();
        move |news| {
            if let Some(lines) = &lines {
                let _ = lines.try_send(format!("leasehold: {}", output::plain(&news.to_string())));
            }
        }
    }

    /// Everything that was said is written now, unless nobody reads it.
    fn finish(self) {
        drop(self.lines);
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

fn not_started(error: &StartError) -> Failure {
    let code = match error {
        StartError::NotFound(..) => NOT_FOUND,
        StartError::NotExecutable(..) => NOT_EXECUTABLE,
        StartError::Setup(_) => NOT_STARTED,
    };
    Failure::command(code, error.to_string())
}

fn service_url(text: &str) -> Result<String, String> {
    ServiceUrl::check(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn signal(name: &str) -> Result<Signal, String> {
    signal_named(name).ok_or_else(|| "a signal is named as for kill, such as TERM, INT or QUIT".to_owned())
}

fn pause(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_hours(1);
    humantime::parse_duration(text)
        .ok()
        .filter(|pause| (SHORTEST..=LONGEST).contains(pause))
        .ok_or_else(|| "a duration is written such as 500ms, 5s or 1m, from 10ms to 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_usage_is_found_before_anything_starts() {
        assert_eq!(pause("50ms"), Ok(Duration::from_millis(50)));
        assert!(pause("0s").is_err() && pause("2h").is_err() && pause("soon").is_err());
        assert!(signal("TERM").is_ok() && signal("SIGQUIT").is_ok() && signal("KILL").is_err());
        assert!(service_url("http://host:1/x").is_ok() && service_url("host:1").is_err());
    }

    #[test]
    fn what_did_not_start_has_the_codes_of_a_shell() {
        let failure = not_started(&StartError::NotFound("x".into(), std::io::ErrorKind::NotFound.into()));
        assert!(failure.to_string().contains("\"x\""), "{failure}");
        assert_eq!(failure.exit_code(), ExitCode::from(127));
    }
}
