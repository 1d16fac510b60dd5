//! The registrar's loop: what Docker tells, what the clock says and what came of calls, one after the other.
//! Every call is a future of its own that ends in a [`Wake`], so a backend that is slow or away keeps nobody
//! from hearing Docker, and the other way round.
//!
//! Nothing is advertised before Docker has told of every container once, and nothing is removed because it
//! does not answer.

use std::{collections::BTreeSet, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Settings,
    backend::{Backend, Done, Failure, Pass},
    docker::{CONCURRENT, Engine, EngineError, Event, EventKind, Observed},
    document::{Problem, Rules, documents},
    known::{Known, Turn},
    statsd::Statistics,
};
use crate::client::backoff::Backoff;

/// The longest wait before Docker is tried again. Its socket is on this host.
const ENGINE_RETRY_CAP: Duration = Duration::from_secs(1);
/// The longest wait before the backend is tried again.
const BACKEND_RETRY_CAP: Duration = Duration::from_secs(5);
/// Within this a pass that is under way at the end is waited for.
const LAST_PASS: Duration = Duration::from_secs(30);

/// Follows Docker and keeps the backend up to it, until `stop`. Nothing that it meets ends it before.
pub async fn run(settings: &Settings, backend: Box<dyn Backend>, stop: CancellationToken) {
    let mut agent = Agent::new(settings, backend);
    info!(socket = %settings.docker.display(), host = settings.rules.hostname, "following Docker");
    agent.connect(Duration::ZERO);
    while let Some(wake) = agent.next(&stop).await {
        agent.handle(wake);
    }
    agent.leave().await;
}

struct Agent {
    socket: PathBuf,
    rules: Rules,
    statistics: Statistics,
    ticks: Interval,
    work: FuturesUnordered<BoxFuture<'static, Wake>>,
    known: Known,

    engine: Option<Engine>,
    events: Option<BoxStream<'static, Result<Event, EngineError>>>,
    connected: Instant,
    engine_backoff: Backoff,
    engine_trouble: Option<String>,
    /// A pass is asking Docker.
    listing: bool,
    /// How many containers may be looked at in one moment.
    looks: Arc<Semaphore>,

    /// Away while it works.
    backend: Option<Box<dyn Backend>>,
    /// What it has to do next.
    owed: Option<Pass>,
    /// When the pass began that it has to do next.
    began: Instant,
    /// It failed, and is left alone for a while.
    resting: bool,
    backend_backoff: Backoff,
    backend_trouble: Option<String>,
    problems: BTreeSet<Problem>,
}

/// Everything that can happen to the registrar, but its end.
enum Wake {
    Tick,
    Connected(Result<Engine, EngineError>),
    /// None: Docker told the last one.
    Event(Option<Result<Event, EngineError>>),
    Looked(String, Turn, Result<Option<Observed>, EngineError>),
    Listed(Turn, Instant, Result<Vec<Observed>, EngineError>),
    Applied(Box<dyn Backend>, Pass, Instant, Result<Done, Failure>),
    Rested,
}

impl Agent {
    fn new(settings: &Settings, backend: Box<dyn Backend>) -> Self {
        let mut ticks = interval(settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket: settings.docker.clone(),
            rules: settings.rules.clone(),
            statistics: Statistics::new(settings.statsd.as_ref()),
            ticks,
            work: FuturesUnordered::new(),
            known: Known::default(),
            engine: None,
            events: None,
            connected: Instant::now(),
            engine_backoff: Backoff::new(ENGINE_RETRY_CAP),
            engine_trouble: None,
            listing: false,
            looks: Arc::new(Semaphore::new(CONCURRENT)),
            backend: Some(backend),
            owed: None,
            began: Instant::now(),
            resting: false,
            backend_backoff: Backoff::new(BACKEND_RETRY_CAP),
            backend_trouble: None,
            problems: BTreeSet::new(),
        }
    }

    /// What happens next; none: the end.
    async fn next(&mut self, stop: &CancellationToken) -> Option<Wake> {
        let event = async {
            match &mut self.events {
                Some(events) => Wake::Event(events.next().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            event = event => Some(event),
            Some(wake) = self.work.next() => Some(wake),
            _ = self.ticks.tick() => Some(Wake::Tick),
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Tick if self.engine.is_some() => self.list(),
            // What is advertised has to be kept up all the same.
            Wake::Tick => self.owe(Pass::Known),
            Wake::Connected(Ok(engine)) => {
                self.connected = Instant::now();
                self.events = Some(engine.events().boxed());
                self.engine = Some(engine);
                self.list();
            }
            Wake::Event(Some(Ok(event))) => self.event(event),
            Wake::Event(Some(Err(error))) | Wake::Connected(Err(error)) => self.lost(error.to_string()),
            Wake::Event(None) => self.lost("Docker ended its stream of events".to_owned()),
            Wake::Looked(id, turn, Ok(found)) => {
                if self.known.looked(&id, turn, found) {
                    self.owe(Pass::Known);
                }
            }
            Wake::Looked(_, _, Err(error)) => {
                debug!("{error}");
                self.list();
            }
            Wake::Listed(turn, began, listed) => self.listed(turn, began, listed),
            Wake::Applied(backend, pass, began, done) => self.applied(backend, pass, began, done),
            Wake::Rested => {
                self.resting = false;
                self.apply();
            }
        }
    }

    // === Docker ===

    fn connect(&mut self, wait: Duration) {
        let socket = self.socket.clone();
        let connected = async move {
            sleep(wait).await;
            Wake::Connected(Engine::connect(&socket).await)
        };
        self.work.push(connected.boxed());
    }

    /// Docker is away: what is known stays as it is.
    fn lost(&mut self, why: String) {
        self.engine = None;
        self.events = None;
        // What it told before is too old to remove anything by.
        if self.owed == Some(Pass::Whole) {
            self.owed = Some(Pass::Known);
        }
        if self.connected.elapsed() > ENGINE_RETRY_CAP {
            self.engine_backoff.reset();
        }
        let wait = self.engine_backoff.next(Duration::ZERO);
        self.engine_silent(why);
        self.connect(wait);
    }

    fn engine_silent(&mut self, why: String) {
        if self.engine_trouble.as_ref() != Some(&why) {
            warn!("{why}; what is advertised stays as it is");
            self.engine_trouble = Some(why);
        }
    }

    /// Asks what came of it. That a container ended is believed of an engine that answers: one that is being
    /// stopped takes its containers with it, and removes nothing.
    fn event(&mut self, event: Event) {
        debug!(id = event.id, kind = ?event.kind, "Docker tells");
        let (Some(turn), Some(engine)) = (self.known.event(&event), self.engine.clone()) else { return };
        let looks = Arc::clone(&self.looks);
        let looked = async move {
            let _permit = looks.acquire_owned().await;
            let found = match event.kind {
                EventKind::Ended => engine.answers().await.map(|()| None),
                EventKind::Changed => engine.container(&event.id).await,
            };
            Wake::Looked(event.id, turn, found)
        };
        self.work.push(looked.boxed());
    }

    /// Begins a pass, unless one is under way.
    fn list(&mut self) {
        let Some(engine) = self.engine.clone() else { return };
        if self.listing {
            return;
        }
        self.listing = true;
        let (turn, began) = (self.known.begin_pass(), Instant::now());
        let listed = async move { Wake::Listed(turn, began, engine.containers().await) };
        self.work.push(listed.boxed());
    }

    fn listed(&mut self, turn: Turn, began: Instant, listed: Result<Vec<Observed>, EngineError>) {
        self.listing = false;
        match listed {
            Ok(found) => {
                if self.engine_trouble.take().is_some() || !self.known.is_complete() {
                    info!(containers = found.len(), "Docker answers");
                }
                self.known.end_pass(turn, found);
                self.began = began;
                // A pass that was answered before the engine went away is as old as it is.
                self.owe(if self.engine.is_some() { Pass::Whole } else { Pass::Known });
            }
            Err(error) => {
                self.engine_silent(error.to_string());
                self.owe(Pass::Known);
            }
        }
    }

    // === the backend ===

    fn owe(&mut self, pass: Pass) {
        if self.owed != Some(Pass::Whole) {
            self.owed = Some(pass);
        }
        self.apply();
    }

    /// Has the backend do what it owes, as soon as it can.
    fn apply(&mut self) {
        if self.resting || !self.known.is_complete() || self.owed.is_none() || self.backend.is_none() {
            return;
        }
        let (Some(pass), Some(mut backend)) = (self.owed.take(), self.backend.take()) else { return };
        let wanted = documents(&self.known.containers(), &self.rules);
        self.tell_problems(wanted.problems);
        let (began, wanted) = (self.began, wanted.documents);
        let applied = async move {
            let done = backend.apply(&wanted, pass).await;
            Wake::Applied(backend, pass, began, done)
        };
        self.work.push(applied.boxed());
    }

    fn applied(
        &mut self,
        backend: Box<dyn Backend>,
        pass: Pass,
        began: Instant,
        done: Result<Done, Failure>,
    ) {
        self.backend = Some(backend);
        match done {
            Ok(done) => {
                self.backend_backoff.reset();
                if self.backend_trouble.take().is_some() {
                    info!("the backend answers again");
                }
                debug!(?pass, ?done, "the backend did as it was told");
                if done.written + done.removed > 0 {
                    info!(written = done.written, removed = done.removed, "advertised");
                }
                if pass == Pass::Whole {
                    self.statistics.timing("processing.ms", began.elapsed());
                    self.statistics.timing("services.set.ms", done.setting);
                    self.statistics.timing("services.pruning.ms", done.pruning);
                    self.statistics.gauge("alive", 1);
                }
                self.apply();
            }
            Err(Failure(why)) => {
                self.statistics.increment("backend.failures");
                if self.backend_trouble.as_ref() != Some(&why) {
                    warn!("{why}; trying again");
                    self.backend_trouble = Some(why);
                }
                // What it has may be anything between, so it has to be looked at again.
                self.owed = Some(if self.engine.is_some() { Pass::Whole } else { Pass::Known });
                self.resting = true;
                let wait = self.backend_backoff.next(Duration::ZERO);
                self.work.push(sleep(wait).map(|()| Wake::Rested).boxed());
            }
        }
    }

    /// Says each problem once for as long as it lasts.
    fn tell_problems(&mut self, problems: Vec<Problem>) {
        let problems: BTreeSet<Problem> = problems.into_iter().collect();
        for problem in problems.difference(&self.problems) {
            warn!("{problem}");
        }
        self.problems = problems;
    }

    /// What is advertised is left as its mode says; a pass that is under way has its end first.
    async fn leave(mut self) {
        let back = async {
            while self.backend.is_none() {
                match self.work.next().await {
                    Some(Wake::Applied(backend, ..)) => self.backend = Some(backend),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = timeout(LAST_PASS, pin!(back)).await;
        if let Some(mut backend) = self.backend.take() {
            backend.leave().await;
        }
        info!("the registrar ends");
    }
}
