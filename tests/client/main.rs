//! The SDK's leases against a real server, and whatever can come between the two.

#![allow(clippy::unwrap_used)]

mod held;
mod network;
mod restarts;
mod secure;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use leasehold::client::{Client, Lease, Registration, State};
use support::{START, within};

/// For what takes a TTL or several waits.
const PATIENCE: Duration = START;

/// A client of the server at this URL.
fn client(url: impl Into<String>) -> Client {
    Client::new(url).expect("a good URL")
}

/// A replica of the service `orders`.
fn orders(number: usize) -> Registration {
    Registration::new("orders", format!("http://10.0.0.1:80/{number}"))
}

/// Waits until a state of the lease is picked.
async fn until(what: &str, lease: &Lease, pick: impl FnMut(&State) -> bool) -> State {
    let mut states = lease.states();
    let state = within(what, PATIENCE, states.wait_for(pick)).await;
    state.expect("a lease that is held has states").clone()
}

/// Waits until it is registered; its id.
async fn registered(lease: &Lease) -> String {
    within("the registration", PATIENCE, lease.registered()).await.expect("it is registered")
}
