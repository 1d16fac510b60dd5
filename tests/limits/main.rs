//! Every limit of `docs/limits.md`, met on purpose: who asks for more is refused and told when to
//! come again, in gRPC and in JSON; who does not, notices nothing.

#![allow(clippy::unwrap_used)]

mod quotas;
mod rates;
mod renewals;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use leasehold::proto::RegisterRequest;
use support::{http::Answer, replica};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A refusal over gRPC for this reason: its code, its text, and when to try again.
fn check_refusal(status: &Status, text: &str) -> Duration {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains(text), "{text} in {}", status.message());
    let info = status.get_details_retry_info().expect("RetryInfo");
    let delay = info.retry_delay.expect("a delay");
    assert!(!delay.is_zero());
    delay
}

/// The same over HTTP.
fn check_answer(answer: &Answer, text: &str) {
    assert_eq!((answer.status, answer.error_code()), (429, 8), "{}", answer.text());
    assert!(answer.text().contains(text), "{text} in {}", answer.text());
    let seconds: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// A registration that nobody has to renew while a test runs.
fn lasting(service: &str, url: &str) -> RegisterRequest {
    RegisterRequest { ttl_seconds: 3600, ..replica(service, url) }
}
