//! Who may do what: every door, every call, every kind of key, every kind of service; and what
//! becomes of those who are let in when keys change.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod doors;
mod life;
mod matrix;
mod new_key;
mod rig;
mod servicekit;
