//! What must be true of the history of an epoch, and of all that was answered and read while
//! it was made. Each check names what it holds by: what is told, what is answered, and
//! what readers see.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use leasehold::{
    catalog::{Event, Kind, Reason},
    engine::{Outcome, Refusal},
    types::{Filter, Instance, LeaseId, Revision, ServiceName, Status, Target},
};

use crate::follower::{CONTENT, LAPSED, LEFT, NEW, REVIVED, What as Told};

use super::record::{Change, Epoch, Order, Read, What};

/// What is known of the epochs before.
#[derive(Default)]
pub struct Past {
    pub epochs: BTreeSet<u64>,
    /// Ids that were given: none is given again.
    ids: BTreeSet<LeaseId>,
    told: Vec<Told>,
}

impl Past {
    /// A run in which nothing happens shows nothing.
    pub fn was_lively(&self) {
        for what in [NEW, CONTENT, LAPSED, REVIVED, LEFT] {
            let times = self.told.iter().filter(|told| **told == what).count();
            assert!(times >= 10, "{what:?} {times} times");
        }
    }
}

/// Checks an epoch that has ended.
pub fn check(epoch: &Epoch, past: &mut Past) {
    assert!(past.epochs.insert(epoch.number), "an epoch of its own");
    let facts = Facts::of(epoch);
    facts.incarnations(past);
    facts.nothing_is_made_up();
    facts.nothing_expires_early();
    facts.answers_are_kept();
    facts.time_and_revisions_agree();
    facts.the_ended_are_dead();
    facts.readers_see_what_was();
    past.told.extend(facts.events().map(|(_, event)| (event.kind, event.reason)));
}

type Lists = BTreeMap<Revision, BTreeMap<LeaseId, Instance>>;

/// An epoch, and what follows from it.
struct Facts<'a> {
    epoch: &'a Epoch,
    /// What was listed at each revision; that it can be made checks the order of revisions, and
    /// that what is told was possible.
    lists: Lists,
    /// Of each id, what was told and when.
    told: BTreeMap<LeaseId, Vec<(Revision, &'a Event)>>,
}

impl<'a> Facts<'a> {
    fn of(epoch: &'a Epoch) -> Self {
        let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Change { delta, .. } in &epoch.history {
            for event in &delta.events {
                told.entry(event.instance.id).or_default().push((delta.revision, event));
            }
        }
        Self { epoch, lists: epoch.lists(), told }
    }

    fn events(&self) -> impl Iterator<Item = (Revision, &'a Event)> {
        self.epoch
            .history
            .iter()
            .flat_map(|change| change.delta.events.iter().map(|e| (change.delta.revision, e)))
    }

    /// What was listed right before a revision.
    fn before(&self, revision: Revision) -> &BTreeMap<LeaseId, Instance> {
        self.lists.range(..revision).next_back().expect("there is the beginning").1
    }

    fn orders(&self) -> impl Iterator<Item = &'a Order> {
        self.epoch.orders.iter()
    }

    /// Whether an order of this kind may have ended this id, though nobody was told of it.
    fn may_have_ended(&self, id: LeaseId, service: &ServiceName) -> bool {
        self.orders().any(|order| match &order.what {
            What::Deregister(_, Some(Ok(departed))) => departed.instance.id == id,
            What::Deregister(target, None) => aims_at(target, id, service),
            _ => false,
        })
    }

    /// 5, 9, 12: a pair has one id that can live; who has ended stays so; an end is told once.
    fn incarnations(&self, past: &mut Past) {
        #[derive(Clone, Copy, Debug, PartialEq)]
        enum Fate {
            Lives,
            Lapsed,
            Ended,
        }
        let mut fates: BTreeMap<LeaseId, Fate> = BTreeMap::new();
        let mut pairs: BTreeMap<(&ServiceName, &str), LeaseId> = BTreeMap::new();
        for instance in &self.epoch.base.1 {
            fates.insert(instance.id, Fate::Lives);
            pairs.insert((instance.content().service(), instance.content().url()), instance.id);
            past.ids.insert(instance.id);
        }
        for (revision, event) in self.events() {
            let (id, content) = (event.instance.id, event.instance.content());
            let was = fates.get(&id).copied();
            let before = self.before(revision).get(&id);
            let suspect = before.is_some_and(|before| before.status == Status::Suspect);
            let (fits, now) = match (event.kind, event.reason) {
                (Kind::Registered, Reason::New) => (past.ids.insert(id) && was.is_none(), Fate::Lives),
                // Of an epoch's first list the lapsed are not known.
                (Kind::Registered, Reason::Revived) => {
                    (matches!(was, None | Some(Fate::Lapsed)) && past.ids.contains(&id), Fate::Lives)
                }
                (Kind::Updated, Reason::Content) => (was == Some(Fate::Lives), Fate::Lives),
                (Kind::Updated, Reason::Recovered) => (was == Some(Fate::Lives) && suspect, Fate::Lives),
                (Kind::Suspect, Reason::StreamDropped) => (was == Some(Fate::Lives) && !suspect, Fate::Lives),
                (Kind::Expired, Reason::TtlLapsed) => (was == Some(Fate::Lives) && !suspect, Fate::Lapsed),
                (Kind::Expired, Reason::StreamDropped) => (was == Some(Fate::Lives), Fate::Lapsed),
                (Kind::Deregistered, Reason::Client) => (was == Some(Fate::Lives), Fate::Ended),
                _ => (false, Fate::Ended),
            };
            assert!(fits, "{event:?} at {revision:?} of what was {was:?}, {before:?}");
            fates.insert(id, now);
            if event.kind == Kind::Registered
                && let Some(other) = pairs.insert((content.service(), content.url()), id)
                && other != id
            {
                let ended = fates[&other] == Fate::Ended
                    || fates[&other] == Fate::Lapsed && self.may_have_ended(other, content.service());
                assert!(ended, "{event:?} at {revision:?}, and {other:?} {:?}", fates[&other]);
            }
        }
    }

    /// 4: whatever was told follows from an order, or from time.
    fn nothing_is_made_up(&self) {
        for (revision, event) in self.events() {
            let (id, content) = (event.instance.id, event.instance.content());
            let is_this = |order: &&Order| match &order.what {
                What::Register(_, Some(answers)) => {
                    answers.iter().flatten().any(|a| a.instance.id == id && a.instance.revision == revision)
                }
                What::Register(sent, None) => sent.iter().any(|sent| content == sent.content),
                _ => false,
            };
            let renews = |order: &&Order| match &order.what {
                What::Renew(_, Some(Ok((renewed, _)))) => *renewed == id,
                What::Renew(target, None) => aims_at(target, id, content.service()),
                What::Attach(ids, Some(refused)) => {
                    ids.contains(&id) && refused.iter().all(|(who, _)| *who != id)
                }
                What::Attach(ids, None) => ids.contains(&id),
                _ => false,
            };
            let follows = match (event.kind, event.reason) {
                (Kind::Registered, Reason::New) | (Kind::Updated, Reason::Content) => {
                    self.orders().any(|o| is_this(&o))
                }
                (Kind::Registered, Reason::Revived) | (Kind::Updated, Reason::Recovered) => {
                    self.orders().any(|order| is_this(&order) || renews(&order))
                }
                (Kind::Deregistered, _) => self.may_have_ended(id, content.service()),
                _ => true,
            };
            assert!(follows, "nobody asked for {event:?} at {revision:?}");
        }
    }

    /// 6: a renewal that was acknowledged in time keeps a lease for a TTL.
    fn nothing_expires_early(&self) {
        let mut renewals: BTreeMap<LeaseId, Vec<_>> = BTreeMap::new();
        for order in self.orders() {
            if let What::Renew(_, Some(Ok((id, at)))) = &order.what {
                renewals.entry(*id).or_default().push(*at);
            }
        }
        for Change { delta, times } in &self.epoch.history {
            for (event, (renewed, deadline)) in delta.events.iter().zip(times) {
                if event.reason != Reason::TtlLapsed {
                    continue;
                }
                let granted = deadline.0.saturating_sub(renewed.0);
                assert!(granted >= event.instance.ttl.micros(), "{granted} µs: {event:?}");
                for at in renewals.get(&event.instance.id).into_iter().flatten() {
                    assert!(
                        at <= renewed || at >= deadline,
                        "renewed at {at:?}, not at {renewed:?}: {event:?}"
                    );
                }
            }
        }
    }

    /// 1, 3: whatever was acknowledged is told once, at the revision and as it was answered;
    /// what was ordered together is told together, and nothing else with it.
    fn answers_are_kept(&self) {
        let mut orders: BTreeMap<Revision, usize> = BTreeMap::new();
        for (number, order) in self.orders().enumerate() {
            let mut revisions = BTreeSet::new();
            match &order.what {
                What::Register(sent, Some(answers)) => {
                    assert_eq!(answers.len(), sent.len());
                    for (sent, answer) in sent.iter().zip(answers) {
                        let answer = answer.as_ref().expect("nobody sends a token");
                        let instance = &answer.instance;
                        assert_eq!(instance.content(), sent.content, "{answer:?}");
                        let told = self.told_at(instance.id, instance.revision);
                        if answer.outcome == Outcome::Unchanged {
                            let listed = || self.epoch.base.1.contains(instance);
                            assert!(
                                told.is_some_and(|told| told.instance == *instance) || listed(),
                                "{answer:?}"
                            );
                            continue;
                        }
                        let told = told.unwrap_or_else(|| panic!("{answer:?} is not told"));
                        let what = match answer.outcome {
                            Outcome::New => (Kind::Registered, Reason::New),
                            Outcome::Revived => (Kind::Registered, Reason::Revived),
                            _ => (Kind::Updated, Reason::Content),
                        };
                        assert_eq!(((told.kind, told.reason), &told.instance), (what, instance));
                        revisions.insert(instance.revision);
                    }
                }
                What::Deregister(target, Some(Ok(departed))) => {
                    let instance = &departed.instance;
                    assert!(aims_at(target, instance.id, instance.content().service()), "{order:?}");
                    let told = self.told.get(&instance.id).and_then(|told| told.last());
                    match told {
                        Some((revision, last)) if last.kind == Kind::Deregistered => {
                            assert_eq!(last.instance, *instance, "as it was");
                            revisions.insert(*revision);
                        }
                        // It had lapsed: readers have seen it go, and not come back.
                        Some((_, last)) => assert_eq!(last.kind, Kind::Expired, "{order:?}, then {last:?}"),
                        None => assert!(!self.lists_last().contains_key(&instance.id), "{order:?}"),
                    }
                }
                _ => {}
            }
            assert!(revisions.len() <= 1, "one revision: {order:?}");
            for revision in revisions {
                let other = orders.insert(revision, number);
                assert_eq!(other, None, "{revision:?} is of one order");
            }
        }
    }

    fn lists_last(&self) -> &BTreeMap<LeaseId, Instance> {
        self.lists.last_key_value().expect("there is the beginning").1
    }

    fn told_at(&self, id: LeaseId, revision: Revision) -> Option<&'a Event> {
        let mut told = self.told.get(&id)?.iter().filter(|(at, _)| *at == revision);
        let first = told.next()?.1;
        assert!(told.next().is_none(), "told once: {first:?}");
        Some(first)
    }

    /// 2: what was answered before another order began has the lower revision.
    fn time_and_revisions_agree(&self) {
        let mut changes: Vec<(&Order, Revision)> = Vec::new();
        for order in self.orders() {
            let revision = match &order.what {
                What::Register(_, Some(answers)) => answers
                    .iter()
                    .flatten()
                    .filter(|answer| answer.outcome != Outcome::Unchanged)
                    .map(|answer| answer.instance.revision)
                    .next(),
                What::Deregister(_, Some(Ok(departed))) => self
                    .told
                    .get(&departed.instance.id)
                    .and_then(|told| told.last())
                    .filter(|(_, event)| event.kind == Kind::Deregistered)
                    .map(|(revision, _)| *revision),
                _ => None,
            };
            changes.extend(revision.map(|revision| (order, revision)));
        }
        let mut by_end = changes.clone();
        by_end.sort_by_key(|(order, _)| order.ended);
        changes.sort_by_key(|(order, _)| order.began);
        let (mut ended, mut highest) = (by_end.into_iter().peekable(), None);
        for (order, revision) in changes {
            while let Some((earlier, of)) = ended.next_if(|(earlier, _)| earlier.ended < order.began) {
                if highest.is_none_or(|(_, high)| of > high) {
                    highest = Some((earlier, of));
                }
            }
            if let Some((earlier, high)) = highest {
                assert!(high < revision, "{earlier:?} has {high:?}, and then {order:?} has {revision:?}");
            }
        }
    }

    /// 10: nothing succeeds with what has ended for good, and only that is not found.
    fn the_ended_are_dead(&self) {
        let mut ended: BTreeMap<LeaseId, Instant> = BTreeMap::new();
        for order in self.orders() {
            if let What::Deregister(_, Some(Ok(departed))) = &order.what {
                let other = ended.insert(departed.instance.id, order.ended);
                assert_eq!(other, None, "ended once: {order:?}");
            }
        }
        let is_dead = |id: &LeaseId, order: &Order| ended.get(id).is_some_and(|at| *at < order.began);
        for order in self.orders() {
            let (alive, lost): (Vec<LeaseId>, Vec<LeaseId>) = match &order.what {
                What::Register(_, Some(answers)) => {
                    (answers.iter().flatten().map(|a| a.instance.id).collect(), vec![])
                }
                What::Renew(_, Some(Ok((id, _)))) => (vec![*id], vec![]),
                What::Renew(Target::Id(id), Some(Err(Refusal::NotFound(_))))
                | What::Deregister(Target::Id(id), Some(Err(Refusal::NotFound(_)))) => (vec![], vec![*id]),
                What::Attach(ids, Some(refused)) => {
                    let lost: Vec<LeaseId> = refused.iter().map(|(id, _)| *id).collect();
                    (ids.iter().copied().filter(|id| !lost.contains(id)).collect(), lost)
                }
                _ => continue,
            };
            assert!(!alive.iter().any(|id| is_dead(id, order)), "{order:?} succeeds with the dead");
            for id in lost {
                // What lived before this epoch and not at its start may have been forgotten.
                let at_start = self.epoch.base.1.iter().find(|instance| instance.id == id);
                let told = self.told.get(&id).and_then(|told| told.first()).map(|(_, event)| &event.instance);
                let Some(known) = at_start.or(told) else { continue };
                assert!(
                    self.may_have_ended(id, known.content().service()),
                    "{order:?} does not find {known:?}"
                );
            }
        }
    }

    /// 13, 14, 16: a list is what lived at its revision; what comes after a revision is all
    /// that matches, once and in order.
    fn readers_see_what_was(&self) {
        for read in &self.epoch.reads {
            match read {
                Read::List { revision, instances } => {
                    let then = self.lists.range(..=*revision).next_back().expect("there is the beginning");
                    assert!(then.1.values().eq(instances), "at {revision:?}: {instances:#?}, not {then:#?}");
                }
                Read::Snapshot { revision, filter, instances } => {
                    let then = self.lists.range(..=*revision).next_back().expect("there is the beginning").1;
                    let wanted = |instance: &&Instance| {
                        filter.services().is_empty()
                            || filter.services().contains(instance.content().service())
                    };
                    assert!(then.values().filter(wanted).eq(instances), "at {revision:?}: {instances:#?}");
                }
                Read::Since { after, to, filter, told } => {
                    let told: Vec<_> =
                        told.iter().map(|(at, e)| (*at, e.kind, e.reason, &e.instance)).collect();
                    assert_eq!(
                        told,
                        self.seen_through(filter, *after, *to),
                        "after {after:?} to {to:?}, {filter:?}"
                    );
                }
            }
        }
    }

    /// What a reader with a filter has to be told.
    fn seen_through(
        &self,
        filter: &Filter,
        after: Revision,
        to: Revision,
    ) -> Vec<(Revision, Kind, Reason, &Instance)> {
        let mut seen = Vec::new();
        for (revision, event) in self.events().filter(|(revision, _)| *revision > after && *revision <= to) {
            let before = self.before(revision).get(&event.instance.id);
            let stays = !matches!(event.kind, Kind::Deregistered | Kind::Expired);
            let was_in = before.is_some_and(|before| filter.matches(before.content()));
            let is_in = stays && filter.matches(event.instance.content());
            let (kind, reason) = match (was_in, is_in) {
                (false, false) => continue,
                (false, true) if before.is_some() => (Kind::Registered, Reason::EnteredFilter),
                (true, false) if stays => (Kind::Deregistered, Reason::LeftFilter),
                _ => (event.kind, event.reason),
            };
            seen.push((revision, kind, reason, &event.instance));
        }
        seen
    }
}

/// Whether an order for this target may mean this id.
fn aims_at(target: &Target, id: LeaseId, service: &ServiceName) -> bool {
    match target {
        Target::Id(named) => *named == id,
        Target::Name(name) => name == service,
    }
}
