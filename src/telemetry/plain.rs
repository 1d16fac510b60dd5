//! The log of a command that writes lines for people, to stdout or to a file.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::EnvFilter;

use super::{Guard, colours_welcome};

/// Why there is no log.
#[derive(Debug, Error)]
pub enum PlainError {
    /// The file cannot be written.
    #[error("cannot write the log file {}: {error}", file.display())]
    File {
        /// It.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Logging was started before.
    #[error("cannot start logging")]
    Started,
}

/// Starts logging for the process: to the end of `file`, or to stdout. Libraries are heard from `warn` on: what they
/// tell of more is made of other people's data.
pub fn init_plain(file: Option<&Path>, debug: bool) -> Result<Guard, PlainError> {
    let (writer, guard) = match file {
        Some(file) => {
            let opened = OpenOptions::new().create(true).append(true).open(file);
            NonBlocking::new(opened.map_err(|error| PlainError::File { file: file.to_owned(), error })?)
        }
        None => NonBlocking::new(io::stdout()),
    };
    let colours = file.is_none() && io::stdout().is_terminal() && colours_welcome();
    let filter = EnvFilter::new(if debug { "warn,leasehold=debug" } else { "warn,leasehold=info" });
    let log =
        tracing_subscriber::fmt().with_writer(writer).with_ansi(colours).with_env_filter(filter).compact();
    log.try_init().map_err(|_| PlainError::Started)?;
    Ok(Guard(guard))
}
