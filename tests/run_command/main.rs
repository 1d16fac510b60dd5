//! `leasehold run`: a command that is registered while it is up, as whoever starts it, signals it and waits for it
//! sees it, and as the registry does.
#![allow(clippy::unwrap_used)]

mod ends;
mod first_process;
mod health;
mod registered;
mod registry_away;
mod rig;
mod signals;
mod streams;
mod terminal;

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "a part of it is needed")]
#[path = "../support/tls.rs"]
mod tls;
