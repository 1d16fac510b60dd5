//! gRPC's health: what the engine's is, and at the end that nothing is served.

use std::time::Duration;

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{engine::Health, proto::SERVICE_NAME};

/// What health is asked of: everything, and the registry.
const NAMES: [&str; 2] = ["", SERVICE_NAME];
/// Those who watch our health have heard by then.
const HEARD: Duration = Duration::from_millis(500);

/// Says so.
pub(super) async fn say(reporter: &mut HealthReporter, status: ServingStatus) {
    for name in NAMES {
        reporter.set_service_status(name, status).await;
    }
}

/// Ends the streams of those who watch, once they have heard. The names stay known to those who ask
/// once more.
pub(super) async fn end_streams(reporter: &mut HealthReporter) {
    tokio::time::sleep(HEARD).await;
    for name in NAMES {
        reporter.clear_service_status(name).await;
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
}

/// Says what the engine's health is, as long as there is an engine.
pub(super) async fn follow(mut health: watch::Receiver<Health>, mut reporter: HealthReporter) {
    let mut said = ServingStatus::Serving;
    loop {
        let status = match &*health.borrow_and_update() {
            Health::Serving => ServingStatus::Serving,
            Health::Failing(_) => ServingStatus::NotServing,
        };
        // Who watches is told of changes only.
        if status != said {
            said = status;
            say(&mut reporter, status).await;
        }
        if health.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
