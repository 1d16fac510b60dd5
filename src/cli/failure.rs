//! How a command can fail: a message for the person, and the exit code a script reads.
//! The codes are part of the command line's contract; `--help` lists them.

use std::{error::Error, fmt, io, io::Write as _, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::settings::SettingError;
use crate::client::cause::{is_transient, reason};
use crate::client::handshake;

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  any other failure
  2  bad usage: a flag, a variable or the configuration file
  3  not found
  4  refused by the server: a bad argument, a failed precondition, no permission, over a quota
  5  the server is out of reach, unavailable or too slow
  130  stopped by a second Ctrl-C or SIGTERM

`run` ends with the exit code of its command.";

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody reads our output any more: no failure, but a reason to end.
    ClosedPipe,
    Other,
    Usage,
    NotFound,
    Refused,
    Unavailable,
    /// With the code of a shell.
    Command(u8),
}

impl Failure {
    /// What was typed or configured is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    /// The server is out of reach.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, message: message.into() }
    }

    /// The server said no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, message: message.into() }
    }

    /// A command that was to be run was not; `code` is a shell's for that.
    pub fn command(code: u8, message: impl Into<String>) -> Self {
        Self { kind: Kind::Command(code), message: message.into() }
    }

    /// Anything else.
    pub fn other(message: impl Into<String>) -> Self {
        Self { kind: Kind::Other, message: message.into() }
    }

    /// What `server` answered to a call, or why it did not.
    pub fn call(server: &str, status: &Status) -> Self {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::AlreadyExists
            | Code::OutOfRange => Kind::Refused,
            _ if is_transient(status) => Kind::Unavailable,
            _ => Kind::Other,
        };
        // Where TLS failed, nothing was answered.
        if let Some(why) = status.source().and_then(handshake::explain) {
            return Self::unavailable(format!("cannot talk to {server}: {why}"));
        }
        let message = match kind {
            Kind::NotFound => format!("not found: {}", reason(status)),
            Kind::Refused => format!("refused by {server}: {}", reason(status)),
            Kind::Unavailable => format!(
                "{server} does not answer: {}; is a leasehold server running there? \
                 Name another with --server or LEASEHOLD_SERVER",
                reason(status)
            ),
            _ => format!("{server} failed: {}", reason(status)),
        };
        Self { kind, message: message + &violations(status) }
    }

    /// The same failure, of which `message` is the outcome.
    #[must_use]
    pub fn context(self, message: &str) -> Self {
        Self { message: format!("{message}: {}", self.message), ..self }
    }

    /// Whether the end of our own output is all that happened.
    pub fn is_closed_pipe(&self) -> bool {
        self.kind == Kind::ClosedPipe
    }

    /// Says it on stderr, unless there is nothing to say.
    pub fn report(&self) {
        if self.kind != Kind::ClosedPipe {
            // When stderr is closed too, the exit code has to do.
            let _ = writeln!(io::stderr(), "error: {self}");
        }
    }

    /// The code of [`EXIT_CODES`].
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self.kind {
            Kind::ClosedPipe => 0,
            Kind::Other => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Refused => 4,
            Kind::Unavailable => 5,
            Kind::Command(code) => code,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    /// Of writing to stdout.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { kind: Kind::ClosedPipe, message: String::new() };
        }
        Self::other(format!("cannot write to stdout: {error}"))
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::usage(format!("{error}{cause}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::other(format!("{error:#}"))
    }
}

/// The fields a server found fault with, one a line.
fn violations(status: &Status) -> String {
    let details = status.get_error_details();
    let mut lines = String::new();
    for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        lines.extend(["\n  ", &violation.field, ": ", &violation.description]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_status_has_its_exit_code() {
        #[track_caller]
        fn check(code: Code, exit: u8) {
            assert_eq!(Failure::call("http://r:1", &Status::new(code, "m")).code(), exit, "{code:?}");
        }
        check(Code::NotFound, 3);
        check(Code::InvalidArgument, 4);
        check(Code::FailedPrecondition, 4);
        check(Code::PermissionDenied, 4);
        check(Code::Unauthenticated, 4);
        check(Code::ResourceExhausted, 4);
        check(Code::Unavailable, 5);
        check(Code::DeadlineExceeded, 5);
        check(Code::Cancelled, 5);
        check(Code::Unimplemented, 1);
        check(Code::Internal, 1);
        check(Code::Unknown, 1);
    }

    #[test]
    fn field_violations_stand_on_lines_of_their_own() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("url", "is not absolute");
        details.add_bad_request_violation("zone", "is over 64 bytes");
        let status = Status::with_error_details(Code::InvalidArgument, "2 fields are bad", details);
        assert_eq!(
            Failure::call("http://r:1", &status).to_string(),
            "refused by http://r:1: 2 fields are bad\n  url: is not absolute\n  zone: is over 64 bytes"
        );
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code(), 0);
        assert!(failure.is_closed_pipe());
        assert_eq!(Failure::from(io::Error::other("disk full")).code(), 1);
    }
}
