//! Why a store cannot be opened, or takes no more.

use std::{io, path::PathBuf};

/// Why a store did not do what it was asked. Each names the file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the directory.
    #[error(
        "the data directory {} is in use by another leasehold{}; \
         stop that one, or choose another directory with --data-dir",
        dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, if it says so.
        pid: Option<u32>,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot {what} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried: `create`, `read`, `write`, `sync`, ….
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no store.
    #[error("there is no registry in {}", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is of another program.
    #[error("{} is not a file of leasehold; move it away, or choose another --data-dir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a newer leasehold.
    #[error(
        "{} was written by a newer leasehold (format {version}, this one knows {known}); \
         run that version, or choose another --data-dir",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
        /// The newest known here.
        known: u32,
    },
    /// The file is damaged.
    #[error(
        "{} is damaged: {what}. Nothing was changed in it. Put a backup in its place (leasehold backup \
         makes them), or move it away to start empty: clients register again by themselves",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage showed.
        what: String,
    },
    /// The file is whole, but older than what was acknowledged.
    #[error(
        "{} lost what was acknowledged: {}. Its newest pages are damaged, or the disk did not keep what it had synced. Nothing \
         was changed in it. Put a backup in its place, or go on without what is missing: --accept-loss",
        path.display(), missing(*found, *acknowledged)
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// The last revision in it.
        found: u64,
        /// The last revision that was acknowledged.
        acknowledged: u64,
    },
    /// There is no room for a batch. Nothing of it is written; it can be tried again.
    #[error("no room left to write {}: {source}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing or syncing failed, now or before: this store takes no more until it is
    /// opened anew.
    #[error(
        "writing to {} failed: {cause}. The registry takes no changes until the disk is \
         mended and the server restarted",
        path.display()
    )]
    Failed {
        /// The file.
        path: PathBuf,
        /// What failed first.
        cause: String,
    },
}

impl StoreError {
    /// Whether the same batch may be written later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

fn missing(found: u64, acknowledged: u64) -> String {
    if found < acknowledged {
        format!("it ends with revision {found}, but {acknowledged} was acknowledged")
    } else {
        format!("something that came after revision {found}, and has none of its own")
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it has to belong to the user that leasehold runs as, or choose another directory with --data-dir"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; choose a directory that can be written with --data-dir",
        _ => "",
    }
}
