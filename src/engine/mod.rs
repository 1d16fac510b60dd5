//! An engine decides and remembers: it takes registrations, renewals and departures,
//! and feeds the catalog with what follows, in revision order. The front doors know
//! [`Engine`] and [`View`] and no engine in particular.

mod audience;
pub mod clock;
pub mod embedded;
mod reader;
mod view;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use smallvec::SmallVec;
use tokio::sync::watch;

pub use crate::lease::{Beat, Loss, StreamEnd, StreamId, Tally};
pub use crate::store::Export;
pub use reader::{Encoded, Reader, Reading};
pub use view::{SnapshotError, View};

use crate::types::{Actor, Content, Instance, LeaseId, LeaseTimes, Moment, ServiceName, Target, WallTime};

/// A registry's truth.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What readers read.
    fn view(&self) -> &View;

    /// Now, on the engine's clock.
    fn now(&self) -> Moment;

    /// The same as people's time.
    fn wall(&self, moment: Moment) -> WallTime;

    /// The service that an id is of; none where the id is not known any more.
    fn service_of(&self, id: LeaseId) -> Option<ServiceName>;

    /// The id that a pair of service and url has, or had last; none where it is not known any more.
    fn id_of(&self, service: &ServiceName, url: &str) -> Option<LeaseId>;

    /// How the live lease that is meant was renewed last; none where there is none, or the
    /// caller may not touch it.
    fn last_renewal(&self, target: &Target, proof: &Proof) -> Option<Renewed>;

    /// The leases' times as they stand; none where an id is not known any more.
    fn times(&self, ids: &[LeaseId]) -> Vec<Option<LeaseTimes>>;

    /// Registers some replicas, each by itself; results come in order. What is registered
    /// together is committed together.
    async fn register(
        &self,
        registrations: Vec<Registration>,
    ) -> Result<Vec<Result<Registered, Refusal>>, Refusal>;

    /// Renews one lease; brings a suspect or lapsed one back.
    async fn renew(&self, target: Target, proof: Proof) -> Result<Renewed, Refusal>;

    /// Ends one registration.
    async fn deregister(&self, target: Target, proof: Proof) -> Result<Departed, Refusal>;

    /// Opens a `KeepAlive` stream with nothing attached; `proxied` if it comes through a
    /// trusted proxy. Whoever opens it ends it.
    fn open_stream(&self, proxied: bool) -> StreamId;

    /// Takes the messages of a stream in their order, all at one time, and appends what is to
    /// be told of each. Stops before the first that cannot be taken without a change: it is for
    /// [`Engine::attach`].
    fn keep(&self, stream: StreamId, asks: &[Ask], told: &mut Vec<Told>);

    /// Attaches leases to a stream and renews them, for `by`; brings suspect and lapsed ones back.
    /// Returns those that could not be.
    async fn attach(
        &self,
        stream: StreamId,
        leases: Vec<(LeaseId, Option<TokenHash>)>,
        by: Actor,
    ) -> Result<Vec<(LeaseId, Refusal)>, Refusal>;

    /// Releases leases from a stream, all if none is named. Returns those that it does not
    /// know.
    fn detach(&self, stream: StreamId, ids: &[LeaseId]) -> Vec<LeaseId>;

    /// Renews all that is attached.
    fn beat(&self, stream: StreamId);

    /// What the answer to a beat says; what was lost is said once.
    fn answer(&self, stream: StreamId) -> Beat;

    /// Ends a stream of `by` that ended at `at`.
    fn end_stream(&self, stream: StreamId, end: StreamEnd, at: Moment, by: Actor);

    /// What was counted of leases so far.
    fn tally(&self) -> Tally;

    /// From now on nothing expires: the server is leaving.
    fn freeze(&self);

    /// Whether it takes changes.
    fn health(&self) -> watch::Receiver<Health>;

    /// All registrations as they stand at the last revision, in the form that the store keeps.
    fn export(&self) -> Result<Export, Refusal>;

    /// Takes no more changes, and returns when all that were acknowledged are as safe as they
    /// will be. An error says what may be lost.
    async fn close(&self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Whether an engine takes changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Serving,
    /// It does not, for this reason: nothing is registered, ended or expires. What is known
    /// can be read, and what lives renewed.
    Failing(Arc<str>),
}

/// A registration, checked.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The id that the client gave its service, if it did.
    pub client_id: Option<Arc<str>>,
    /// What it says of itself.
    pub content: Content,
    /// The TTL it wishes in seconds; 0 is the default.
    pub ttl_wish: u32,
    /// The grace it wishes; none is the default.
    pub drop_grace: Option<Duration>,
    /// Its lease token, if it sent one.
    pub token: Option<String>,
    /// Who registers it.
    pub by: Actor,
}

/// The first half of the SHA-256 of a lease token, as many bits as the token has; the token itself
/// is not kept.
pub type TokenHash = [u8; 16];

/// What a caller shows to touch a registration.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The hash of the lease token it sent, if it did.
    pub token: Option<TokenHash>,
    /// Who it is; where it calls from decides between replicas of one name.
    pub by: Actor,
}

/// What a message of a stream asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To renew all that is attached.
    Beat,
    /// To attach leases and renew them.
    Attach {
        /// Which.
        ids: SmallVec<[LeaseId; 1]>,
        /// The hashes of the lease tokens that were sent.
        tokens: Option<Box<BTreeMap<LeaseId, TokenHash>>>,
    },
    /// To release leases.
    Detach(SmallVec<[LeaseId; 1]>),
    /// To release all that is attached.
    DetachAll,
}

/// What is to be told after a message of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The answer to any beat.
    pub beat: Beat,
    /// What could not be done for which of the ids that it named.
    pub refused: Vec<(LeaseId, Refusal)>,
}

/// What was registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The instance as it is.
    pub instance: Instance,
    /// Its lease's times.
    pub times: LeaseTimes,
    /// What the registration meant.
    pub outcome: Outcome,
    /// The lease token that is good from now on.
    pub token: String,
}

/// What a registration meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new instance.
    New,
    /// Other content of a live one.
    Updated,
    /// The same as was there.
    Unchanged,
    /// A lapsed one came back.
    Revived,
}

/// What was renewed.
#[derive(Clone, Copy, Debug)]
pub struct Renewed {
    /// Its id.
    pub id: LeaseId,
    /// Its TTL in seconds.
    pub ttl_seconds: u32,
    /// Its lease's times.
    pub times: LeaseTimes,
}

/// What was ended.
#[derive(Clone, Debug)]
pub struct Departed {
    /// The instance as it was.
    pub instance: Instance,
    /// Its lease's times as they were.
    pub times: LeaseTimes,
}

/// Why an engine did not do what it was asked; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such registration, or no more.
    #[error("{0} is not registered: unknown, deregistered, or lapsed too long ago; register again")]
    NotFound(String),
    /// A lease token was sent, but it is not this registration's.
    #[error("lease_token is not that of registration {0}")]
    WrongToken(LeaseId),
    /// No lease token was sent where the server requires one.
    #[error("registration {0} needs its lease_token: this server requires them")]
    TokenRequired(LeaseId),
    /// A name fits several registrations.
    #[error(
        "{name:?} fits {count} registrations ({}{}); name one by its ULID",
        list(ids),
        if ids.len() < *count { ", …" } else { "" }
    )]
    Ambiguous {
        /// The name.
        name: ServiceName,
        /// How many it fits.
        count: usize,
        /// The first ten.
        ids: Vec<LeaseId>,
    },
    /// As much is registered as may be. What may still be revived counts too.
    #[error("too many {} {whose}: at most {most}, those that may still be revived included; {flag} sets it",
        if limit.ends_with("bytes") { "bytes of registrations" } else { "registrations" })]
    Quota {
        /// The limit's name: `service_registrations`.
        limit: &'static str,
        /// Of what: `of service "billing"`.
        whose: String,
        /// The quota.
        most: u64,
        /// What raises it.
        flag: &'static str,
    },
    /// The engine takes no changes now. It is not known whether this one will come to be.
    #[error("the registry takes no changes now: {0}")]
    Unavailable(Arc<str>),
    /// The engine keeps nothing that could be backed up.
    #[error("this server keeps its registrations in memory: there is nothing to back up")]
    KeepsNothing,
    /// The engine takes no more commands.
    #[error("the registry is shutting down; try again, nothing was changed")]
    Closed,
}

fn list(ids: &[LeaseId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
