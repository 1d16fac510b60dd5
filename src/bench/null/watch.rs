//! What a tonic server can do for watchers at most. Messages are encoded once and handed to a
//! channel per watcher; nobody looks at filters, revisions or resume tokens.
//!
//! A Register is told to all watchers as one message with one event, a `BatchRegister` as one
//! with all its events. When a `KeepAlive` stream ends, as many events as ids were named on it
//! are sent at once, in messages of `weight` events; the last Register's `weight` and content.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use parking_lot::Mutex;
use prost::Message as _;
use prost_types::Timestamp;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming, async_trait,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::BoxStream,
    server::{Grpc, NamedService, ServerStreamingService},
    transport::{Server, server::TcpIncoming},
};

use super::tonic::registered;
use crate::{
    bench::{
        Result,
        proto::{Registry, RegistryServer},
    },
    proto::{
        BatchRegisterRequest, BatchRegisterResponse, Event, Instance, KeepAliveRequest, KeepAliveResponse,
        RegisterRequest, RegisterResponse, WatchResponse, batch_register_response, event, watch_response,
    },
};

type Answer<T> = std::result::Result<Response<T>, Status>;
type Message = std::result::Result<Bytes, Status>;

/// Messages that may wait for one watcher.
const WAITING: usize = 1024;

/// Serves until the process is killed.
pub async fn serve(listener: TcpListener) -> Result<()> {
    let hub = Hub::default();
    let door = Door { inner: RegistryServer::new(hub.clone()), hub };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(door).serve_with_incoming(incoming).await?)
}

/// The watchers.
#[derive(Clone, Default)]
struct Hub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    watchers: Vec<mpsc::Sender<Message>>,
    last: Option<RegisterRequest>,
}

impl Hub {
    async fn tell(&self, message: Bytes) {
        let watchers = self.0.lock().watchers.clone();
        for watcher in watchers {
            // One that is gone is told nothing.
            let _ = watcher.send(Ok(message.clone())).await;
        }
    }

    /// The messages of a stream's end, of so many events together.
    fn burst(&self, events: usize) -> Vec<Bytes> {
        let Some(last) = self.0.lock().last.clone() else { return Vec::new() };
        let size = (last.weight as usize).clamp(1, events.max(1));
        let whole = message(event::Type::Expired, std::iter::repeat_n(&last, size));
        let rest = message(event::Type::Expired, std::iter::repeat_n(&last, events % size));
        let mut messages = vec![whole; events / size];
        messages.extend((!events.is_multiple_of(size)).then_some(rest));
        messages
    }
}

#[async_trait]
impl Registry for Hub {
    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        let request = request.into_inner();
        self.0.lock().last = Some(request.clone());
        self.tell(message(event::Type::Updated, [&request])).await;
        Ok(Response::new(registered(request)))
    }

    async fn batch_register(&self, request: Request<BatchRegisterRequest>) -> Answer<BatchRegisterResponse> {
        let entries = request.into_inner().entries().collect::<std::result::Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.tell(message(event::Type::Updated, &entries)).await;
        let results = entries.into_iter().map(|request| {
            let result = batch_register_response::result::Result::Response(registered(request));
            batch_register_response::Result { result: Some(result) }
        });
        Ok(Response::new(BatchRegisterResponse { results: results.collect() }))
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Answer<BoxStream<KeepAliveResponse>> {
        let mut beats = request.into_inner();
        let (out, answers) = mpsc::channel(16);
        let hub = self.clone();
        tokio::spawn(async move {
            let mut ids = 0;
            let mut messages = Vec::new();
            while let Some(Ok(beat)) = beats.next().await {
                ids += beat.ids.len();
                // Made before the end, so that the end is nothing but sending.
                messages = hub.burst(ids);
                if out.send(Ok(KeepAliveResponse::default())).await.is_err() {
                    break;
                }
            }
            for message in messages {
                hub.tell(message).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// A message as leasehold would send it, with one event per request.
fn message<'a>(kind: event::Type, requests: impl IntoIterator<Item = &'a RegisterRequest>) -> Bytes {
    let moment = || Some(Timestamp { seconds: 1_795_000_000, nanos: 123_456_789 });
    let events = requests.into_iter().map(|request| Event {
        r#type: kind.into(),
        reason: event::Reason::Content.into(),
        instance: Some(Instance {
            id: "01JD6V3Z5Q8X4N7M2K9T0B1C6F".to_owned(),
            service: request.service.clone(),
            url: request.url.clone(),
            info: Some(request.info.clone().unwrap_or_default()),
            labels: request.labels.clone(),
            zone: request.zone.clone(),
            weight: request.weight,
            status: "alive".to_owned(),
            registered_at: moment(),
            last_updated: moment(),
            last_ping_at: moment(),
            expires_at: moment(),
            ttl_seconds: 30,
            revision: 1_000_000,
        }),
        revision: 1_000_000,
        braked: false,
    });
    let message = WatchResponse {
        r#type: watch_response::Type::Changes.into(),
        events: events.collect(),
        resume_token: "UgAAAZqnUzYgAAAAAAAPQkDUHYzZjwCyBOmACZjs_y8".to_owned(),
        revision: 1_000_000,
    };
    message.encode_to_vec().into()
}

/// The service, but for Watch, whose messages are encoded already.
#[derive(Clone)]
struct Door {
    inner: RegistryServer<Hub>,
    hub: Hub,
}

impl NamedService for Door {
    const NAME: &'static str = crate::proto::SERVICE_NAME;
}

impl tower::Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == "/leasehold.v1.Registry/Watch" {
            let watch = Watch(self.hub.clone());
            Box::pin(async { Ok(Grpc::new(Encoded).server_streaming(watch, request).await) })
        } else {
            Box::pin(self.inner.call(request))
        }
    }
}

struct Watch(Hub);

impl ServerStreamingService<()> for Watch {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Message>;
    type Future = std::future::Ready<Answer<Self::ResponseStream>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let (out, messages) = mpsc::channel(WAITING);
        let synced =
            WatchResponse { r#type: watch_response::Type::Synced.into(), ..WatchResponse::default() };
        // There is room in a new channel.
        let _ = out.try_send(Ok(synced.encode_to_vec().into()));
        self.0.0.lock().watchers.push(out);
        std::future::ready(Ok(Response::new(ReceiverStream::new(messages))))
    }
}

/// Messages that are encoded already, and requests that nobody looks at.
#[derive(Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> std::result::Result<Option<()>, Status> {
        message.advance(message.remaining());
        Ok(Some(()))
    }
}
