//! Registers a replica, and holds it until Ctrl-C: prints what becomes of it meanwhile, then deregisters.
//!
//! ```text
//! leasehold serve
//! cargo run --example register -- orders http://127.0.0.1:8080
//! ```
//!
//! Stop the registry and start it again: the registration is taken up where it was. `LEASEHOLD_SERVER` names another
//! registry than the one at 127.0.0.1:9000.

use std::{env, error::Error, time::Duration};

use leasehold::client::{Client, Registration, State};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = env::var("LEASEHOLD_SERVER").unwrap_or_else(|_| "127.0.0.1:9000".to_owned());
    let [service, url] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: register SERVICE URL")?;
    let client = Client::new(server)?;
    let lease = client.hold(
        Registration::new(service, url)
            .ttl(Duration::from_secs(15))
            // The registry waits so long for this process when the connection breaks.
            .drop_grace(Duration::from_secs(5)),
    );

    let mut states = lease.states();
    loop {
        let state = states.borrow_and_update().clone();
        match state {
            State::Pending { why } => println!("pending: {}", why.as_deref().unwrap_or("not tried yet")),
            State::Registered { id, ttl } => println!("registered as {id} for {ttl:?} at a time"),
            State::AtRisk { id, why, .. } => println!("at risk: {id} cannot be renewed: {why}"),
            State::Lost { id, why } => println!("lost: {id} is being brought back: {why}"),
            State::Ended(why) => return Err(why.into()),
        }
        tokio::select! {
            // An error: its runtime has ended.
            changed = states.changed() => changed?,
            stopped = tokio::signal::ctrl_c() => { stopped?; break }
        }
    }
    lease.deregister().await?;
    println!("deregistered");
    Ok(())
}
