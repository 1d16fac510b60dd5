//! What a lease token guards, and how it is replaced.

use leasehold::{
    config::LeaseConfig,
    engine::{Engine, Outcome, Proof, Refusal, Registration, embedded::hash_token},
    types::{LeaseId, Target},
};

use crate::{
    rig::{Rig, by, full, named, proof, proof_of, replica, with, within},
    subject::{Settings, Subject},
};

/// What each call that a token guards says to this one; none changes anything that lives.
async fn said(
    engine: &dyn Engine,
    id: LeaseId,
    sent: &Registration,
    proof: Proof,
    token: Option<&str>,
) -> Vec<Option<Refusal>> {
    let stream = engine.open_stream(false);
    let renewed = within("an answer", engine.renew(Target::Id(id), proof.clone())).await.err();
    let by_name =
        within("an answer", engine.renew(Target::Name(sent.content.service().clone()), proof.clone()))
            .await
            .err();
    let attached = within("an answer", engine.attach(stream, vec![(id, proof.token)], by())).await.unwrap();
    engine.detach(stream, &[]);
    let sent = Registration { token: token.map(str::to_owned), ..sent.clone() };
    let registered = within("an answer", engine.register(vec![sent])).await.unwrap().remove(0).err();
    let attached = attached.into_iter().next().map(|(of, refusal)| {
        assert_eq!(of, id);
        refusal
    });
    vec![renewed, by_name, attached, registered]
}

pub async fn a_token_is_checked_where_it_is_given<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let sent = full("guarded", "http://guarded:1");
    let first = rig.registered(sent.clone()).await;
    let other = rig.registered(full("other", "http://other:1")).await;
    let id = first.instance.id;
    assert_ne!(first.token, other.token);
    assert!(first.token.len() >= 22, "128 bits as text: {:?}", first.token);

    let (revision, list) = rig.list();
    for wrong in [other.token.as_str(), "nonsense", ""] {
        let update = with(&sent, |content| content.weight = 8);
        let said = said(&*rig.engine, id, &update, proof_of(wrong), Some(wrong)).await;
        assert_eq!(said, vec![Some(Refusal::WrongToken(id)); 4], "{wrong:?}");
        let answer = within("an answer", rig.deregister(Target::Id(id), proof_of(wrong))).await;
        assert_eq!(answer.err(), Some(Refusal::WrongToken(id)));
    }
    assert_eq!(rig.list(), (revision, list), "refusals change nothing");

    let good = said(&*rig.engine, id, &sent, proof_of(&first.token), Some(&first.token)).await;
    assert_eq!(good, vec![None; 4]);
    let none = said(&*rig.engine, id, &sent, proof(), None).await;
    assert_eq!(none, vec![None; 4], "nobody has to send one");
    assert_eq!(rig.list().0, revision);
}

pub async fn a_token_can_be_required<S: Subject>() {
    let leases = LeaseConfig { require_lease_token: true, ..Settings::default().leases };
    let rig = Rig::<S>::with(Settings { leases, ..Settings::default() }).await;
    let sent = full("guarded", "http://guarded:1");
    let first = rig.registered(sent.clone()).await;
    let id = first.instance.id;
    let none = said(&*rig.engine, id, &sent, proof(), None).await;
    assert_eq!(none, vec![Some(Refusal::TokenRequired(id)); 4]);
    for target in [Target::Id(id), named("guarded")] {
        let answer = within("an answer", rig.deregister(target, proof())).await;
        assert_eq!(answer.err(), Some(Refusal::TokenRequired(id)));
    }
    let good = said(&*rig.engine, id, &sent, proof_of(&first.token), Some(&first.token)).await;
    assert_eq!(good, vec![None; 4]);

    // Whoever held the token of a lapsed one may be dead: the pair is free to register, and to
    // nothing else.
    let lapsed = rig.lapsed(replica("lapsed", "http://lapsed:1")).await;
    let id = lapsed.instance.id;
    assert_eq!(rig.renewed(id).await, Err(Refusal::TokenRequired(id)));
    assert_eq!(rig.attached(id).await, Err(Refusal::TokenRequired(id)));
    assert_eq!(rig.deregistered(id).await, Err(Refusal::TokenRequired(id)));
    let wrong = Registration { token: Some("wrong".to_owned()), ..replica("lapsed", "http://lapsed:1") };
    assert_eq!(rig.try_register(wrong).await.err(), Some(Refusal::WrongToken(id)));
    let back = rig.registered(replica("lapsed", "http://lapsed:1")).await;
    assert_eq!((back.outcome, back.instance.id), (Outcome::Revived, id));
    let old = Proof { token: Some(hash_token(&lapsed.token)), ..proof() };
    let answer = within("an answer", rig.renew(Target::Id(id), old)).await;
    assert_eq!(answer.err(), Some(Refusal::WrongToken(id)), "it has another one now");
    assert!(within("an answer", rig.renew(Target::Id(id), proof_of(&back.token))).await.is_ok());
}

pub async fn a_registration_without_its_token_gets_another<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let sent = full("rotated", "http://rotated:1");
    let first = rig.registered(sent.clone()).await;
    let id = first.instance.id;
    let renewed =
        async |token: &str| within("an answer", rig.renew(Target::Id(id), proof_of(token))).await.err();

    // The answer to a retry carries a good one, even if nothing else is new.
    let retry = rig.registered(sent.clone()).await;
    assert_eq!(retry.outcome, Outcome::Unchanged);
    assert_ne!(retry.token, first.token);
    assert_eq!(renewed(&first.token).await, Some(Refusal::WrongToken(id)));
    assert_eq!(renewed(&retry.token).await, None);

    // Whoever sends it keeps it.
    let kept = Registration { token: Some(retry.token.clone()), ..with(&sent, |content| content.weight = 9) };
    let kept = rig.registered(kept).await;
    assert_eq!((kept.outcome, &kept.token), (Outcome::Updated, &retry.token));
    assert_eq!(renewed(&retry.token).await, None);

    let updated = rig.registered(sent).await;
    assert_eq!(updated.outcome, Outcome::Updated);
    assert_eq!(renewed(&retry.token).await, Some(Refusal::WrongToken(id)));
    assert_eq!(renewed(&updated.token).await, None);
}
