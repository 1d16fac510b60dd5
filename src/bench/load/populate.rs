//! Many leases at once, as fast as calls of many registrations can make them.

use std::{net::SocketAddr, time::Instant};

use super::setup;
use crate::bench::Result;

/// Progress is told after so many.
const STEP: u64 = 250_000;

/// Registers the records `0..count`; their ids, in order. Tells on stderr how far it is: a million
/// takes a while.
#[allow(clippy::print_stderr)]
pub async fn populate(address: SocketAddr, count: u64) -> Result<Vec<String>> {
    let begin = Instant::now();
    let mut ids = Vec::with_capacity(count as usize);
    while (ids.len() as u64) < count {
        let from = ids.len() as u64;
        ids.extend(setup::register(address, from, STEP.min(count - from)).await?);
        if count > STEP {
            eprintln!("    {} of {count} leases in {:.1} s", ids.len(), begin.elapsed().as_secs_f64());
        }
    }
    Ok(ids)
}
