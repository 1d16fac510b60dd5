//! The project in containers, as its Dockerfile and compose.yaml make them, on a real Docker engine.
//!
//! The image is built once for all, which is why these have a harness of their own; it takes the
//! arguments of the usual one: `cargo test --test containers -- compose`. Base images are those that
//! `bases.sh` makes, under the tags that the Dockerfiles ask for.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod compose;
mod image;
mod registrar;
mod run;
mod site;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Trial};

use site::Site;

/// A trial for each of these, on one site that is built by the first.
macro_rules! trials {
    ($site:ident: $($topic:ident::$name:ident,)+) => {
        vec![$({
            let site = Arc::clone(&$site);
            Trial::test(concat!(stringify!($topic), "::", stringify!($name)), move || {
                $topic::$name(site.get_or_init(Site::build));
                Ok(())
            })
        }),+]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let site = Arc::new(OnceLock::new());
    let trials = trials![site:
        image::serves_as_nobody_and_keeps_what_it_has,
        image::needs_no_capability_and_no_disk_but_its_volume,
        compose::services_register_and_are_seen_leaving,
        registrar::follows_the_engine_it_runs_on,
        run::ends_as_its_command_does,
        run::passes_signals_and_the_exit_code,
        run::reaps_orphans,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
