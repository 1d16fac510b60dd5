//! The command line: what was typed becomes a command, the command runs, and what came of
//! it becomes an exit code. One file per command; `settings/` makes a server's `Config`
//! from flags, variables and a file; `remote.rs` is a client's connection; `failure.rs` holds the exit codes.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod backup;
mod bench;
mod credentials;
mod deregister;
mod failure;
mod get;
mod healthcheck;
mod info;
mod inspect;
mod key;
mod ls;
mod output;
mod register;
mod registrar;
mod registration;
mod remote;
#[cfg(unix)]
mod run;
mod serve;
mod settings;
mod signals;
mod watch;
mod when;

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
    Register(Box<register::Register>),
    Registrar(registrar::Registrar),
    #[cfg(unix)]
    Run(Box<run::Run>),
    Ls(ls::Ls),
    Get(get::Get),
    Watch(watch::Watch),
    Deregister(deregister::Deregister),
    Healthcheck(healthcheck::Healthcheck),
    Backup(backup::Backup),
    Inspect(inspect::Inspect),
    Key(key::Key),
    Bench(Box<bench::Bench>),
    #[command(hide = true)]
    BenchNull(bench::Null),
}

/// Which instances are meant.
#[derive(Debug, Args)]
struct Filter {
    /// Only this service; may be given several times, any of them matches
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,

    /// Only instances with this label; may be given several times, all must match
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = info::label)]
    labels: Vec<(String, String)>,
}

impl Cli {
    /// Runs the command to its end; what it ends with.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            #[cfg(unix)]
            Command::Run(run) => return run.run(),
            Command::Serve(serve) => serve.run(),
            Command::Register(register) => wait_for(register.run()),
            Command::Registrar(registrar) => wait_for(registrar.run()),
            Command::Ls(ls) => wait_for(ls.run()),
            Command::Get(get) => wait_for(get.run()),
            Command::Watch(watch) => wait_for(watch.run()),
            Command::Deregister(deregister) => wait_for(deregister.run()),
            Command::Healthcheck(healthcheck) => wait_for(healthcheck.run()),
            Command::Backup(backup) => wait_for(backup.run()),
            Command::Inspect(inspect) => inspect.run(),
            Command::Key(key) => key.run(),
            Command::Bench(bench) => bench.run(),
            Command::BenchNull(null) => null.run(),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Runs a client's command on this thread.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A name that is still being resolved must not hold the process back.
    runtime.shutdown_background();
    result
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
