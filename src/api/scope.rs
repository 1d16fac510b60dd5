//! Which services a caller's key is good for. The gate knows the call, and that the key is good for
//! such calls at all; here it is held against what the call is about. What lies beyond a key is
//! refused in the same words whether it exists or not.

use std::sync::Arc;

use tonic::Status;

use crate::{
    auth::Grant,
    call::Caller,
    types::{Filter, LeaseId, ServiceName, Target},
};

use super::{Registry, gate::beyond};

/// The grant of a caller whose key is good for some services only.
pub(super) fn limits(caller: &Caller) -> Option<&Arc<Grant>> {
    caller.grant.as_ref().filter(|grant| grant.is_limited())
}

/// Whether a caller may touch a service.
pub(super) fn check(caller: &Caller, service: &ServiceName) -> Result<(), Status> {
    match limits(caller) {
        Some(grant) if !grant.covers(service) => Err(beyond(grant)),
        _ => Ok(()),
    }
}

/// Returns once the key that a caller showed is good no more; never without one.
pub(super) async fn revoked(grant: Option<Arc<Grant>>) {
    match grant {
        Some(grant) => grant.revoked().await,
        None => std::future::pending().await,
    }
}

/// What a stream ends with when its key is revoked.
pub(super) fn key_is_gone() -> Status {
    Status::unauthenticated(
        "the key that this stream was opened with is good no more; come back with another",
    )
}

impl Registry {
    /// Whether a caller may touch what it names. An id that nobody knows is as one of others: it is
    /// in nobody's bounds.
    pub(super) fn check_target(&self, caller: &Caller, target: &Target) -> Result<(), Status> {
        let Some(grant) = limits(caller) else { return Ok(()) };
        let covered = match target {
            Target::Id(id) => self.covers_id(grant, *id),
            Target::Name(name) => grant.covers(name),
        };
        if covered { Ok(()) } else { Err(beyond(grant)) }
    }

    /// The same for what it reads, where reading needs a key.
    pub(super) fn check_read(&self, caller: &Caller, target: &Target) -> Result<(), Status> {
        if self.protect_reads { self.check_target(caller, target) } else { Ok(()) }
    }

    /// The filter of what a caller sees of what it asks for, where reading needs a key.
    pub(super) fn check_filter(&self, caller: &Caller, filter: Filter) -> Result<Filter, Status> {
        let limits = limits(caller).filter(|_| self.protect_reads);
        let Some((grant, globs)) = limits.and_then(|grant| Some((grant, grant.reach()?))) else {
            return Ok(filter);
        };
        if filter.services().is_empty() {
            return Ok(filter.within(Arc::clone(globs)));
        }
        if filter.services().iter().all(|service| globs.cover(service)) {
            Ok(filter)
        } else {
            Err(beyond(grant))
        }
    }

    fn covers_id(&self, grant: &Grant, id: LeaseId) -> bool {
        self.engine.service_of(id).is_some_and(|service| grant.covers(&service))
    }
}
