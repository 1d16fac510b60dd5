//! Where documents go. A [`Backend`] is told what this host wants to have there, and makes it so; it
//! touches nothing that this host did not put there. One file a backend.

mod consul;
mod etcd;
mod leasehold;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use thiserror::Error;

use super::document::Document;

pub use consul::Consul;
pub use etcd::Etcd;
pub use leasehold::{Held, Pruned};

/// Within this a backend answers a call, or it failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How many calls are under way at once.
const CONCURRENT: usize = 16;
/// What marks an entry as a Docker registrar's, beside its host's name: a label, or a key of its metadata.
const MARKER: (&str, &str) = ("registrar", "docker");

/// A registry, as the registrar uses it. Each call of it ends within a bounded time.
#[async_trait]
pub trait Backend: Send {
    /// Makes what it has of this host equal to `wanted`, no two of which have the same path.
    async fn apply(&mut self, wanted: &[Document], pass: Pass) -> Result<Done, Failure>;

    /// The registrar ends; what it advertised stays as long as its mode says.
    async fn leave(&mut self);
}

/// How sure the registrar is that what it wants is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Docker has just told of every container: what is there of this host and is not wanted goes.
    Whole,
    /// An event changed what was known, or Docker is away: only what this process wrote itself is looked
    /// at, and the rest left alone.
    Known,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Documents that were written.
    pub written: usize,
    /// Entries that were removed.
    pub removed: usize,
    /// How long writing took.
    pub setting: Duration,
    /// How long looking for what has to go, and removing it, took.
    pub pruning: Duration,
}

/// Why a backend does not have what it should. What it has of this host may be anything between.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Failure(pub String);

/// Complaints about single documents, each told once for as long as it is true.
#[derive(Debug, Default)]
struct Complaints(BTreeMap<String, String>);

impl Complaints {
    /// Says `why` of the document at `path`, unless that was the last thing said of it.
    fn tell(&mut self, path: &str, why: String) {
        if self.0.get(path) != Some(&why) {
            tracing::warn!(path, "not advertised: {why}");
            self.0.insert(path.to_owned(), why);
        }
    }

    /// The document is advertised.
    fn settle(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// Forgets what is not wanted any more.
    fn keep(&mut self, wanted: &[Document]) {
        self.0.retain(|path, _| wanted.iter().any(|document| document.path == *path));
    }
}
