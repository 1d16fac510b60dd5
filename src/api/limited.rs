//! What the service itself refuses because a limit is met, and what it lets through all the same.

use tonic::Status;

use crate::{
    call::Caller,
    engine::{Proof, Refusal, Renewed},
    limits::Exceeded,
    types::Target,
};

use super::{Registry, gate};

/// A renewal so long after the last one is never refused.
const RENEWAL_EVERY_MICROS: u64 = 1_000_000;

impl Registry {
    /// Whether a renewal may be made though its caller asks too often: many live behind one address
    /// or with one key, and none of them must die of the others. So a live lease can be renewed once
    /// a second, or three times in its TTL where that is shorter.
    pub(super) fn check_renewal(
        &self,
        target: &Target,
        proof: &Proof,
        caller: &Caller,
    ) -> Result<(), Status> {
        let Some(exceeded) = caller.exceeded else { return Ok(()) };
        let is_due = |last: Renewed| {
            let apart = (u64::from(last.ttl_seconds) * 1_000_000 / 3).min(RENEWAL_EVERY_MICROS);
            self.engine.now().micros_since(last.times.renewed) >= apart
        };
        if self.engine.last_renewal(target, proof).is_some_and(is_due) {
            Ok(())
        } else {
            Err(self.too_much(exceeded))
        }
    }

    /// A limit is met; it is counted.
    pub(super) fn too_much(&self, exceeded: Exceeded) -> Status {
        self.limits.refused(exceeded.limit);
        gate::too_much(exceeded)
    }

    /// The engine refused; a quota that is met is counted.
    pub(super) fn refusal(&self, refusal: Refusal) -> Status {
        if let Refusal::Quota { limit, .. } = &refusal {
            self.limits.refused(limit);
        }
        refusal.into()
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::NAMES;

    #[test]
    fn every_quota_is_counted() {
        for name in crate::engine::embedded::QUOTA_NAMES {
            assert!(NAMES.contains(&name), "{name}");
        }
    }
}
