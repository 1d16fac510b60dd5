//! What the promises share: an engine that can be ended and started again, what clients
//! send it, and bounded waits. Start with [`Rig`].

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    ops::{AsyncFn, Deref},
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold::{
    catalog::{Kind, Reason},
    engine::{Engine, Proof, Refusal, Registered, Registration, StreamEnd, StreamId, embedded::hash_token},
    types::{
        Actor, Content, Filter, Info, Instance, LeaseId, Moment, Parts, Revision, ServiceName, ServiceUrl,
        Target, Ttl,
    },
};
use prost::Message as _;
use prost_types::{Struct, Value, value};

use crate::{
    follower::{Follower, Seen},
    subject::{End, Settings, Subject},
};

/// For what should happen at once, and for a TTL to end; long, because machines are shared.
pub const SOON: Duration = Duration::from_secs(30);
/// The TTL of a [`brief`] registration.
pub const TTL: Duration = Duration::from_secs(1);
/// Where callers call from, unless it is said.
pub const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// A second caller.
pub const OTHER_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// A running engine of a subject.
pub struct Rig<S> {
    /// What runs now.
    pub engine: Arc<dyn Engine>,
    /// Before it was started.
    pub started: Instant,
    /// When the one before it had ended.
    pub ended: Instant,
    settings: Settings,
    subject: S,
}

impl<S> Deref for Rig<S> {
    type Target = dyn Engine;

    fn deref(&self) -> &Self::Target {
        &*self.engine
    }
}

impl<S: Subject> Rig<S> {
    /// The first engine in a place.
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// The same, set up like this.
    pub async fn with(settings: Settings) -> Self {
        let mut subject = S::new();
        let started = Instant::now();
        let engine = subject.start(&settings).await;
        Self { engine, started, ended: started, settings, subject }
    }

    /// Ends the engine, and starts the next one.
    pub async fn restart(&mut self, end: End) {
        self.restart_after(end, Duration::ZERO).await;
    }

    /// The same, but that there is no engine for some time.
    pub async fn restart_after(&mut self, end: End, pause: Duration) {
        match end {
            End::Stop => self.subject.stop().await,
            End::Kill => self.subject.kill().await,
        }
        self.ended = Instant::now();
        tokio::time::sleep(pause).await;
        self.started = Instant::now();
        self.engine = self.subject.start(&self.settings).await;
    }

    /// The moment before which nothing counts that this engine says of leases.
    pub fn resumed(&self) -> Moment {
        let now = self.now();
        Moment(now.0 - self.started.elapsed().as_micros() as u64)
    }
}

impl<S> Rig<S> {
    /// Registers one replica, which must not be refused; whatever is answered can be read.
    pub async fn registered(&self, registration: Registration) -> Registered {
        self.try_register(registration).await.expect("it is registered")
    }

    /// Registers one replica.
    pub async fn try_register(&self, registration: Registration) -> Result<Registered, Refusal> {
        let mut answers = within("an answer", self.register(vec![registration])).await?;
        assert_eq!(answers.len(), 1, "one answer for one registration");
        let answer = answers.remove(0);
        if let Ok(registered) = &answer {
            let head = self.view().read().revision();
            assert!(
                head >= registered.instance.revision,
                "answered {registered:?}, and readers see {head:?} only"
            );
        }
        answer
    }

    /// Registers a brief one and waits until it has lapsed.
    pub async fn lapsed(&self, registration: Registration) -> Registered {
        let mut follower = Follower::of(&self.engine);
        let registered = self.registered(Registration { ttl_wish: 1, ..registration }).await;
        follower.until_kind("it to lapse", registered.instance.id, Kind::Expired).await;
        registered
    }

    /// What is listed, and the revision at which it is.
    pub fn list(&self) -> (Revision, Vec<Instance>) {
        let catalog = self.view().read();
        (catalog.revision(), catalog.matching(&Filter::default()).cloned().collect())
    }

    /// The ids of what is listed.
    pub fn ids(&self) -> Vec<LeaseId> {
        self.list().1.iter().map(|instance| instance.id).collect()
    }

    /// One instance that is listed.
    pub fn get(&self, id: LeaseId) -> Option<Instance> {
        let service = self.engine.service_of(id)?;
        self.view().read().get(&service, id).cloned()
    }

    /// Renews by an id, with no token.
    pub async fn renewed(&self, id: LeaseId) -> Result<(), Refusal> {
        let renewed = within("an answer", self.renew(Target::Id(id), proof())).await?;
        assert_eq!(renewed.id, id);
        assert_eq!(
            renewed.times.deadline,
            renewed.times.renewed.plus_micros(Ttl(renewed.ttl_seconds).micros())
        );
        Ok(())
    }

    /// Deregisters by an id, with no token.
    pub async fn deregistered(&self, id: LeaseId) -> Result<Instance, Refusal> {
        Ok(within("an answer", self.deregister(Target::Id(id), proof())).await?.instance)
    }

    /// Attaches one lease to a new stream; says why it could not be.
    pub async fn attached(&self, id: LeaseId) -> Result<StreamId, Refusal> {
        let stream = self.open_stream(false);
        let mut refused = within("an answer", self.attach(stream, vec![(id, None)], by())).await?;
        match refused.pop() {
            None => Ok(stream),
            Some((refused, refusal)) => {
                assert_eq!(refused, id);
                Err(refusal)
            }
        }
    }

    /// Attaches these leases to a stream and ends it as their client, as [`Rig::dropped_over`].
    pub async fn dropped(&self, follower: &mut Follower, ids: &[LeaseId]) -> (Instant, Vec<Seen>) {
        self.dropped_over(false, follower, ids).await
    }

    /// Attaches these leases to a stream, which may be a proxy's, and ends it as their client, until the engine takes
    /// that for the client's doing: for 10 s after a stall of its own, or a start, it
    /// does not. Returns when that was, and what was told of each of them, in order.
    pub async fn dropped_over(
        &self,
        proxied: bool,
        follower: &mut Follower,
        ids: &[LeaseId],
    ) -> (Instant, Vec<Seen>) {
        let start = Instant::now();
        loop {
            let stream = self.open_stream(proxied);
            let leases = ids.iter().map(|id| (*id, None)).collect();
            assert_eq!(within("an answer", self.attach(stream, leases, by())).await, Ok(vec![]));
            let ended = Instant::now();
            self.end_stream(stream, StreamEnd::Client, self.now(), by());
            follower.settle(self).await;
            let dropped = |seen: &&Seen| seen.at >= ended && seen.event.reason == Reason::StreamDropped;
            let seen: Vec<&Seen> = follower.seen.iter().filter(dropped).collect();
            if !seen.is_empty() {
                let of = |id: &LeaseId| {
                    let mut told = seen.iter().filter(|seen| seen.id() == *id);
                    let first = Seen::clone(told.next().expect("each is told"));
                    assert!(told.next().is_none(), "once: {seen:?}");
                    first
                };
                return (ended, ids.iter().map(of).collect());
            }
            assert!(start.elapsed() < SOON * 2, "waited {:?} for a stream's end to count", SOON * 2);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

// === what clients send ===

/// A registration that says nothing but where it is.
pub fn replica(service: &str, url: &str) -> Registration {
    let content = Content::from(Parts {
        service: ServiceName::fold(service).unwrap(),
        url: ServiceUrl::parse(url).unwrap(),
        info: Info::default(),
        labels: BTreeMap::new(),
        zone: String::new(),
        weight: 0,
    });
    Registration { client_id: None, content, ttl_wish: 0, drop_grace: None, token: None, by: by() }
}

/// The same, with a TTL of 1 s.
pub fn brief(service: &str, url: &str) -> Registration {
    Registration { ttl_wish: 1, ..replica(service, url) }
}

/// A registration with every field set.
pub fn full(service: &str, url: &str) -> Registration {
    let registration = with(&replica(service, url), |parts| {
        parts.info = info("team", "größer 🦀");
        parts.labels =
            [("tier".to_owned(), "gold".to_owned()), ("région".to_owned(), "eu".to_owned())].into();
        "eu-1".clone_into(&mut parts.zone);
        parts.weight = 7;
    });
    Registration { client_id: Some("own-id".into()), ttl_wish: 900, ..registration }
}

/// The same registration with other content.
pub fn with(registration: &Registration, change: impl FnOnce(&mut Parts)) -> Registration {
    let mut parts = registration.content.view().to_parts();
    change(&mut parts);
    Registration { content: parts.into(), ..registration.clone() }
}

/// An info of one field.
pub fn info(key: &str, value: &str) -> Info {
    let value = Value { kind: Some(value::Kind::StringValue(value.to_owned())) };
    Info(Struct { fields: [(key.to_owned(), value)].into() }.encode_to_vec().into())
}

/// The usual caller.
pub fn by() -> Actor {
    Actor::at(PEER)
}

/// No token, from the usual caller.
pub fn proof() -> Proof {
    Proof { token: None, by: by() }
}

/// This token.
pub fn proof_of(token: &str) -> Proof {
    Proof { token: Some(hash_token(token)), by: by() }
}

/// A target by its name.
pub fn named(service: &str) -> Target {
    Target::Name(ServiceName::fold(service).unwrap())
}

/// What an engine says of a registration that is not there.
pub fn not_found<T>(answer: &Result<T, Refusal>) -> bool {
    matches!(answer, Err(Refusal::NotFound(_)))
}

// === waiting ===

/// A future that must be ready soon.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("waited {SOON:?} for {what}"))
}

/// Waits until there is something.
pub async fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < SOON, "waited {SOON:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Renews every 100 ms, for three TTLs. Returns when the last renewal was sent; none if this
/// machine was too busy to keep a client within its TTL, so that nothing can be said.
pub async fn keep_up(renew: impl AsyncFn()) -> Option<Instant> {
    let start = Instant::now();
    let mut sent = start;
    while start.elapsed() < TTL * 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let last = std::mem::replace(&mut sent, Instant::now());
        renew().await;
        if last.elapsed() >= TTL {
            return None;
        }
    }
    Some(sent)
}
