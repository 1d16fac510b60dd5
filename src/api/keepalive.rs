//! `KeepAlive`: one task a stream reads beats and answers them. Reading never waits for
//! the client to read: answers that find no room are merged.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use crate::{
    call::{Caller, EndCause},
    engine::{Beat, Engine, Loss, Refusal, StreamEnd, StreamId, TokenHash, embedded::hash_token},
    metrics::Open,
    proto::{
        self,
        keep_alive_response::{Lost, lost::Reason},
    },
    types::{LeaseId, Moment},
};

use super::{Registry, convert, refuse::log_refusal};

/// Answers that wait for a client before they are merged.
const BUFFER: usize = 16;
/// One answer tells of so many losses at most, to stay below 1 MiB; the next goes on.
const LOST_IN_ONE: usize = 12_000;
/// A client that does not read its answers may have so many losses waiting.
const LOST_WAITING: usize = 50_000;
/// What cannot be an id is given back so far; ids are 26 bytes.
const STRANGE_ID: usize = 64;

type Out = mpsc::Sender<Result<proto::KeepAliveResponse, Status>>;

impl Registry {
    pub(super) fn start_keepalive(
        &self,
        beats: Streaming<proto::KeepAliveRequest>,
        caller: Caller,
    ) -> ReceiverStream<Result<proto::KeepAliveResponse, Status>> {
        let (out, answers) = mpsc::channel(BUFFER);
        let engine = Arc::clone(&self.engine);
        let stream = engine.open_stream(caller.proxied);
        let spread = Spread::new();
        let open = Open::of(&self.metrics.keepalive_streams);
        let keeper =
            Keeper { engine, stream, caller, out, waiting: None, unsaid: Vec::new(), spread, _open: open };
        tokio::spawn(keeper.run(beats));
        ReceiverStream::new(answers)
    }
}

struct Keeper {
    engine: Arc<dyn Engine>,
    stream: StreamId,
    caller: Caller,
    out: Out,
    /// An answer that found no room; later ones are merged into it.
    waiting: Option<proto::KeepAliveResponse>,
    /// Losses that the last answer had no room for.
    unsaid: Vec<Lost>,
    spread: Spread,
    _open: Open,
}

/// How reading ended.
enum End {
    /// The request stream ended, or nobody takes answers: the connection knows why.
    Stream,
    /// The server drains.
    Leaving,
    /// The server cuts the stream.
    Refused(Status),
}

impl Keeper {
    async fn run(mut self, beats: Streaming<proto::KeepAliveRequest>) {
        let end = self.read(beats).await;
        let at = self.engine.now();
        let cause = match &end {
            End::Stream => self.caller.connection.end_cause().await,
            End::Leaving => EndCause::Server("draining"),
            End::Refused(_) => EndCause::Server("cut"),
        };
        self.end(cause, at);
        match end {
            End::Stream => {}
            End::Refused(status) => self.last(Err(status)).await,
            End::Leaving => {
                let retry_after = self.spread.retry_after();
                self.last(Ok(proto::KeepAliveResponse {
                    retry_after: Some(convert::wire_duration(retry_after)),
                    ..proto::KeepAliveResponse::default()
                }))
                .await;
                let status = Status::unavailable("the server is draining; attach again, nothing has expired");
                self.last(Err(status)).await;
            }
        }
    }

    async fn read(&mut self, mut beats: Streaming<proto::KeepAliveRequest>) -> End {
        let connection = Arc::clone(&self.caller.connection);
        loop {
            let out = self.out.clone();
            tokio::select! {
                biased;
                () = connection.wait_leaving() => return End::Leaving,
                Ok(permit) = out.reserve(), if self.waiting.is_some() => {
                    if let Some(answer) = self.waiting.take() {
                        permit.send(Ok(answer));
                    }
                }
                beat = beats.message() => match beat {
                    Ok(Some(beat)) => match self.beat(beat).await {
                        Ok(answer) => self.answer(answer),
                        Err(refusal) => return End::Refused(refusal.into()),
                    },
                    Ok(None) => return End::Stream,
                    Err(status) => return self.broken(&status),
                },
                () = out.closed() => return End::Stream,
            }
            if self.unsaid.len() > LOST_WAITING {
                let text = "too many lost ids wait for this client, which does not read its answers";
                return End::Refused(Status::resource_exhausted(text));
            }
        }
    }

    /// A message that cannot be taken is answered, and we end the stream: what is attached
    /// loses nothing by it. Anything else is the connection's.
    fn broken(&self, status: &Status) -> End {
        let code = match status.code() {
            Code::InvalidArgument => Code::InvalidArgument,
            // Over the size limit; gRPC's own libraries call that so.
            Code::OutOfRange => Code::ResourceExhausted,
            _ => {
                debug!(peer = %self.caller.peer.ip(), reason = status.message(), "KeepAlive stream broke");
                return End::Stream;
            }
        };
        End::Refused(log_refusal("KeepAlive", &self.caller)(Status::new(code, status.message())))
    }

    async fn beat(&mut self, beat: proto::KeepAliveRequest) -> Result<proto::KeepAliveResponse, Refusal> {
        let mut lost = Vec::new();
        let named = !beat.ids.is_empty();
        let mut ids = Vec::with_capacity(beat.ids.len());
        for text in &beat.ids {
            if let Some(id) = LeaseId::parse(text) {
                ids.push(id);
            } else {
                let end = text.floor_char_boundary(STRANGE_ID);
                lost.push(self::lost(text[..end].to_owned(), Reason::NotFound));
            }
        }

        if beat.detach {
            if !named || !ids.is_empty() {
                let unknown = self.engine.detach(self.stream, &ids);
                lost.extend(as_named(&beat.ids, unknown.into_iter().map(|id| (id, Reason::NotFound))));
            }
        } else if named {
            let refused = self.engine.attach(self.stream, with_tokens(ids, &beat.lease_tokens)).await?;
            lost.extend(as_named(&beat.ids, refused.iter().map(|(id, refusal)| (*id, why(refusal)))));
        } else {
            self.engine.beat(self.stream);
        }
        let told = self.engine.answer(self.stream);
        Ok(self.response(&told, lost))
    }

    fn response(&mut self, beat: &Beat, mut lost: Vec<Lost>) -> proto::KeepAliveResponse {
        lost.splice(0..0, std::mem::take(&mut self.unsaid));
        lost.extend(beat.lost.iter().map(|(id, loss)| {
            let reason = match loss {
                Loss::Lapsed => Reason::TtlLapsed,
                Loss::Ended => Reason::Deregistered,
                Loss::Moved => Reason::Moved,
            };
            self::lost(id.to_string(), reason)
        }));
        let ttl_seconds = beat.ttl.map_or(0, |ttl| ttl.0);
        let next_beat_in = beat.ttl.map(|ttl| convert::wire_duration(self.spread.next_beat(ttl.0)));
        self.unsaid = lost.split_off(lost.len().min(LOST_IN_ONE));
        proto::KeepAliveResponse { ttl_seconds, next_beat_in, lost, retry_after: None }
    }

    /// Answers if the client takes answers; else merges this one with what waits.
    fn answer(&mut self, answer: proto::KeepAliveResponse) {
        let answer = match self.waiting.take() {
            None => answer,
            Some(mut waiting) => {
                waiting.lost.extend(answer.lost);
                self.unsaid.splice(0..0, waiting.lost.split_off(waiting.lost.len().min(LOST_IN_ONE)));
                proto::KeepAliveResponse { lost: waiting.lost, ..answer }
            }
        };
        if let Err(mpsc::error::TrySendError::Full(Ok(answer))) = self.out.try_send(Ok(answer)) {
            self.waiting = Some(answer);
        }
    }

    fn end(&self, cause: EndCause, at: Moment) {
        let peer = self.caller.peer.ip();
        let end = match cause {
            EndCause::Client(cause) => {
                info!(%peer, cause, "KeepAlive stream dropped by the client");
                StreamEnd::Client
            }
            EndCause::Server(cause) => {
                warn!(%peer, cause, "KeepAlive stream ended by the server: nothing expires by it");
                StreamEnd::Server
            }
        };
        self.engine.end_stream(self.stream, end, at);
    }

    /// Says a last word, if the client still listens within a moment.
    async fn last(&mut self, word: Result<proto::KeepAliveResponse, Status>) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.out.send(word)).await;
    }
}

fn with_tokens(ids: Vec<LeaseId>, tokens: &BTreeMap<String, String>) -> Vec<(LeaseId, Option<TokenHash>)> {
    let by_id: BTreeMap<LeaseId, &String> =
        tokens.iter().filter_map(|(id, token)| Some((LeaseId::parse(id)?, token))).collect();
    ids.into_iter().map(|id| (id, by_id.get(&id).map(|token| hash_token(token)))).collect()
}

/// Losses under the texts that named them: a ULID may be written in lower case.
fn as_named(texts: &[String], losses: impl Iterator<Item = (LeaseId, Reason)>) -> Vec<Lost> {
    let losses: BTreeMap<LeaseId, Reason> = losses.collect();
    if losses.is_empty() {
        return Vec::new();
    }
    let named = texts.iter().filter_map(|text| Some((text, losses.get(&LeaseId::parse(text)?)?)));
    named.map(|(text, reason)| lost(text.clone(), *reason)).collect()
}

fn why(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::WrongToken(_) | Refusal::TokenRequired(_) => Reason::PermissionDenied,
        Refusal::NotFound(_)
        | Refusal::Ambiguous { .. }
        // These are never about one id of a message.
        | Refusal::Closed
        | Refusal::KeepsNothing
        | Refusal::Unavailable(_) => Reason::NotFound,
    }
}

fn lost(id: String, reason: Reason) -> Lost {
    Lost { id, reason: reason.into() }
}

/// Spreads what clients do, so that those who came together do not come together again.
struct Spread(u64);

impl Spread {
    fn new() -> Self {
        let mut seed = [0; 8];
        // Without a seed streams are spread less well, and nothing worse.
        let _ = getrandom::fill(&mut seed);
        Self(u64::from_le_bytes(seed) | 1)
    }

    /// A third of the TTL, give or take a tenth of it.
    fn next_beat(&mut self, ttl_seconds: u32) -> Duration {
        let third = u64::from(ttl_seconds) * 1000 / 3;
        Duration::from_millis(third - third / 10 + self.below(third / 5 + 1))
    }

    /// 200 ms to 2 s.
    fn retry_after(&mut self) -> Duration {
        Duration::from_millis(200 + self.below(1800))
    }

    /// A number below `bound` (xorshift, 64 bits).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
