//! Subjects that are a server and a load.

use std::rc::Rc;

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;

use super::{Bench, Result, Sample, Subject, process::Server};

/// Starts a server.
pub type Start = Box<dyn Fn(&Bench) -> Result<Server>>;

/// Loads a server, and measures it meanwhile.
pub type Load = Rc<dyn for<'a> Fn(&'a Bench, &'a Server) -> LocalBoxFuture<'a, Result<Sample>>>;

/// A server that is started anew for every measurement.
pub struct Served {
    name: String,
    settings: String,
    start: Start,
    load: Load,
}

impl Served {
    /// A subject of any kind.
    #[allow(clippy::new_ret_no_self, reason = "subjects are handled in boxes only")]
    pub fn new(
        name: impl Into<String>,
        settings: impl Into<String>,
        start: impl Fn(&Bench) -> Result<Server> + 'static,
        load: &Load,
    ) -> Box<dyn Subject> {
        let (name, settings) = (name.into(), settings.into());
        Box::new(Self { name, settings, start: Box::new(start), load: Rc::clone(load) })
    }

    /// A server that does nothing.
    pub fn null(kind: &'static str, load: &Load) -> Box<dyn Subject> {
        Self::new(null_name(kind), "does nothing", move |_| Server::null(kind), load)
    }

    /// leasehold that keeps its registrations so; and another build of it, if one was named.
    pub fn leasehold(bench: &Bench, keeps: Keeps, load: &Load) -> Vec<Box<dyn Subject>> {
        let own = Self::new(
            keeps.name(),
            keeps.promise(),
            move |bench| Server::leasehold(bench, keeps.args()),
            load,
        );
        let other = bench.peers.leasehold.clone().map(|binary| {
            let start = move |bench: &Bench| Server::leasehold_of(&binary, bench, keeps.args());
            Self::new(format!("other {}", keeps.name()), keeps.promise(), start, load)
        });
        std::iter::once(own).chain(other).collect()
    }
}

/// The name of a null server's subject.
pub fn null_name(kind: &str) -> String {
    format!("null {kind}")
}

/// How leasehold keeps registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// `--store memory`.
    Memory,
    /// `--durability os`.
    Os,
    /// `--durability sync`, the default.
    Sync,
}

impl Keeps {
    /// The subject's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "leasehold (memory)",
            Self::Os => "leasehold (os)",
            Self::Sync => "leasehold (sync)",
        }
    }

    /// What is lost in a crash.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Memory => "a crash loses everything",
            Self::Os => "a crash loses up to the last second",
            Self::Sync => "a crash loses nothing acknowledged",
        }
    }

    /// What `serve` is told.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["--store", "memory"],
            Self::Os => &["--durability", "os"],
            Self::Sync => &["--durability", "sync"],
        }
    }
}

#[async_trait(?Send)]
impl Subject for Served {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn settings(&self) -> String {
        self.settings.clone()
    }

    async fn measure(&mut self, bench: &Bench) -> Result<Sample> {
        let server = (self.start)(bench)?;
        (self.load)(bench, &server).await
    }
}
