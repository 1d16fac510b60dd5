//! A client that does anything.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use leasehold::{
    engine::{Refusal, Registration, StreamEnd, StreamId},
    types::{LeaseId, Target},
};

use crate::rig::{TTL, by, named, proof, replica, with, within};

use super::{
    ORDERS,
    record::{Life, Order, What},
    rng::Rng,
};

/// So many of the ids that were told last are talked about.
const KNOWN: usize = 24;
/// After so many orders there is a lull.
const BETWEEN_LULLS: usize = 120;
/// So many orders before the end, there is no rest any more.
const HURRY: usize = 40;

/// Gives orders until the life is over, or the engine takes none any more.
pub async fn client(life: Arc<Life>, mut rng: Rng) {
    let mut stream = None;
    while !life.over.load(Ordering::SeqCst) && !life.dead.load(Ordering::SeqCst) {
        let number = life.orders.fetch_add(1, Ordering::Relaxed);
        // Towards the end they hurry, so that it comes in the middle of something.
        let hurry = number + HURRY > ORDERS;
        if number % BETWEEN_LULLS == BETWEEN_LULLS - 1 && !hurry {
            *life.lull.lock() = Instant::now() + TTL + TTL / 5;
        }
        let lull = *life.lull.lock();
        tokio::time::sleep_until(lull.into()).await;
        let began = Instant::now();
        let what = match rng.below(100) {
            0..30 => register(&life, &mut rng, 1).await,
            30..38 => register(&life, &mut rng, 4).await,
            38..65 => renew(&life, &mut rng).await,
            65..78 => deregister(&life, &mut rng).await,
            78..90 => attach(&life, &mut rng, &mut stream).await,
            _ => {
                hold(&life, &mut rng, &mut stream);
                Ok(None)
            }
        };
        match what {
            Ok(what) => {
                life.log.lock().extend(what.map(|what| Order { began, ended: Instant::now(), what }));
            }
            // Nothing was changed by it.
            Err(Refusal::Closed) => return,
            Err(refusal) => panic!("{refusal}"),
        }
        let pause = rng.below(if hurry { 2 } else { 20 });
        tokio::time::sleep(Duration::from_millis(pause as u64)).await;
    }
}

type Done = Result<Option<What>, Refusal>;

impl Life {
    /// What was answered, if anybody was there to hear it; an error if no order is taken.
    fn heard<T>(&self, answer: Result<T, Refusal>) -> Result<Option<Result<T, Refusal>>, Refusal> {
        match answer {
            _ if self.dead.load(Ordering::SeqCst) => Ok(None),
            Err(refusal @ (Refusal::Closed | Refusal::Unavailable(_))) => Err(refusal),
            answer => Ok(Some(answer)),
        }
    }

    fn learn(&self, id: LeaseId) {
        let mut known = self.known.lock();
        known.push(id);
        let more = known.len().saturating_sub(KNOWN);
        known.drain(..more);
    }

    fn any_id(&self, rng: &mut Rng) -> LeaseId {
        let known = self.known.lock();
        if known.is_empty() { LeaseId(1) } else { rng.pick(&known) }
    }

    fn any_target(&self, rng: &mut Rng) -> Target {
        if rng.chance(1, 8) { named(&service(rng)) } else { Target::Id(self.any_id(rng)) }
    }
}

fn service(rng: &mut Rng) -> String {
    format!("s{}", rng.below(3))
}

/// Some registrations of other pairs each, of few pairs, so that clients meet.
async fn register(life: &Life, rng: &mut Rng, most: usize) -> Done {
    let mut sent: Vec<Registration> = Vec::new();
    for _ in 0..=rng.below(most) {
        let one = replica(&service(rng), &format!("http://h:{}", rng.below(8) + 1));
        let pair =
            |other: &Registration| (other.content.service().clone(), other.content.view().url().to_owned());
        if sent.iter().any(|other| pair(other) == pair(&one)) {
            continue;
        }
        let one = with(&one, |content| {
            content.weight = rng.below(3) as u32;
            let tier = rng.pick(&["gold", "plain"]);
            content.labels.insert("tier".to_owned(), tier.to_owned());
        });
        let ttl_wish = rng.pick(&[1, 1, 2, 3600]);
        let drop_grace = rng.pick(&[None, Some(Duration::ZERO), Some(TTL / 2), Some(TTL * 3600)]);
        sent.push(Registration { ttl_wish, drop_grace, ..one });
    }
    let answers = within("an answer", life.engine.register(sent.clone())).await;
    let answers = life.heard(answers)?.map(|answers| answers.expect("each has an answer of its own"));
    for registered in answers.iter().flatten().flatten() {
        life.learn(registered.instance.id);
        let head = life.engine.view().read().revision();
        assert!(head >= registered.instance.revision, "it can be read: {registered:?}, {head:?}");
    }
    Ok(Some(What::Register(sent, answers)))
}

async fn renew(life: &Life, rng: &mut Rng) -> Done {
    let target = life.any_target(rng);
    let answer = within("an answer", life.engine.renew(target.clone(), proof())).await;
    let answer = answer.map(|renewed| (renewed.id, life.engine.wall(renewed.times.renewed)));
    Ok(Some(What::Renew(target, life.heard(answer)?)))
}

async fn deregister(life: &Life, rng: &mut Rng) -> Done {
    let target = life.any_target(rng);
    let answer = within("an answer", life.engine.deregister(target.clone(), proof())).await;
    Ok(Some(What::Deregister(target, life.heard(answer)?)))
}

async fn attach(life: &Life, rng: &mut Rng, stream: &mut Option<StreamId>) -> Done {
    let stream = *stream.get_or_insert_with(|| life.engine.open_stream(false));
    let mut ids: Vec<LeaseId> = (0..=rng.below(3)).map(|_| life.any_id(rng)).collect();
    ids.sort_unstable();
    ids.dedup();
    let leases = ids.iter().map(|id| (*id, None)).collect();
    let answer = within("an answer", life.engine.attach(stream, leases, by())).await;
    let refused = life.heard(answer)?.map(|refused| refused.expect("each has an answer of its own"));
    Ok(Some(What::Attach(ids, refused)))
}

/// Beats, lets go, or ends.
fn hold(life: &Life, rng: &mut Rng, stream: &mut Option<StreamId>) {
    let Some(open) = *stream else { return };
    match rng.below(6) {
        0 => drop(life.engine.detach(open, &[life.any_id(rng)])),
        1 => {
            let end = rng.pick(&[StreamEnd::Client, StreamEnd::Client, StreamEnd::Server]);
            life.engine.end_stream(open, end, life.engine.now(), by());
            *stream = None;
        }
        _ => {
            life.engine.beat(open);
            life.engine.answer(open);
        }
    }
}
