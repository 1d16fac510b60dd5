//! `KeepAlive` streams: what hangs on one, what a beat keeps, and whose doing an end is.

use std::time::{Duration, Instant};

use leasehold::{
    catalog::Kind,
    config::LeaseConfig,
    engine::{Loss, Outcome, Refusal, Registration, StreamEnd, embedded::hash_token},
    types::{LeaseId, Status, Ttl},
};

use crate::{
    follower::{CONTENT, DROPPED, Follower, LAPSED, LEFT, NEW, RECOVERED, REVIVED, SUSPECT},
    rig::{Rig, TTL, brief, by, full, keep_up, replica, with, within},
    subject::{Settings, Subject},
};

const HOUR: Duration = Duration::from_hours(1);

/// A registration with this grace.
fn graced(url: &str, grace: Duration) -> Registration {
    Registration { drop_grace: Some(grace), ..full("graced", url) }
}

pub async fn attaching_and_each_beat_renew_all<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut ids = Vec::new();
    for ttl in [600, 900, 300] {
        let registration = Registration { ttl_wish: ttl, ..replica("on", &format!("http://on:{ttl}")) };
        ids.push(rig.registered(registration).await.instance.id);
    }
    let (revision, _) = rig.list();
    let stream = rig.open_stream(false);
    assert_eq!(rig.answer(stream).ttl, None, "nothing is attached");
    let before = rig.now();
    let leases = ids.iter().map(|id| (*id, None)).collect();
    assert_eq!(within("an answer", rig.attach(stream, leases, by())).await, Ok(vec![]));
    for time in rig.times(&ids) {
        assert!(time.unwrap().renewed >= before, "attaching renews");
    }
    assert_eq!((rig.answer(stream).ttl, rig.answer(stream).lost), (Some(Ttl(300)), vec![]));
    for _ in 0..3 {
        let before = rig.now();
        rig.beat(stream);
        for (time, ttl) in rig.times(&ids).into_iter().zip([600, 900, 300]) {
            let time = time.unwrap();
            assert!(time.renewed >= before && time.renewed <= rig.now(), "{time:?}");
            assert_eq!(time.deadline, time.renewed.plus_micros(Ttl(ttl).micros()));
        }
    }
    assert_eq!(rig.detach(stream, &ids[2..]), []);
    assert_eq!(rig.answer(stream).ttl, Some(Ttl(600)), "the smallest of what is left");
    assert_eq!(rig.list().0, revision, "none of this is a change");
}

pub async fn beats_keep_what_is_attached<S: Subject>() {
    let rig = Rig::<S>::start().await;
    for attempt in 0.. {
        assert!(attempt < 5, "this machine is too busy to beat within a TTL");
        let mut ids = Vec::new();
        for port in 1..=3 {
            ids.push(rig.registered(brief("kept", &format!("http://kept:{port}"))).await.instance.id);
        }
        let mut follower = Follower::of(&rig.engine);
        let stream = rig.open_stream(false);
        let leases = ids.iter().map(|id| (*id, None)).collect();
        assert_eq!(within("an answer", rig.attach(stream, leases, by())).await, Ok(vec![]));
        let Some(beaten) = keep_up(async || rig.beat(stream)).await else { continue };
        follower.read();
        // On a slow machine they may have lapsed before they were attached.
        assert!(follower.seen.iter().all(|seen| seen.event.kind == Kind::Registered), "{:?}", follower.seen);

        // An open stream that is silent keeps nothing.
        for _ in &ids {
            let gone = follower.until("an expiry", |seen| seen.event.kind == Kind::Expired).await;
            gone.not_early(beaten, TTL);
            assert_eq!(gone.what(), LAPSED);
        }
        // It is told once, and a beat brings nothing back.
        let mut lost: Vec<(LeaseId, Loss)> = ids.iter().map(|id| (*id, Loss::Lapsed)).collect();
        lost.sort_unstable_by_key(|(id, _)| *id);
        rig.beat(stream);
        let answer = rig.answer(stream);
        assert_eq!((answer.ttl, answer.lost), (None, lost));
        assert_eq!(rig.answer(stream).lost, []);
        follower.settle(&rig).await;
        assert_eq!(rig.ids().iter().filter(|id| ids.contains(id)).count(), 0);

        // Naming one does.
        assert_eq!(within("an answer", rig.attach(stream, vec![(ids[0], None)], by())).await, Ok(vec![]));
        assert_eq!(follower.told_of(ids[0]).last(), Some(&REVIVED));
        let sent = Instant::now();
        rig.beat(stream);
        follower.until_kind("its next expiry", ids[0], Kind::Expired).await.not_early(sent, TTL);
        return;
    }
}

pub async fn who_cannot_be_attached_is_named<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let live = rig.registered(full("live", "http://live:1")).await;
    let guarded = rig.registered(full("guarded", "http://guarded:1")).await;
    let dead = rig.registered(full("dead", "http://dead:1")).await.instance.id;
    rig.deregistered(dead).await.unwrap();
    let lapsed = rig.lapsed(full("lapsed", "http://lapsed:1")).await.instance.id;
    let (unknown, wrong) = (LeaseId(1), hash_token("wrong"));
    let stream = rig.open_stream(false);
    let leases = vec![
        (unknown, None),
        (live.instance.id, Some(hash_token(&live.token))),
        (dead, None),
        (guarded.instance.id, Some(wrong)),
        (lapsed, Some(wrong)),
        (lapsed, None),
    ];
    let mut refused = within("an answer", rig.attach(stream, leases, by())).await.unwrap();
    let mut expect = [
        (unknown, Refusal::NotFound(unknown.to_string())),
        (dead, Refusal::NotFound(dead.to_string())),
        (guarded.instance.id, Refusal::WrongToken(guarded.instance.id)),
        (lapsed, Refusal::WrongToken(lapsed)),
    ];
    refused.sort_by_key(|(id, _)| *id);
    expect.sort_by_key(|(id, _)| *id);
    assert_eq!(refused, expect);
    assert!(rig.get(lapsed).is_some(), "revived");
    let (before, untouched) = (rig.now(), rig.times(&[guarded.instance.id]));
    rig.beat(stream);
    assert!(rig.times(&[live.instance.id])[0].unwrap().renewed >= before);
    assert_eq!(rig.times(&[guarded.instance.id]), untouched, "it is not attached");
}

pub async fn a_drop_by_the_client_expires_at_once<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let mut ids = Vec::new();
    for port in 1..=5 {
        ids.push(rig.registered(replica("dropped", &format!("http://dropped:{port}"))).await.instance.id);
    }
    let steady = rig.registered(replica("steady", "http://steady:1")).await.instance.id;
    let (_, seen) = rig.dropped(&mut follower, &ids).await;
    for gone in &seen {
        assert_eq!(gone.what(), DROPPED);
        assert_eq!(gone.revision, seen[0].revision, "what ends together is told together");
    }
    assert!(ids.iter().all(|id| rig.get(*id).is_none()));
    assert!(rig.get(steady).is_some());
    // Dropped is lapsed: it can come back.
    assert_eq!(rig.renewed(ids[0]).await, Ok(()));
    rig.attached(ids[1]).await.unwrap();
    let back = rig.registered(replica("dropped", "http://dropped:3")).await;
    assert_eq!((back.outcome, back.instance.id), (Outcome::Revived, ids[2]));
    for id in &ids[..3] {
        assert_eq!(follower.told_of(*id), [NEW, DROPPED, REVIVED]);
    }
    assert_eq!(follower.told_of(ids[3]), [NEW, DROPPED]);
}

pub async fn who_drops_with_a_grace_is_suspect<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let mut all = Vec::new();
    for port in 1..=6 {
        let registration = graced(&format!("http://graced:{port}"), HOUR);
        all.push((rig.registered(registration.clone()).await.instance, registration));
    }
    let ids: Vec<LeaseId> = all.iter().map(|(instance, _)| instance.id).collect();
    let (_, seen) = rig.dropped(&mut follower, &ids).await;
    for (seen, (before, _)) in seen.iter().zip(&all) {
        let now = &seen.event.instance;
        assert_eq!(seen.what(), SUSPECT);
        assert_eq!((now.status, now.id, now.content()), (Status::Suspect, before.id, before.content()));
        assert_eq!(rig.get(now.id).as_ref(), Some(now), "it is listed");
        assert_eq!(now.last_updated, before.last_updated);
    }
    // Whatever shows that the client is there cancels the drop.
    assert_eq!(rig.renewed(ids[0]).await, Ok(()));
    rig.attached(ids[1]).await.unwrap();
    let same = rig.registered(all[2].1.clone()).await;
    assert_eq!((same.outcome, same.instance.status), (Outcome::Unchanged, Status::Alive));
    let other = rig.registered(with(&all[3].1, |content| content.weight = 8)).await;
    assert_eq!((other.outcome, other.instance.status), (Outcome::Updated, Status::Alive));
    assert_eq!(rig.deregistered(ids[4]).await.map(|gone| gone.status), Ok(Status::Suspect));
    let ways = [RECOVERED, RECOVERED, RECOVERED, CONTENT, LEFT];
    for (id, how) in ids.iter().zip(ways) {
        assert_eq!(follower.told_of(*id), [NEW, SUSPECT, how]);
    }
    for id in &ids[..4] {
        let now = rig.get(*id).unwrap();
        assert_eq!(now.status, Status::Alive);
        assert!(rig.times(&[*id])[0].unwrap().renewed > seen[0].event.times.renewed);
    }
    assert_eq!(follower.told_of(ids[5]), [NEW, SUSPECT]);
    assert!(rig.get(ids[4]).is_none());
}

pub async fn only_the_grace_counts_for_a_suspect<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    // Longer than its TTL, and shorter.
    let longer = Registration { ttl_wish: 1, ..graced("http://graced:1", TTL * 2) };
    let shorter = Registration { ttl_wish: 3600, ..graced("http://graced:2", TTL) };
    let mut expiries = Vec::new();
    for (registration, grace) in [(longer, TTL * 2), (shorter, TTL)] {
        let id = rig.registered(registration).await.instance.id;
        let (ended, _) = rig.dropped(&mut follower, &[id]).await;
        expiries.push((id, ended, grace));
    }
    for (id, ended, grace) in expiries {
        let seen = follower.ever("its expiry", |seen| seen.id() == id && seen.what() == DROPPED).await;
        let passed = seen.at.saturating_duration_since(ended);
        assert!(passed >= grace, "{passed:?} of {grace:?}");
        assert_eq!(seen.event.instance.status, Status::Suspect, "as it was");
    }
}

pub async fn the_server_has_a_grace_for_those_who_name_none<S: Subject>() {
    let leases = LeaseConfig { drop_grace: HOUR, ..Settings::default().leases };
    let rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
    let mut follower = Follower::of(&rig.engine);
    let mine = rig.registered(full("own", "http://own:1")).await.instance.id;
    let none = Registration { drop_grace: Some(Duration::ZERO), ..full("none", "http://none:1") };
    let none = rig.registered(none).await.instance.id;
    let (_, seen) = rig.dropped(&mut follower, &[mine, none]).await;
    let what = |id| seen.iter().find(|seen| seen.id() == id).unwrap().what();
    assert_eq!((what(mine), what(none)), (SUSPECT, DROPPED));
}

pub async fn behind_a_proxy_the_grace_is_the_ttl<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let mine = rig.registered(replica("own", "http://own:1")).await.instance.id;
    let none = Registration { drop_grace: Some(Duration::ZERO), ..full("none", "http://none:1") };
    let none = rig.registered(none).await.instance.id;
    let (_, seen) = rig.dropped_over(true, &mut follower, &[mine, none]).await;
    let of = |id| seen.iter().find(|seen| seen.id() == id).unwrap();
    assert_eq!((of(mine).what(), of(none).what()), (SUSPECT, DROPPED));
    let times = of(mine).event.times;
    assert!(times.deadline >= times.renewed.plus(HOUR), "{times:?}");
}

pub async fn a_stream_that_the_server_ends_expires_nobody<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let long = rig.registered(replica("long", "http://long:1")).await.instance;
    let brief = rig.registered(brief("brief", "http://brief:1")).await.instance;
    let stream = rig.open_stream(false);
    let sent = Instant::now();
    let leases = vec![(long.id, None), (brief.id, None)];
    assert_eq!(within("an answer", rig.attach(stream, leases, by())).await, Ok(vec![]));
    rig.end_stream(stream, StreamEnd::Server, rig.now(), by());
    follower.settle(&rig).await;
    // Its TTL goes on.
    let gone = follower.until_kind("its expiry", brief.id, Kind::Expired).await;
    gone.not_early(sent, TTL);
    assert_eq!(gone.what(), LAPSED);
    assert_eq!(rig.get(long.id), Some(long.clone()));
    assert_eq!(follower.told_of(long.id), [NEW]);
}

pub async fn a_moved_lease_is_deaf_to_its_old_stream<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let moved = rig.registered(replica("moved", "http://moved:1")).await.instance.id;
    let again = rig.registered(replica("again", "http://again:1")).await.instance.id;
    let detached = rig.registered(replica("detached", "http://detached:1")).await.instance.id;
    let ended = rig.registered(replica("ended", "http://ended:1")).await.instance.id;
    let bait = rig.registered(replica("bait", "http://bait:1")).await.instance.id;
    for attempt in 0.. {
        let old = rig.open_stream(false);
        let leases = [moved, again, detached, ended, bait].map(|id| (id, None)).to_vec();
        let refused = within("an answer", rig.attach(old, leases, by())).await.unwrap();
        assert!(refused.iter().all(|(id, _)| *id == ended), "{refused:?}");

        // To another stream; by a registration; by its own wish; by its end.
        let new = rig.attached(moved).await.unwrap();
        rig.registered(replica("again", "http://again:1")).await;
        assert_eq!(rig.detach(old, &[detached, LeaseId(1)]), [LeaseId(1)], "who is not known is named");
        if attempt == 0 {
            rig.deregistered(ended).await.unwrap();
            let mut lost = rig.answer(old).lost;
            lost.sort_unstable_by_key(|(id, _)| *id);
            let mut expect = vec![(moved, Loss::Moved), (again, Loss::Moved), (ended, Loss::Ended)];
            expect.sort_unstable_by_key(|(id, _)| *id);
            assert_eq!(lost, expect);
            assert_eq!(rig.answer(old).lost, []);
        }
        // Its beats are nothing to them either.
        let deaf = [moved, again, detached];
        let times = rig.times(&deaf);
        rig.beat(old);
        assert_eq!(rig.times(&deaf), times);

        rig.end_stream(old, StreamEnd::Client, rig.now(), by());
        follower.settle(&rig).await;
        for id in deaf {
            assert_eq!(follower.told_of(id), [NEW], "round {attempt}");
        }
        assert_eq!(rig.answer(new).ttl, Some(Ttl(3600)), "it hangs on the new one");
        rig.end_stream(new, StreamEnd::Server, rig.now(), by());
        // After a stall of the engine's own nobody drops: then the end has shown nothing.
        if rig.get(bait).is_none() {
            return;
        }
        assert!(attempt < 60, "no end of a stream counts");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub async fn what_is_detached_has_a_full_ttl<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut ids = Vec::new();
    for port in 1..=4 {
        ids.push(rig.registered(replica("off", &format!("http://off:{port}"))).await.instance.id);
    }
    let stream = rig.open_stream(false);
    let leases = ids.iter().map(|id| (*id, None)).collect();
    assert_eq!(within("an answer", rig.attach(stream, leases, by())).await, Ok(vec![]));
    let before = rig.now();
    assert_eq!(rig.detach(stream, &ids[..1]), []);
    assert!(rig.times(&ids[..1])[0].unwrap().renewed >= before, "it was there to say so");
    let kept = rig.times(&ids[1..]);
    assert!(kept.iter().all(|times| times.unwrap().renewed <= before));
    // From a stream that it is not on, nothing is detached.
    let other = rig.open_stream(false);
    assert_eq!(rig.detach(other, &ids), []);
    assert_eq!(rig.times(&ids[1..]), kept);
    // All that is left.
    let before = rig.now();
    assert_eq!(rig.detach(stream, &[]), []);
    assert!(rig.times(&ids[1..]).iter().all(|times| times.unwrap().renewed >= before));
    let answer = rig.answer(stream);
    assert_eq!((answer.ttl, answer.lost), (None, vec![]));
    rig.end_stream(stream, StreamEnd::Client, rig.now(), by());
    rig.end_stream(other, StreamEnd::Client, rig.now(), by());
    let mut follower = Follower::of(&rig.engine);
    follower.settle(&rig).await;
    assert!(ids.iter().all(|id| rig.get(*id).is_some()));
}

pub async fn a_renewal_after_the_drop_counts<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let id = rig.registered(replica("quick", "http://quick:1")).await.instance.id;
    let stream = rig.attached(id).await.unwrap();
    let ended = rig.now();
    while rig.now() <= ended {
        tokio::task::yield_now().await;
    }
    // The end is told late: by then the client has shown that it is there.
    assert_eq!(rig.renewed(id).await, Ok(()));
    rig.end_stream(stream, StreamEnd::Client, ended, by());
    follower.settle(&rig).await;
    assert_eq!(follower.told_of(id), [NEW]);
}
