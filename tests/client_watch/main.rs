//! The SDK's watch, and the channel that is fed by one, against real servers that fail in every way.

#![allow(clippy::unwrap_used)]

mod balance;
#[allow(dead_code)]
#[path = "../support/tls.rs"]
mod certificates;
mod examples;
mod faults;
mod life;
mod replica;
mod rig;
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
