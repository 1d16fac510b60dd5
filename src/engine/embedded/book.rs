//! Who is who: which pair of service and url has which id, what becomes of it when it
//! registers again, lapses, comes back or leaves. Pure, like the leases it is built on:
//! it is told the time and fresh ids, and writes what follows into a draft of commits.
//! Start with [`Book`].

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::BuildHasher as _,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use subtle::ConstantTimeEq;

use crate::{
    catalog::{Change, Kind, Reason},
    config::{DuplicateId, Quotas},
    engine::{Departed, Proof, Refusal, Renewed, TokenHash},
    lease::{Cause, Handle, Lapse, Leases, Standing, StreamEnd, StreamId},
    types::{
        Content, ContentRef, Instance, LeaseId, LeaseTimes, Moment, Packer, Revision, ServiceName, Status,
        Target, WallTime,
    },
};

use super::{draft::Draft, keep::Touched, names::Record, quota::Tallies};

/// The rules of registration.
#[derive(Clone, Debug)]
pub(super) struct BookRules {
    pub(super) default_ttl: u32,
    pub(super) min_ttl: u32,
    pub(super) max_ttl: u32,
    pub(super) duplicate_id: DuplicateId,
    pub(super) require_token: bool,
}

/// Every registration that lives or is still remembered: one for each pair.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) rules: BookRules,
    pub(super) leases: Leases,
    /// By the lease's handle.
    pub(super) records: Vec<Option<Record>>,
    /// Tables of handles hold no keys: those are in the leases, and in the records.
    ids: HashTable<Handle>,
    pairs: HashTable<Handle>,
    hasher: RandomState,
    pub(super) names: HashMap<ServiceName, Vec<Handle>, RandomState>,
    /// Where the last Register came from, of those where that is no IPv4 address.
    pub(super) peers_v6: HashMap<Handle, Ipv6Addr>,
    client_ids: HashMap<Arc<str>, BTreeSet<Handle>>,
    /// The client-sent ids that are indexed.
    client_id_of: HashMap<Handle, Arc<str>>,
    /// What counts against the quotas.
    pub(super) tallies: Tallies,
    /// The last revision that was decided; the catalog's may be behind.
    pub(super) revision: Revision,
    /// What the store has to be told, if there is one.
    pub(super) touched: Option<Touched>,
    /// Whether something was decided that is not written yet, and may never be.
    pub(super) in_doubt: bool,
    /// Registrations whose token nobody was told, for the answer was a refusal. Whoever
    /// registers the pair next without one is let in.
    pub(super) unclaimed: HashSet<LeaseId>,
}

/// One point in time, in both ways.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) moment: Moment,
    pub(super) wall: WallTime,
}

/// What a renewal came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Renewal {
    Done(Renewed),
    /// The lease is suspect or has lapsed: bringing it back is a change, for the writer.
    NeedsCommit,
}

impl Book {
    pub(super) fn new(rules: BookRules, leases: Leases) -> Self {
        Self {
            rules,
            leases,
            records: Vec::new(),
            ids: HashTable::new(),
            pairs: HashTable::new(),
            hasher: RandomState::default(),
            names: HashMap::default(),
            peers_v6: HashMap::new(),
            client_ids: HashMap::new(),
            client_id_of: HashMap::new(),
            tallies: Tallies::new(Quotas::none()),
            revision: Revision(0),
            touched: None,
            in_doubt: false,
            unclaimed: HashSet::new(),
        }
    }

    /// The same, but it remembers what is to be written: see [`Book::take_touched`].
    pub(super) fn durable(self) -> Self {
        Self { touched: Some(Touched::default()), ..self }
    }

    /// A draft that goes on where the last one ended.
    pub(super) fn draft(&self) -> Draft {
        Draft::after(self.revision)
    }

    /// Renews a live lease; nothing else changes anything.
    pub(super) fn renew(&mut self, target: &Target, proof: &Proof, at: Moment) -> Result<Renewal, Refusal> {
        let handle = self.find(target, proof)?;
        Ok(match self.leases.renew(handle, at) {
            Standing::Live => Renewal::Done(self.renewed(handle)),
            Standing::Suspect | Standing::Lapsed => Renewal::NeedsCommit,
            Standing::Dead => return Err(not_found(target)),
        })
    }

    /// Renews a lease and brings it back if it is suspect or has lapsed.
    pub(super) fn restore(
        &mut self,
        target: &Target,
        proof: &Proof,
        at: Moment,
        draft: &mut Draft,
    ) -> Result<Renewed, Refusal> {
        let handle = self.find(target, proof)?;
        if self.leases.standing(handle) == Standing::Dead {
            return Err(not_found(target));
        }
        self.bring_back(handle, at, draft);
        Ok(self.renewed(handle))
    }

    /// Ends a registration that lives or has lapsed.
    pub(super) fn deregister(
        &mut self,
        target: &Target,
        proof: &Proof,
        now: Moment,
        draft: &mut Draft,
    ) -> Result<Departed, Refusal> {
        let handle = self.find(target, proof)?;
        let departed = Departed { instance: self.instance(handle), times: self.leases.view(handle) };
        match self.leases.standing(handle) {
            Standing::Dead => return Err(not_found(target)),
            // Watchers have seen it expire: only its way back is closed.
            Standing::Lapsed => self.bury(handle, now),
            Standing::Live | Standing::Suspect => self.remove(handle, Reason::Client, now, draft),
        }
        Ok(departed)
    }

    /// Attaches a live lease. Otherwise says what stands in the way.
    pub(super) fn attach(
        &mut self,
        stream: StreamId,
        id: LeaseId,
        token: Option<TokenHash>,
        at: Moment,
    ) -> Result<Standing, Refusal> {
        let handle = self.handle(id).ok_or_else(|| Refusal::NotFound(id.to_string()))?;
        self.check_token(handle, token)?;
        let standing = self.leases.standing(handle);
        match standing {
            Standing::Live => self.leases.attach(handle, stream, at),
            Standing::Suspect | Standing::Lapsed => {}
            Standing::Dead => return Err(Refusal::NotFound(id.to_string())),
        }
        Ok(standing)
    }

    /// Attaches a lease and brings it back if it is suspect or has lapsed.
    pub(super) fn attach_restoring(
        &mut self,
        stream: StreamId,
        id: LeaseId,
        token: Option<TokenHash>,
        at: Moment,
        draft: &mut Draft,
    ) -> Result<(), Refusal> {
        if self.attach(stream, id, token, at)? != Standing::Live
            && let Some(handle) = self.handle(id)
        {
            self.bring_back(handle, at, draft);
            self.leases.attach(handle, stream, at);
        }
        Ok(())
    }

    pub(super) fn end_stream(
        &mut self,
        stream: StreamId,
        end: StreamEnd,
        at: Moment,
        now: Moment,
        draft: &mut Draft,
    ) {
        for lapse in self.leases.end_stream(stream, end, at, now) {
            self.lapsed(lapse, draft);
        }
    }

    /// Lets go of what is due.
    pub(super) fn tick(&mut self, now: Moment, next_tick: Moment, draft: &mut Draft) {
        for lapse in self.leases.tick(now, next_tick) {
            self.lapsed(lapse, draft);
        }
    }

    /// How the live lease that is meant was renewed last, if the caller may touch it.
    pub(super) fn last_renewal(&self, target: &Target, proof: &Proof) -> Option<Renewed> {
        let handle = self.find(target, proof).ok()?;
        let lives = matches!(self.leases.standing(handle), Standing::Live | Standing::Suspect);
        lives.then(|| self.renewed(handle))
    }

    /// The times of a registration that lives or is remembered. One that has ended, which may not
    /// be known yet, ended when it did.
    pub(super) fn times(&self, id: LeaseId) -> Option<LeaseTimes> {
        let handle = self.handle(id)?;
        let times = self.leases.view(handle);
        let deadline = self.leases.ended(handle).unwrap_or(times.deadline);
        Some(LeaseTimes { deadline, ..times })
    }

    fn lapsed(&mut self, lapse: Lapse, draft: &mut Draft) {
        let Lapse { handle, cause, times } = lapse;
        let before = self.instance(handle);
        let (kind, reason, braked) = match cause {
            Cause::Forgotten { lapsed } => {
                if lapsed {
                    self.discount(handle);
                }
                return self.erase(handle);
            }
            Cause::Suspect => {
                let after = self.reshape(handle, Status::Suspect, draft);
                return draft.push(Change {
                    kind: Kind::Suspect,
                    reason: Reason::StreamDropped,
                    before: Some(before),
                    after: Some(after),
                    times,
                    braked: false,
                });
            }
            Cause::TtlLapsed { braked } => (Kind::Expired, Reason::TtlLapsed, braked),
            Cause::StreamDropped => (Kind::Expired, Reason::StreamDropped, false),
        };
        self.touch(handle);
        draft.push(Change { kind, reason, before: Some(before), after: None, times, braked });
    }

    fn bring_back(&mut self, handle: Handle, at: Moment, draft: &mut Draft) {
        let standing = self.leases.standing(handle);
        self.leases.restore(handle, at);
        let before = self.instance(handle);
        let (kind, reason, before) = match standing {
            Standing::Live | Standing::Dead => return,
            Standing::Suspect => (Kind::Updated, Reason::Recovered, Some(before)),
            Standing::Lapsed => (Kind::Registered, Reason::Revived, None),
        };
        let after = Some(self.reshape(handle, Status::Alive, draft));
        let times = self.leases.view(handle);
        draft.push(Change { kind, reason, before, after, times, braked: false });
    }

    /// Ends a live or suspect registration, and says so.
    pub(super) fn remove(&mut self, handle: Handle, reason: Reason, now: Moment, draft: &mut Draft) {
        let before = Some(self.instance(handle));
        let times = self.leases.view(handle);
        self.bury(handle, now);
        draft.push(Change { kind: Kind::Deregistered, reason, before, after: None, times, braked: false });
    }

    /// Ends a lease for good that was not yet. What its instance said is not needed any more: it is never
    /// shown again, and the dead are remembered for long.
    pub(super) fn bury(&mut self, handle: Handle, now: Moment) {
        self.discount(handle);
        self.leases.end(handle, now);
        let instance = self.instance(handle);
        let content = instance.content();
        let packed = Packer::new(content.url(), &[]).finish("", 0);
        let bare = Content::new(instance.service.clone(), packed);
        self.record_mut(handle).instance = Instance::new(instance.clone_head(), bare.view());
    }

    /// The same instance with another status, at the draft's revision.
    fn reshape(&mut self, handle: Handle, status: Status, draft: &mut Draft) -> Instance {
        let instance = self.instance(handle);
        let revision = draft.revision_for(instance.event_bytes());
        let instance = instance.with(|head| (head.status, head.revision) = (status, revision));
        self.record_mut(handle).instance = instance.clone();
        instance
    }

    /// The registration that a caller means, if it may touch it.
    fn find(&self, target: &Target, proof: &Proof) -> Result<Handle, Refusal> {
        let handle = match target {
            Target::Id(id) => self.handle(*id).ok_or_else(|| not_found(target))?,
            Target::Name(name) => self.find_by_name(name, proof.by.peer)?,
        };
        self.check_token(handle, proof.token)?;
        Ok(handle)
    }

    pub(super) fn check_token(&self, handle: Handle, token: Option<TokenHash>) -> Result<(), Refusal> {
        let id = self.leases.id(handle);
        match token {
            Some(token) if bool::from(token.ct_eq(&self.record(handle).token)) => Ok(()),
            Some(_) => Err(Refusal::WrongToken(id)),
            None if self.rules.require_token => Err(Refusal::TokenRequired(id)),
            None => Ok(()),
        }
    }

    /// The service that an id is of.
    pub(super) fn service_of(&self, id: LeaseId) -> Option<ServiceName> {
        self.handle(id).map(|handle| self.record(handle).instance.service.clone())
    }

    /// The registration of an id.
    pub(super) fn handle(&self, id: LeaseId) -> Option<Handle> {
        self.ids.find(id.table_hash(), |handle| self.leases.id(*handle) == id).copied()
    }

    /// How many ids, and how many pairs, mean something.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.ids.len(), self.pairs.len())
    }

    /// The registration of a pair.
    pub(super) fn of_pair(&self, content: ContentRef<'_>) -> Option<Handle> {
        let same = |handle: &Handle| {
            let known = self.record(*handle).instance.content();
            known.url() == content.url() && known.service() == content.service()
        };
        self.pairs.find(hash_pair(&self.hasher, content), same).copied()
    }

    /// The id of a pair.
    pub(super) fn id_of(&self, content: ContentRef<'_>) -> Option<LeaseId> {
        self.of_pair(content).map(|handle| self.leases.id(handle))
    }

    /// Makes room for so many more registrations.
    pub(super) fn reserve(&mut self, more: usize) {
        let Self { leases, records, ids, pairs, hasher, .. } = self;
        records.reserve(more);
        ids.reserve(more, |known| leases.id(*known).table_hash());
        pairs.reserve(more, |known| hash_pair_of(records, hasher, *known));
    }

    pub(super) fn enter(&mut self, handle: Handle, record: Record, peer: IpAddr) {
        let instance = record.instance.clone();
        let service = instance.service.clone();
        if handle.index() >= self.records.len() {
            self.records.resize_with(handle.index() + 1, || None);
        }
        self.records[handle.index()] = Some(record);
        let (leases, records, hasher) = (&self.leases, &self.records, &self.hasher);
        self.ids.insert_unique(instance.id.table_hash(), handle, |known| leases.id(*known).table_hash());
        self.pairs.insert_unique(hash_pair(hasher, instance.content()), handle, |known| {
            hash_pair_of(records, hasher, *known)
        });
        self.name(handle, service);
        self.comes_from(handle, peer);
        self.touch(handle);
    }

    /// Takes a registration out of every index; its lease is forgotten already.
    pub(super) fn erase(&mut self, handle: Handle) {
        self.index_client_id(handle, None);
        self.leave_name(handle);
        self.peers_v6.remove(&handle);
        let Some(record) = self.records.get_mut(handle.index()).and_then(Option::take) else { return };
        let instance = record.instance;
        self.touched.iter_mut().for_each(|touched| touched.forget(instance.id));
        for (table, hash) in [
            (&mut self.ids, instance.id.table_hash()),
            (&mut self.pairs, hash_pair(&self.hasher, instance.content())),
        ] {
            if let Ok(entry) = table.find_entry(hash, |known| *known == handle) {
                entry.remove();
            }
        }
        self.unclaimed.remove(&instance.id);
    }

    pub(super) fn index_client_id(&mut self, handle: Handle, client_id: Option<Arc<str>>) {
        if self.client_id_of(handle) == client_id.as_ref() {
            return;
        }
        let old = match &client_id {
            Some(client_id) => self.client_id_of.insert(handle, Arc::clone(client_id)),
            None => self.client_id_of.remove(&handle),
        };
        if let Some(old) = old
            && let Some(handles) = self.client_ids.get_mut(&old)
        {
            handles.remove(&handle);
            if handles.is_empty() {
                self.client_ids.remove(&old);
            }
        }
        if let Some(client_id) = client_id {
            self.client_ids.entry(client_id).or_default().insert(handle);
        }
        self.touch(handle);
    }

    /// The client-sent id under which one is indexed.
    pub(super) fn client_id_of(&self, handle: Handle) -> Option<&Arc<str>> {
        self.client_id_of.get(&handle)
    }

    pub(super) fn of_client_id(&self, client_id: &str) -> Vec<Handle> {
        self.client_ids.get(client_id).into_iter().flatten().copied().collect()
    }

    /// The record of a handle that is in use: every lease has one until it is forgotten.
    #[expect(clippy::expect_used, reason = "a lease and its record are made and unmade together")]
    pub(super) fn record(&self, handle: Handle) -> &Record {
        self.records[handle.index()].as_ref().expect("every lease has a record")
    }

    /// The same, to be changed.
    #[expect(clippy::expect_used, reason = "a lease and its record are made and unmade together")]
    pub(super) fn record_mut(&mut self, handle: Handle) -> &mut Record {
        self.touch(handle);
        self.records[handle.index()].as_mut().expect("every lease has a record")
    }

    pub(super) fn touch(&mut self, handle: Handle) {
        if let (Some(touched), Some(Some(record))) = (&mut self.touched, self.records.get(handle.index())) {
            touched.touch(record.instance.id);
        }
    }

    pub(super) fn instance(&self, handle: Handle) -> Instance {
        self.record(handle).instance.clone()
    }

    fn renewed(&self, handle: Handle) -> Renewed {
        Renewed {
            id: self.leases.id(handle),
            ttl_seconds: self.leases.terms(handle).ttl.0,
            times: self.leases.view(handle),
        }
    }
}

fn hash_pair(hasher: &RandomState, content: ContentRef<'_>) -> u64 {
    hasher.hash_one((content.service().as_str(), content.url()))
}

fn hash_pair_of(records: &[Option<Record>], hasher: &RandomState, handle: Handle) -> u64 {
    let record = records.get(handle.index()).and_then(Option::as_ref);
    record.map_or(0, |record| hash_pair(hasher, record.instance.content()))
}

pub(super) fn not_found(target: &Target) -> Refusal {
    Refusal::NotFound(match target {
        Target::Id(id) => id.to_string(),
        Target::Name(name) => format!("{:?}", name.as_str()),
    })
}
