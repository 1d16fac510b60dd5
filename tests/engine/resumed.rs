//! What an engine that remembers makes of each registration when it is back: its lease, and
//! all that it was known by.
//!
//! Each promise is tried after every end that the engine survives.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use leasehold::{
    catalog::{Kind, Reason},
    config::{DuplicateId, LeaseConfig},
    engine::{Outcome, Refusal, Registration, StreamEnd},
    types::{LeaseId, Status, Target},
};

use crate::{
    follower::{DROPPED, Follower, LAPSED, NEW, RECOVERED, REVIVED, SUSPECT, Seen},
    rig::{
        OTHER_PEER, PEER, Rig, TTL, brief, by, full, named, not_found, proof, proof_of, replica, with, within,
    },
    subject::{Settings, Subject, survived},
};

const HOUR: Duration = Duration::from_hours(1);

pub async fn a_restart_expires_nobody<S: Subject>() {
    for end in survived::<S>() {
        for attempt in 0.. {
            assert!(attempt < 5, "this machine is too busy to restart within a TTL");
            let mut rig = Rig::<S>::start().await;
            let sent = Instant::now();
            for (port, ttl) in [1, 1, 1, 600, 3600].into_iter().enumerate() {
                let url = format!("http://live:{}", port + 1);
                rig.registered(Registration { ttl_wish: ttl, ..replica("live", &url) }).await;
            }
            let (_, list) = rig.list();
            // Their TTL has long passed when it is back.
            rig.restart_after(*end, TTL + TTL / 2).await;
            let resumed = rig.resumed();
            let mut follower = Follower::of(&rig.engine);
            let (_, back) = rig.list();
            let ids: Vec<LeaseId> = back.iter().map(|instance| instance.id).collect();
            let times = rig.times(&ids);
            if rig.ended - sent >= TTL || rig.started.elapsed() >= TTL {
                continue;
            }
            assert_eq!(back, list, "after {end:?}");
            for (instance, times) in back.iter().zip(times) {
                let times = times.unwrap();
                assert!(times.renewed >= resumed && times.renewed <= rig.now(), "{times:?}");
                assert_eq!(
                    times.deadline,
                    times.renewed.plus_micros(instance.ttl.micros()),
                    "a full TTL again"
                );
            }
            for _ in 0..3 {
                let gone = follower.until("an expiry", |seen| seen.event.kind == Kind::Expired).await;
                gone.not_early(rig.started, TTL);
                assert_eq!((gone.what(), gone.event.instance.ttl.0), (LAPSED, 1));
                assert_eq!(follower.told_of(gone.id()), [LAPSED], "it ends once");
            }
            assert_eq!(rig.list().1.iter().map(|one| one.ttl.0).collect::<BTreeSet<_>>(), [600, 3600].into());
            break;
        }
    }
}

pub async fn a_lease_that_was_renewed_comes_back_too<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let renewed = rig.registered(full("renewed", "http://renewed:1")).await.instance;
        let attached = rig.registered(full("attached", "http://attached:1")).await.instance;
        rig.renewed(renewed.id).await.unwrap();
        let stream = rig.attached(attached.id).await.unwrap();
        rig.beat(stream);
        rig.restart(*end).await;

        // Streams are attached anew, by id.
        let mut follower = Follower::of(&rig.engine);
        let stream = rig.attached(attached.id).await.unwrap();
        let before = rig.now();
        rig.beat(stream);
        assert!(rig.times(&[attached.id])[0].unwrap().renewed >= before);
        assert_eq!(rig.answer(stream).ttl, Some(attached.ttl));
        rig.renewed(renewed.id).await.unwrap();
        assert!(follower.read().is_empty(), "none of this is a change");
        // What ends of them right after a start was ended by it.
        rig.end_stream(stream, StreamEnd::Client, rig.now(), by());
        follower.settle(&rig).await;
        if rig.started.elapsed() < Duration::from_secs(10) {
            assert_eq!(follower.told_of(attached.id), []);
            assert_eq!(rig.get(attached.id), Some(attached));
        }
    }
}

pub async fn who_was_suspect_is_suspect<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let mut follower = Follower::of(&rig.engine);
        let mut ids = Vec::new();
        for port in 1..=4 {
            let sent =
                Registration { drop_grace: Some(HOUR), ..full("suspect", &format!("http://suspect:{port}")) };
            ids.push(rig.registered(sent).await.instance.id);
        }
        // A grace of 20 s, lest it end while this engine is stopped; a TTL of 1 s, which then counts
        // for nothing: whoever was suspect has the longer of both.
        let short = Registration { drop_grace: Some(TTL * 20), ..brief("suspect", "http://suspect:5") };
        ids.push(rig.registered(short).await.instance.id);
        let (_, seen) = rig.dropped(&mut follower, &ids).await;
        assert!(seen.iter().all(|seen| seen.what() == SUSPECT), "{seen:?}");
        rig.deregistered(ids[3]).await.unwrap();

        let (_, list) = rig.list();
        rig.restart(*end).await;
        let resumed = rig.resumed();
        assert_eq!(rig.list().1, list, "after {end:?}");
        assert!(list.iter().filter(|one| ids.contains(&one.id)).all(|one| one.status == Status::Suspect));
        let times = rig.times(&[ids[4]])[0].unwrap();
        assert!(times.deadline >= resumed.plus(TTL * 20), "nobody could come back meanwhile: {times:?}");

        let mut follower = Follower::of(&rig.engine);
        assert_eq!(rig.renewed(ids[0]).await, Ok(()));
        rig.attached(ids[1]).await.unwrap();
        let same = Registration { drop_grace: Some(HOUR), ..full("suspect", "http://suspect:3") };
        assert_eq!(rig.registered(same).await.instance.id, ids[2]);
        for id in &ids[..3] {
            assert_eq!(follower.told_of(*id), [RECOVERED]);
            assert_eq!(rig.get(*id).unwrap().status, Status::Alive);
        }
        assert!(not_found(&rig.renewed(ids[3]).await));
        assert_eq!(rig.get(ids[4]).unwrap().status, Status::Suspect);
    }
}

pub async fn a_suspect_ends_after_a_restart_too<S: Subject>() {
    for end in survived::<S>() {
        for attempt in 0.. {
            assert!(attempt < 5, "this machine is too busy to restart within a grace of 3 s");
            let mut rig = Rig::<S>::start().await;
            let mut follower = Follower::of(&rig.engine);
            let sent = Registration { drop_grace: Some(TTL * 3), ..brief("suspect", "http://suspect:1") };
            let id = rig.registered(sent).await.instance.id;
            rig.dropped(&mut follower, &[id]).await;
            rig.restart(*end).await;
            let mut follower = Follower::of(&rig.engine);
            if rig.get(id).is_none() {
                continue;
            }
            let gone = follower.until_kind("its expiry", id, Kind::Expired).await;
            assert!(gone.at.saturating_duration_since(rig.started) >= TTL * 3, "{gone:?}");
            assert_eq!((gone.what(), gone.event.instance.status), (DROPPED, Status::Suspect));
            // Lapsed is lapsed, however it came.
            assert_eq!(rig.renewed(id).await, Ok(()));
            assert_eq!(follower.told_of(id), [DROPPED, REVIVED]);
            break;
        }
    }
}

pub async fn the_lapsed_can_come_back<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let mut before = Vec::new();
        for port in 1..=4 {
            before.push(rig.lapsed(full("lapsed", &format!("http://lapsed:{port}"))).await);
        }
        for _ in 0..2 {
            rig.restart(*end).await;
            assert_eq!(rig.list().1, []);
        }
        let mut follower = Follower::of(&rig.engine);
        assert_eq!(rig.renewed(before[0].instance.id).await, Ok(()));
        rig.attached(before[1].instance.id).await.unwrap();
        let other = with(&full("lapsed", "http://lapsed:3"), |content| content.weight = 8);
        assert_eq!(rig.registered(other).await.outcome, Outcome::Revived);
        // Ended while it was lapsed: readers are not told, but it is kept.
        assert_eq!(rig.deregistered(before[3].instance.id).await, Ok(before[3].instance.clone()));
        for lapsed in &before[..3] {
            let was = &lapsed.instance;
            assert_eq!(follower.told_of(was.id)[0], REVIVED, "after {end:?}");
            assert_eq!(
                follower.seen.iter().find(|seen| seen.id() == was.id).unwrap().event.instance.registered_at,
                was.registered_at
            );
        }
        for seen in
            follower.seen.iter().filter(|seen| seen.id() != before[2].instance.id && seen.what() == REVIVED)
        {
            let was = before.iter().find(|was| was.instance.id == seen.id()).unwrap();
            assert_eq!(seen.event.instance.content(), was.instance.content(), "as it was");
            assert_eq!(seen.event.instance.last_updated, was.instance.last_updated);
        }
        rig.restart(*end).await;
        assert!(not_found(&rig.renewed(before[3].instance.id).await));
        let anew = rig.registered(full("lapsed", "http://lapsed:4")).await;
        assert_eq!(anew.outcome, Outcome::New);
    }
}

pub async fn the_dead_stay_dead<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let dead = rig.registered(full("dead", "http://dead:1")).await.instance.id;
        let over = rig.lapsed(full("dead", "http://dead:2")).await.instance.id;
        rig.deregistered(dead).await.unwrap();
        rig.deregistered(over).await.unwrap();
        let old = rig.registered(full("again", "http://again:1")).await.instance.id;
        rig.deregistered(old).await.unwrap();
        let new = rig.registered(full("again", "http://again:1")).await.instance.id;
        for _ in 0..2 {
            rig.restart(*end).await;
            assert_eq!(rig.ids(), [new]);
            for id in [dead, over, old] {
                assert!(not_found(&rig.renewed(id).await), "after {end:?}");
                assert!(not_found(&rig.attached(id).await));
                assert!(not_found(&rig.deregistered(id).await));
            }
        }
        // By their name they still count, but for the one whose pair has a new id.
        let answer = within("an answer", rig.renew(named("dead"), proof())).await;
        assert!(matches!(answer, Err(Refusal::Ambiguous { count: 2, .. })), "{answer:?}");
        let answer = within("an answer", rig.renew(named("again"), proof())).await;
        assert_eq!(answer.map(|renewed| renewed.id), Ok(new));

        let mut follower = Follower::of(&rig.engine);
        for (url, was) in [("http://dead:1", dead), ("http://dead:2", over)] {
            let anew = rig.registered(full("dead", url)).await;
            assert_eq!(anew.outcome, Outcome::New);
            assert_ne!(anew.instance.id, was);
            assert_eq!(follower.told_of(anew.instance.id), [NEW]);
        }
        assert!([dead, over, old].iter().all(|id| rig.get(*id).is_none()));
    }
}

pub async fn a_window_that_is_over_is_over<S: Subject>() {
    for end in survived::<S>() {
        let leases = LeaseConfig { revive_window: TTL, ..Settings::default().leases };
        let mut rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
        let dead = rig.registered(full("dead", "http://dead:1")).await.instance.id;
        rig.deregistered(dead).await.unwrap();
        let lapsed = rig.lapsed(full("lapsed", "http://lapsed:1")).await.instance.id;
        // It goes on while nobody looks.
        rig.restart_after(*end, TTL + TTL / 10).await;
        for id in [dead, lapsed] {
            assert_eq!(rig.times(&[id]), [None], "after {end:?}");
            assert!(not_found(&rig.renewed(id).await));
        }
        let anew = rig.registered(full("lapsed", "http://lapsed:1")).await;
        assert_eq!(anew.outcome, Outcome::New);
        assert_ne!(anew.instance.id, lapsed);
        // And once more: what was forgotten does not come back either.
        let (_, list) = rig.list();
        rig.restart(*end).await;
        assert_eq!(rig.list().1, list);
        assert!(not_found(&rig.renewed(lapsed).await));
    }
}

// === what else a registration is ===

pub async fn a_lease_token_is_kept<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let sent = full("guarded", "http://guarded:1");
        let plain = rig.registered(full("plain", "http://plain:1")).await;
        // The last one counts: rotated by a retry, which is no change; rotated by an update.
        let first = rig.registered(sent.clone()).await;
        let retried = rig.registered(sent.clone()).await;
        assert_eq!(retried.outcome, Outcome::Unchanged);
        let one = rig.registered(full("other", "http://other:1")).await;
        let two = rig.registered(with(&full("other", "http://other:1"), |content| content.weight = 8)).await;
        let lapsed = rig.lapsed(full("lapsed", "http://lapsed:1")).await;
        for _ in 0..2 {
            rig.restart(*end).await;
            let cases = [
                (&plain, &plain.token, true),
                (&first, &retried.token, true),
                (&first, &first.token, false),
                (&one, &two.token, true),
                (&one, &one.token, false),
                (&lapsed, &plain.token, false),
            ];
            for (of, token, good) in cases {
                let id = of.instance.id;
                let answer = within("an answer", rig.renew(Target::Id(id), proof_of(token))).await;
                let expect = if good { None } else { Some(Refusal::WrongToken(id)) };
                assert_eq!(answer.err(), expect, "{:?} after {end:?}", of.instance.content().service());
            }
        }
        let id = lapsed.instance.id;
        let answer = within("an answer", rig.renew(Target::Id(id), proof_of(&lapsed.token))).await;
        assert!(answer.is_ok(), "{answer:?}");
        // It is good for a registration too, and stays.
        let again = rig.registered(Registration { token: Some(retried.token.clone()), ..sent }).await;
        assert_eq!((again.outcome, again.token), (Outcome::Unchanged, retried.token));
    }
}

pub async fn where_a_registration_came_from_is_kept<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let at =
            |url: &str, peer| Registration { by: leasehold::types::Actor::at(peer), ..replica("pair", url) };
        let own = rig.registered(at("http://pair:1", PEER)).await.instance.id;
        // It moves, and nothing else of it changes: neither its content nor its token.
        let other = rig.registered(at("http://pair:2", PEER)).await;
        let moved = Registration { token: Some(other.token.clone()), ..at("http://pair:2", OTHER_PEER) };
        assert_eq!(rig.registered(moved).await.outcome, Outcome::Unchanged);
        rig.restart(*end).await;

        let by = |peer| leasehold::engine::Proof { token: None, by: leasehold::types::Actor::at(peer) };
        for (peer, id) in [(PEER, own), (OTHER_PEER, other.instance.id)] {
            let ended = within("an answer", rig.deregister(named("pair"), by(peer))).await;
            assert_eq!(ended.map(|ended| ended.instance.id).ok(), Some(id), "after {end:?}");
        }
        assert_eq!(rig.ids(), []);
    }
}

pub async fn a_client_sent_id_is_kept<S: Subject>() {
    let leases = LeaseConfig { duplicate_id: DuplicateId::Replace, ..Settings::default().leases };
    let slug = |url: &str| Registration { client_id: Some("slug".into()), ..replica("slug", url) };
    let gone = |url: &str| Registration { client_id: Some("gone".into()), ..replica("gone", url) };
    for end in survived::<S>() {
        let mut rig = Rig::<S>::with(Settings { leases: leases.clone(), ..Settings::default() }).await;
        let first = rig.registered(slug("http://slug:1")).await.instance.id;
        let second = rig.registered(slug("http://slug:2")).await.instance.id;
        let lapsed = rig.lapsed(gone("http://gone:1")).await.instance.id;
        // Known by no id of its own before, and nothing else of it is new.
        rig.registered(replica("late", "http://late:1")).await;
        let late = Registration { client_id: Some("late".into()), ..replica("late", "http://late:1") };
        let late = rig.registered(late).await.instance.id;
        rig.restart(*end).await;

        // The one that was replaced is dead, and its name means it no more.
        assert_eq!(rig.get(first), None);
        assert!(not_found(&rig.renewed(first).await));
        let answer = within("an answer", rig.renew(named("slug"), proof())).await;
        assert_eq!(answer.map(|renewed| renewed.id), Ok(second), "after {end:?}");

        let mut follower = Follower::of(&rig.engine);
        let third = rig.registered(slug("http://slug:3")).await.instance.id;
        rig.registered(gone("http://gone:2")).await;
        let later = Registration { client_id: Some("late".into()), ..replica("late", "http://late:2") };
        rig.registered(later).await;
        let replaced = [(Kind::Deregistered, Reason::Replaced)];
        assert_eq!(follower.told_of(second), replaced);
        assert_eq!(follower.told_of(late), replaced);
        assert!(not_found(&rig.renewed(lapsed).await), "replaced while it was lapsed");
        rig.restart(*end).await;
        assert!(not_found(&rig.renewed(second).await));
        assert!(not_found(&rig.renewed(lapsed).await));
        assert!(rig.get(third).is_some());
    }
}

pub async fn a_drop_grace_is_kept<S: Subject>() {
    for end in survived::<S>() {
        let mut rig = Rig::<S>::start().await;
        let graced = |port: u32, grace| Registration {
            drop_grace: grace,
            ..full("graced", &format!("http://graced:{port}"))
        };
        let (hour, none) = (Some(HOUR), Some(Duration::ZERO));
        let mut ids = Vec::new();
        for (port, (first, last)) in
            [(hour, hour), (None, hour), (hour, none), (none, none)].into_iter().enumerate()
        {
            let answer = rig.registered(graced(port as u32 + 1, first)).await;
            // Another grace is no change that anybody sees, nor is the token another one.
            let again = Registration { token: Some(answer.token), ..graced(port as u32 + 1, last) };
            assert_eq!(rig.registered(again).await.outcome, Outcome::Unchanged);
            ids.push(answer.instance.id);
        }
        rig.restart(*end).await;
        let mut follower = Follower::of(&rig.engine);
        // For 10 s from its start, an engine takes every end for its own.
        let (_, seen) = rig.dropped(&mut follower, &ids).await;
        let told: Vec<_> = seen.iter().map(Seen::what).collect();
        assert_eq!(told, [SUSPECT, SUSPECT, DROPPED, DROPPED], "after {end:?}");
    }
}
