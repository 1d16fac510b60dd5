//! The Rust SDK: what a process needs of a registry, kept up whatever becomes of the connection.
//!
//! - [`Client`] is a registry, with the TLS settings and the key that it asks for.
//! - [`Client::hold`] registers and keeps alive; the [`Lease`] shows what is known of the registration.
//! - [`Client::watch`] gives a [`Watch`]: the instances of a service, always at hand.
//!
//! Nothing here fails because a registry is away for a while: leases are taken up where they were,
//! and a watch shows what it last knew and says how old that is.

pub mod backoff;
mod balance;
pub mod cause;
mod connect;
pub mod handshake;
mod lease;
mod unverified;
mod watch;

pub use balance::Balance;
pub use connect::{Builder, Client, Service, SetupError, ShowKey, address};
pub use lease::{Ended, IntoInfo, Lease, Registration, State};
pub use unverified::Anyone;
pub use watch::{Change, Changes, Filter, Freshness, Snapshot, Update, Watch};
