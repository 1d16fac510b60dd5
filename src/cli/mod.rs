//! The command line: what was typed becomes a command, the command runs, and what came of
//! it becomes an exit code. One file per command; `settings/` makes a server's `Config`
//! from flags, variables and a file; `remote.rs` is a client's connection, `keepalive.rs` holds a lease; `failure.rs`
//! holds the exit codes.

use clap::{Parser, Subcommand};

mod failure;
mod output;
mod serve;
mod settings;
mod signals;

pub use failure::Failure;

/// A service registry: register, keep alive over a stream, watch.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, after_help = failure::EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve(serve) => serve.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
