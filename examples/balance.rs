//! Calls a gRPC service by its name: ten health checks, spread over its replicas.
//!
//! The registry itself has a health service, so it can be the one that is called:
//!
//! ```text
//! leasehold serve
//! cargo run --example register -- greeter grpc://127.0.0.1:9000
//! cargo run --example balance -- greeter
//! ```
//!
//! `LEASEHOLD_SERVER` names another registry than the one at 127.0.0.1:9000.

use std::{env, error::Error, time::Duration};

use leasehold::client::{Client, Filter};
use tokio::time::timeout;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// While nobody is registered a call waits; no longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = env::var("LEASEHOLD_SERVER").unwrap_or_else(|_| "127.0.0.1:9000".to_owned());
    let service = env::args().nth(1).ok_or("usage: balance SERVICE")?;
    let watch = Client::new(server)?.watch(Filter::service(&service));
    // Any generated client takes such a channel.
    let mut health = HealthClient::new(watch.channel());

    for call in 1..=10 {
        match timeout(PATIENCE, check(&mut health)).await {
            Ok(answer) => println!("call {call}: {:?}", answer?),
            Err(_) => {
                return Err(format!(
                    "nobody answers as {service:?}; what is known of it is {}",
                    watch.freshness()
                )
                .into());
            }
        }
    }
    Ok(())
}

/// One call; again, should it have fallen to a replica that is gone and still registered.
async fn check(health: &mut HealthClient<Channel>) -> Result<ServingStatus, Status> {
    loop {
        match health.check(HealthCheckRequest::default()).await {
            Ok(answer) => return Ok(answer.into_inner().status()),
            Err(status) if status.code() == Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => return Err(status),
        }
    }
}
