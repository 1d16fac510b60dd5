//! What a server tells of itself: the audit file, traces, and what is counted of calls.

#![allow(clippy::unwrap_used)]

mod audit;
mod counts;
mod traces;

#[path = "../support/mod.rs"]
mod support;

/// A trace that a caller is in, its own span, and the header that says so.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
