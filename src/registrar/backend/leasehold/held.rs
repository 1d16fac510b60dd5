//! Mode ttl on a leasehold: a lease for each document, all on one stream of this host's. Were the host to
//! die, they would lapse by their TTL; a registrar that is started anew within it takes them up.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    super::{Backend, CALL_TIMEOUT, Complaints, Done, Failure, Pass},
    Key, wire,
};
use crate::{
    client::{Client, Ended, Lease, Registration, State},
    proto::Instance,
    registrar::document::Document,
};

/// Leases on a leasehold, one for each document.
#[derive(Debug)]
pub struct Held {
    client: Client,
    host: String,
    ttl: Duration,
    leases: HashMap<Key, Holding>,
    complaints: Complaints,
}

#[derive(Debug)]
struct Holding {
    document: Document,
    lease: Lease,
}

impl Held {
    /// Holds for `host` what it is told to, each for `ttl` after the last renewal, and as long after the loss
    /// of its stream.
    pub fn new(client: Client, host: String, ttl: Duration) -> Self {
        Self { client, host, ttl, leases: HashMap::new(), complaints: Complaints::default() }
    }

    fn registration(&self, document: &Document) -> Registration {
        wire::request(document, self.ttl, Some(self.ttl)).into()
    }

    fn hold(&mut self, document: &Document) {
        let lease = self.client.hold(self.registration(document));
        self.leases.insert(Key::of(document), Holding { document: document.clone(), lease });
    }

    /// Holds what is wanted; how many were begun or changed.
    fn take_up(&mut self, wanted: &[Document], pass: Pass) -> usize {
        let mut written = 0;
        for document in wanted {
            let again = match self.leases.get_mut(&Key::of(document)) {
                None => true,
                // What was refused once may be taken now; whole passes ask again.
                Some(holding) if matches!(holding.lease.state(), State::Ended(Ended::Refused(_))) => {
                    pass == Pass::Whole || holding.document != *document
                }
                Some(holding) if holding.document != *document => {
                    holding.document = document.clone();
                    holding.lease.update(wire::request(document, self.ttl, Some(self.ttl)).into());
                    written += 1;
                    false
                }
                Some(_) => false,
            };
            if again {
                self.hold(document);
                written += 1;
            }
        }
        written
    }

    /// Lets go of what is not wanted any more; how many those were.
    async fn let_go(&mut self, wanted: &[Document]) -> Result<usize, Failure> {
        let wanted: BTreeSet<(&str, &str)> =
            wanted.iter().map(|document| (document.service.as_str(), document.url.as_str())).collect();
        let gone: Vec<Holding> = self
            .leases
            .extract_if(|key, _| !wanted.contains(&(key.service.as_str(), key.url.as_str())))
            .map(|(_, holding)| holding)
            .collect();
        let removed = gone.len();
        let ends = gone.into_iter().map(|holding| timeout(CALL_TIMEOUT, holding.lease.deregister()));
        for end in join_all(ends).await {
            let why = match end {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(_) => "no answer".to_owned(),
            };
            return Err(Failure(format!("cannot deregister what ended at {}: {why}", self.client)));
        }
        Ok(removed)
    }

    /// Waits until each lease is in the registry or will not be; the ids of those that are.
    async fn settle(&mut self) -> Result<BTreeSet<String>, Failure> {
        let until = Instant::now() + CALL_TIMEOUT;
        let (mut ids, mut failed) = (BTreeSet::new(), None);
        for holding in self.leases.values() {
            let mut states = holding.lease.states();
            let decided = |state: &State| !matches!(state, State::Pending { why: None });
            // Whether it timed out or not, the state says what there is to say.
            let _ = timeout_at(until, states.wait_for(decided)).await;
            let path = &holding.document.path;
            match holding.lease.state() {
                State::Registered { id, .. } => {
                    match holding.lease.refusal() {
                        Some(why) => self.complaints.tell(path, format!("as it is now: {why}")),
                        None => self.complaints.settle(path),
                    }
                    ids.insert(id);
                }
                State::Ended(Ended::Refused(why)) => self.complaints.tell(path, why),
                State::Ended(_) => {}
                State::Pending { why } => failed = Some(why.unwrap_or_else(|| "no answer".to_owned())),
                State::AtRisk { why, .. } | State::Lost { why, .. } => failed = Some(why),
            }
        }
        match failed {
            Some(why) => Err(Failure(format!("cannot keep registered at {}: {why}", self.client))),
            None => Ok(ids),
        }
    }

    /// Removes what an earlier process of this host left, and takes back what another process of it took
    /// over and does not hold any more. What another host took over is left to it.
    async fn prune(&mut self, ids: &BTreeSet<String>) -> Result<usize, Failure> {
        let listed = wire::listed(&self.client, &self.host).await?;
        let unheld = self.leases.values().filter(|holding| matches!(holding.lease.state(), State::Ended(_)));
        let unheld: Vec<Document> = unheld.map(|holding| holding.document.clone()).collect();
        let is_of = |instance: &Instance, document: &Document| {
            instance.url == document.url && wire::text(instance, "id") == document.id
        };
        let stale = listed.iter().filter(|instance| {
            !ids.contains(&instance.id) && !unheld.iter().any(|document| is_of(instance, document))
        });
        let stale: Vec<_> = stale.map(|instance| (instance.id.clone(), String::new())).collect();
        let lost = unheld.iter().filter(|document| !listed.iter().any(|instance| is_of(instance, document)));
        for (document, holder) in wire::holders(&self.client, lost.cloned().collect()).await? {
            match holder {
                Some(holder) => self.complaints.tell(&document.path, wire::held_by(&holder)),
                None => self.hold(&document),
            }
        }
        wire::deregister(&self.client, stale).await
    }
}

#[async_trait]
impl Backend for Held {
    async fn apply(&mut self, wanted: &[Document], pass: Pass) -> Result<Done, Failure> {
        let begun = Instant::now();
        self.complaints.keep(wanted);
        let written = self.take_up(wanted, pass);
        let setting = begun.elapsed();
        let mut removed = self.let_go(wanted).await?;
        if pass == Pass::Whole {
            let ids = self.settle().await?;
            removed += self.prune(&ids).await?;
        }
        Ok(Done { written, removed, setting, pruning: begun.elapsed().saturating_sub(setting) })
    }

    async fn leave(&mut self) {
        let leaves = self.leases.drain().map(|(_, holding)| holding.lease.leave());
        // What cannot be left in time lapses as well.
        let _ = timeout(CALL_TIMEOUT, join_all(leaves)).await;
    }
}
