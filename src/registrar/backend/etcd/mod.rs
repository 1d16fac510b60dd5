//! etcd 3: the JSON of a document under its path. In mode ttl the keys go with one lease of this host's,
//! which is kept alive; in mode prune they have none, and passes remove them.
//!
//! A key is this host's if its document says so. Every write and removal holds only for the revision that was
//! read, so a path that another host has taken meanwhile is left to it.

mod keys;
mod lease;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use self::{keys::Key, lease::HostLease};
use super::{Backend, CALL_TIMEOUT, CONCURRENT, Complaints, Done, Failure, Pass};
use crate::{
    client::cause::reason,
    registrar::{
        document::Document,
        plan::{Advertised, plan},
    },
};

/// Within this a connection is made, or the next member is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Documents in etcd.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<(String, Channel)>,
    /// The member that is asked; the next one after a failure.
    turn: usize,
    host: String,
    /// What every key begins with, its slash included.
    prefix: String,
    /// None in mode prune.
    ttl: Option<Duration>,
    lease: Option<HostLease>,
    /// What lies under the prefix, as far as we know.
    keys: BTreeMap<String, Key>,
    complaints: Complaints,
}

impl Etcd {
    /// Keeps documents of `host` under `prefix`, asking any of `members` (`host:port` each); with a `ttl` in
    /// mode ttl. An error: what is no address.
    pub fn new(
        members: &[String],
        host: String,
        prefix: &str,
        ttl: Option<Duration>,
    ) -> Result<Self, Failure> {
        let channel = |member: &String| {
            let endpoint = Endpoint::from_shared(format!("http://{member}")).map_err(|_| {
                Failure(format!("{member:?} is no address of an etcd; write etcd://host:2379"))
            })?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(CALL_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(CALL_TIMEOUT)
                .keep_alive_timeout(CALL_TIMEOUT);
            Ok((member.clone(), endpoint.connect_lazy()))
        };
        Ok(Self {
            members: members.iter().map(channel).collect::<Result<_, Failure>>()?,
            turn: 0,
            host,
            prefix: format!("{}/", prefix.trim_end_matches('/')),
            ttl,
            lease: None,
            keys: BTreeMap::new(),
            complaints: Complaints::default(),
        })
    }

    fn member(&self) -> &(String, Channel) {
        &self.members[self.turn % self.members.len()]
    }

    /// The lease that keys go with; 0 in mode prune.
    async fn lease(&mut self) -> Result<i64, Failure> {
        let Some(ttl) = self.ttl else { return Ok(0) };
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.lives()) {
            return Ok(lease.id());
        }
        let (member, channel) = self.member().clone();
        let channels = self.members.iter().map(|(_, channel)| channel.clone()).collect();
        let granted = HostLease::grant(channel, channels, ttl).await;
        let lease = granted.map_err(|status| failure(&member, "grant a lease", &status))?;
        let id = lease.id();
        self.lease = Some(lease);
        Ok(id)
    }

    async fn pass(&mut self, wanted: &[Document], pass: Pass) -> Result<Done, Failure> {
        let begun = Instant::now();
        let lease = self.lease().await?;
        let (member, channel) = self.member().clone();
        if pass == Pass::Whole {
            let listed = keys::list(&channel, &self.prefix).await;
            self.keys = listed.map_err(|status| failure(&member, "list what is there", &status))?;
        }
        let wanted = self.ours_to_write(wanted);
        // What is there, is as it should be, and goes with our lease is as wanted.
        let mine = self.keys.iter().filter(|(_, key)| key.host.as_deref() == Some(&self.host));
        let advertised: Advertised = mine
            .map(|(path, key)| {
                let same = wanted
                    .iter()
                    .find(|document| document.path == *path && key.lease == lease && key.holds(document));
                (path.clone(), same.cloned().unwrap_or_default())
            })
            .collect();
        let plan = plan(&wanted, &advertised, |document| document.path.clone());
        let revision =
            |keys: &BTreeMap<String, Key>, path: &str| keys.get(path).map_or(0, |key| key.revision);
        let puts: Vec<_> = plan
            .put
            .iter()
            .map(|document| keys::put(&channel, document, revision(&self.keys, &document.path), lease))
            .collect();
        let written = puts.len();
        self.take(&member, puts).await?;
        let setting = begun.elapsed();
        let removals: Vec<_> = plan
            .remove
            .iter()
            .map(|path| keys::delete(&channel, path.clone(), revision(&self.keys, path)))
            .collect();
        let removed = removals.len();
        self.take(&member, removals).await?;
        Ok(Done { written, removed, setting, pruning: begun.elapsed().saturating_sub(setting) })
    }

    /// Makes these changes, some at a time, and notes what came of them.
    async fn take(
        &mut self,
        member: &str,
        changes: Vec<impl Future<Output = Result<keys::Changed, Status>>>,
    ) -> Result<(), Failure> {
        let outcomes: Vec<_> = stream::iter(changes).buffer_unordered(CONCURRENT).collect().await;
        let mut overtaken = None;
        for outcome in outcomes {
            match outcome.map_err(|status| failure(member, "write", &status))? {
                keys::Changed::Written(path, key) => drop(self.keys.insert(path, key)),
                keys::Changed::Deleted(path) => drop(self.keys.remove(&path)),
                keys::Changed::Overtaken(path) => overtaken = Some(path),
            }
        }
        match overtaken {
            Some(path) => Err(Failure(format!("{path} was changed by another meanwhile; reading again"))),
            None => Ok(()),
        }
    }

    /// Those of `wanted` whose path no one else has: the others are left to who has them.
    fn ours_to_write(&mut self, wanted: &[Document]) -> Vec<Document> {
        self.complaints.keep(wanted);
        let mut ours = Vec::with_capacity(wanted.len());
        for document in wanted {
            match self.keys.get(&document.path) {
                Some(key) if key.host.as_deref() != Some(&self.host) => {
                    let who = key.host.as_deref().unwrap_or("something that is no document");
                    self.complaints.tell(&document.path, format!("the path is held by {who}"));
                }
                _ => {
                    self.complaints.settle(&document.path);
                    ours.push(document.clone());
                }
            }
        }
        ours
    }
}

#[async_trait]
impl Backend for Etcd {
    async fn apply(&mut self, wanted: &[Document], pass: Pass) -> Result<Done, Failure> {
        let done = self.pass(wanted, pass).await;
        if done.is_err() {
            self.turn += 1;
        }
        done
    }

    async fn leave(&mut self) {
        self.lease = None;
    }
}

fn failure(member: &str, tried: &str, status: &Status) -> Failure {
    Failure(format!("etcd at {member} does not {tried}: {}", reason(status)))
}
