//! A leasehold. In mode ttl each document is a lease, all of them on one stream ([`Held`]); in mode prune,
//! a registration of 24 hours that each pass renews ([`Pruned`]).

mod held;
mod pruned;
mod wire;

pub use held::Held;
pub use pruned::Pruned;

use super::super::document::Document;

/// What the registry knows a replica by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: String,
    url: String,
}

impl Key {
    fn of(document: &Document) -> Self {
        Self { service: document.service.clone(), url: document.url.clone() }
    }
}
