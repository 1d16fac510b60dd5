//! What an engine that remembers has again: all that was acknowledged, once, and with it
//! everything that follows from it.
//!
//! Each promise is tried after every end that the engine survives.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use leasehold::{
    catalog::{Cursor, Event, Kind, Since},
    engine::{Engine, Health, Outcome, Refusal, Registration},
    types::{Filter, Info, LeaseTimes, Moment, Revision, ServiceName, WallTime},
};

use crate::{
    follower::Follower,
    rig::{Rig, full, info, not_found, replica, with, within},
    subject::{End, Remembers, Settings, Subject, keeps_epoch, survived},
};

const HOUR: Duration = Duration::from_hours(1);

// === what is there ===

/// Registers what an engine may find hard to keep, and ends some of it.
async fn populate<S>(rig: &Rig<S>) {
    rig.registered(full("Climate Data", "grpc://climate.test:50051/v1?q=1#f")).await;
    rig.registered(replica("bare", "http://bare")).await;
    let long = format!("http://long/{}", "x".repeat(2000));
    rig.registered(replica(&"n".repeat(253), &long)).await;
    let heavy = with(&replica("heavy", "http://heavy"), |content| {
        content.info = info("text", &"ß".repeat(30 << 10));
        content.labels = (0..64).map(|key| (format!("{key:063}"), "v".repeat(256))).collect();
        content.zone = "z".repeat(64);
        content.weight = u32::MAX;
    });
    rig.registered(Registration { ttl_wish: 86_400, drop_grace: Some(HOUR), ..heavy }).await;

    // Updated, in all and in nothing but the TTL.
    rig.registered(full("updated", "http://updated:1")).await;
    rig.registered(with(&full("updated", "http://updated:1"), |content| content.info = Info::default()))
        .await;
    rig.registered(full("updated", "http://updated:2")).await;
    rig.registered(Registration { ttl_wish: 901, ..full("updated", "http://updated:2") }).await;
    // Registered together; together with what is refused.
    let wrong = Registration { token: Some("wrong".to_owned()), ..full("updated", "http://updated:1") };
    let mut order: Vec<_> = (1..=20).map(|port| replica("batch", &format!("http://batch:{port}"))).collect();
    order.push(wrong);
    within("answers", rig.register(order)).await.unwrap();
    // Gone; gone and there again.
    for port in 1..=4 {
        let id = rig.registered(replica("gone", &format!("http://gone:{port}"))).await.instance.id;
        rig.deregistered(id).await.unwrap();
    }
    rig.registered(replica("gone", "http://gone:1")).await;
    rig.lapsed(replica("gone", "http://gone:5")).await;
    let back = rig.lapsed(replica("gone", "http://gone:6")).await.instance.id;
    rig.renewed(back).await.unwrap();
    rig.registered(Registration { ttl_wish: 600, ..replica("gone", "http://gone:6") }).await;
}

pub async fn all_that_was_acknowledged_is_back_once<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        populate(&rig).await;
        for round in 0..3 {
            let (revision, list) = rig.list();
            rig.restart(*end).await;
            let (again, back) = rig.list();
            assert_eq!(back, list, "after {end:?}, round {round}");
            assert!(again >= revision, "revisions do not go back: {again:?}, {revision:?}");
            assert_eq!(*rig.health().borrow(), Health::Serving);
            for instance in &list {
                assert_eq!(rig.get(instance.id).as_ref(), Some(instance));
                assert!(rig.times(&[instance.id])[0].is_some());
            }
            let catalog = rig.view().read();
            let service = ServiceName::fold("batch").unwrap();
            let batch = Filter::new(vec![service.clone()], [].into());
            assert_eq!((catalog.count(&batch), catalog.len()), (20, list.len()));
            assert!(catalog.newest(&service).is_some());
        }
        // Whoever asks again is who it was.
        let (revision, list) = rig.list();
        let again = rig.registered(full("Climate Data", "grpc://climate.test:50051/v1?q=1#f")).await;
        assert_eq!(again.outcome, Outcome::Unchanged);
        assert!(list.contains(&again.instance));
        assert_eq!(rig.list(), (revision, list));
    }
}

pub async fn an_empty_registry_is_back_empty<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let first = rig.view().read().epoch();
        for _ in 0..3 {
            rig.restart(*end).await;
            assert_eq!(rig.list(), (Revision(0), vec![]));
            assert_eq!(rig.view().read().epoch() == first, keeps_epoch::<S>(*end));
        }
        rig.registered(replica("first", "http://first:1")).await;
    }
}

/// What a reader is told from some revision on, times as people read them. None if it has
/// to begin anew.
type Told = Option<Vec<(Revision, Event, WallTime, WallTime)>>;

fn told(engine: &dyn Engine, after: Revision, filter: &Filter) -> Told {
    let catalog = engine.view().read();
    let (mut cursor, mut told) = (Cursor(after), Vec::new());
    while cursor.0 < catalog.revision() {
        let Since::Deltas(deltas, seen) = catalog.since(cursor, filter, usize::MAX) else { return None };
        cursor = seen;
        for delta in deltas {
            for event in delta.events {
                let (renewed, deadline) =
                    (engine.wall(event.times.renewed), engine.wall(event.times.deadline));
                // Moments are each engine's own.
                let times = LeaseTimes { renewed: Moment::default(), deadline: Moment::default() };
                told.push((delta.revision, Event { times, ..event }, renewed, deadline));
            }
        }
    }
    Some(told)
}

/// The same for each of these filters, from every revision that there was.
fn all_told(engine: &dyn Engine, filters: &[Filter]) -> Vec<Vec<Told>> {
    let head = engine.view().read().revision().0;
    filters
        .iter()
        .map(|filter| (0..=head).map(|after| told(engine, Revision(after), filter)).collect())
        .collect()
}

pub async fn readers_go_on_where_they_were<S: Subject>() {
    let service = |name: &str| vec![ServiceName::fold(name).unwrap()];
    let filters = [
        Filter::default(),
        Filter::new(service("gone"), [].into()),
        Filter::new(service("quiet"), [].into()),
        Filter::new(vec![], [("tier".to_owned(), "gold".to_owned())].into()),
    ];
    // All of the history, and little of it: of the rest it is known whom it concerned.
    for (end, history_bytes) in survived::<S>().iter().flat_map(|end| [(*end, 64 << 20), (*end, 12 << 10)]) {
        if !keeps_epoch::<S>(end) {
            continue;
        }
        let mut rig = Rig::<S>::with(Settings { history_bytes, ..Settings::default() }).await;
        rig.registered(replica("quiet", "http://quiet:1")).await;
        populate(&rig).await;
        let mut follower = Follower::of(&rig.engine);
        for round in 0..3 {
            let epoch = rig.view().read().epoch();
            let (revision, _) = rig.list();
            let before = all_told(&*rig.engine, &filters);
            rig.restart(end).await;
            assert_eq!(rig.view().read().epoch(), epoch, "after {end:?}");
            assert_eq!(rig.list().0, revision, "after {end:?}");
            let after = all_told(&*rig.engine, &filters);
            for (filter, (before, after)) in filters.iter().zip(before.iter().zip(&after)) {
                for (from, (before, after)) in before.iter().zip(after).enumerate() {
                    assert_eq!(after, before, "round {round}, after {end:?}, from {from}, {filter:?}");
                }
            }
            let whole = history_bytes > 1 << 20;
            assert_eq!(after[0][0].is_some(), whole, "what has left the history stays gone");
            assert!(after[2][1].is_some(), "churn of others costs a quiet service's reader nothing");
            // A revision that was never given is no place to go on from.
            let ahead = rig.view().read().since(Cursor(revision.next()), &Filter::default(), usize::MAX);
            assert_eq!(ahead, Since::Gone);

            // It goes on: a reader from before is told what comes, and nothing twice.
            follower.resume(&rig.engine);
            rig.registered(with(&full("more", "http://more:1"), |content| content.weight = round)).await;
            let kind = if round == 0 { Kind::Registered } else { Kind::Updated };
            let more = follower.until("what comes", |seen| seen.event.kind == kind).await;
            assert!(more.revision > revision);
            assert_eq!(follower.seen.len(), round as usize + 1);
        }
    }
}

pub async fn no_revision_is_given_twice<S: Subject>() {
    let ends = survived::<S>().iter().chain([&End::Stop, &End::Kill]);
    let mut rig = Rig::<S>::start().await;
    let mut given = BTreeSet::new();
    let mut epochs = BTreeSet::new();
    for (round, end) in ends.cycle().take(6).enumerate() {
        let epoch = rig.view().read().epoch();
        let mut last = rig.list().0;
        for port in 1..=3 {
            let sent = replica("round", &format!("http://round-{round}:{port}"));
            let instance = rig.registered(sent).await.instance;
            assert!(instance.revision > last, "they rise");
            assert!(
                given.insert((epoch.0, instance.revision)),
                "{epoch:?}, {:?} was given",
                instance.revision
            );
            last = instance.revision;
        }
        epochs.insert(epoch.0);
        rig.restart(*end).await;
        let next = rig.view().read().epoch();
        if keeps_epoch::<S>(*end) {
            assert_eq!(next, epoch, "after {end:?}");
            assert!(rig.list().0 >= last);
        } else {
            assert!(!epochs.contains(&next.0), "after {end:?} an epoch begins that never was");
        }
    }
}

// === ends ===

pub async fn who_closes_acknowledges_nothing_more<S: Subject>() {
    let mut rig = Rig::<S>::start().await;
    let kept = rig.registered(replica("kept", "http://kept:1")).await.instance.id;
    let lapsed = rig.lapsed(replica("lapsed", "http://lapsed:1")).await.instance.id;
    // Who is in time is acknowledged, and who is not is refused: nobody is left in between.
    let tasks: Vec<_> = (0..200)
        .map(|port| {
            let engine = rig.engine.clone();
            tokio::spawn(async move {
                let sent = replica("late", &format!("http://late:{}", port + 1));
                engine.register(vec![sent]).await.map(|mut answers| answers.remove(0).unwrap().instance.id)
            })
        })
        .collect();
    tokio::task::yield_now().await;
    within("the engine to close", rig.close()).await.unwrap();
    let (mut acknowledged, mut refused) = (vec![kept], 0);
    for task in tasks {
        match within("an answer", task).await.unwrap() {
            Ok(id) => acknowledged.push(id),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Closed);
                refused += 1;
            }
        }
    }
    assert_eq!(acknowledged.len() + refused, 201);
    let (revision, list) = rig.list();
    assert_eq!(rig.try_register(replica("late", "http://late:999")).await.err(), Some(Refusal::Closed));
    assert_eq!(rig.deregistered(kept).await.err(), Some(Refusal::Closed));
    assert_eq!(rig.renewed(lapsed).await.err(), Some(Refusal::Closed));
    assert_eq!(rig.attached(lapsed).await.err(), Some(Refusal::Closed));
    assert_eq!(rig.list(), (revision, list), "what is known can be read");
    within("the engine to close again", rig.close()).await.unwrap();

    rig.restart(End::Stop).await;
    if S::REMEMBERS != Remembers::Nothing {
        acknowledged.sort_unstable();
        let mut ids = rig.ids();
        ids.sort_unstable();
        assert_eq!(ids, acknowledged, "a refusal has changed nothing");
    }
}

pub async fn a_kill_leaves_what_was_at_some_revision<S: Subject>() {
    let mut rig = Rig::<S>::start().await;
    let at = |port: u32, weight| {
        with(&replica("s", &format!("http://s:{port}")), |content| content.weight = weight)
    };
    // Kept by an end in order; then more of it, over a second and a half, so that some of it may be
    // on the disk and some may not.
    rig.registered(at(1, 0)).await;
    rig.restart(End::Stop).await;
    let epoch = rig.view().read().epoch();
    let mut lists = vec![rig.list().1];
    let (start, mut round) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(1500) {
        round += 1;
        let id = rig.registered(at(round % 7 + 1, round)).await.instance.id;
        lists.push(rig.list().1);
        if round % 3 == 0 {
            rig.deregistered(id).await.unwrap();
            lists.push(rig.list().1);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.restart(End::Kill).await;
    let (_, list) = rig.list();
    let found = lists.iter().rposition(|one| *one == list);
    let found = found.unwrap_or_else(|| panic!("{list:?} was never listed"));
    assert_eq!(rig.view().read().epoch() == epoch, S::KEEPS_EPOCH_AFTER_KILL);
    if S::REMEMBERS == Remembers::Always {
        assert_eq!(found, lists.len() - 1, "the last of it");
    }
    // What was lost is registered again, and is kept as anything else.
    rig.registered(at(1, 1)).await;
    let (_, list) = rig.list();
    rig.restart(End::Stop).await;
    assert_eq!(rig.list().1, list);

    // Even if nothing is missing: a revision may have been given that left no trace.
    let epoch = rig.view().read().epoch();
    rig.restart(End::Kill).await;
    assert_eq!(rig.list().1, list);
    assert_eq!(rig.view().read().epoch() == epoch, S::KEEPS_EPOCH_AFTER_KILL);
}

pub async fn a_start_begins_with_nothing<S: Subject>() {
    for end in [End::Stop, End::Kill] {
        let mut rig = Rig::<S>::start().await;
        let epoch = rig.view().read().epoch();
        let id = rig.registered(replica("lost", "http://lost:1")).await.instance.id;
        rig.restart(end).await;
        assert_ne!(rig.view().read().epoch(), epoch, "revisions are given anew");
        assert_eq!(rig.list().1, []);
        assert!(not_found(&rig.renewed(id).await), "who was there has to register again");
        let anew = rig.registered(replica("lost", "http://lost:1")).await;
        assert_eq!(anew.outcome, Outcome::New);
        assert_ne!(anew.instance.id, id);
    }
}
