//! Shows the instances of a service, every change of them, and how far that can be relied upon.
//!
//! ```text
//! leasehold serve
//! cargo run --example watch -- orders
//! ```
//!
//! Without a name: all services. `LEASEHOLD_SERVER` names another registry than the one at 127.0.0.1:9000.

use std::{env, error::Error};

use leasehold::client::{Client, Filter, Update};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = env::var("LEASEHOLD_SERVER").unwrap_or_else(|_| "127.0.0.1:9000".to_owned());
    let filter = env::args().nth(1).map_or_else(Filter::all, Filter::service);
    let mut watch = Client::new(server)?.watch(filter);
    let mut changes = watch.changes();
    let mut freshness = watch.freshness();
    println!("{freshness}");
    loop {
        tokio::select! {
            // What changed, before whether that is still so.
            biased;
            update = changes.next() => match update {
                Update::Snapshot(snapshot) => {
                    println!("{} instances at revision {}", snapshot.len(), snapshot.revision());
                    for instance in snapshot.iter() {
                        println!("  {} {} {} {}", instance.id, instance.service, instance.url, instance.status);
                    }
                }
                Update::Changes(changes) => for change in changes.iter() {
                    let (kind, reason) = (change.kind.as_str_name(), change.reason.as_str_name());
                    println!("{kind} {reason} {} {}", change.instance.id, change.instance.url);
                },
            },
            _ = watch.changed() => if watch.freshness() != freshness {
                freshness = watch.freshness();
                println!("{freshness}");
            },
            stopped = tokio::signal::ctrl_c() => return Ok(stopped?),
        }
    }
}
