//! What those who run the server ask of it.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, metadata::MetadataMap};
use tracing::{info, warn};

use crate::{
    auth::{Grant, Scope},
    call::Caller,
    engine::{Engine, Export, Refusal},
    proto::{self, admin_server},
};

use super::{gate::beyond, refuse::log_refusal, scope, unary::caller};

/// Parts that wait for a client that does not read.
const BUFFER: usize = 2;
/// A client that takes no part for so long is given up: as long as a backup is read, the
/// store keeps all that has changed since.
const PATIENCE: Duration = Duration::from_secs(30);

/// No backup takes longer: one of a million registrations takes seconds.
const LONGEST: Duration = Duration::from_mins(10);

/// The service for those who run the server.
#[derive(Clone)]
pub struct Admin {
    engine: Arc<dyn Engine>,
    /// One backup at a time.
    turn: Arc<Semaphore>,
}

impl Admin {
    /// A service over this engine.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Whether this caller may have a backup now.
    fn admit(&self, caller: &Caller, headers: &MetadataMap) -> Result<OwnedSemaphorePermit, Status> {
        let forwarded =
            ["forwarded", "x-forwarded-for", "via"].iter().any(|name| headers.contains_key(*name));
        if let Some(grant) = scope::limits(caller) {
            // A backup holds all services.
            return Err(beyond(grant));
        }
        let is_admin = caller.grant.as_ref().is_some_and(|grant| grant.allows(Scope::Admin));
        if !is_admin && (caller.proxied || forwarded || !caller.peer.ip().to_canonical().is_loopback()) {
            return Err(Status::permission_denied(
                "without a key for admin, backups are handed out on the machine of the server only; run \
                 `leasehold backup` there",
            ));
        }
        Arc::clone(&self.turn).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("another backup is being read; try again when it is done")
        })
    }
}

#[tonic::async_trait]
impl admin_server::Admin for Admin {
    type BackupStream = ReceiverStream<Result<proto::BackupResponse, Status>>;

    async fn backup(
        &self,
        request: Request<proto::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let caller = caller(request.extensions());
        let refused = log_refusal("Backup", &caller);
        let turn = self.admit(&caller, request.metadata()).map_err(&refused)?;
        let engine = Arc::clone(&self.engine);
        // Reading the store blocks.
        let export = tokio::task::spawn_blocking(move || engine.export()).await;
        let export = export.map_err(|error| Status::internal(error.to_string()))?;
        let export = export.map_err(unavailable).map_err(&refused)?;
        info!(peer = %caller.peer.ip(), revision = export.revision().0, "backup begins");
        let (out, parts) = mpsc::channel(BUFFER);
        let grant = caller.grant.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            send(export, &out, grant);
        });
        Ok(Response::new(ReceiverStream::new(parts)))
    }
}

/// A store that takes no changes cannot be read for a backup either, and asking again does
/// not help until somebody has helped it.
fn unavailable(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Unavailable(reason) => Status::failed_precondition(format!(
            "no backup can be made while the store does not write: {reason}"
        )),
        refusal => refusal.into(),
    }
}

/// Sends all parts, as long as the client takes them and its key is good.
fn send(
    export: Export,
    out: &mpsc::Sender<Result<proto::BackupResponse, Status>>,
    grant: Option<Arc<Grant>>,
) {
    let runtime = tokio::runtime::Handle::current();
    let end = Instant::now() + LONGEST;
    let mut revoked = pin!(scope::revoked(grant));
    for part in parts_of(export) {
        let broken = part.is_err();
        let patience = PATIENCE.min(end.saturating_duration_since(Instant::now()));
        let sent = runtime.block_on(async {
            tokio::select! {
                biased;
                () = &mut revoked => None,
                sent = tokio::time::timeout(patience, out.send(part)) => Some(sent),
            }
        });
        let Some(sent) = sent else {
            warn!("a backup's key was revoked");
            let word = out.send(Err(scope::key_is_gone()));
            // Where that finds no room either, the client sees a backup without its end.
            let _ = runtime.block_on(async { tokio::time::timeout(patience, word).await });
            return;
        };
        if broken || !sent.is_ok_and(|sent| sent.is_ok()) {
            warn!("a backup was not read to its end");
            return;
        }
    }
    info!("backup done");
}

fn parts_of(export: Export) -> impl Iterator<Item = Result<proto::BackupResponse, Status>> {
    let header = proto::BackupHeader {
        format: export.format(),
        epoch: export.epoch().0,
        revision: export.revision().0,
        registrations: export.registrations(),
    };
    let header = proto::BackupResponse { header: Some(header), registrations: Vec::new() };
    let parts = export.map(|part| {
        let part = part.map_err(|error| Status::data_loss(error.to_string()))?;
        let registrations = part
            .into_iter()
            .map(|(id, value)| proto::StoredRegistration { id: id.0.to_be_bytes().to_vec().into(), value })
            .collect();
        Ok(proto::BackupResponse { header: None, registrations })
    });
    std::iter::once(Ok(header)).chain(parts)
}
