//! The table of docs/registrar.md, row by row, on a real Docker engine: what is advertised of each kind of
//! container, and that someone answers there.
//!
//! All rows share one engine, one registry and one registrar, which is why they have a harness of their own. It
//! takes the arguments of the usual one: `cargo test --test registrar_kinds -- paused`.

#![allow(clippy::unwrap_used)]

mod life;
mod ports;
mod rig;
#[path = "../support/mod.rs"]
mod support;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Trial};

use rig::Rig;

/// How many rows are tried at once: each waits for the engine most of the time.
const AT_ONCE: usize = 4;

type Row = (&'static str, fn(&Rig));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let rig: Arc<OnceLock<Rig>> = Arc::default();
    let trials = ports::ROWS.iter().chain(life::ROWS).map(|(name, row)| {
        let rig = Arc::clone(&rig);
        Trial::test(*name, move || {
            row(rig.get_or_init(Rig::start));
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
