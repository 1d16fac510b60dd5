//! A registry that says what it is told to: what no real one does, or not when a test wants it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use leasehold::{
    client::{Freshness, Update},
    proto::{
        Event, Instance, WatchRequest, WatchResponse,
        event::Type as Kind,
        plain::{Registry, RegistryServer},
        watch_response::Type as Step,
    },
};
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, codegen::BoxStream, transport::Server as Grpc};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::rig::{NOTICED, Poller, ids, snapshot, until_live, until_stale, watch};
use crate::support::within;

/// What one Watch call is answered.
enum Answer {
    Refusal(Status),
    /// These, and then this end; none: nothing more is said.
    Stream(Vec<WatchResponse>, Option<Status>),
}

/// A Watch call, as it came.
struct Call {
    at: Instant,
    from: SocketAddr,
    request: WatchRequest,
}

#[derive(Clone, Default)]
struct StandIn {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl StandIn {
    /// One that answers so, and is away then.
    async fn start(answers: impl IntoIterator<Item = Answer>) -> (Self, SocketAddr) {
        let stand_in =
            Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = RegistryServer::new(stand_in.clone());
        let serve =
            Grpc::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        (stand_in, addr)
    }

    /// The tokens that were sent.
    fn tokens(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|call| call.request.resume_token.clone()).collect()
    }
}

#[tonic::async_trait]
impl Registry for StandIn {
    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<BoxStream<WatchResponse>>, Status> {
        let from = request.remote_addr().unwrap();
        self.calls.lock().unwrap().push(Call { at: Instant::now(), from, request: request.into_inner() });
        let answer = self.answers.lock().unwrap().pop_front();
        match answer.unwrap_or_else(|| Answer::Refusal(gone())) {
            Answer::Refusal(status) => Err(status),
            Answer::Stream(messages, end) => {
                let messages = tokio_stream::iter(messages.into_iter().map(Ok));
                Ok(Response::new(match end {
                    Some(status) => Box::pin(messages.chain(tokio_stream::once(Err(status)))),
                    None => Box::pin(messages.chain(tokio_stream::pending())),
                }))
            }
        }
    }
}

fn message(step: Step, ids: &[&str], revision: u64) -> WatchResponse {
    let event = |id: &&str| Event {
        r#type: Kind::Registered.into(),
        instance: Some(Instance { id: (*id).to_owned(), ..Instance::default() }),
        revision,
        ..Event::default()
    };
    let told = !matches!(step, Step::Reset | Step::Snapshot);
    WatchResponse {
        r#type: step.into(),
        events: ids.iter().map(event).collect(),
        resume_token: if told { format!("t{revision}") } else { String::new() },
        revision,
    }
}

/// All that lives.
fn set(ids: &[&str], revision: u64) -> Vec<WatchResponse> {
    vec![message(Step::Snapshot, ids, revision), message(Step::Synced, &[], revision)]
}

fn gone() -> Status {
    Status::unavailable("gone for a test")
}

fn asking_to_wait(code: Code, wait: Duration) -> Status {
    Status::with_error_details(code, "for a test", ErrorDetails::with_retry_info(Some(wait)))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_nothing_any_more_is_left_for_a_new_connection() {
    let silent = Answer::Stream(set(&["a"], 1), None);
    let (stand_in, addr) = StandIn::start([silent]).await;
    let watch = watch(addr);
    let mut changes = watch.changes();
    assert_eq!(ids(&*snapshot(&mut changes).await).len(), 1);
    until_stale(&watch).await;
    let again = Answer::Stream(vec![message(Step::Changes, &["b"], 2)], None);
    stand_in.answers.lock().unwrap().push_back(again);
    assert!(matches!(within("a change", NOTICED, changes.next()).await, Update::Changes(_)));
    assert_eq!(watch.freshness(), Freshness::Live);
    let tokens = stand_in.tokens();
    assert!(tokens[0].is_empty() && tokens[1..].iter().all(|token| token == "t1"), "{tokens:?}");
    let calls = stand_in.calls.lock().unwrap();
    assert_ne!(calls[0].from, calls[1].from, "another connection");
    assert!(calls[0].request.bookmark_interval.is_some_and(|interval| interval.seconds == 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_to_wait_is_obeyed() {
    const WAIT: Duration = Duration::from_millis(1_500);
    let answers = [Code::Unavailable, Code::ResourceExhausted, Code::PermissionDenied]
        .map(|code| Answer::Refusal(asking_to_wait(code, WAIT)));
    let (stand_in, addr) = StandIn::start(answers).await;
    stand_in.answers.lock().unwrap().push_back(Answer::Stream(set(&[], 1), None));
    let watch = watch(addr);
    until_live(&watch).await;
    let calls = stand_in.calls.lock().unwrap();
    assert_eq!(calls.len(), 4);
    assert!(calls.windows(2).all(|two| two[1].at - two[0].at >= WAIT), "it came earlier");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_breaks_off_is_never_seen() {
    let parts = |ids: &[&str]| message(Step::Snapshot, ids, 9);
    let answers = [
        Answer::Stream(set(&["a", "b"], 1), Some(gone())),
        Answer::Stream(vec![message(Step::Reset, &[], 9), parts(&["c"])], Some(gone())),
        Answer::Stream(vec![parts(&["c"])], Some(gone())),
        Answer::Stream(vec![parts(&["c"]), parts(&["d", "e"]), message(Step::Synced, &[], 9)], None),
    ];
    let (stand_in, addr) = StandIn::start(answers).await;
    let watch = watch(addr);
    let mut changes = watch.changes();
    assert_eq!(snapshot(&mut changes).await.len(), 2);
    let poller = Poller::start(&watch, |shown| {
        let shown: Vec<String> = ids(shown).into_iter().collect();
        shown == ["a", "b"] || shown == ["c", "d", "e"]
    });
    assert_eq!(snapshot(&mut changes).await.len(), 3);
    poller.stop();
    assert_eq!(stand_in.tokens(), ["", "t1", "", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_not_sent_again() {
    let answers = [
        Answer::Stream(set(&["a"], 1), Some(gone())),
        Answer::Refusal(asking_to_wait(Code::InvalidArgument, Duration::from_millis(1))),
        // Nor is one of a registry that makes no sense.
        Answer::Stream([set(&["a"], 2), set(&["b"], 3)].concat(), None),
        Answer::Stream(set(&["c"], 4), None),
    ];
    let (stand_in, addr) = StandIn::start(answers).await;
    let watch = watch(addr);
    let poller = {
        within("the first set", NOTICED, watch.ready()).await;
        Poller::start(&watch, |shown| shown.len() == 1 && shown.get("b").is_none())
    };
    crate::rig::until_shown(&watch, "the last set", |shown| shown.get("c").is_some()).await;
    poller.stop();
    assert_eq!(stand_in.tokens(), ["", "t1", "", ""]);
}
