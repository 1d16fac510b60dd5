//! What readers are told: every change once, in order, together with what it belongs to,
//! and adding up to what is listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leasehold::{
    catalog::{Cursor, Kind, Reason, Since},
    engine::{Engine, Outcome, Refusal, Registration},
    types::{Filter, Info, Instance, LeaseId, Revision},
};

use crate::{
    follower::{Follower, take},
    rig::{Rig, full, replica, with, within},
    subject::Subject,
};

fn many(service: &str, ports: impl Iterator<Item = u32>) -> Vec<Registration> {
    ports.map(|port| replica(service, &format!("http://{service}:{port}"))).collect()
}

pub async fn an_answer_comes_after_its_change_can_be_read<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    // Large ones: what is told too early is told long before.
    let mut last = Revision(0);
    for round in 0..10 {
        let order = many("large", round * 500 + 1..round * 500 + 501);
        let answers = within("answers", rig.register(order)).await.unwrap();
        let catalog = rig.view().read();
        for answer in &answers {
            let instance = &answer.as_ref().unwrap().instance;
            assert_eq!(
                catalog.get(&instance.service, instance.id),
                Some(instance),
                "{:?}",
                catalog.revision()
            );
            assert!(instance.revision > last, "who asks later has the later revision");
        }
        last = catalog.revision();
    }
    let id = rig.ids()[0];
    rig.deregistered(id).await.unwrap();
    assert_eq!(rig.get(id), None);
    assert_eq!(follower.read().len(), 5001);
}

pub async fn what_many_write_is_told_once_and_in_order<S: Subject>() {
    const WRITERS: u32 = 8;
    let rig = Rig::<S>::start().await;
    let done = Arc::new(AtomicBool::new(false));
    // Readers that take much or little at a time, from the start on.
    let readers: Vec<_> = [1, 4000, usize::MAX]
        .map(|max_bytes| {
            let (engine, done) = (rig.engine.clone(), done.clone());
            tokio::spawn(async move { follow(&*engine, max_bytes, &done).await })
        })
        .into();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let engine = rig.engine.clone();
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for round in 0..60 {
                    // Three pairs, of which one is everybody's.
                    let port = [1, 100 + writer, 200 + writer][round % 3];
                    let sent = with(&replica("busy", &format!("http://busy:{port}")), |content| {
                        content.weight = writer * 1000 + round as u32;
                    });
                    let instance = engine.register(vec![sent]).await.unwrap().remove(0).unwrap().instance;
                    if let Some(last) = answered.last().map(|last: &Instance| last.revision) {
                        assert!(instance.revision > last, "answered {last:?}, then {instance:?}");
                    }
                    answered.push(instance);
                }
                answered
            })
        })
        .collect();
    let mut answered = Vec::new();
    for writer in writers {
        answered.extend(within("a writer", writer).await.unwrap());
    }
    done.store(true, Ordering::SeqCst);
    let mut told = Vec::new();
    for reader in readers {
        told.push(within("a reader", reader).await.unwrap());
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "all readers are told the same");
    // Every answer is one change, of that revision.
    answered.sort_by_key(|instance| instance.revision);
    assert_eq!(told[0], answered);
    let revisions: BTreeSet<Revision> = answered.iter().map(|instance| instance.revision).collect();
    assert_eq!(revisions.len(), answered.len(), "each order has a revision of its own");
}

/// Reads from the very start until everything is done; checks that it adds up to the list.
async fn follow(engine: &dyn Engine, max_bytes: usize, done: &AtomicBool) -> Vec<Instance> {
    let (filter, mut bell) = (Filter::default(), engine.view().subscribe());
    let (mut cursor, mut live, mut told) = (Cursor(Revision(0)), BTreeMap::new(), Vec::new());
    loop {
        let last = done.load(Ordering::SeqCst);
        bell.borrow_and_update();
        let read = engine.view().read().since(cursor, &filter, max_bytes);
        let Since::Deltas(deltas, seen) = read else { panic!("nothing has left the history") };
        for delta in deltas {
            take(&mut live, &delta, cursor);
            cursor = Cursor(delta.revision);
            told.extend(delta.events.into_iter().map(|event| event.instance));
        }
        assert!(seen >= cursor);
        cursor = seen;
        if cursor.0 < engine.view().read().revision() {
            continue;
        }
        if last {
            let catalog = engine.view().read();
            let mut listed: Vec<&Instance> = catalog.matching(&filter).collect();
            listed.sort_by_key(|instance| instance.id);
            assert_eq!(live.values().collect::<Vec<_>>(), listed);
            return told;
        }
        let _ = tokio::time::timeout(Duration::from_millis(20), bell.changed()).await;
    }
}

pub async fn what_is_registered_together_is_seen_together<S: Subject>() {
    const TOGETHER: usize = 50;
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (engine, done) = (rig.engine.clone(), done.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                assert_eq!(engine.view().read().len() % TOGETHER, 0, "all of a batch, or nothing");
                tokio::task::yield_now().await;
            }
        })
    };
    let mut revisions = BTreeSet::new();
    for round in 0..40 {
        let first = round * TOGETHER as u32 + 1;
        let order = many("batch", first..first + TOGETHER as u32);
        let answers = within("answers", rig.register(order.clone())).await.unwrap();
        assert_eq!(answers.len(), TOGETHER);
        for (answer, sent) in answers.into_iter().zip(order) {
            let instance = answer.unwrap().instance;
            assert_eq!(instance.content(), sent.content, "answers come in order");
            revisions.insert(instance.revision);
        }
    }
    done.store(true, Ordering::SeqCst);
    within("the reader", reader).await.unwrap();
    assert_eq!(revisions.len(), 40, "one revision a batch");
    follower.read();
    for revision in revisions {
        assert_eq!(follower.seen.iter().filter(|seen| seen.revision == revision).count(), TOGETHER);
    }
}

pub async fn a_revision_is_not_made_of_too_much<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let order: Vec<Registration> = many("heavy", 1..31)
        .iter()
        .map(|sent| with(sent, |content| content.info = Info(vec![0; 60 << 10].into())))
        .collect();
    let answers = within("answers", rig.register(order.clone())).await.unwrap();
    let mut bytes: BTreeMap<Revision, usize> = BTreeMap::new();
    for seen in follower.read() {
        *bytes.entry(seen.revision).or_default() += seen.event.instance.event_bytes();
    }
    assert!(bytes.values().all(|bytes| *bytes <= 512 << 10), "{bytes:?}");
    assert!(bytes.len() >= 4, "{bytes:?}");
    for (answer, sent) in answers.iter().zip(&order) {
        let instance = &answer.as_ref().unwrap().instance;
        assert_eq!(instance.content(), sent.content);
        assert_eq!(rig.get(instance.id).as_ref(), Some(instance));
    }
}

pub async fn one_bad_entry_does_not_stop_the_others<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let known = rig.registered(full("known", "http://known:1")).await.instance;
    let wrong = Registration { token: Some("wrong".to_owned()), ..full("known", "http://known:1") };
    let bad = with(&wrong, |content| content.weight = 99);
    let order = vec![
        replica("first", "http://first:1"),
        bad,
        replica("third", "http://third:1"),
        full("known", "http://known:1"),
        wrong,
    ];
    let answers = within("answers", rig.register(order)).await.unwrap();
    let said: Vec<_> = answers
        .iter()
        .map(|answer| {
            answer.as_ref().map(|good| (good.outcome, good.instance.content().service().as_str().to_owned()))
        })
        .map(|answer| answer.map_err(Clone::clone))
        .collect();
    let refused = Err(Refusal::WrongToken(known.id));
    let expect = [
        Ok((Outcome::New, "first".to_owned())),
        refused.clone(),
        Ok((Outcome::New, "third".to_owned())),
        Ok((Outcome::Unchanged, "known".to_owned())),
        refused,
    ];
    assert_eq!(said, expect);
    assert_eq!(rig.get(known.id), Some(known), "a refusal changes nothing");
    assert_eq!(follower.read().len(), 3);
    assert_eq!(within("an answer", rig.register(vec![])).await.unwrap().len(), 0);
}

pub async fn a_snapshot_and_what_came_since_are_the_list<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (engine, done) = (rig.engine.clone(), done.clone());
        tokio::spawn(async move {
            let mut round = 0;
            while !done.load(Ordering::SeqCst) {
                round += 1;
                let sent = with(&replica("s", &format!("http://s:{}", round % 20 + 1)), |c| c.weight = round);
                let id = engine.register(vec![sent]).await.unwrap().remove(0).unwrap().instance.id;
                if round % 3 == 0 {
                    let target = leasehold::types::Target::Id(id);
                    engine.deregister(target, crate::rig::proof()).await.unwrap();
                }
            }
        })
    };
    let filter = Filter::default();
    for _ in 0..50 {
        let snapshot = rig.view().snapshot(&filter).unwrap();
        let mut live: BTreeMap<LeaseId, Instance> =
            snapshot.instances().iter().map(|instance| (instance.id, instance.clone())).collect();
        let mut bell = rig.view().subscribe();
        let next = bell.wait_for(|revision| revision.0 > snapshot.revision().0 + 5);
        within("the history to go on", next).await.unwrap();
        let catalog = rig.view().read();
        let Since::Deltas(deltas, cursor) = catalog.since(Cursor(snapshot.revision()), &filter, usize::MAX)
        else {
            panic!("nothing has left the history");
        };
        assert_eq!(cursor.0, catalog.revision());
        let mut after = Cursor(snapshot.revision());
        for delta in &deltas {
            take(&mut live, delta, after);
            after = Cursor(delta.revision);
        }
        let mut listed: Vec<&Instance> = catalog.matching(&filter).collect();
        listed.sort_by_key(|instance| instance.id);
        assert_eq!(live.values().collect::<Vec<_>>(), listed);
    }
    done.store(true, Ordering::SeqCst);
    within("the writer", writer).await.unwrap();
}

pub async fn a_filter_shows_who_enters_and_who_leaves<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let gold = Filter::new(vec![], [("tier".to_owned(), "gold".to_owned())].into());
    let (start, _) = rig.list();
    let plain = replica("seen", "http://seen:1");
    let golden = with(&plain, |content| drop(content.labels.insert("tier".to_owned(), "gold".to_owned())));
    let id = rig.registered(plain.clone()).await.instance.id;
    for sent in [golden.clone(), with(&golden, |content| content.weight = 1), plain, golden] {
        rig.registered(sent).await;
    }
    rig.deregistered(id).await.unwrap();
    let catalog = rig.view().read();
    let Since::Deltas(deltas, cursor) = catalog.since(Cursor(start), &gold, usize::MAX) else {
        panic!("nothing has left the history");
    };
    assert_eq!(cursor.0, catalog.revision());
    let told: Vec<_> = deltas.iter().flat_map(|delta| &delta.events).map(|e| (e.kind, e.reason)).collect();
    let entered = (Kind::Registered, Reason::EnteredFilter);
    let expect = [
        entered,
        (Kind::Updated, Reason::Content),
        (Kind::Deregistered, Reason::LeftFilter),
        entered,
        (Kind::Deregistered, Reason::Client),
    ];
    assert_eq!(told, expect);
}
