//! Whom a service's name means: exactly one, or nobody.

use leasehold::{
    engine::{Proof, Refusal, Registration, Renewed},
    types::{Actor, LeaseId},
};

use crate::{
    rig::{OTHER_PEER, PEER, Rig, named, proof, replica, within},
    subject::Subject,
};

impl<S> Rig<S> {
    /// Renews by the name `pair`; says whom.
    async fn meant(&self, proof: Proof) -> Result<LeaseId, Refusal> {
        within("an answer", self.renew(named("pair"), proof)).await.map(|Renewed { id, .. }| id)
    }

    /// Ends by the name `pair`; says whom.
    async fn ended(&self, proof: Proof) -> Result<LeaseId, Refusal> {
        Ok(within("an answer", self.deregister(named("pair"), proof)).await?.instance.id)
    }
}

fn stranger_here() -> Proof {
    Proof { token: None, by: Actor::at(OTHER_PEER) }
}

fn ambiguous(mut ids: Vec<LeaseId>) -> Result<LeaseId, Refusal> {
    ids.sort();
    let name = replica("pair", "http://pair").content.service().clone();
    Err(Refusal::Ambiguous { name, count: ids.len(), ids })
}

pub async fn a_name_means_one_or_nobody<S: Subject>() {
    let rig = Rig::<S>::start().await;
    assert!(matches!(rig.meant(proof()).await, Err(Refusal::NotFound(_))), "nobody bears it");
    assert!(matches!(rig.ended(proof()).await, Err(Refusal::NotFound(_))));

    let first = rig.registered(replica("pair", "http://pair:1")).await.instance.id;
    assert_eq!(rig.meant(proof()).await, Ok(first));
    assert_eq!(rig.meant(stranger_here()).await, Ok(first), "the only one, wherever the caller is");

    let second = rig.registered(replica("pair", "http://pair:2")).await.instance.id;
    let both = || ambiguous(vec![first, second]);
    assert_eq!(rig.meant(proof()).await, both());
    assert_eq!(rig.ended(proof()).await, both());
    assert_eq!(rig.ended(stranger_here()).await, both());
    assert_eq!(rig.ids().len(), 2, "nobody is ended by guess");

    // One that was deregistered is a candidate still: else its sibling would be ended by a retry.
    assert!(rig.deregistered(first).await.is_ok());
    assert_eq!(rig.ended(proof()).await, both());
    assert_eq!(rig.ids(), [second]);
}

pub async fn a_caller_means_its_own<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let at = |url: &str, peer| Registration { by: Actor::at(peer), ..replica("pair", url) };
    let own = rig.registered(at("http://pair:1", PEER)).await.instance.id;
    let other = rig.registered(at("http://pair:2", OTHER_PEER)).await.instance.id;
    assert_eq!(rig.meant(proof()).await, Ok(own));
    assert_eq!(rig.meant(stranger_here()).await, Ok(other));
    let stranger = Proof { token: None, by: Actor::at("2001:db8::1".parse().unwrap()) };
    assert_eq!(rig.meant(stranger).await, ambiguous(vec![own, other]));

    // Where its last Register came from counts, with or without its token.
    let moved = rig.registered(at("http://pair:2", PEER)).await;
    assert_eq!(rig.meant(proof()).await, ambiguous(vec![own, other]));
    assert_eq!(rig.meant(stranger_here()).await, ambiguous(vec![own, other]));
    rig.registered(Registration { token: Some(moved.token), ..at("http://pair:2", OTHER_PEER) }).await;
    assert_eq!(rig.ended(stranger_here()).await, Ok(other));
    assert_eq!(rig.ids(), [own]);
    assert!(
        matches!(rig.ended(stranger_here()).await, Err(Refusal::NotFound(_))),
        "its own is ended already"
    );
    assert_eq!(rig.ended(proof()).await, Ok(own));
}

pub async fn a_name_means_the_lapsed_too<S: Subject>() {
    let rig = Rig::<S>::start().await;
    let lapsed = rig.lapsed(replica("pair", "http://pair:1")).await.instance.id;
    assert_eq!(rig.meant(proof()).await, Ok(lapsed), "revived by its name");
    assert_eq!(rig.ids(), [lapsed]);
    rig.lapsed(replica("pair", "http://pair:1")).await;

    let second = rig.registered(replica("pair", "http://pair:2")).await.instance.id;
    assert_eq!(rig.meant(proof()).await, ambiguous(vec![lapsed, second]));
    assert_eq!(rig.ids(), [second], "nobody is revived by guess");
}

pub async fn a_pair_counts_once_in_a_name<S: Subject>() {
    let rig = Rig::<S>::start().await;
    for _ in 0..3 {
        let id = rig.registered(replica("pair", "http://pair:1")).await.instance.id;
        assert_eq!(rig.ended(proof()).await, Ok(id), "by its newest id");
        assert!(matches!(rig.ended(proof()).await, Err(Refusal::NotFound(_))), "once");
        assert!(matches!(rig.meant(proof()).await, Err(Refusal::NotFound(_))));
    }
}
