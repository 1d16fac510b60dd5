//! What is known of changes that have left the history: enough to tell a reader whether
//! it may have missed one that matters to it, so that churn of other services costs a
//! quiet service's reader nothing.

use std::collections::HashMap;

use crate::types::{Filter, Revision, ServiceName};

use super::Commit;

/// How many services, and how many labels, are remembered each; beyond, the oldest are
/// forgotten at once and count against every reader.
const REMEMBERED: usize = 100_000;

/// The last revision that left the history, by service and by label.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    services: HashMap<ServiceName, Revision>,
    labels: HashMap<(String, String), Revision>,
    /// Up to here, any change may have touched anything.
    floor: Revision,
}

impl Evicted {
    pub(super) fn note(&mut self, commit: &Commit) {
        for change in &commit.changes {
            for instance in [&change.before, &change.after].into_iter().flatten() {
                let content = &instance.content;
                self.services.insert(content.service.clone(), commit.revision);
                for (key, value) in &content.labels {
                    self.labels.insert((key.clone(), value.clone()), commit.revision);
                }
            }
        }
        if self.services.len() > REMEMBERED || self.labels.len() > REMEMBERED {
            self.forget_half();
        }
    }

    /// Whether a change after `revision` that could match has left the history. Labels are
    /// remembered one by one: of two labels that never stood together it may say yes.
    pub(super) fn may_concern(&self, filter: &Filter, revision: Revision) -> bool {
        if self.floor > revision {
            return true;
        }
        let services = filter.services();
        let by_service = services.is_empty()
            || services.iter().any(|service| self.services.get(service).is_some_and(|at| *at > revision));
        by_service
            && filter.labels().iter().all(|(key, value)| {
                self.labels.get(&(key.clone(), value.clone())).is_some_and(|at| *at > revision)
            })
    }

    fn forget_half(&mut self) {
        let mut revisions: Vec<Revision> =
            self.services.values().chain(self.labels.values()).copied().collect();
        let middle = revisions.len() / 2;
        let (_, median, _) = revisions.select_nth_unstable(middle);
        let floor = *median;
        self.services.retain(|_, at| *at > floor);
        self.labels.retain(|_, at| *at > floor);
        self.floor = floor;
    }
}
