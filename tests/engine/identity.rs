//! Who a registration is: one id for each pair of service and url, for as long as it can
//! live.

use std::{collections::BTreeSet, time::Duration};

use leasehold::{
    config::{DuplicateId, LeaseConfig},
    engine::{Outcome, Refusal, Registration},
    types::{Info, Status, Ttl},
};

use crate::{
    follower::{CONTENT, Follower, LAPSED, LEFT, NEW, REPLACED, REVIVED},
    rig::{Rig, brief, full, info, named, not_found, proof, replica, with, within},
    subject::{Settings, Subject},
};

pub async fn a_registration_is_listed_as_it_was_sent<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let sent = full("Climate Data", "grpc://climate.test:50051/v1?q=1#f");
    let before = rig.wall(rig.now());
    let answer = rig.registered(sent.clone()).await;
    let after = rig.wall(rig.now());

    let instance = &answer.instance;
    assert_eq!(answer.outcome, Outcome::New);
    assert_eq!(instance.content(), sent.content);
    assert_eq!((instance.status, instance.ttl), (Status::Alive, Ttl(900)));
    assert_eq!(instance.last_updated, instance.registered_at);
    assert!(instance.registered_at >= before && instance.registered_at <= after, "{instance:?}");
    assert_eq!(answer.times.deadline, answer.times.renewed.plus_micros(Ttl(900).micros()));
    assert_eq!(rig.get(instance.id).as_ref(), Some(instance));
    assert_eq!(rig.times(&[instance.id]), [Some(answer.times)]);

    assert_eq!(follower.told_of(instance.id), [NEW]);
    let told = &follower.seen[0];
    assert_eq!((told.revision, &told.event.instance), (instance.revision, instance));
    assert_eq!((told.event.times, told.event.braked), (answer.times, false));
}

pub async fn ttl_wishes_are_clamped<S: Subject>() {
    let leases = LeaseConfig {
        default_ttl: Duration::from_secs(20),
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_mins(1),
        ..LeaseConfig::default()
    };
    let rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
    for (wish, granted) in [(0, 20), (1, 5), (5, 5), (33, 33), (60, 60), (61, 60), (u32::MAX, 60)] {
        let request = Registration { ttl_wish: wish, ..replica("clamped", "http://clamped:1") };
        let answer = rig.registered(request).await;
        assert_eq!(answer.instance.ttl, Ttl(granted), "wished {wish}");
        assert_eq!(answer.times.deadline, answer.times.renewed.plus_micros(Ttl(granted).micros()));
    }
}

pub async fn the_same_again_renews_and_changes_nothing<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let first = rig.registered(full("same", "http://same:1")).await;
    let (revision, _) = rig.list();
    let mut follower = Follower::of(&rig.engine);
    for _ in 0..3 {
        let again = rig.registered(full("same", "http://same:1")).await;
        assert_eq!((again.outcome, &again.instance), (Outcome::Unchanged, &first.instance));
        assert!(again.times.renewed > first.times.renewed, "the lease was renewed");
        assert_eq!(rig.times(&[first.instance.id]), [Some(again.times)]);
    }
    assert_eq!(rig.list(), (revision, vec![first.instance.clone()]), "no revision");
    assert!(follower.read().is_empty(), "no event");
}

pub async fn another_url_or_service_is_another_replica<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut ids = BTreeSet::new();
    for (service, url) in [
        ("a", "http://h:1"),
        ("a", "http://h:2"),
        ("a", "http://H:1"),
        ("a", "http://h:1/"),
        ("b", "http://h:1"),
    ] {
        // By default what the client calls itself tells nobody apart.
        let answer = rig.registered(full(service, url)).await;
        assert_eq!(answer.outcome, Outcome::New, "{service}, {url}");
        ids.insert(answer.instance.id);
    }
    assert_eq!(ids.len(), 5);
    assert_eq!(rig.ids().into_iter().collect::<BTreeSet<_>>(), ids);
}

pub async fn other_content_updates_in_place<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let sent = full("updated", "http://updated:1");
    let first = rig.registered(sent.clone()).await.instance;
    let changes = [
        ("zone", with(&sent, |content| "eu-2".clone_into(&mut content.zone))),
        ("weight", with(&sent, |content| content.weight = 8)),
        ("a label", with(&sent, |content| drop(content.labels.remove("tier")))),
        ("no labels", with(&sent, |content| content.labels.clear())),
        ("info", with(&sent, |content| content.info = info("team", "other"))),
        ("no info", with(&sent, |content| content.info = Info::default())),
        ("as it was", sent.clone()),
    ];
    let mut last = first.clone();
    for (name, changed) in changes {
        let answer = rig.registered(changed.clone()).await;
        let now = answer.instance;
        assert_eq!((answer.outcome, now.id), (Outcome::Updated, first.id), "{name}");
        assert_eq!(now.content(), changed.content, "{name}");
        assert_eq!(now.registered_at, first.registered_at, "{name}");
        assert!(now.last_updated > last.last_updated, "{name}: the content changed");
        assert!(now.revision > last.revision, "{name}");
        assert_eq!(rig.get(first.id).as_ref(), Some(&now), "{name}");
        last = now;
    }
    // A granted TTL is shown, but is not the client's content.
    let longer = rig.registered(Registration { ttl_wish: 901, ..sent }).await;
    assert_eq!((longer.outcome, longer.instance.ttl), (Outcome::Updated, Ttl(901)));
    assert_eq!(longer.instance.last_updated, last.last_updated);
    assert!(longer.instance.revision > last.revision);

    let mut expect = vec![NEW];
    expect.extend([CONTENT; 8]);
    assert_eq!(follower.told_of(first.id), expect);
    assert_eq!(rig.ids(), [first.id]);
}

pub async fn a_lapsed_pair_that_registers_is_revived<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let sent = full("lapsed", "http://lapsed:1");
    let first = rig.lapsed(sent.clone()).await.instance;
    assert_eq!(rig.ids(), []);

    let other = with(&sent, |content| "eu-2".clone_into(&mut content.zone));
    let back = rig.registered(other.clone()).await;
    assert_eq!((back.outcome, back.instance.id), (Outcome::Revived, first.id));
    assert_eq!((back.instance.content(), back.instance.ttl), (other.content.view(), Ttl(900)));
    assert_eq!(back.instance.registered_at, first.registered_at);
    assert_eq!(follower.told_of(first.id), [NEW, LAPSED, REVIVED]);
    assert_eq!(rig.get(first.id), Some(back.instance));

    // With the same content it is a revival too: readers saw it go.
    let second = rig.lapsed(other.clone()).await.instance;
    assert_eq!(second.id, first.id);
    let back = rig.registered(Registration { ttl_wish: 1, ..other }).await;
    assert_eq!((back.outcome, back.instance.id), (Outcome::Revived, first.id));
    assert_eq!(back.instance.content(), second.content());
    assert_eq!(back.instance.last_updated, second.last_updated);
}

pub async fn a_deregistered_pair_begins_anew<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let sent = full("ended", "http://ended:1");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = rig.registered(sent.clone()).await;
        assert_eq!(answer.outcome, Outcome::New);
        let id = answer.instance.id;
        assert!(!ids.contains(&id), "an id is never given again");
        ids.push(id);
        let departed = rig.deregistered(id).await.expect("it lived");
        assert_eq!(departed, answer.instance, "as it was");
        assert_eq!(rig.ids(), []);
        for dead in &ids {
            assert!(not_found(&rig.renewed(*dead).await));
            assert!(not_found(&rig.deregistered(*dead).await));
            assert!(not_found(&rig.attached(*dead).await));
        }
    }
    for id in ids {
        assert_eq!(follower.told_of(id), [NEW, LEFT], "and nothing after");
    }
}

pub async fn many_who_register_one_pair_at_once_have_one_id<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let mut follower = Follower::of(&rig.engine);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let engine = rig.engine.clone();
            tokio::spawn(async move { engine.register(vec![full("crowd", "http://crowd:1")]).await })
        })
        .collect();
    let (mut ids, mut new) = (BTreeSet::new(), 0);
    for task in tasks {
        let answer = within("an answer", task).await.unwrap().unwrap().remove(0).unwrap();
        ids.insert(answer.instance.id);
        new += usize::from(answer.outcome == Outcome::New);
    }
    assert_eq!((ids.len(), new), (1, 1));
    assert_eq!(rig.ids(), ids.iter().copied().collect::<Vec<_>>());
    assert_eq!(follower.told_of(*ids.first().unwrap()), [NEW]);

    // Nor within one order.
    let both = with(&full("twice", "http://twice:1"), |content| content.weight = 8);
    let order = vec![full("twice", "http://twice:1"), both.clone()];
    let answers = within("an answer", rig.engine.register(order)).await.unwrap();
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers[0].instance.id, answers[1].instance.id);
    assert_eq!((answers[0].outcome, answers[1].outcome), (Outcome::New, Outcome::Updated));
    assert_eq!(rig.get(answers[0].instance.id).unwrap().content(), both.content, "the later one holds");
}

pub async fn the_newest_of_a_client_sent_id_replaces_the_older<S: Subject>() {
    let leases = LeaseConfig { duplicate_id: DuplicateId::Replace, ..Settings::default().leases };
    let rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
    let mut follower = Follower::of(&rig.engine);
    let slug = |url: &str| Registration { client_id: Some("slug".into()), ..replica("slug", url) };

    let first = rig.registered(slug("http://slug:1")).await.instance;
    let other = rig
        .registered(Registration { client_id: Some("other".into()), ..replica("slug", "http://slug:9") })
        .await;
    assert_eq!(rig.deregistered(other.instance.id).await, Ok(other.instance));
    let second = rig.registered(slug("http://slug:2")).await;
    assert_eq!(second.outcome, Outcome::New);
    let second = second.instance;
    assert_eq!(rig.ids(), [second.id]);
    assert_eq!(follower.told_of(first.id), [NEW, REPLACED]);
    assert!(not_found(&rig.renewed(first.id).await), "a replaced one never comes back");
    assert!(not_found(&rig.attached(first.id).await));

    // Back at its first place, it is a new registration that replaces the second.
    let third = rig.registered(slug("http://slug:1")).await;
    assert_eq!(third.outcome, Outcome::New);
    assert_ne!(third.instance.id, first.id);
    assert_eq!(rig.ids(), [third.instance.id]);
    assert_eq!(follower.told_of(second.id), [NEW, REPLACED]);

    // One that has lapsed is replaced in silence, and for good.
    let lapsed =
        rig.lapsed(Registration { client_id: Some("gone".into()), ..brief("gone", "http://gone:1") }).await;
    rig.registered(Registration { client_id: Some("gone".into()), ..replica("gone", "http://gone:2") }).await;
    assert!(not_found(&rig.renewed(lapsed.instance.id).await));
    assert_eq!(follower.told_of(lapsed.instance.id), [NEW, LAPSED]);

    // A name means the newest: who was replaced does not make it ambiguous. (Of `slug`, the one
    // that was deregistered still counts.)
    let answer = within("an answer", rig.renew(named("gone"), proof())).await;
    assert!(answer.is_ok(), "{answer:?}");
    let answer = within("an answer", rig.renew(named("slug"), proof())).await;
    assert!(matches!(answer, Err(Refusal::Ambiguous { count: 2, .. })), "{answer:?}");
}
