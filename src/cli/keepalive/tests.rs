//! A scripted server: each stream it is offered follows the next script, and what clients did
//! comes out in order.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Streaming};

use super::*;
use crate::proto::{
    DeregisterResponse,
    keep_alive_response::Lost,
    plain::{Registry, RegistryServer},
};

/// What the server answers to a beat; the last step of a script goes on for good.
#[derive(Clone, Copy, Debug)]
enum Step {
    Alive,
    Lost(Reason),
    RetryAfter,
    /// The end of the stream.
    End,
}

/// What a client did.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Register(String),
    Attach(String),
    Beat,
    Deregister(String),
}

struct Scripted {
    streams: Mutex<VecDeque<Vec<Step>>>,
    registered: Mutex<u32>,
    did: mpsc::UnboundedSender<Did>,
}

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Registry for Scripted {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let mut registered = self.registered.lock().unwrap();
        *registered += 1;
        let _ = self.did.send(Did::Register(request.into_inner().lease_token));
        Ok(Response::new(answer(*registered)))
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        let request = request.into_inner();
        let _ = self.did.send(Did::Deregister(format!("{} {}", request.id, request.lease_token)));
        Ok(Response::new(DeregisterResponse::default()))
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<Sent<KeepAliveResponse>>, Status> {
        let mut beats = request.into_inner();
        let mut script = VecDeque::from(self.streams.lock().unwrap().pop_front().unwrap_or_default());
        let did = self.did.clone();
        let (answers, outgoing) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut step = Step::Alive;
            while let Ok(Some(beat)) = beats.message().await {
                let _ = did.send(match beat.ids.as_slice() {
                    [] => Did::Beat,
                    ids => Did::Attach(format!("{} {}", ids[0], beat.lease_tokens[&ids[0]])),
                });
                step = script.pop_front().unwrap_or(step);
                let mut answer = KeepAliveResponse {
                    ttl_seconds: 30,
                    next_beat_in: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
                    ..Default::default()
                };
                match step {
                    Step::Alive => {}
                    Step::Lost(reason) => {
                        answer.lost = vec![Lost { id: id(1), reason: reason.into() }];
                        step = Step::Alive;
                    }
                    Step::RetryAfter => {
                        answer.retry_after = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
                    }
                    Step::End => return,
                }
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

fn id(number: u32) -> String {
    format!("id{number}")
}

fn answer(number: u32) -> RegisterResponse {
    RegisterResponse {
        id: id(number),
        lease_token: format!("token{number}"),
        ttl_seconds: 30,
        ..Default::default()
    }
}

/// A lease held against a scripted server.
struct Held {
    did: mpsc::UnboundedReceiver<Did>,
    news: mpsc::UnboundedReceiver<News>,
    stop: CancellationToken,
    outcome: JoinHandle<Result<(), Failure>>,
}

async fn hold(streams: &[&[Step]]) -> Held {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (did_in, did) = mpsc::unbounded_channel();
    let streams = Mutex::new(streams.iter().map(|script| script.to_vec()).collect());
    let scripted = Arc::new(Scripted { streams, registered: Mutex::new(1), did: did_in });
    let server = tonic::transport::Server::builder().add_service(RegistryServer::from_arc(scripted));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let remote =
        Remote::connect(&format!("http://{address}"), &crate::cli::credentials::Credentials::default())
            .await
            .unwrap();
    let stop = CancellationToken::new();
    let request = RegisterRequest { lease_token: "token0".to_owned(), ..Default::default() };
    let lease = Lease::new(remote, request, answer(1), stop.clone());
    let (news_in, news) = mpsc::unbounded_channel();
    let outcome = tokio::spawn(lease.hold(move |told| {
        let _ = news_in.send(told);
    }));
    Held { did, news, stop, outcome }
}

impl Held {
    async fn expect(&mut self, expect: Did) {
        loop {
            let did = timeout(Duration::from_secs(10), self.did.recv()).await.unwrap().unwrap();
            if did == expect {
                return;
            }
            assert_eq!(did, Did::Beat, "while waiting for {expect:?}");
        }
    }

    async fn stop(mut self) -> Vec<News> {
        self.stop.cancel();
        self.outcome.await.unwrap().unwrap();
        let mut told = Vec::new();
        while let Some(news) = self.news.recv().await {
            told.push(news);
        }
        told
    }
}

fn attach(number: u32) -> Did {
    Did::Attach(format!("id{number} token{number}"))
}

#[tokio::test]
async fn it_attaches_beats_and_deregisters_at_the_end() {
    let mut held = hold(&[&[Step::Alive]]).await;
    held.expect(attach(1)).await;
    held.expect(Did::Beat).await;
    held.expect(Did::Beat).await;
    held.stop.cancel();
    held.expect(Did::Deregister("id1 token1".to_owned())).await;
    assert_eq!(held.stop().await, [News::Attached(id(1)), News::Deregistered(id(1))]);
}

#[tokio::test]
async fn a_lost_stream_is_attached_again_by_id() {
    let mut held = hold(&[&[Step::Alive, Step::End], &[Step::Alive]]).await;
    held.expect(attach(1)).await;
    held.expect(attach(1)).await;
    held.expect(Did::Beat).await;
    let told = held.stop().await;
    assert!(matches!(told[1], News::Disconnected(..)), "{told:?}");
    assert_eq!(told[2], News::Attached(id(1)));
}

#[tokio::test]
async fn a_draining_server_is_left_and_come_back_to() {
    let mut held = hold(&[&[Step::Alive, Step::RetryAfter], &[Step::Alive]]).await;
    held.expect(attach(1)).await;
    held.expect(attach(1)).await;
    held.expect(Did::Beat).await;
    let told = held.stop().await;
    assert!(matches!(told[1], News::Draining(wait) if wait >= Duration::from_millis(1)), "{told:?}");
}

#[tokio::test]
async fn a_lapsed_lease_is_named_again_on_the_same_stream() {
    let mut held = hold(&[&[Step::Alive, Step::Lost(Reason::TtlLapsed), Step::Alive]]).await;
    held.expect(attach(1)).await;
    held.expect(attach(1)).await;
    held.expect(Did::Beat).await;
    assert_eq!(held.stop().await, [News::Attached(id(1)), News::Lapsed, News::Deregistered(id(1))]);
}

#[tokio::test]
async fn what_is_gone_for_good_is_registered_again_without_its_token() {
    for reason in [Reason::NotFound, Reason::Deregistered] {
        let mut held = hold(&[&[Step::Lost(reason)], &[Step::Alive]]).await;
        held.expect(attach(1)).await;
        held.expect(Did::Register(String::new())).await;
        held.expect(attach(2)).await;
        held.expect(Did::Beat).await;
        let expect =
            [News::Gone, News::RegisteredAgain(id(2)), News::Attached(id(2)), News::Deregistered(id(2))];
        assert_eq!(held.stop().await, expect);
    }
}

#[tokio::test]
async fn it_is_never_taken_back_from_another_holder() {
    for reason in [Reason::Moved, Reason::PermissionDenied] {
        let mut held = hold(&[&[Step::Alive, Step::Lost(reason)]]).await;
        held.expect(attach(1)).await;
        let outcome = timeout(Duration::from_secs(10), held.outcome).await.unwrap().unwrap();
        assert!(outcome.is_err(), "{reason:?}");
        while let Ok(did) = held.did.try_recv() {
            assert_eq!(did, Did::Beat);
        }
    }
}
