//! What the registry talks about, parsed at the door: inside, no string is a name, an
//! address or an id any more. Everything here is plain data; start with [`Instance`].

mod actor;
mod content;
mod digest;
mod filter;
mod globs;
mod id;
mod instance;
mod name;
mod network;
mod time;
mod url;

pub use actor::{Actor, Actors, SHARED_KEY, TraceId};
pub use content::{Content, ContentRef, Info, PackedError, Packer, Parts};
pub use digest::Digest;
pub use filter::Filter;
pub use globs::{GlobError, Globs};
pub use id::{LeaseId, Target, TargetError};
pub use instance::{Head, Instance, LeaseTimes, Status};
pub use name::{NameError, ServiceName};
pub use network::Network;
pub use time::{Moment, WallTime};
pub use url::{ServiceUrl, UrlError};

/// The place of a change in the registry's history; each commit takes the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names one run of revisions: within an epoch no revision is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A granted time to live in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(pub u32);

impl Ttl {
    /// The same as microseconds.
    pub fn micros(self) -> u64 {
        u64::from(self.0) * 1_000_000
    }
}
