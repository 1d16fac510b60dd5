//! The registry remembers: the real binary on a real directory, killed, starved of room,
//! failed by its disk, restarted under its clients.

#![allow(clippy::unwrap_used)]

mod cli;
mod crash;
mod doors;
mod follower;
mod full;
mod ledger;
mod outage;
mod restart;
mod riders;
#[path = "../support/mod.rs"]
mod support;
mod sync_errors;
