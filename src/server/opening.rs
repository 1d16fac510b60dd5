//! Opening: what has to be read, and may be refused, before a server listens.

use std::{path::Path, sync::Arc};

use tracing::{info, warn};

use super::{Error, Opened};
use crate::{
    audit::Audit,
    auth::Keys,
    config::{Config, StoreKind},
    engine::{Engine as _, embedded::Embedded},
    metrics::Metrics,
    store::{self, Condition},
    telemetry::Traces,
    tls::Tls,
};

/// Reads the keys and certificates, opens the store and starts the engine, on the current tokio
/// runtime. Changes are told to `audit`.
pub async fn open(config: Config, audit: Audit) -> Result<Opened, Error> {
    let keys = Arc::new(Keys::open(&config.access)?);
    let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
    let metrics = Arc::new(Metrics::default());
    let traces = config.otlp_endpoint.as_deref().map(Traces::start).transpose()?;
    if config.store.kind == StoreKind::Memory {
        let history_bytes = config.history_bytes;
        let engine = Embedded::in_memory(&config.leases, &config.quotas, history_bytes, Arc::clone(&metrics));
        engine.audited_by(audit.clone());
        return Ok(Opened {
            config,
            engine: Arc::new(engine),
            metrics,
            keys,
            tls,
            audit,
            traces,
            data_dir: None,
        });
    }
    let dir = config.store.data_dir.clone().or_else(store::default_dir).ok_or(Error::NoDataDir)?;
    let (engine, condition) = {
        let (config, dir, metrics) = (config.clone(), dir.clone(), Arc::clone(&metrics));
        let open = move || {
            let Config { store, leases, quotas, history_bytes, .. } = &config;
            Embedded::open(&dir, store, leases, quotas, *history_bytes, metrics)
        };
        // Reading and verifying takes as long as the disk does.
        tokio::task::spawn_blocking(open).await.map_err(Error::Opening)??
    };
    engine.audited_by(audit.clone());
    say_condition(&condition, &dir, &engine);
    Ok(Opened { config, engine: Arc::new(engine), metrics, keys, tls, audit, traces, data_dir: Some(dir) })
}

fn say_condition(condition: &Condition, dir: &Path, engine: &Embedded) {
    let dir = dir.display();
    let (instances, revision, epoch) = {
        let catalog = engine.view().read();
        (catalog.len(), catalog.revision().0, format!("{:016x}", catalog.epoch().0))
    };
    match condition {
        Condition::Created => info!(%dir, "a new registry"),
        Condition::Clean => info!(%dir, instances, revision, epoch, "the registry as it was left"),
        Condition::Unclean => {
            info!(%dir, instances, revision, epoch, "the last server was not stopped in order");
        }
        Condition::SyncFailed => {
            warn!(%dir, instances, revision, epoch, "a sync of the last server failed; the file was written anew");
        }
        Condition::Lost(missing) => {
            warn!(%dir, instances, revision, missing, epoch, "acknowledged changes are missing; a new epoch begins");
        }
        Condition::Copy => {
            warn!(%dir, instances, revision, epoch, "this is a copy of a registry; a new epoch begins");
        }
    }
}
