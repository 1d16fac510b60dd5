//! What these tests share: a consumer that writes down all it is told, and one that looks all the time.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use leasehold::{
    client::{Change, Changes, Client, Filter, Freshness, Snapshot, Update, Watch},
    proto::{RegisterRequest, RegisterResponse, event::Type as Kind},
};

use crate::support::{Serve, Server, data_dir::DataDir, replica, within};

/// For what a watch notices by itself: two bookmarks that do not come, and a few tries.
pub const NOTICED: Duration = Duration::from_mins(1);

/// A registration that outlives every test.
pub fn lasting(service: &str, number: usize) -> RegisterRequest {
    let url = format!("http://{service}.test:{}", number + 1);
    RegisterRequest { ttl_seconds: 24 * 60 * 60, ..replica(service, &url) }
}

pub async fn register(server: &Server, service: &str, number: usize) -> RegisterResponse {
    server.register(lasting(service, number)).await
}

/// A durable server, there or where it was.
pub fn durable(dir: &DataDir, at: Option<SocketAddr>) -> Server {
    let serve = Serve::new().on(dir);
    at.into_iter().fold(serve, Serve::at).start()
}

/// A watch of everything at this address.
pub fn watch(addr: SocketAddr) -> Watch {
    Client::new(addr.to_string()).unwrap().watch(Filter::all())
}

/// Waits until the freshness is as wished; it.
pub async fn until_fresh(watch: &Watch, what: &str, wish: impl Fn(&Freshness) -> bool) -> Freshness {
    let mut watch = watch.clone();
    let search = async {
        loop {
            let freshness = watch.freshness();
            if wish(&freshness) {
                return freshness;
            }
            watch.changed().await;
        }
    };
    within(what, NOTICED, search).await
}

pub async fn until_live(watch: &Watch) {
    until_fresh(watch, "a live watch", |freshness| *freshness == Freshness::Live).await;
}

/// Waits until it is stale; why.
pub async fn until_stale(watch: &Watch) -> String {
    let stale = until_fresh(watch, "a stale watch", |it| matches!(it, Freshness::Stale { .. })).await;
    match stale {
        Freshness::Stale { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// Waits until what is shown is as wished.
pub async fn until_shown(watch: &Watch, what: &str, wish: impl Fn(&Snapshot) -> bool) {
    let mut watch = watch.clone();
    let search = async {
        while !wish(&watch.current()) {
            watch.changed().await;
        }
    };
    within(what, NOTICED, search).await;
}

pub fn ids(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.iter().map(|instance| instance.id.clone()).collect()
}

/// The next so many changes; no snapshot may come in between.
pub async fn told(changes: &mut Changes, count: usize) -> Vec<(Kind, String)> {
    let mut seen: Vec<Change> = Vec::new();
    let search = async {
        while seen.len() < count {
            match changes.next().await {
                Update::Changes(more) => seen.extend(more.iter().cloned()),
                Update::Snapshot(_) => panic!("a snapshot among changes, after {seen:?}"),
            }
        }
    };
    within("the last change", NOTICED, search).await;
    assert!(seen.windows(2).all(|two| two[0].revision <= two[1].revision), "out of order: {seen:?}");
    seen.iter().map(|change| (change.kind, change.instance.id.clone())).collect()
}

/// The snapshot that comes next.
pub async fn snapshot(changes: &mut Changes) -> Arc<Snapshot> {
    match within("a snapshot", NOTICED, changes.next()).await {
        Update::Snapshot(snapshot) => snapshot,
        Update::Changes(changes) => panic!("changes before a snapshot: {changes:?}"),
    }
}

/// Looks at a watch all the time, on a thread of its own: it must never see anything but `allowed`.
pub struct Poller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Poller {
    pub fn start(watch: &Watch, allowed: impl Fn(&Snapshot) -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (watch, stopped) = (watch.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                let shown = watch.current();
                assert!(allowed(&shown), "{} instances are shown", shown.len());
                looks += 1;
                // As often as the other tests leave room for.
                thread::yield_now();
                if looks % 1_000 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            looks
        });
        Self { stop, thread: Some(thread) }
    }

    /// It saw nothing else.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let looks = self.thread.take().unwrap().join().expect("nothing else was shown");
        assert!(looks > 0);
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
