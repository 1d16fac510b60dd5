//! Logs: to stderr, for people when stderr is a terminal and as JSON lines otherwise.
//!
//! Lines go through a bounded queue to a thread of its own: when whoever reads stderr
//! stalls, lines are dropped and the registry goes on. Traces go to a collector (`traces.rs`).

mod plain;
mod refusals;
mod traceparent;
mod traces;

pub use plain::{PlainError, init_plain};
pub use refusals::untold;
pub use traceparent::TraceParent;
pub use traces::{Span, Traces, TracesError};

use std::{env, error::Error, fmt, io, io::IsTerminal as _, str::FromStr};

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::FilterExt as _, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::audit::Audit;

/// The level of a server that is told none.
pub const DEFAULT_LEVEL: &str = "info";

/// What is logged, and in which form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogConfig {
    /// The form.
    pub format: LogFormat,
    /// What is let through.
    pub filter: LogFilter,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty when stderr is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line for people, in colours when stderr is a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// A level (`info`) or a list of directives (`info,leasehold::engine=debug`), checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// Writes out what is queued when it is dropped; keep it until the process ends.
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held for its Drop")] WorkerGuard);

/// Why logging could not start: it was started before.
#[derive(Debug, thiserror::Error)]
#[error("cannot start logging")]
pub struct InitError(#[source] Box<dyn Error + Send + Sync>);

/// Starts logging for the process; refusals are told to `audit`, too, whatever the log leaves out.
pub fn init(config: &LogConfig, audit: &Audit) -> Result<Guard, InitError> {
    let (writer, guard) = NonBlocking::new(io::stderr());
    let terminal = io::stderr().is_terminal();
    let filter = EnvFilter::try_new(&config.filter.0).map_err(|error| InitError(error.into()))?;
    let log = tracing_subscriber::fmt::layer::<Registry>().with_writer(writer);
    let log = if config.format.is_json(terminal) {
        log.json().flatten_event(true).boxed()
    } else {
        log.compact().with_ansi(terminal && colours_welcome()).boxed()
    };
    let mut layers = vec![log.with_filter(filter.and(refusals::told())).boxed()];
    layers.extend(audit.refusals().map(Layer::boxed));
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|error| InitError(error.into()))?;
    Ok(Guard(guard))
}

/// <https://no-color.org>: set and not empty means none.
fn colours_welcome() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

// === impl LogFormat ===

impl LogFormat {
    fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Pretty => false,
            Self::Json => true,
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("auto, pretty or json".to_owned()),
        }
    }
}

// === impl LogFilter ===

impl Default for LogFilter {
    fn default() -> Self {
        Self(DEFAULT_LEVEL.to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let allowed = || {
            "off, error, warn, info, debug or trace, or a list of directives such as \
             info,leasehold::cli=debug"
                .to_owned()
        };
        // A bare word that is no level would be a target's name: `inof` silences everything.
        let bare_words_are_levels = text
            .split(',')
            .map(str::trim)
            .filter(|directive| directive.chars().all(char::is_alphabetic))
            .all(|word| LEVELS.contains(&word.to_ascii_lowercase().as_str()));
        if !bare_words_are_levels || EnvFilter::try_new(text).is_err() {
            return Err(allowed());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_the_terminal_unless_told() {
        #[track_caller]
        fn check(format: &str, terminal: bool, json: bool) {
            assert_eq!(format.parse::<LogFormat>().unwrap().is_json(terminal), json);
        }
        check("auto", true, false);
        check("auto", false, true);
        check("pretty", false, false);
        check("json", true, true);
        assert!("xml".parse::<LogFormat>().is_err());
    }

    #[test]
    fn a_filter_is_a_level_or_directives() {
        #[track_caller]
        fn check(text: &str, good: bool) {
            assert_eq!(text.parse::<LogFilter>().is_ok(), good, "{text}");
        }
        check("info", true);
        check("DEBUG", true);
        check("warn,leasehold::engine=debug", true);
        check("leasehold=trace,h2=off", true);
        check("inof", false);
        check("info,", false);
        check("", false);
        check("leasehold=loud", false);
    }
}
