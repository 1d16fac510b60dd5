//! The Docker registrar against a real engine and real registries: what they show is what runs, whatever
//! is killed, restarted or stopped meanwhile.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod backends;
mod bystanders;
mod fleet;
mod outages;
mod registrars;
mod registries;
mod rounds;
