//! The `leasehold` binary: parse, dispatch, exit code. What the commands do is in `cli/`.

use std::process::ExitCode;

use clap::Parser as _;
use leasehold::cli::Cli;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // --help and --version come this way too. A closed pipe is no reason to panic.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match cli.run() {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}
