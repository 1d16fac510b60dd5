//! The task that holds: it does what the [`Book`] decides, and tells it what came of it. Everything that can wake it is
//! one [`Event`].

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, Either},
    stream::{self, FuturesUnordered, Stream},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    Ended, State,
    book::{Book, Call, CallId, Effect, Handle, How, Outcome, Session},
    fault::{Fault, asked},
    holder::{Command, Holder, Told},
};
use crate::{
    client::{Service, backoff::random_fraction, cause::reason, connect::Dial},
    proto::{
        BatchRegisterRequest, KeepAliveRequest, KeepAliveResponse, RegisterRequest, RegisterResponse,
        batch_register_response::result::Result as Entry, registry_client::RegistryClient,
    },
};

/// A call that is not answered within this failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that are not listened to any more, and not closed before what is on them is on another.
const MOST_OLD: usize = 3;

type Answers = Pin<Box<dyn Stream<Item = Result<KeepAliveResponse, Status>> + Send>>;

/// Holds until there is nothing to hold.
pub(super) struct Task {
    holder: Arc<Holder>,
    dial: Dial,
    registry: RegistryClient<Service>,
    commands: mpsc::UnboundedReceiver<Command>,
    book: Book,
    told: HashMap<Handle, Told>,
    /// Who waits for the end of a lease.
    waiting: HashMap<Handle, Vec<oneshot::Sender<Result<(), String>>>>,
    stream: Option<Open>,
    old: VecDeque<Open>,
    calls: FuturesUnordered<BoxFuture<'static, (CallId, Outcome)>>,
}

/// An open stream.
struct Open {
    session: Session,
    beats: mpsc::Sender<KeepAliveRequest>,
    answers: Answers,
}

/// What can wake the task.
enum Event {
    Answer(Session, KeepAliveResponse),
    StreamEnd(Session, Option<Status>),
    Called(CallId, Outcome),
    Command(Command),
    Time,
}

impl Task {
    pub fn new(holder: Arc<Holder>, dial: Dial, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        Self {
            holder,
            registry: dial.registry(),
            dial,
            commands,
            book: Book::new(Instant::now(), random_fraction),
            told: HashMap::new(),
            waiting: HashMap::new(),
            stream: None,
            old: VecDeque::new(),
            calls: FuturesUnordered::new(),
        }
    }

    pub async fn run(mut self) {
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            while let Some(effect) = self.book.poll(Instant::now()) {
                self.execute(effect);
            }
            if self.book.is_idle() && self.holder.end_task(&self.commands) {
                return;
            }
            match self.next_event().await {
                Event::Answer(session, answer) => self.book.answered(Instant::now(), session, &answer),
                Event::StreamEnd(session, status) => self.stream_ended(session, status.as_ref()),
                Event::Called(id, outcome) => self.book.called(Instant::now(), id, outcome),
                Event::Command(command) => self.obey(command),
                Event::Time => {}
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let wakes_at = self.book.wakes_at();
        tokio::select! {
            // What has happened comes before what is due: an answer may be there already.
            biased;
            (session, answer) = next_answer(&mut self.stream) => match answer {
                Some(Ok(answer)) => Event::Answer(session, answer),
                Some(Err(status)) => Event::StreamEnd(session, Some(status)),
                None => Event::StreamEnd(session, None),
            },
            Some((id, outcome)) = self.calls.next() => Event::Called(id, outcome),
            Some(command) = self.commands.recv() => Event::Command(command),
            () = time(wakes_at) => Event::Time,
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Hold(handle, request, answer, told) => {
                self.told.insert(handle, told);
                match answer {
                    Some(answer) => self.book.hold_registered(now, handle, request, &answer),
                    None => self.book.hold(now, handle, request),
                }
            }
            Command::Update(handle, request) => self.book.update(now, handle, request),
            Command::End(handle, how, within, done) => self.end(now, handle, how, within, done),
            Command::Close(within, answers) => {
                let handles: Vec<Handle> = self.told.keys().copied().collect();
                let ends = handles.into_iter().map(|handle| {
                    let (done, end) = oneshot::channel();
                    self.end(now, handle, How::Deregister, within, Some(done));
                    end
                });
                // Nobody need wait for it.
                let _ = answers.send(ends.collect());
            }
        }
    }

    fn end(
        &mut self,
        now: Instant,
        handle: Handle,
        how: How,
        within: Duration,
        done: Option<oneshot::Sender<Result<(), String>>>,
    ) {
        // What was ended before is as it was wanted: dropping `done` says so.
        if self.told.contains_key(&handle) {
            self.waiting.entry(handle).or_default().extend(done);
            self.book.end(now, handle, how, within);
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Show(handle, state) => {
                if let Some(told) = self.told.get(&handle) {
                    told.states.send_if_modified(|shown| {
                        let modified = *shown != state;
                        *shown = state;
                        modified
                    });
                }
            }
            Effect::Taken(handle, answer) => {
                if let Some(told) = self.told.get(&handle) {
                    let mut facts = told.facts.lock();
                    facts.answer = Some(answer);
                    facts.refusal = None;
                }
            }
            Effect::NotUpdated(handle, why) => {
                if let Some(told) = self.told.get(&handle) {
                    told.facts.lock().refusal = Some(why);
                    // Whoever waits for a change looks again.
                    told.states.send_modify(|_| {});
                }
            }
            Effect::Ended(handle, ended, result) => {
                if let Some(told) = self.told.remove(&handle) {
                    told.states.send_replace(State::Ended(ended));
                }
                for done in self.waiting.remove(&handle).unwrap_or_default() {
                    let _ = done.send(result.clone());
                }
            }
            Effect::Connect => self.registry = self.dial.registry(),
            Effect::Open(session, first) => self.open(session, first),
            Effect::Send(message) => {
                if let Some(stream) = &self.stream {
                    // One that cannot be taken is not answered either, and that is noticed.
                    let _ = stream.beats.try_send(message);
                }
            }
            Effect::Settle => self.old.clear(),
            Effect::Call(id, call) => self.calls.push(Box::pin(ask(self.registry.clone(), id, call))),
        }
    }

    fn open(&mut self, session: Session, first: KeepAliveRequest) {
        if let Some(old) = self.stream.take() {
            // It may be the way to the registry that works, if only in one direction.
            let _ = old.beats.try_send(KeepAliveRequest::default());
            self.old.push_back(old);
            if self.old.len() > MOST_OLD {
                self.old.pop_front();
            }
        }
        let (beats, outgoing) = mpsc::channel(4);
        // There is room. Before the call: a registry may answer the call only with its first answer.
        let _ = beats.try_send(first);
        let mut registry = self.registry.clone();
        let opening = async move { registry.keep_alive(ReceiverStream::new(outgoing)).await };
        let answers = stream::once(opening).flat_map(|opened| match opened {
            Ok(answers) => Either::Left(answers.into_inner()),
            Err(status) => Either::Right(stream::iter([Err(status)])),
        });
        self.stream = Some(Open { session, beats, answers: Box::pin(answers) });
    }

    fn stream_ended(&mut self, session: Session, status: Option<&Status>) {
        self.stream = None;
        let (why, after) = match status {
            Some(status) => (reason(status), asked(status)),
            None => ("the registry ended the stream".to_owned(), Duration::ZERO),
        };
        self.book.stream_ended(Instant::now(), session, &why, after);
    }
}

/// The runtime is being shut down, or there is nothing left to tell.
impl Drop for Task {
    fn drop(&mut self) {
        for told in self.told.values() {
            told.states.send_replace(State::Ended(Ended::Left));
        }
    }
}

async fn next_answer(stream: &mut Option<Open>) -> (Session, Option<Result<KeepAliveResponse, Status>>) {
    match stream {
        Some(open) => (open.session, open.answers.next().await),
        None => std::future::pending().await,
    }
}

async fn time(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn ask(mut registry: RegistryClient<Service>, id: CallId, call: Call) -> (CallId, Outcome) {
    let outcome = match call {
        Call::Register(requests) => Outcome::Registered(register(registry, requests).await),
        Call::Deregister(request) => {
            let answer = within(registry.deregister(request)).await;
            Outcome::Deregistered(answer.map(drop).map_err(|status| Fault::of(&status)))
        }
    };
    (id, outcome)
}

async fn register(
    mut registry: RegistryClient<Service>,
    requests: Vec<RegisterRequest>,
) -> Result<Vec<Result<RegisterResponse, Fault>>, Fault> {
    let fault = |status| Fault::of(&status);
    if let [request] = requests.as_slice() {
        let answer = within(registry.register(request.clone())).await.map_err(fault)?;
        return Ok(vec![Ok(answer)]);
    }
    let batch: BatchRegisterRequest = requests.into_iter().collect();
    let answer = within(registry.batch_register(batch)).await.map_err(fault)?;
    let results = answer.results.into_iter().enumerate().map(|(index, result)| match result.result {
        Some(Entry::Response(answer)) => Ok(answer),
        Some(Entry::Error(status)) => Err(Fault::of_entry(index, &status)),
        None => Err(Fault::nonsense("the registry's answer is empty")),
    });
    Ok(results.collect())
}

async fn within<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::new(Code::DeadlineExceeded, "the registry did not answer")),
    }
}
