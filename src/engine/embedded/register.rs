//! Registration: the one command that makes instances.

use std::{sync::Arc, time::Duration};

use crate::{
    catalog::{Change, Kind, Reason},
    config::DuplicateId,
    engine::{Outcome, Refusal, TokenHash},
    lease::{Handle, Standing, Terms},
    types::{Actor, Content, Head, Instance, LeaseId, LeaseTimes, Status, Ttl},
};

use super::{
    book::{Book, BookRules, Now},
    draft::Draft,
    names::Record,
    quota::Charge,
};

/// A registration as the book takes it: tokens are hashes, and a fresh id and token are
/// at hand should it be new.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) client_id: Option<Arc<str>>,
    pub(super) content: Content,
    pub(super) ttl_wish: u32,
    pub(super) drop_grace: Option<Duration>,
    pub(super) token: Option<TokenHash>,
    pub(super) by: Actor,
    pub(super) fresh_id: LeaseId,
    pub(super) fresh_token: TokenHash,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub(super) instance: Instance,
    pub(super) times: LeaseTimes,
    pub(super) outcome: Outcome,
    /// Whether the fresh token is the good one from now on; else the one that was sent is.
    pub(super) fresh_token: bool,
}

impl BookRules {
    fn terms(&self, ttl_wish: u32, drop_grace: Option<Duration>) -> Terms {
        let ttl = if ttl_wish == 0 { self.default_ttl } else { ttl_wish.clamp(self.min_ttl, self.max_ttl) };
        let longest = Duration::from_secs(self.max_ttl.into());
        let grace_micros = drop_grace.map(|grace| grace.min(longest).as_micros() as u64);
        Terms { ttl: Ttl(ttl), grace_micros }
    }
}

impl Book {
    /// Registers a replica: a new one, other content of a live one, a retry, or one that
    /// had lapsed and comes back under its id. A pair never has two ids that can live.
    pub(super) fn register(&mut self, entry: Entry, now: Now, draft: &mut Draft) -> Result<Entered, Refusal> {
        let known = self.of_pair(entry.content.view());
        let entered = match known.map(|handle| (handle, self.leases.standing(handle))) {
            Some((handle, Standing::Dead)) => {
                self.check_quotas(&entry, None)?;
                // A deregistered id stays dead: the pair begins anew.
                self.leases.forget(handle);
                self.erase(handle);
                self.begin(&entry, now, draft)
            }
            Some((handle, standing)) => self.again(handle, standing, &entry, now, draft)?,
            None => {
                self.check_quotas(&entry, None)?;
                self.begin(&entry, now, draft)
            }
        };
        if let Some(handle) = self.handle(entered.instance.id) {
            self.take_client_id(handle, entry.client_id, &entry.by, now, draft);
        }
        Ok(entered)
    }

    fn begin(&mut self, entry: &Entry, now: Now, draft: &mut Draft) -> Entered {
        let terms = self.rules.terms(entry.ttl_wish, entry.drop_grace);
        let handle = self.leases.insert(entry.fresh_id, terms, now.moment);
        let mut head = Head {
            id: entry.fresh_id,
            status: Status::Alive,
            ttl: terms.ttl,
            registered_at: now.wall,
            last_updated: now.wall,
            revision: self.revision,
            service: self.known_name(entry.content.service()),
        };
        head.revision = draft.revision_for(Instance::bytes_of(entry.content.view()));
        let instance = entry.content.instance(head);
        let record = Record::new(instance.clone(), entry.fresh_token);
        self.enter(handle, record, entry.by.peer);
        self.count(handle, entry.by.own_key().cloned());
        self.show(handle, Kind::Registered, Reason::New, None, draft);
        Entered { instance, times: self.leases.view(handle), outcome: Outcome::New, fresh_token: true }
    }

    fn again(
        &mut self,
        handle: Handle,
        standing: Standing,
        entry: &Entry,
        now: Now,
        draft: &mut Draft,
    ) -> Result<Entered, Refusal> {
        // A process that died with its token must find its way back in: once its lease has
        // lapsed, the pair is free to whoever serves there now.
        let free = standing == Standing::Lapsed || self.unclaimed.contains(&self.leases.id(handle));
        if !free || entry.token.is_some() {
            self.check_token(handle, entry.token)?;
        }
        let before = self.instance(handle);
        let same_content = before.content() == entry.content;
        let same_key = self.tallies.key_of(handle) == entry.by.own_key();
        let same_peer = self.peer(handle) == entry.by.peer;
        let recount = !(same_content && same_key && same_peer);
        if recount {
            self.check_quotas(entry, Some(handle))?;
            self.discount(handle);
        }

        let terms = self.rules.terms(entry.ttl_wish, entry.drop_grace);
        let old_terms = self.leases.terms(handle);
        self.leases.regrant(handle, terms, now.moment);

        let same = same_content && before.ttl == terms.ttl;
        let (kind, reason, outcome) = match (standing, same) {
            (Standing::Lapsed, _) => (Kind::Registered, Reason::Revived, Outcome::Revived),
            (Standing::Suspect, true) => (Kind::Updated, Reason::Recovered, Outcome::Unchanged),
            (_, true) => (Kind::Updated, Reason::Content, Outcome::Unchanged),
            (_, false) => (Kind::Updated, Reason::Content, Outcome::Updated),
        };
        if standing != Standing::Live || !same {
            let mut head = before.clone_head();
            (head.status, head.ttl) = (Status::Alive, terms.ttl);
            if !same_content {
                head.last_updated = now.wall;
            }
            head.revision = draft.revision_for(Instance::bytes_of(entry.content.view()));
            self.record_mut(handle).instance = entry.content.instance(head);
            let shown_before = (standing != Standing::Lapsed).then_some(before);
            self.show(handle, kind, reason, shown_before, draft);
        }

        let fresh_token = entry.token.is_none();
        self.unclaimed.remove(&self.leases.id(handle));
        // A retry that says nothing new writes nothing.
        if fresh_token || terms != old_terms || !same_key || !same_peer {
            self.comes_from(handle, entry.by.peer);
            let record = self.record_mut(handle);
            if fresh_token {
                record.token = entry.fresh_token;
            }
        }
        if recount {
            self.count(handle, entry.by.own_key().cloned());
        }
        let instance = self.instance(handle);
        Ok(Entered { instance, times: self.leases.view(handle), outcome, fresh_token })
    }

    /// Whether there may be what an entry asks for, in the place of what is there of its pair and
    /// of what it replaces. Refused, nothing is changed.
    fn check_quotas(&self, entry: &Entry, known: Option<Handle>) -> Result<(), Refusal> {
        let mut leaving: Vec<Charge> = known.map(|handle| self.charge(handle)).into_iter().collect();
        for other in self.replaced_by(entry.client_id.as_deref(), &entry.by) {
            if known != Some(other) && self.leases.standing(other) != Standing::Dead {
                leaving.push(self.charge(other));
            }
        }
        let new = Charge::of(entry.content.service(), entry.content.view(), &entry.by);
        self.tallies.check(&new, &leaving)
    }

    /// What the newest registration of a client-sent id takes the place of, itself included. Those of
    /// services that its key is not good for stay: nobody is told of them.
    fn replaced_by(&self, client_id: Option<&str>, by: &Actor) -> Vec<Handle> {
        let (DuplicateId::Replace, Some(client_id)) = (self.rules.duplicate_id, client_id) else {
            return Vec::new();
        };
        let mut replaced = self.of_client_id(client_id);
        if let Some(reach) = &by.reach {
            replaced.retain(|other| reach.cover(&self.record(*other).instance.service));
        }
        replaced
    }

    /// Where the newest registration of a client-sent id takes the older one's place, it
    /// does so now.
    fn take_client_id(
        &mut self,
        handle: Handle,
        client_id: Option<Arc<str>>,
        by: &Actor,
        now: Now,
        draft: &mut Draft,
    ) {
        if self.rules.duplicate_id != DuplicateId::Replace {
            return;
        }
        for other in self.replaced_by(client_id.as_deref(), by) {
            if other == handle {
                continue;
            }
            match self.leases.standing(other) {
                Standing::Live | Standing::Suspect => {
                    self.remove(other, Reason::Replaced, now.moment, draft);
                }
                Standing::Lapsed => self.bury(other, now.moment),
                Standing::Dead => {}
            }
            // The newest is the one that its service's name means.
            self.unname(other);
        }
        self.index_client_id(handle, client_id);
    }

    fn show(
        &mut self,
        handle: Handle,
        kind: Kind,
        reason: Reason,
        before: Option<Instance>,
        draft: &mut Draft,
    ) {
        let after = Some(self.instance(handle));
        let times = self.leases.view(handle);
        draft.push(Change { kind, reason, before, after, times, braked: false });
    }
}
