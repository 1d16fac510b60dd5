//! What writers asked for and what they were told: what has to be there after a crash,
//! what may be, and what must not. Start with [`Writer`].
//!
//! Each writer has pairs of its own and waits for each answer, so that of each pair all is
//! known but the outcome of the request that the crash cut off.

use std::collections::{BTreeMap, HashSet};

use leasehold::proto::{
    BatchRegisterRequest, DeregisterRequest, Instance, RegisterRequest, RegisterResponse,
    batch_register_response::result::Result as Entry, registry_client::RegistryClient,
};
use tonic::{Code, Status, transport::Channel};

use crate::support::{info, numbers::Numbers, replica};

/// The pair that no burst touches: what the checks register. Every filter takes it.
pub const MARKER: usize = 0;

/// The service of a pair.
pub fn service(pair: usize) -> &'static str {
    match pair % 8 {
        0 | 1 => "one",
        2 | 3 => "two",
        7 => "brief",
        _ => "many",
    }
}

/// Whether a pair's leases have the shortest TTL there is.
pub fn is_brief(pair: usize) -> bool {
    service(pair) == "brief"
}

/// What a pair registers: all of it follows from the pair and a stamp.
pub fn request(pair: usize, stamp: u32) -> RegisterRequest {
    let tier = if pair == MARKER || stamp.is_multiple_of(2) { "gold" } else { "silver" };
    RegisterRequest {
        info: Some(info("stamp", &stamp.to_string())),
        ttl_seconds: if is_brief(pair) { 1 } else { 3600 },
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        zone: format!("zone-{}", stamp % 7),
        weight: stamp,
        ..replica(service(pair), &format!("http://pair-{pair}.test"))
    }
}

/// The pair and stamp of an instance, if it is what that pair registered with that stamp.
pub fn read(instance: &Instance) -> Result<(usize, u32), String> {
    let pair = instance.url.strip_prefix("http://pair-").and_then(|rest| rest.strip_suffix(".test"));
    let pair = pair.and_then(|pair| pair.parse().ok()).ok_or_else(|| format!("a phantom: {instance:?}"))?;
    let stamp = instance.weight;
    let RegisterRequest { service, url, info, labels, zone, ttl_seconds, .. } = request(pair, stamp);
    let expect = Instance {
        id: instance.id.clone(),
        service,
        url,
        info,
        labels,
        zone,
        weight: stamp,
        ttl_seconds,
        status: "alive".to_owned(),
        ..times_of(instance)
    };
    if *instance == expect { Ok((pair, stamp)) } else { Err(format!("{instance:?} is not {expect:?}")) }
}

fn times_of(instance: &Instance) -> Instance {
    Instance {
        registered_at: instance.registered_at,
        last_updated: instance.last_updated,
        last_ping_at: instance.last_ping_at,
        expires_at: instance.expires_at,
        revision: instance.revision,
        ..Instance::default()
    }
}

/// What is known of a pair.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    /// Nothing is registered; what was has an id that is dead.
    Nothing,
    /// This is; a brief one may have lapsed since.
    Registered { id: String, stamp: u32, revision: u64 },
    /// It lapsed: its id comes back with it.
    Lapsed { id: String },
    /// It lapsed or was ended: it may come back under its id or another.
    Unsure,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    Register(u32),
    Deregister,
}

#[derive(Clone, Debug)]
struct Pair {
    known: Known,
    open: Option<Open>,
}

/// A registration that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub pair: usize,
    pub id: String,
    pub stamp: u32,
    pub revision: u64,
}

/// How often what happened, so that a test can say that it tested something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub acknowledged: usize,
    pub departed: usize,
    /// Requests that a crash cut off, and that had taken effect.
    pub open_done: usize,
    /// Those that had not.
    pub open_undone: usize,
}

/// One that registers and deregisters its pairs, and remembers what it was told.
pub struct Writer {
    numbers: Numbers,
    pairs: BTreeMap<usize, Pair>,
    next_stamp: u32,
    stride: u32,
    /// Everything ever asked for.
    tried: HashSet<(usize, u32)>,
    /// The last revision that a change of its own was acknowledged with.
    last_revision: u64,
    /// Acknowledged since the last look.
    pub acknowledged: Vec<Acknowledged>,
    /// Ids that are dead since the last look, and whether that was acknowledged.
    pub departed: Vec<(usize, String, bool)>,
    pub counts: Counts,
    /// What must not be.
    pub faults: Vec<String>,
}

impl Writer {
    /// Writer `number` of `count`, for its part of the pairs below `pairs`.
    pub fn new(numbers: Numbers, number: usize, count: usize, pairs: usize) -> Self {
        let own = (1..pairs).filter(|pair| pair % count == number);
        Self::of(numbers, own, number, count + 1)
    }

    /// The one that registers [`MARKER`].
    pub fn marker(count: usize) -> Self {
        Self::of(Numbers::new(0), std::iter::once(MARKER), count, count + 1)
    }

    fn of(numbers: Numbers, pairs: impl Iterator<Item = usize>, number: usize, stride: usize) -> Self {
        Self {
            numbers,
            pairs: pairs.map(|pair| (pair, Pair { known: Known::Nothing, open: None })).collect(),
            next_stamp: u32::try_from(number).unwrap(),
            stride: u32::try_from(stride).unwrap(),
            tried: HashSet::new(),
            last_revision: 0,
            acknowledged: Vec::new(),
            departed: Vec::new(),
            counts: Counts::default(),
            faults: Vec::new(),
        }
    }

    /// Writes until the server is gone. Without `brief`, pairs of short leases are let be.
    pub async fn burst(&mut self, client: &mut RegistryClient<Channel>, brief: bool) {
        while self.faults.is_empty() {
            let done = match self.numbers.below(100) {
                0..20 => self.batch(client, brief).await,
                20..45 => self.deregister(client, brief).await,
                45..52 => self.again(client, brief).await,
                _ => {
                    let pair = self.any_pair(brief);
                    self.register(client, pair).await.map(drop)
                }
            };
            match done {
                Ok(()) => {}
                Err(status) if is_cut_off(&status) => return,
                Err(status) => self.faults.push(format!("refused: {status}")),
            }
        }
    }

    /// Registers a pair with what it never said before.
    pub async fn register(
        &mut self,
        client: &mut RegistryClient<Channel>,
        pair: usize,
    ) -> Result<RegisterResponse, Status> {
        let stamp = self.fresh_stamp();
        self.register_as(client, pair, stamp).await
    }

    async fn register_as(
        &mut self,
        client: &mut RegistryClient<Channel>,
        pair: usize,
        stamp: u32,
    ) -> Result<RegisterResponse, Status> {
        self.open(pair, stamp);
        let answer = client.register(request(pair, stamp)).await?.into_inner();
        self.registered(pair, stamp, &answer);
        Ok(answer)
    }

    /// A retry, as after a lost answer.
    async fn again(&mut self, client: &mut RegistryClient<Channel>, brief: bool) -> Result<(), Status> {
        let Some((pair, _, stamp)) = self.any_registered(brief) else { return Ok(()) };
        self.register_as(client, pair, stamp).await.map(drop)
    }

    async fn batch(&mut self, client: &mut RegistryClient<Channel>, brief: bool) -> Result<(), Status> {
        let count = 2 + self.numbers.below(11);
        let pairs: HashSet<usize> = (0..count).map(|_| self.any_pair(brief)).collect();
        let entries: Vec<(usize, u32)> = pairs.into_iter().map(|pair| (pair, self.fresh_stamp())).collect();
        for (pair, stamp) in &entries {
            self.open(*pair, *stamp);
        }
        let requests: BatchRegisterRequest =
            entries.iter().map(|(pair, stamp)| request(*pair, *stamp)).collect();
        let answer = client.batch_register(requests).await?.into_inner();
        assert_eq!(answer.results.len(), entries.len());
        for ((pair, stamp), result) in entries.into_iter().zip(answer.results) {
            match result.result {
                Some(Entry::Response(answer)) => self.registered(pair, stamp, &answer),
                other => self.faults.push(format!("in a batch: {other:?}")),
            }
        }
        Ok(())
    }

    async fn deregister(&mut self, client: &mut RegistryClient<Channel>, brief: bool) -> Result<(), Status> {
        let Some((pair, id, _)) = self.any_registered(brief) else { return Ok(()) };
        self.pair(pair).open = Some(Open::Deregister);
        client.deregister(DeregisterRequest { id: id.clone(), ..DeregisterRequest::default() }).await?;
        *self.pair(pair) = Pair { known: Known::Nothing, open: None };
        self.departed.push((pair, id, true));
        self.counts.departed += 1;
        Ok(())
    }

    fn pair(&mut self, pair: usize) -> &mut Pair {
        self.pairs.get_mut(&pair).expect("a pair of this writer")
    }

    fn fresh_stamp(&mut self) -> u32 {
        self.next_stamp += self.stride;
        self.next_stamp
    }

    fn any_pair(&mut self, brief: bool) -> usize {
        loop {
            let at = self.numbers.below(self.pairs.len() as u64);
            let pair = *self.pairs.keys().nth(usize::try_from(at).unwrap()).unwrap();
            if brief || !is_brief(pair) {
                return pair;
            }
        }
    }

    fn any_registered(&mut self, brief: bool) -> Option<(usize, String, u32)> {
        (0..8).find_map(|_| {
            let pair = self.any_pair(brief);
            match &self.pairs[&pair].known {
                Known::Registered { id, stamp, .. } => Some((pair, id.clone(), *stamp)),
                _ => None,
            }
        })
    }

    fn open(&mut self, pair: usize, stamp: u32) {
        self.tried.insert((pair, stamp));
        self.pair(pair).open = Some(Open::Register(stamp));
    }

    /// Takes an answer in, and holds it against what was known.
    fn registered(&mut self, pair: usize, stamp: u32, answer: &RegisterResponse) {
        let (id, revision) = (answer.id.clone(), answer.revision);
        let known = std::mem::replace(
            &mut self.pair(pair).known,
            Known::Registered { id: id.clone(), stamp, revision },
        );
        self.pair(pair).open = None;
        let (same_id, unchanged) = match &known {
            Known::Nothing | Known::Unsure => (true, false),
            Known::Lapsed { id: known } => (*known == id, false),
            Known::Registered { id: known, stamp: before, revision: at } => {
                (*known == id, *before == stamp && *at == revision)
            }
        };
        if !same_id {
            self.faults.push(format!("pair {pair} was {known:?} and got a second id: {answer:?}"));
        }
        if !unchanged && revision < self.last_revision {
            let last = self.last_revision;
            self.faults.push(format!("a later change has an earlier revision than {last}: {answer:?}"));
        }
        self.last_revision = self.last_revision.max(revision);
        self.counts.acknowledged += 1;
        self.acknowledged.push(Acknowledged { pair, id, stamp, revision });
    }

    /// The highest revision that it was told.
    pub fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Whether it asked for this at any time.
    pub fn tried(&self, pair: usize, stamp: u32) -> bool {
        self.tried.contains(&(pair, stamp))
    }

    /// Holds what was acknowledged against what is listed after a restart, and learns from it
    /// what became of the requests that were cut off.
    pub fn settle(&mut self, listed: &BTreeMap<usize, Instance>) {
        let mut settled = BTreeMap::new();
        for (pair, Pair { known, open }) in std::mem::take(&mut self.pairs) {
            let known = self.settle_pair(pair, &known, open, listed.get(&pair));
            settled.insert(pair, Pair { known, open: None });
        }
        self.pairs = settled;
    }

    fn settle_pair(
        &mut self,
        pair: usize,
        known: &Known,
        open: Option<Open>,
        found: Option<&Instance>,
    ) -> Known {
        let Some(found) = found else { return self.settle_missing(pair, known, open) };
        let is = Known::Registered { id: found.id.clone(), stamp: found.weight, revision: found.revision };
        if is == *known {
            self.counts.open_undone += usize::from(open.is_some());
            return is;
        }
        let id_fits = match known {
            Known::Nothing | Known::Unsure => true,
            Known::Registered { id, .. } | Known::Lapsed { id } => *id == found.id,
        };
        if open == Some(Open::Register(found.weight)) && id_fits {
            self.counts.open_done += 1;
        } else {
            self.faults.push(format!("pair {pair} was {known:?}, open {open:?}, and is listed as {found:?}"));
        }
        is
    }

    fn settle_missing(&mut self, pair: usize, known: &Known, open: Option<Open>) -> Known {
        match (known, open) {
            (Known::Nothing, Some(Open::Register(_)))
            | (Known::Registered { .. }, Some(Open::Deregister))
                if is_brief(pair) =>
            {
                Known::Unsure
            }
            (Known::Nothing | Known::Lapsed { .. } | Known::Unsure, open) => {
                self.counts.open_undone += usize::from(open.is_some());
                known.clone()
            }
            (Known::Registered { id, .. }, Some(Open::Deregister)) => {
                self.departed.push((pair, id.clone(), false));
                self.counts.open_done += 1;
                Known::Nothing
            }
            (Known::Registered { id, .. }, _) if is_brief(pair) => Known::Lapsed { id: id.clone() },
            (Known::Registered { .. }, open) => {
                self.faults.push(format!("pair {pair} was {known:?}, open {open:?}, and is not listed"));
                Known::Nothing
            }
        }
    }

    /// Takes what is listed for what is: acknowledged changes may be lost.
    pub fn adopt(&mut self, listed: &BTreeMap<usize, Instance>) {
        for (number, pair) in &mut self.pairs {
            let known = listed.get(number).map_or(Known::Unsure, |found| Known::Registered {
                id: found.id.clone(),
                stamp: found.weight,
                revision: found.revision,
            });
            *pair = Pair { known, open: None };
        }
        self.acknowledged.clear();
        self.departed.clear();
        self.last_revision = 0;
    }
}

/// Whether a call ended with its connection, so that its outcome is not known.
fn is_cut_off(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}
