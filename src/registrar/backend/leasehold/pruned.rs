//! Mode prune on a leasehold: no stream, and a TTL so long that a registrar which died empties nobody's view.
//! Each pass registers everything again, which renews what is unchanged and tells no watcher.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    time::Duration,
};

use async_trait::async_trait;
use prost::Message as _;
use tokio::time::Instant;

use super::{
    super::{Backend, Complaints, Done, Failure, Pass},
    Key, wire,
};
use crate::{
    client::Client,
    proto::{
        BatchRegisterRequest, Instance, RegisterRequest, batch_register_response::result::Result as Outcome,
    },
    registrar::document::Document,
};

/// How long what a dead registrar advertised stays: the longest that a leasehold grants by default.
const TTL: Duration = Duration::from_hours(24);
/// After so long even what is unchanged is registered again, should Docker have been away all the time.
const RENEW: Duration = Duration::from_hours(8);
/// A batch's bounds: a leasehold takes 1,000 registrations and 1 MiB.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 512 << 10;

/// Registrations on a leasehold that only passes renew and remove.
#[derive(Debug)]
pub struct Pruned {
    client: Client,
    host: String,
    registered: HashMap<Key, Entry>,
    /// Wanted, and held by another host.
    yielded: HashMap<Key, Document>,
    complaints: Complaints,
}

#[derive(Debug)]
struct Entry {
    document: Document,
    id: String,
    token: String,
    renewed: Instant,
}

impl Pruned {
    /// Registers for `host` what it is told to.
    pub fn new(client: Client, host: String) -> Self {
        Self {
            client,
            host,
            registered: HashMap::new(),
            yielded: HashMap::new(),
            complaints: Complaints::default(),
        }
    }

    async fn register(&mut self, documents: &[&Document]) -> Result<(), Failure> {
        let mut registry = self.client.registry();
        for batch in batches(documents) {
            let requests: BatchRegisterRequest = batch.iter().map(|(_, request)| request.clone()).collect();
            let call = registry.batch_register(wire::timed(requests)).await;
            let answer = call.map_err(|status| wire::failure(&self.client, "register", &status))?;
            for ((document, _), result) in batch.into_iter().zip(answer.into_inner().results) {
                match result.result {
                    Some(Outcome::Response(answer)) => {
                        self.complaints.settle(&document.path);
                        let entry = Entry {
                            document: document.clone(),
                            id: answer.id,
                            token: answer.lease_token,
                            renewed: Instant::now(),
                        };
                        self.registered.insert(Key::of(document), entry);
                    }
                    Some(Outcome::Error(status)) => self.complaints.tell(&document.path, status.message),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Gives up what another host has registered since, for as long as it has it.
    async fn yield_to_others(&mut self, listed: &[Instance]) -> Result<(), Failure> {
        let ids: BTreeSet<&str> = listed.iter().map(|instance| instance.id.as_str()).collect();
        let missing = self.registered.values().filter(|entry| !ids.contains(entry.id.as_str()));
        let missing = missing.map(|entry| entry.document.clone());
        let missing: Vec<Document> = missing.chain(self.yielded.values().cloned()).collect();
        let holders = wire::holders(&self.client, missing).await?;
        self.yielded.clear();
        for (document, holder) in holders {
            let Some(holder) = holder.filter(|holder| wire::text(holder, "host") != self.host) else {
                continue;
            };
            self.complaints.tell(&document.path, wire::held_by(&holder));
            self.registered.remove(&Key::of(&document));
            self.yielded.insert(Key::of(&document), document);
        }
        Ok(())
    }

    /// Removes what was registered and is not wanted, and what `listed` has besides.
    async fn prune(&mut self, wanted: &[Document], listed: Vec<Instance>) -> Result<usize, Failure> {
        let keys: BTreeSet<(&str, &str)> =
            wanted.iter().map(|document| (document.service.as_str(), document.url.as_str())).collect();
        let is_wanted = |key: &Key| keys.contains(&(key.service.as_str(), key.url.as_str()));
        let gone = self.registered.iter().filter(|(key, _)| !is_wanted(key));
        let mut ids: HashMap<String, String> =
            gone.map(|(_, entry)| (entry.id.clone(), entry.token.clone())).collect();
        let ours: BTreeSet<&str> = self.registered.values().map(|entry| entry.id.as_str()).collect();
        // What was refused now may have been registered before, with other content: it runs.
        let run: BTreeSet<(&str, &str)> =
            wanted.iter().map(|document| (document.url.as_str(), document.id.as_str())).collect();
        for instance in listed {
            if !ours.contains(instance.id.as_str())
                && !run.contains(&(instance.url.as_str(), wire::text(&instance, "id")))
            {
                ids.insert(instance.id, String::new());
            }
        }
        let removed = wire::deregister(&self.client, ids.into_iter().collect()).await?;
        self.registered.retain(|key, _| is_wanted(key));
        self.yielded.retain(|key, _| is_wanted(key));
        Ok(removed)
    }
}

#[async_trait]
impl Backend for Pruned {
    async fn apply(&mut self, wanted: &[Document], pass: Pass) -> Result<Done, Failure> {
        let begun = Instant::now();
        self.complaints.keep(wanted);
        let listed = match pass {
            Pass::Whole => wire::listed(&self.client, &self.host).await?,
            Pass::Known => Vec::new(),
        };
        if pass == Pass::Whole {
            self.yield_to_others(&listed).await?;
        }
        let listing = begun.elapsed();
        let ours = wanted.iter().filter(|document| !self.yielded.contains_key(&Key::of(document)));
        let ours: Vec<(&Document, Option<&Entry>)> =
            ours.map(|document| (document, self.registered.get(&Key::of(document)))).collect();
        let same = |(document, entry): &(&Document, Option<&Entry>)| {
            entry.is_some_and(|entry| entry.document == **document)
        };
        let due = |(_, entry): &(&Document, Option<&Entry>)| {
            pass == Pass::Whole || entry.is_some_and(|entry| entry.renewed.elapsed() > RENEW)
        };
        let written = ours.iter().filter(|one| !same(one)).count();
        let documents: Vec<&Document> =
            ours.iter().filter(|one| !same(one) || due(one)).map(|(document, _)| *document).collect();
        self.register(&documents).await?;
        let setting = begun.elapsed().saturating_sub(listing);
        let removed = self.prune(wanted, listed).await?;
        Ok(Done { written, removed, setting, pruning: begun.elapsed().saturating_sub(setting) })
    }

    async fn leave(&mut self) {}
}

/// Registrations in lots that a leasehold takes.
fn batches<'a>(documents: &[&'a Document]) -> Vec<Vec<(&'a Document, RegisterRequest)>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for document in documents {
        let request = wire::request(document, TTL, None);
        let size = request.encoded_len();
        if batch.len() == BATCH || (bytes + size > BATCH_BYTES && !batch.is_empty()) {
            batches.push(mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push((*document, request));
    }
    batches.push(batch);
    batches.retain(|batch| !batch.is_empty());
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stay_within_their_bounds_and_lose_nothing() {
        #[track_caller]
        fn check(documents: &[&Document], expect: &[usize]) {
            let sizes: Vec<usize> = batches(documents).iter().map(Vec::len).collect();
            assert_eq!(sizes, expect);
        }
        let small = Document { url: "tcp://10.0.0.1:1".to_owned(), ..Document::default() };
        let large = Document { name: "x".repeat(BATCH_BYTES / 2), ..small.clone() };
        check(&[], &[]);
        check(&[&small; 501], &[500, 1]);
        check(&[&large, &small, &large], &[2, 1]);
    }
}
