//! A watch as a value: the instances of a service, always at hand.
//!
//! `set.rs` makes a set of a watch's messages, without connection or clock; `follow.rs` is the task
//! that brings it the messages; `changes.rs` tells of each change.

mod changes;
mod follow;
mod set;
mod snapshot;

use std::{
    collections::BTreeMap,
    fmt,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{broadcast, watch},
};

use self::{
    changes::Told,
    follow::{Publisher, follow},
};
pub use self::{
    changes::{Changes, Update},
    set::Change,
    snapshot::Snapshot,
};
use super::Client;
use crate::proto::WatchRequest;

/// Which instances are meant; none named: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these services; none: all. At most 1,000.
    pub services: Vec<String>,
    /// All of these labels. At most 64.
    pub labels: BTreeMap<String, String>,
}

/// What lives, kept up to date in the background for as long as a clone of it, a [`Changes`] or a
/// channel made of it exists. Cheap to clone.
///
/// What it shows is never empty because of an error: until the registry was heard it is empty and
/// [`Freshness::Empty`] says so; from then on the last set that was whole is shown, whatever becomes of
/// the registry or the way to it.
#[derive(Clone, Debug)]
pub struct Watch {
    view: watch::Receiver<View>,
    told: broadcast::Sender<Told>,
}

/// How far what a [`Watch`] shows can be relied upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was read yet, so nothing is shown.
    Empty {
        /// Why the last try failed, if there was one.
        why: Option<String>,
    },
    /// The registry tells of each change as it happens.
    Live,
    /// It does not, at the moment. What is shown was true at `since`.
    Stale {
        /// When the registry was last heard to have no other changes.
        since: Instant,
        /// What is in the way.
        why: String,
    },
}

/// What a [`Watch`] sees.
#[derive(Clone, Debug)]
struct View {
    snapshot: Arc<Snapshot>,
    /// How often the set changed; 0: there was none yet.
    version: u64,
    freshness: Freshness,
    /// When what is shown was last known to be true; until then, when the watch began.
    heard: Instant,
}

impl Client {
    /// Watches what lives, from now on. Returns at once: a registry that is away is tried until it is there.
    /// A task on the current tokio runtime keeps it up to date. Without one, or when that has ended, the
    /// freshness says so.
    ///
    /// ```
    /// # async fn registry() -> std::net::SocketAddr {
    /// #     use leasehold::{audit::Audit, config::*, reload::Asking, server::{self, Listeners}};
    /// #     let store = StoreConfig { kind: StoreKind::Memory, ..StoreConfig::default() };
    /// #     let config = Config { store, ..Config::default() };
    /// #     let main = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// #     let addr = main.local_addr().unwrap();
    /// #     let opened = server::open(config, Audit::open(None).unwrap()).await.unwrap();
    /// #     let listeners = Listeners { main, names: None };
    /// #     tokio::spawn(opened.run(listeners, Asking::default(), std::future::pending()));
    /// #     addr
    /// # }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let addr = registry().await;
    /// use leasehold::client::{Client, Filter, Freshness, Registration};
    ///
    /// let client = Client::new(format!("http://{addr}"))?;
    /// let lease = client.hold(Registration::new("orders", "http://10.0.0.7:8080").label("tier", "gold"));
    /// lease.registered().await?;
    ///
    /// let watch = client.watch(Filter::service("orders").label("tier", "gold"));
    /// watch.ready().await;
    /// for instance in watch.current().iter() {
    ///     assert_eq!(instance.url, "http://10.0.0.7:8080");
    /// }
    /// assert_eq!(watch.freshness(), Freshness::Live);
    /// # assert_eq!(watch.current().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, filter: Filter) -> Watch {
        let request = WatchRequest {
            service: filter.services,
            labels: filter.labels.into_iter().collect(),
            ..Default::default()
        };
        let (publisher, watch) = Publisher::unattended();
        let following = follow(self.dial.clone(), request, publisher);
        // Without a runtime it ends here, and says so.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(following);
        }
        watch
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { why: None } => f.write_str("empty: the registry was not heard yet"),
            Self::Empty { why: Some(why) } => write!(f, "empty: {why}"),
            Self::Live => f.write_str("live"),
            Self::Stale { since, why } => write!(f, "stale for {:.1?}: {why}", since.elapsed()),
        }
    }
}

impl Filter {
    /// All there is.
    pub fn all() -> Self {
        Self::default()
    }

    /// The instances of this service.
    pub fn service(name: impl Into<String>) -> Self {
        Self { services: vec![name.into()], ..Self::default() }
    }

    /// Of these, the ones with this label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }
}

impl Watch {
    /// What lives, as far as is known. Suspect instances are among it: their `status` says so.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.view.borrow().snapshot)
    }

    /// Waits until there is something to show: what lived when the registry was first heard, which may
    /// be nothing. Without end, should the registry never answer or refuse; [`Watch::freshness`] tells why.
    pub async fn ready(&self) -> Arc<Snapshot> {
        let mut view = self.view.clone();
        match view.wait_for(|view| view.version > 0).await {
            Ok(view) => Arc::clone(&view.snapshot),
            Err(_) => pending().await,
        }
    }

    /// Waits until the set or its freshness has changed since this was last called on this clone, or
    /// since it was cloned; the set. Several changes may be told as one: see [`Watch::changes`].
    pub async fn changed(&mut self) -> Arc<Snapshot> {
        if self.view.changed().await.is_err() {
            // Its runtime has ended; freshness says so.
            return pending().await;
        }
        Arc::clone(&self.view.borrow_and_update().snapshot)
    }

    /// Each change, in order and once.
    ///
    /// ```no_run
    /// # async fn example(watch: leasehold::client::Watch) {
    /// use leasehold::client::Update;
    ///
    /// let mut changes = watch.changes();
    /// loop {
    ///     match changes.next().await {
    ///         Update::Snapshot(all) => println!("there are {}", all.len()),
    ///         Update::Changes(some) => {
    ///             for change in some.iter() {
    ///                 println!("{:?} {:?} {}", change.kind, change.reason, change.instance.url);
    ///             }
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    pub fn changes(&self) -> Changes {
        Changes::of(self.clone())
    }

    /// How far what is shown can be relied upon.
    pub fn freshness(&self) -> Freshness {
        self.view.borrow().freshness.clone()
    }

    /// How long ago what is shown was last known to be true: the time since the registry told of a change, or
    /// that there was none, which it does every five seconds. Before the first set: the time since the
    /// watch began.
    pub fn staleness(&self) -> Duration {
        self.view.borrow().heard.elapsed()
    }
}
