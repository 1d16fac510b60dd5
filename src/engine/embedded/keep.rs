//! What outlives the process: which registrations a batch has touched, as records for
//! the store, and how the book takes them up again. Pure, like the book.

use std::time::Duration;

use crate::{
    lease::{Handle, Past, Standing, Terms},
    store,
    types::{LeaseId, Status, WallTime},
};

use super::{
    book::{Book, Now},
    names::Record,
};

/// So many forgotten registrations are worth a batch of their own; fewer go with the next
/// one that has anything else to say.
const FORGOTTEN: usize = 4096;

/// Which registrations are to be written.
#[derive(Debug, Default)]
pub(super) struct Touched {
    ids: Vec<LeaseId>,
    /// Those that nobody remembers any more. Not worth a write by themselves: whoever reads the
    /// store can tell by their age.
    forgotten: Vec<LeaseId>,
}

impl Touched {
    pub(super) fn touch(&mut self, id: LeaseId) {
        self.ids.push(id);
    }

    pub(super) fn forget(&mut self, id: LeaseId) {
        self.forgotten.push(id);
    }
}

impl Book {
    /// The records of what was touched since the last call, none for those that are gone.
    /// `anchor` is what people call moment 0.
    pub(super) fn take_touched(&mut self, anchor: WallTime) -> Vec<(LeaseId, Option<store::Record>)> {
        let Some(touched) = &mut self.touched else { return Vec::new() };
        if touched.ids.is_empty() && touched.forgotten.len() < FORGOTTEN {
            return Vec::new();
        }
        let mut ids = std::mem::take(&mut touched.ids);
        ids.append(&mut touched.forgotten);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| (id, self.handle(id).map(|handle| self.store_record(handle, anchor))))
            .collect()
    }

    fn store_record(&self, handle: Handle, anchor: WallTime) -> store::Record {
        let record = self.record(handle);
        let instance = &record.instance;
        let ended = self.leases.ended(handle).map_or(anchor, |at| anchor.of(at));
        store::Record {
            standing: match self.leases.standing(handle) {
                Standing::Live | Standing::Suspect => store::Standing::Live,
                Standing::Lapsed => store::Standing::Lapsed(ended),
                Standing::Dead => store::Standing::Dead(ended),
            },
            drop_grace: self.leases.terms(handle).grace_micros.map(Duration::from_micros),
            named: self.is_named(handle),
            instance: instance.clone(),
            token: record.token,
            peer: self.peer(handle),
            client_id: self.client_id_of(handle).cloned(),
            key: self.tallies.key_of(handle).cloned(),
        }
    }

    /// Takes up what an earlier process left: what lived has a full TTL from `now` on, what had
    /// ended is remembered for the rest of its window.
    pub(super) fn resume(&mut self, records: Vec<store::Record>, now: Now) {
        let window = self.leases.window_micros();
        // What was just read need not be written.
        let mut touched = self.touched.take();
        self.reserve(records.len());
        for record in records {
            let store::Record { instance, standing, drop_grace, token, peer, client_id, key, named } = record;
            let id = instance.id;
            let rest = |at: WallTime| window.saturating_sub(now.wall.0.saturating_sub(at.0));
            let past = match standing {
                store::Standing::Live if instance.status == Status::Suspect => Past::Suspect,
                store::Standing::Live => Past::Live,
                store::Standing::Lapsed(at) | store::Standing::Dead(at) if rest(at) == 0 => {
                    if let Some(touched) = &mut touched {
                        touched.forget(id);
                    }
                    continue;
                }
                store::Standing::Lapsed(at) => Past::Lapsed(now.moment.plus_micros(rest(at))),
                store::Standing::Dead(at) => Past::Dead(now.moment.plus_micros(rest(at))),
            };
            let grace_micros = drop_grace.map(|grace| grace.as_micros() as u64);
            let handle = self.leases.resume(id, Terms { ttl: instance.ttl, grace_micros }, past, now.moment);
            self.enter(handle, Record::new(instance, token), peer);
            self.index_client_id(handle, client_id);
            if !matches!(past, Past::Dead(_)) {
                self.count(handle, key);
            }
            if !named {
                self.unname(handle);
            }
        }
        self.touched = touched;
        self.leases.resumed(now.moment);
    }
}
