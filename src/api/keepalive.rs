//! `KeepAlive`: one task a stream reads beats and answers them, all that are there at a time.
//! Reading never waits for the client to read: answers that find no room are merged.

mod outbox;
mod spread;

use std::{
    collections::BTreeMap,
    error::Error as _,
    future::{Future as _, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use smallvec::SmallVec;
use tokio_stream::Stream as _;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use crate::{
    call::{Caller, EndCause},
    engine::{Ask, Engine, Loss, Refusal, StreamEnd, StreamId, Told, embedded::hash_token},
    limits::Guard,
    metrics::Open,
    proto::{
        self,
        keep_alive_response::{Lost, lost::Reason},
        wire::{KeepAliveRequest, Unusual},
    },
    types::{LeaseId, Moment},
};

use super::{Registry, convert, refuse::log_refusal, scope};
pub use outbox::Answers;
use outbox::{Outbox, outbox};
use spread::Spread;

/// Messages that are taken at a time at most, and ids in them but for the last one's: the lock
/// that renewals share is not held for longer.
const MESSAGES_AT_ONCE: usize = 64;
const IDS_AT_ONCE: usize = 4096;
/// One answer tells of so many losses at most, to stay below 1 MiB; the next goes on.
const LOST_IN_ONE: usize = 12_000;
/// A client that does not read its answers may have so many losses waiting.
const LOST_WAITING: usize = 50_000;
/// What cannot be an id is given back so far; ids are 26 bytes.
const STRANGE_ID: usize = 64;

impl Registry {
    pub(super) fn start_keepalive(
        &self,
        beats: Streaming<KeepAliveRequest>,
        caller: Caller,
    ) -> Result<Answers, Status> {
        let within = self.limits.keepalive(caller.peer.ip()).map_err(|exceeded| self.too_much(exceeded))?;
        let (out, answers) = outbox();
        let engine = Arc::clone(&self.engine);
        let stream = engine.open_stream(caller.proxied);
        let open = Open::of(&self.metrics.keepalive_streams);
        let keeper = Keeper {
            engine,
            stream,
            caller,
            out,
            asks: Vec::new(),
            texts: Vec::new(),
            denied: Vec::new(),
            told: Vec::new(),
            unsaid: Vec::new(),
            spread: Spread::new(),
            _open: open,
            _within: within,
        };
        tokio::spawn(keeper.run(beats));
        Ok(answers)
    }
}

struct Keeper {
    engine: Arc<dyn Engine>,
    stream: StreamId,
    caller: Caller,
    out: Outbox,
    /// The messages that were taken, as the engine sees them.
    asks: Vec<Ask>,
    /// Of those with ids that are not written as we write them, which message, and the texts.
    texts: Vec<(usize, Vec<String>)>,
    /// Ids that the key is not good for, and which message named them.
    denied: Vec<(usize, Vec<LeaseId>)>,
    /// What the engine told of them.
    told: Vec<Told>,
    /// Losses that the last answer had no room for.
    unsaid: Vec<Lost>,
    spread: Spread,
    _open: Open,
    _within: Guard,
}

/// How reading ended.
enum End {
    /// The request stream ended, or nobody takes answers: the connection knows why.
    Stream,
    /// The server drains.
    Leaving,
    /// The key that it was opened with is good no more.
    Revoked,
    /// The server cuts the stream.
    Refused(Status),
}

impl Keeper {
    async fn run(mut self, beats: Streaming<KeepAliveRequest>) {
        let end = self.read(beats).await;
        let at = self.engine.now();
        let cause = match &end {
            End::Stream => self.caller.connection.end_cause().await,
            End::Leaving => EndCause::Server("draining"),
            End::Revoked => EndCause::Server("key revoked"),
            End::Refused(_) => EndCause::Server("cut"),
        };
        self.end(cause, at);
        match end {
            End::Stream => {}
            End::Refused(status) => self.out.last(Err(status)),
            End::Revoked => self.out.last(Err(scope::key_is_gone())),
            End::Leaving => {
                let retry_after = self.spread.retry_after();
                self.out.last(Ok(proto::KeepAliveResponse {
                    retry_after: Some(convert::wire_duration(retry_after)),
                    ..proto::KeepAliveResponse::default()
                }));
                let status = Status::unavailable("the server is draining; attach again, nothing has expired");
                self.out.last(Err(status));
            }
        }
    }

    async fn read(&mut self, mut beats: Streaming<KeepAliveRequest>) -> End {
        let connection = Arc::clone(&self.caller.connection);
        let mut leaving = pin!(connection.wait_leaving());
        let mut revoked = pin!(scope::revoked(self.caller.grant.clone()));
        loop {
            let end = poll_fn(|cx| {
                if leaving.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(End::Leaving));
                }
                if revoked.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(End::Revoked));
                }
                self.poll_asks(Pin::new(&mut beats), cx)
            })
            .await;
            // What was taken before the end is answered before it. A drain, or a key's end, comes
            // before anything is taken.
            if let Some(end @ (End::Leaving | End::Revoked)) = end {
                return end;
            }
            if let Err(refusal) = self.answer().await {
                return End::Refused(refusal.into());
            }
            if let Some(end) = end {
                return end;
            }
            if self.unsaid.len() > LOST_WAITING {
                let text = "too many lost ids wait for this client, which does not read its answers";
                return End::Refused(Status::resource_exhausted(text));
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Takes the messages that are there, if any are, and says whether that was all of the
    /// stream.
    fn poll_asks(
        &mut self,
        mut beats: Pin<&mut Streaming<KeepAliveRequest>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<End>> {
        let mut ids = 0;
        while self.asks.len() < MESSAGES_AT_ONCE && ids < IDS_AT_ONCE {
            match beats.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(beat))) => {
                    ids += beat.ids.len();
                    self.take(beat);
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(self.broken(&status))),
                Poll::Ready(None) => return Poll::Ready(Some(End::Stream)),
                Poll::Pending if self.asks.is_empty() => {
                    let closed = self.out.poll_closed(cx);
                    return if closed { Poll::Ready(Some(End::Stream)) } else { Poll::Pending };
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    }

    /// A message that cannot be taken is answered, and we end the stream: what is attached
    /// loses nothing by it. Anything else is the connection's.
    fn broken(&self, status: &Status) -> End {
        let code = match status.code() {
            Code::InvalidArgument => Code::InvalidArgument,
            // Over the size limit; gRPC's own libraries call that so.
            Code::OutOfRange => Code::ResourceExhausted,
            // The connection holds too much.
            Code::ResourceExhausted if !is_of_http2(status) => Code::ResourceExhausted,
            _ => {
                debug!(peer = %self.caller.peer.ip(), reason = status.message(), "KeepAlive stream broke");
                return End::Stream;
            }
        };
        End::Refused(log_refusal("KeepAlive", &self.caller)(Status::new(code, status.message())))
    }

    /// Puts a message as the engine sees it.
    fn take(&mut self, beat: KeepAliveRequest) {
        let KeepAliveRequest { mut ids, detach, unusual } = beat;
        let mut tokens = None;
        let mut named = !ids.is_empty();
        if let Some(unusual) = unusual {
            let Unusual { texts, lease_tokens } = *unusual;
            if !texts.is_empty() {
                named = true;
                self.texts.push((self.asks.len(), texts));
            }
            let hashed = |(id, token): (&String, &String)| Some((LeaseId::parse(id)?, hash_token(token)));
            tokens = Some(Box::new(lease_tokens.iter().filter_map(hashed).collect()));
        }
        self.deny(&mut ids);
        self.asks.push(match (named, detach) {
            (true, true) => Ask::Detach(ids),
            (true, false) => Ask::Attach { ids, tokens },
            (false, true) => Ask::DetachAll,
            (false, false) => Ask::Beat,
        });
    }

    /// Takes out what the key is not good for: the engine is not asked about it. An id that nobody
    /// knows is as one of others.
    fn deny(&mut self, ids: &mut SmallVec<[LeaseId; 1]>) {
        let Some(grant) = scope::limits(&self.caller) else { return };
        let mut denied = Vec::new();
        ids.retain(|id| {
            let covered = self.engine.service_of(*id).is_some_and(|service| grant.covers(&service));
            if !covered {
                denied.push(*id);
            }
            covered
        });
        if !denied.is_empty() {
            let reason = "KeepAlive names ids that the key is not good for";
            let (peer, key) = (self.caller.peer.ip(), &**grant.name());
            info!(rpc = "KeepAlive", %peer, key, ids = denied.len(), reason, "refused");
            self.denied.push((self.asks.len(), denied));
        }
    }

    /// Has the engine do what was asked, and answers each message.
    async fn answer(&mut self) -> Result<(), Refusal> {
        let asks = mem::take(&mut self.asks);
        let mut told = mem::take(&mut self.told);
        while told.len() < asks.len() {
            self.engine.keep(self.stream, &asks[told.len()..], &mut told);
            // The next one brings something back.
            if let Some(Ask::Attach { ids, tokens }) = asks.get(told.len()) {
                let token = |id| tokens.as_ref().and_then(|tokens| tokens.get(id).copied());
                let leases = ids.iter().map(|id| (*id, token(id))).collect();
                let refused = self.engine.attach(self.stream, leases, self.caller.actor()).await?;
                told.push(Told { beat: self.engine.answer(self.stream), refused });
            }
        }
        let mut texts = mem::take(&mut self.texts).into_iter().peekable();
        let mut denied = mem::take(&mut self.denied).into_iter().peekable();
        let mut answers = Vec::with_capacity(asks.len());
        for (index, (ask, told)) in asks.iter().zip(told.drain(..)).enumerate() {
            let texts = texts.next_if(|(of, _)| *of == index).map(|(_, texts)| texts);
            let denied = denied.next_if(|(of, _)| *of == index).map(|(_, ids)| ids);
            answers.push(self.response(ask, told, &texts.unwrap_or_default(), &denied.unwrap_or_default()));
        }
        let unsaid = &mut self.unsaid;
        self.out.give(answers, |waiting, answer| {
            let mut lost = mem::take(&mut waiting.lost);
            lost.extend(answer.lost);
            unsaid.splice(0..0, lost.split_off(lost.len().min(LOST_IN_ONE)));
            *waiting = proto::KeepAliveResponse { lost, ..answer };
        });
        (self.asks, self.told) = (asks, told);
        self.asks.clear();
        Ok(())
    }

    fn response(
        &mut self,
        ask: &Ask,
        told: Told,
        texts: &[String],
        denied: &[LeaseId],
    ) -> proto::KeepAliveResponse {
        let Told { beat, refused } = told;
        let mut lost = mem::take(&mut self.unsaid);
        let unsaid = lost.len();
        lost.extend(texts.iter().filter(|text| LeaseId::parse(text).is_none()).map(|text| {
            let end = text.floor_char_boundary(STRANGE_ID);
            self::lost(text[..end].to_owned(), Reason::NotFound)
        }));
        if let Ask::Attach { ids, .. } | Ask::Detach(ids) = ask
            && !refused.is_empty()
        {
            let refused = refused.iter().map(|(id, refusal)| (*id, why(refusal))).collect();
            lost.extend(as_named(ids, texts, &refused));
        }
        if !denied.is_empty() {
            let refused = denied.iter().map(|id| (*id, Reason::PermissionDenied)).collect();
            lost.extend(as_named(denied, texts, &refused));
        }
        self.log_denied(&lost[unsaid..]);
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

    /// Logs which ids of a message were denied, in one line however many there are.
    fn log_denied(&self, lost: &[Lost]) {
        let mut denied =
            lost.iter().filter(|one| one.reason() == Reason::PermissionDenied).map(|one| &*one.id);
        let Some(first) = denied.next() else { return };
        let more = denied.count();
        let more = if more > 0 { format!(" and of {more} more") } else { String::new() };
        let text = format!("neither key nor lease_token is good for the lease {first}{more}");
        log_refusal("KeepAlive", &self.caller)(Status::permission_denied(text));
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
        self.engine.end_stream(self.stream, end, at, self.caller.actor());
    }
}

/// Refusals under the texts that named them: a ULID may be written in lower case.
fn as_named(ids: &[LeaseId], texts: &[String], refused: &BTreeMap<LeaseId, Reason>) -> Vec<Lost> {
    let texts: BTreeMap<LeaseId, &String> =
        texts.iter().filter_map(|text| Some((LeaseId::parse(text)?, text))).collect();
    let named = ids.iter().filter_map(|id| Some((id, refused.get(id)?)));
    named
        .map(|(id, reason)| {
            let text = texts.get(id).map_or_else(|| id.to_string(), |text| (*text).clone());
            lost(text, *reason)
        })
        .collect()
}

/// Whether HTTP/2 made `status`: a client can reset a stream with a code that reads like ours.
fn is_of_http2(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<h2::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

fn why(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::WrongToken(_) | Refusal::TokenRequired(_) => Reason::PermissionDenied,
        Refusal::NotFound(_)
        | Refusal::Ambiguous { .. }
        // These are never about one id of a message.
        | Refusal::Closed
        | Refusal::KeepsNothing
        | Refusal::Quota { .. }
        | Refusal::Unavailable(_) => Reason::NotFound,
    }
}

fn lost(id: String, reason: Reason) -> Lost {
    Lost { id, reason: reason.into() }
}
