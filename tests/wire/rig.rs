//! A server to test against: a stub of the registry that reports what its streams learn,
//! and a stub of the JSON paths, on a runtime of one thread that a test can block.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use leasehold::{
    call::{Caller, EndCause},
    config::{ConnectionLimits, HttpConfig},
    proto::{self, plain},
    transport::{Drained, Entry, Front, HostRule, Proxies, Server},
};
use tokio::{net::TcpListener, runtime, sync::mpsc::unbounded_channel};
use tokio_stream::{Stream, wrappers::UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, body::Body, service::Routes};

/// How long what must happen is waited for.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub const KEEP_ALIVE: &str = "/leasehold.v1.Registry/KeepAlive";
pub const REGISTER: &str = "/leasehold.v1.Registry/Register";

/// The largest message that the stub takes, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// A running server.
pub struct Rig {
    pub addr: SocketAddr,
    /// What each `KeepAlive` stream answered for its end, in order.
    causes: mpsc::Receiver<EndCause>,
    /// Says that the server's thread is about to be blocked.
    blocks: mpsc::Receiver<()>,
    shutdown: CancellationToken,
    /// Drops the server's future instead of draining it.
    abandon: CancellationToken,
    thread: thread::JoinHandle<Option<Drained>>,
}

/// What a test wants of its server.
pub struct Setup {
    pub limits: ConnectionLimits,
    pub drain_timeout: Duration,
    /// Whether `KeepAlive` streams stay when the client was told to go.
    pub stubborn: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { limits: ConnectionLimits::default(), drain_timeout: PATIENCE, stubborn: false }
    }
}

/// A server with `limits`.
pub fn start(limits: ConnectionLimits) -> Rig {
    start_with(Setup { limits, ..Setup::default() })
}

pub fn start_with(setup: Setup) -> Rig {
    let (cause, causes) = mpsc::channel();
    let (block, blocks) = mpsc::channel();
    let (addr, addrs) = mpsc::channel();
    let shutdown = CancellationToken::new();
    let abandon = CancellationToken::new();
    let thread = thread::spawn({
        let (shutdown, abandon) = (shutdown.clone(), abandon.clone());
        move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let listen = listener.local_addr().expect("an address");
                addr.send(listen).expect("the test waits");
                let stub = Stub { cause: Mutex::new(cause), stubborn: setup.stubborn };
                let stub = plain::RegistryServer::new(stub).max_decoding_message_size(MAX_MESSAGE);
                let (_, health) = tonic_health::server::health_reporter();
                let grpc = Routes::new(stub).add_service(health);
                let hosts = HostRule::new(listen, &HttpConfig::default());
                let block = Arc::new(Mutex::new(block));
                let front = Front::new(
                    grpc,
                    move |request| json(request, Arc::clone(&block)),
                    Entry::new(hosts, Proxies::default(), Vec::new()),
                );
                let server = Server::new(listener, setup.limits, setup.drain_timeout);
                let drained = tokio::select! {
                    drained = server.run(front, shutdown) => Some(drained),
                    () = abandon.cancelled() => None,
                };
                // Streams' tasks may still have a cause to report.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                drained
            })
        }
    });
    Rig {
        addr: addrs.recv_timeout(PATIENCE).expect("the server starts"),
        causes,
        blocks,
        shutdown,
        abandon,
        thread,
    }
}

impl Rig {
    /// The cause that the next stream to end reports.
    pub fn cause(&self) -> EndCause {
        self.causes.recv_timeout(PATIENCE).expect("a stream's end")
    }

    /// Returns when the server's thread is blocked by a request of `/block`.
    pub fn wait_blocked(&self) {
        self.blocks.recv_timeout(PATIENCE).expect("a block");
    }

    /// Begins the drain.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// How the drain went; begins it if need be.
    pub fn drained(self) -> Drained {
        self.shut_down();
        self.thread.join().expect("no panic").expect("a drain")
    }

    /// Drops the server without a drain.
    pub fn abandon(&self) {
        self.abandon.cancel();
    }
}

/// The JSON paths: `/block/<ms>,<ms>` blocks the thread for each time in turn, 30 ms apart;
/// `/panic` and `/panic-late` panic; all others echo what they know of the request.
async fn json(request: Request<Body>, block: Arc<Mutex<mpsc::Sender<()>>>) -> Response<Body> {
    let caller = request.extensions().get::<Caller>().expect("a caller").clone();
    let path = request.uri().path().to_owned();
    if let Some(times) = path.strip_prefix("/block/") {
        for time in times.split(',') {
            let time = Duration::from_millis(time.parse().expect("milliseconds"));
            block.lock().expect("a lock").send(()).expect("the test waits");
            thread::sleep(time);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    match path.as_str() {
        "/panic" => panic!("asked to"),
        "/panic-late" => return Response::new(Body::new(PanickingBody)),
        _ => {}
    }
    match request.into_body().collect().await {
        Ok(body) => {
            let length = body.to_bytes().len();
            let text = format!(
                "{} {} {length} {}\n",
                caller.scheme,
                caller.authority,
                caller.connection.open_requests()
            );
            Response::new(Body::new(text))
        }
        Err(status) => {
            let mut response = Response::new(Body::new(format!("{:?}\n", status.code())));
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            response
        }
    }
}

/// A body that is a bug.
struct PanickingBody;

impl http_body::Body for PanickingBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Status>>> {
        panic!("asked to")
    }
}

/// The registry: `KeepAlive` answers each message, says `retry_after` when the client is
/// told to go, and reports whose doing its end was.
struct Stub {
    cause: Mutex<mpsc::Sender<EndCause>>,
    stubborn: bool,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl plain::Registry for Stub {
    async fn keep_alive(
        &self,
        request: tonic::Request<Streaming<proto::KeepAliveRequest>>,
    ) -> Result<tonic::Response<Responses<proto::KeepAliveResponse>>, Status> {
        let caller = request.extensions().get::<Caller>().expect("a caller");
        let connection = Arc::clone(&caller.connection);
        let cause = self.cause.lock().expect("a lock").clone();
        let stubborn = self.stubborn;
        let mut requests = request.into_inner();
        let (answer, answers) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = requests.message() => {
                        let Ok(Some(_)) = message else { break };
                        let _ = answer.send(Ok(proto::KeepAliveResponse::default()));
                    }
                    () = connection.wait_leaving(), if !stubborn => {
                        let _ = answer.send(Ok(proto::KeepAliveResponse {
                            retry_after: Some(prost_types::Duration::default()),
                            ..Default::default()
                        }));
                        break;
                    }
                }
            }
            let _ = cause.send(connection.end_cause().await);
        });
        let answers = UnboundedReceiverStream::new(answers);
        Ok(tonic::Response::new(Box::pin(answers)))
    }

    async fn register(
        &self,
        request: tonic::Request<proto::RegisterRequest>,
    ) -> Result<tonic::Response<proto::RegisterResponse>, Status> {
        let id = request.into_inner().id;
        Ok(tonic::Response::new(proto::RegisterResponse { id, ..Default::default() }))
    }

    async fn get(
        &self,
        _: tonic::Request<proto::GetRequest>,
    ) -> Result<tonic::Response<proto::Instance>, Status> {
        panic!("asked to")
    }
}
