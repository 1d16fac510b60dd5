//! `leasehold backup`: a copy of all registrations, made while the server goes on.

use std::path::PathBuf;

use clap::Args;
use tonic::Status;

use super::{Failure, output, remote::Target, signals};
use crate::{
    proto::{BackupRequest, BackupResponse},
    store::{self, BackupFile, StoreError},
    types::{Epoch, LeaseId, Revision},
};

/// Copy all registrations to a file while the server goes on
///
/// Run it on the server's own machine, as no other is answered. To restore: with the server
/// stopped, put the file into the data directory as `registry.db`. A restored registry begins a
/// new epoch: consumers that resume a watch get a fresh snapshot.
#[derive(Args, Debug)]
pub struct Backup {
    /// The file to make; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    target: Target,
}

/// What a failure comes to.
const NONE: &str = "no backup was made";

impl Backup {
    /// Writes the file, whole or not at all.
    pub async fn run(self) -> Result<(), Failure> {
        let stop = signals::stop_token()
            .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
        tokio::select! {
            done = self.copy() => done,
            () = stop.cancelled() => Err(Failure::other("stopped; no backup was made")),
        }
    }

    async fn copy(self) -> Result<(), Failure> {
        let mut remote = self.target.connect().await.map_err(|failure| failure.context(NONE))?;
        let answer = remote.admin.backup(BackupRequest {}).await;
        let failed = |status: &Status| remote.failure(status).context(NONE);
        let mut parts = answer.map_err(|status| failed(&status))?.into_inner();
        let first = parts.message().await.map_err(|status| failed(&status))?;
        let Some(BackupResponse { header: Some(header), .. }) = first else {
            return Err(Failure::other("the server sent no backup"));
        };
        if header.format > store::FORMAT {
            let text = "the server is newer than this program; make the backup with the server's own version";
            return Err(Failure::other(text));
        }
        let (epoch, revision) = (Epoch(header.epoch), Revision(header.revision));
        let mut file = BackupFile::create(&self.file, epoch, revision).map_err(unwritten)?;
        while let Some(part) = parts.message().await.map_err(|status| failed(&status))? {
            for registration in part.registrations {
                let id = registration
                    .id
                    .as_ref()
                    .try_into()
                    .map_err(|_| Failure::other("the server sent no id"))?;
                file.push(LeaseId(u128::from_be_bytes(id)), registration.value).map_err(unwritten)?;
            }
        }
        file.finish(header.registrations).map_err(unwritten)?;
        let (count, revision) = (header.registrations, header.revision);
        let registrations = if count == 1 { "registration" } else { "registrations" };
        output::line(&format!("{}: {count} {registrations} at revision {revision}", self.file.display()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unwritten(error: StoreError) -> Failure {
    Failure::other(error.to_string()).context(NONE)
}
