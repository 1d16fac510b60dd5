//! How long a lease lives: never too short, and not for ever.

use std::time::{Duration, Instant};

use leasehold::{
    catalog::Kind,
    config::LeaseConfig,
    engine::{Outcome, Registration, StreamEnd},
    types::LeaseId,
};

use crate::{
    follower::{Follower, LAPSED, LEFT, NEW, REVIVED},
    rig::{Rig, SOON, TTL, brief, by, full, keep_up, not_found, replica, wait_for, within},
    subject::{Settings, Subject},
};

pub async fn a_lease_ends_by_its_ttl_and_not_before<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let steady = rig.registered(replica("steady", "http://steady:1")).await.instance;
    let mut sent = Vec::new();
    for number in 0..8 {
        let registration = Registration {
            ttl_wish: 1 + number % 2,
            ..replica("brief", &format!("http://brief:{}", number + 1))
        };
        let at = Instant::now();
        sent.push((rig.registered(registration).await.instance, at));
    }
    for _ in 0..sent.len() {
        let gone = follower.until("an expiry", |seen| seen.event.kind == Kind::Expired).await;
        let (instance, at) =
            sent.iter().find(|(instance, _)| instance.id == gone.id()).expect("one of these");
        gone.not_early(*at, TTL * instance.ttl.0);
        assert_eq!((gone.what(), gone.event.braked), (LAPSED, false), "a few are never braked");
        assert_eq!(gone.event.instance, *instance, "as it was");
        assert_eq!(rig.get(gone.id()), None);
    }
    assert_eq!(rig.ids(), [steady.id]);
    for (instance, _) in sent {
        assert_eq!(follower.told_of(instance.id), [NEW, LAPSED], "it ends once");
    }
}

pub async fn renewals_keep_a_lease<S: Subject>() {
    let rig = Rig::<S>::start().await;
    for attempt in 0.. {
        assert!(attempt < 5, "this machine is too busy to renew within a TTL");
        let mut follower = Follower::of(&rig.engine);
        let kept = rig.registered(brief("kept", "http://kept:1")).await;
        let id = kept.instance.id;
        let Some(last) = keep_up(async || rig.renewed(id).await.expect("it lives")).await else { continue };
        follower.read();
        assert!(follower.seen.iter().all(|seen| seen.event.kind == Kind::Registered), "{:?}", follower.seen);
        assert_eq!(rig.get(id), Some(kept.instance), "a renewal is no change");
        follower.until_kind("its expiry", id, Kind::Expired).await.not_early(last, TTL);
        return;
    }
}

pub async fn a_renewal_is_no_change<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let id = rig.registered(full("renewed", "http://renewed:1")).await.instance.id;
    let (revision, list) = rig.list();
    let mut previous = rig.times(&[id])[0].unwrap();
    for _ in 0..5 {
        let before = rig.now();
        rig.renewed(id).await.unwrap();
        let times = rig.times(&[id])[0].unwrap();
        assert!(times.renewed >= before && times.renewed <= rig.now(), "{times:?}");
        assert!(times.deadline > previous.deadline, "{times:?}");
        previous = times;
    }
    assert_eq!(rig.list(), (revision, list));
    assert!(not_found(&rig.renewed(LeaseId(1)).await), "nobody bears that id");
    assert_eq!(rig.times(&[LeaseId(1), id]), [None, Some(previous)]);
    assert_eq!(rig.list().0, revision);
}

pub async fn another_ttl_holds_at_once<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let longer = brief("longer", "http://longer:1");
    let long = Registration { ttl_wish: 3600, ..longer.clone() };
    let shorter = replica("shorter", "http://shorter:1");
    let id = rig.registered(longer).await.instance.id;
    let kept = rig.registered(long).await;
    assert_eq!(kept.instance.id, id);

    let first = rig.registered(shorter.clone()).await;
    let sent = Instant::now();
    let second = rig.registered(Registration { ttl_wish: 1, ..shorter }).await;
    assert_eq!((second.outcome, second.instance.id), (Outcome::Updated, first.instance.id));
    let gone = follower
        .until("the shorter one's expiry", |seen| seen.id() == first.instance.id && seen.what() == LAPSED)
        .await;
    gone.not_early(sent, TTL);
    // By now the other one would have lapsed by its first TTL.
    assert_eq!(rig.get(id), Some(kept.instance));
}

pub async fn a_lapsed_lease_is_revived_by_a_renewal<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let first = rig.lapsed(full("back", "http://back:1")).await.instance;
    let id = first.id;
    let mut gone = follower.until_kind("its expiry", id, Kind::Expired).await;
    for _ in 0..3 {
        let sent = Instant::now();
        assert_eq!(rig.renewed(id).await, Ok(()));
        let back = follower.until_kind("its return", id, Kind::Registered).await;
        assert_eq!(back.what(), REVIVED);
        assert!(back.revision > gone.revision);
        let now = &back.event.instance;
        assert_eq!((now.content(), now.ttl), (first.content(), first.ttl), "as it was");
        assert_eq!((now.registered_at, now.last_updated), (first.registered_at, first.last_updated));
        gone = follower.until_kind("its next expiry", id, Kind::Expired).await;
        gone.not_early(sent, TTL);
    }
    assert_eq!(follower.told_of(id), [NEW, LAPSED, REVIVED, LAPSED, REVIVED, LAPSED, REVIVED, LAPSED]);
}

pub async fn a_lapsed_lease_can_be_ended<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let first = rig.lapsed(full("over", "http://over:1")).await.instance;
    let (revision, _) = rig.list();
    assert_eq!(rig.deregistered(first.id).await, Ok(first.clone()), "as it was");
    assert_eq!(rig.list().0, revision, "readers have seen it go");
    assert!(not_found(&rig.renewed(first.id).await));
    assert!(not_found(&rig.deregistered(first.id).await));
    assert!(not_found(&rig.attached(first.id).await));
    let anew = rig.registered(full("over", "http://over:1")).await;
    assert_eq!(anew.outcome, Outcome::New);
    assert_ne!(anew.instance.id, first.id);
}

pub async fn a_deregistration_is_told_at_once<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let first = rig.registered(full("leaves", "http://leaves:1")).await.instance;
    assert_eq!(rig.deregistered(first.id).await, Ok(first.clone()));
    assert_eq!(follower.told_of(first.id), [NEW, LEFT]);
    assert_eq!(follower.seen[1].event.instance, first, "as it was");
    let (revision, _) = rig.list();
    assert!(not_found(&rig.deregistered(first.id).await));
    assert_eq!(rig.list().0, revision);
}

pub async fn a_revive_window_ends<S: Subject>() {
    let leases = LeaseConfig { revive_window: TTL, ..Settings::default().leases };
    let rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
    let lapsed = rig.lapsed(full("over", "http://over:1")).await.instance;
    let ended = rig.registered(full("ended", "http://ended:1")).await.instance;
    assert!(rig.deregistered(ended.id).await.is_ok());
    // A look by a renewal would revive it.
    for id in [lapsed.id, ended.id] {
        wait_for("it to be forgotten", || rig.times(&[id])[0].is_none().then_some(())).await;
        assert!(not_found(&rig.renewed(id).await));
    }
    let anew = rig.registered(full("over", "http://over:1")).await;
    assert_eq!(anew.outcome, Outcome::New);
    assert_ne!(anew.instance.id, lapsed.id);
}

pub async fn who_is_frozen_expires_nobody<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    rig.registered(brief("frozen", "http://frozen:1")).await;
    let dropped = rig.registered(replica("frozen", "http://frozen:2")).await.instance;
    let stream = rig.attached(dropped.id).await.unwrap();
    rig.freeze();
    let (_, list) = rig.list();
    rig.end_stream(stream, StreamEnd::Client, rig.now(), by());
    // That nothing happens can only be waited for: three TTLs.
    let listed = |id| list.iter().any(|instance| instance.id == id);
    let gone = follower.within(TTL * 3, |seen| seen.event.kind == Kind::Expired && listed(seen.id())).await;
    assert!(gone.is_none(), "{gone:?}");
    assert_eq!(rig.list().1, list);
    assert!(listed(dropped.id), "{dropped:?}");
}

/// So many that the brake holds them back.
const MANY: usize = 150;

pub async fn a_mass_expiry_is_spread<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let all = |ttl| {
        (1..=MANY).map(move |port| Registration {
            ttl_wish: ttl,
            ..replica("many", &format!("http://many:{port}"))
        })
    };
    let sent = Instant::now();
    let answers = within("answers", rig.register(all(1).collect())).await.unwrap();
    let ids: Vec<LeaseId> = answers.into_iter().map(|answer| answer.unwrap().instance.id).collect();
    let mut braked = 0;
    for _ in 0..MANY {
        let gone = follower.until("an expiry", |seen| seen.event.kind == Kind::Expired).await;
        gone.not_early(sent, TTL);
        assert_eq!(gone.what(), LAPSED);
        braked += usize::from(gone.event.braked);
    }
    assert!(braked > 0, "they fell due at once");
    assert_eq!(rig.ids(), []);
    for id in ids {
        assert_eq!(follower.told_of(id), [NEW, LAPSED], "each ends once");
    }
}

pub async fn the_brake_can_be_off<S: Subject>() {
    let leases = LeaseConfig { mass_expiry_brake: false, ..Settings::default().leases };
    let rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
    let mut follower = Follower::of(&rig.engine);
    let all = (1..=MANY).map(|port| brief("many", &format!("http://many:{port}"))).collect();
    within("answers", rig.register(all)).await.unwrap();
    for _ in 0..MANY {
        let gone = follower.until("an expiry", |seen| seen.event.kind == Kind::Expired).await;
        assert!(!gone.event.braked, "{gone:?}");
    }
}

pub async fn an_engine_serves_from_its_start<S: Subject>() {
    let rig = Rig::<S>::start().await;
    assert_eq!(*rig.health().borrow(), leasehold::engine::Health::Serving);
    assert_eq!(rig.ids(), []);
    let (first, second) = (rig.now(), rig.now());
    assert!(second >= first, "time does not go back");
    let later = first.plus(Duration::from_secs(1));
    assert_eq!(rig.wall(later).0 - rig.wall(first).0, 1_000_000, "one anchor for all times");
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let told = Duration::from_micros(rig.wall(rig.now()).0);
    assert!(told.abs_diff(wall) < SOON, "people's time is {wall:?}, not {told:?}");
}
