//! From what is to be advertised and what is, the steps between. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Document;

/// What a backend has of this host. The key is the backend's own: a path, an id.
pub type Advertised = BTreeMap<String, Document>;

/// What a backend has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be written: not there, or with other content.
    pub put: Vec<Document>,
    /// There, and as it should be.
    pub keep: Vec<Document>,
    /// To be removed, by the backend's own key.
    pub remove: Vec<String>,
}

/// The steps from `advertised` to `wanted`, each in the order of what it came from. `key` is how the
/// backend calls a document; of several with one key, the first counts.
///
/// Nothing is removed but what is in `advertised`, so a backend that lists only this host's entries can
/// only lose those.
pub fn plan(wanted: &[Document], advertised: &Advertised, key: impl Fn(&Document) -> String) -> Plan {
    let mut plan = Plan::default();
    let mut keys = BTreeSet::new();
    for document in wanted {
        let key = key(document);
        let there = advertised.get(&key).is_some_and(|there| there.same_content(document));
        if keys.insert(key) {
            if there { &mut plan.keep } else { &mut plan.put }.push(document.clone());
        }
    }
    plan.remove = advertised.keys().filter(|key| !keys.contains(*key)).cloned().collect();
    plan
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
