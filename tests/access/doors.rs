//! The doors to one registry, each as a way to make the same calls.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use leasehold::proto::{
    BackupRequest, BatchRegisterRequest, DeregisterRequest, GetRequest, KeepAliveRequest, ListRequest,
    PingRequest, WatchRequest, admin_client::AdminClient, batch_register_response::result::Result as Each,
    keep_alive_response::lost::Reason, registry_client::RegistryClient, watch_response::Type as Step,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::support::{
    SOON, http,
    http::{exchange, request_bytes},
    replica, within,
};

/// A replica of which something is asked.
#[derive(Clone, Debug)]
pub struct Whom {
    pub service: String,
    pub url: String,
    /// Its ULID, or its service's name, as a call by id names it.
    pub id: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Call {
    Register(Whom),
    Batch(Vec<Whom>),
    Ping(Whom),
    Deregister(Whom),
    Attach(Vec<Whom>),
    Detach(Vec<Whom>),
    Get(Whom),
    /// Of one service, or of all.
    List(Option<&'static str>),
    Watch(Option<&'static str>),
    Backup,
    Reflection,
    Metrics,
    OpenApi,
    Health,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `+` done, `U` no good key, `D` denied, `N` not found; `{b,o}` the services that were seen, by
    /// their first letter; `[+,D]` each entry's.
    pub short: String,
    /// A refusal, to the letter.
    pub text: String,
}

impl Outcome {
    fn done() -> Self {
        Self { short: "+".to_owned(), text: String::new() }
    }

    fn seen(services: impl IntoIterator<Item = String>) -> Self {
        let first: BTreeSet<String> = services.into_iter().map(|name| name[..1].to_owned()).collect();
        let first: Vec<String> = first.into_iter().collect();
        Self { short: format!("{{{}}}", first.join(",")), text: String::new() }
    }

    fn each(shorts: impl IntoIterator<Item = String>) -> Self {
        let shorts: Vec<String> = shorts.into_iter().collect();
        Self { short: format!("[{}]", shorts.join(",")), text: String::new() }
    }

    fn refused(status: &Status) -> Self {
        let short = short(status.code() as i32).map_or_else(|| format!("{status:?}"), str::to_owned);
        Self { short, text: format!("{:?} {} {:?}", status.code(), status.message(), status.details()) }
    }
}

fn short(code: i32) -> Option<&'static str> {
    match Code::from_i32(code) {
        Code::Ok => Some("+"),
        Code::Unauthenticated => Some("U"),
        Code::PermissionDenied => Some("D"),
        Code::NotFound => Some("N"),
        _ => None,
    }
}

/// A way in.
pub trait Door {
    fn name(&self) -> &'static str;

    /// Makes a call with a key; none where this door has no such call.
    async fn call(&mut self, key: Option<&str>, call: &Call) -> Option<Outcome>;
}

// === gRPC ===

/// gRPC, over one connection.
pub struct Grpc {
    registry: RegistryClient<Channel>,
    admin: AdminClient<Channel>,
    reflection: ServerReflectionClient<Channel>,
    /// Which of the two headers comes next.
    bearer: bool,
}

impl Grpc {
    pub fn new(channel: Channel) -> Self {
        let registry = RegistryClient::new(channel.clone());
        let admin = AdminClient::new(channel.clone());
        Self { registry, admin, reflection: ServerReflectionClient::new(channel), bearer: false }
    }

    fn keyed<T>(&mut self, key: Option<&str>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.bearer = !self.bearer;
        if let Some(key) = key {
            let (name, value) = header(key, self.bearer);
            request.metadata_mut().insert(name, MetadataValue::try_from(value).unwrap());
        }
        request
    }

    async fn try_call(&mut self, key: Option<&str>, call: &Call) -> Result<Outcome, Status> {
        match call {
            Call::Register(whom) => {
                let request = self.keyed(key, replica(&whom.service, &whom.url));
                self.registry.register(request).await?;
            }
            Call::Batch(all) => {
                let requests =
                    all.iter().map(|whom| replica(&whom.service, &whom.url).encode_to_vec().into()).collect();
                let request = self.keyed(key, BatchRegisterRequest { requests });
                let results = self.registry.batch_register(request).await?.into_inner().results;
                let each = results.into_iter().map(|one| match one.result.unwrap() {
                    Each::Response(_) => "+".to_owned(),
                    Each::Error(status) => {
                        short(status.code).map_or_else(|| format!("{status:?}"), str::to_owned)
                    }
                });
                return Ok(Outcome::each(each));
            }
            Call::Ping(whom) => {
                let ping = PingRequest { id: whom.id.clone(), ..PingRequest::default() };
                let request = self.keyed(key, ping);
                self.registry.ping(request).await?;
            }
            Call::Deregister(whom) => {
                let request = DeregisterRequest { id: whom.id.clone(), ..DeregisterRequest::default() };
                let request = self.keyed(key, request);
                self.registry.deregister(request).await?;
            }
            Call::Attach(all) => return self.keep_alive(key, all, false).await,
            Call::Detach(all) => return self.keep_alive(key, all, true).await,
            Call::Get(whom) => {
                let request = self.keyed(key, GetRequest { id: whom.id.clone() });
                self.registry.get(request).await?;
            }
            Call::List(service) => {
                let service = service.iter().map(|&name| name.to_owned()).collect();
                let request = self.keyed(key, ListRequest { service, ..ListRequest::default() });
                let listed = self.registry.list(request).await?.into_inner();
                assert_eq!(listed.count as usize, listed.services.len());
                return Ok(Outcome::seen(listed.services.into_iter().map(|one| one.service)));
            }
            Call::Watch(service) => {
                let service = service.iter().map(|&name| name.to_owned()).collect();
                let request = self.keyed(key, WatchRequest { service, ..WatchRequest::default() });
                let mut watch = self.registry.watch(request).await?.into_inner();
                let mut seen = Vec::new();
                loop {
                    let message = within("a message", SOON, watch.message()).await?.unwrap();
                    seen.extend(message.events.iter().map(|one| one.instance.clone().unwrap().service));
                    if message.r#type() == Step::Synced {
                        return Ok(Outcome::seen(seen));
                    }
                }
            }
            Call::Backup => {
                let request = self.keyed(key, BackupRequest {});
                let mut parts = self.admin.backup(request).await?.into_inner();
                while within("a part", SOON, parts.message()).await?.is_some() {}
            }
            Call::Reflection => {
                let list = MessageRequest::ListServices(String::new());
                let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
                let request = self.keyed(key, tokio_stream::iter([list]));
                let mut answers = self.reflection.server_reflection_info(request).await?.into_inner();
                within("an answer", SOON, answers.message()).await?.unwrap();
            }
            Call::Health | Call::Metrics | Call::OpenApi => unreachable!("paths of the other door"),
        }
        Ok(Outcome::done())
    }

    /// One message, and one that releases everything, so that the stream's end changes nothing.
    async fn keep_alive(&mut self, key: Option<&str>, all: &[Whom], detach: bool) -> Result<Outcome, Status> {
        let (beats, outgoing) = mpsc::unbounded_channel();
        let ids: Vec<String> = all.iter().map(|whom| whom.id.clone()).collect();
        beats.send(KeepAliveRequest { ids: ids.clone(), detach, ..KeepAliveRequest::default() }).unwrap();
        let request = self.keyed(key, UnboundedReceiverStream::new(outgoing));
        let mut answers = self.registry.keep_alive(request).await?.into_inner();
        let answer = within("an answer", SOON, answers.message()).await?.unwrap();
        beats.send(KeepAliveRequest { detach: true, ..KeepAliveRequest::default() }).unwrap();
        within("an answer", SOON, answers.message()).await?.unwrap();
        let each = ids.iter().map(|id| {
            let lost = answer.lost.iter().find(|lost| lost.id == *id);
            match lost.map(leasehold::proto::keep_alive_response::Lost::reason) {
                None => "+".to_owned(),
                Some(Reason::PermissionDenied) => "D".to_owned(),
                Some(Reason::NotFound) => "N".to_owned(),
                Some(other) => format!("{other:?}"),
            }
        });
        Ok(Outcome::each(each))
    }
}

impl Door for Grpc {
    fn name(&self) -> &'static str {
        "gRPC"
    }

    async fn call(&mut self, key: Option<&str>, call: &Call) -> Option<Outcome> {
        if matches!(call, Call::Health | Call::Metrics | Call::OpenApi) {
            return None;
        }
        Some(self.try_call(key, call).await.unwrap_or_else(|status| Outcome::refused(&status)))
    }
}

// === JSON ===

/// HTTP and JSON, a connection a call.
pub struct Json {
    pub addr: SocketAddr,
    /// Which of the two headers comes next.
    pub bearer: bool,
}

impl Json {
    fn exchange(&mut self, key: Option<&str>, method: &str, path: &str, body: &Value) -> (Outcome, Value) {
        self.bearer = !self.bearer;
        let header = key.map(|key| header(key, self.bearer));
        let headers: Vec<(&str, &str)> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = exchange(self.addr, method, path, &headers, body.as_bytes());
        let text = answer.text();
        let value = serde_json::from_str(&text).unwrap_or_default();
        if answer.status == 200 {
            return (Outcome::done(), value);
        }
        (refused(answer.status, &text), Value::Null)
    }
}

fn refused(status: u16, text: &str) -> Outcome {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    // A stream's refusal is one of its messages.
    let code = body["code"].as_i64().or_else(|| body["error"]["code"].as_i64());
    let short = match (status, code) {
        (401, Some(16)) => "U".to_owned(),
        (403, Some(7)) => "D".to_owned(),
        (404, Some(5)) => "N".to_owned(),
        _ => format!("{status} {text}"),
    };
    Outcome { short, text: format!("{status} {text}") }
}

fn registration(whom: &Whom) -> Value {
    json!({"service": whom.service, "url": whom.url})
}

impl Door for Json {
    fn name(&self) -> &'static str {
        "JSON"
    }

    async fn call(&mut self, key: Option<&str>, call: &Call) -> Option<Outcome> {
        let path = |whom: &Whom| format!("/services/{}", whom.id);
        let done = |(outcome, _): (Outcome, Value)| Some(outcome);
        match call {
            Call::Register(whom) => {
                done(self.exchange(key, "POST", "/services/$register", &registration(whom)))
            }
            Call::Batch(all) => {
                let requests: Vec<Value> = all.iter().map(registration).collect();
                let body = json!({"requests": requests});
                let (outcome, value) = self.exchange(key, "POST", "/services/$batchRegister", &body);
                let Some(results) = value["results"].as_array() else { return Some(outcome) };
                let each = results.iter().map(|one| {
                    let code = one["error"]["code"].as_i64().unwrap_or_default();
                    short(i32::try_from(code).unwrap()).map_or_else(|| one.to_string(), str::to_owned)
                });
                Some(Outcome::each(each))
            }
            Call::Ping(whom) => {
                done(self.exchange(key, "PUT", &format!("{}/$ping", path(whom)), &Value::Null))
            }
            Call::Deregister(whom) => done(self.exchange(key, "DELETE", &path(whom), &Value::Null)),
            Call::Get(whom) => done(self.exchange(key, "GET", &path(whom), &Value::Null)),
            Call::List(service) => {
                let query = service.map(|name| format!("?service={name}")).unwrap_or_default();
                let (outcome, value) = self.exchange(key, "GET", &format!("/services{query}"), &Value::Null);
                let Some(listed) = value["services"].as_array() else { return Some(outcome) };
                assert_eq!(value["count"], listed.len());
                Some(Outcome::seen(listed.iter().map(|one| one["service"].as_str().unwrap().to_owned())))
            }
            Call::Watch(service) => {
                self.bearer = !self.bearer;
                let header = key.map(|key| header(key, self.bearer));
                let mut headers: Vec<(&str, &str)> =
                    header.iter().map(|(name, value)| (*name, value.as_str())).collect();
                headers.push(("connection", "close"));
                let query = service.map(|name| format!("?service={name}")).unwrap_or_default();
                Some(watch(self.addr, &format!("/services/$watch{query}"), &headers))
            }
            Call::Metrics => done(self.exchange(key, "GET", "/metrics", &Value::Null)),
            Call::OpenApi => done(self.exchange(key, "GET", "/openapi.json", &Value::Null)),
            Call::Health => {
                let outcomes =
                    ["/health", "/healthz"].map(|path| self.exchange(key, "GET", path, &Value::Null).0.short);
                Some(Outcome::each(outcomes))
            }
            Call::Attach(_) | Call::Detach(_) | Call::Backup | Call::Reflection => None,
        }
    }
}

/// Reads a watch up to SYNCED, or to its refusal.
fn watch(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Outcome {
    let mut stream = http::open(addr);
    stream.write_all(&request_bytes(addr, "GET", path, headers, b"")).unwrap();
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part).unwrap();
        all.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&all);
        if read > 0 && !text.contains("\"SYNCED\"") {
            continue;
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 200 {
            return refused(status, body);
        }
        let messages = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut seen = Vec::new();
        for message in messages {
            let events = message["result"]["events"].as_array().cloned().unwrap_or_default();
            seen.extend(events.iter().map(|one| one["instance"]["service"].as_str().unwrap().to_owned()));
        }
        return Outcome::seen(seen);
    }
}

// === the name registry ===

/// The small name registry's paths, a connection a call. It knows no ids: services and addresses name
/// what is meant.
pub struct Names {
    pub addr: SocketAddr,
    /// Which of the two headers comes next.
    pub bearer: bool,
}

impl Names {
    fn exchange(&mut self, key: Option<&str>, method: &str, path: &str, body: &str) -> (Outcome, Value) {
        self.bearer = !self.bearer;
        let header = key.map(|key| header(key, self.bearer));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(header.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = exchange(self.addr, method, path, &headers, body.as_bytes());
        let text = format!("{} {}", answer.status, answer.text());
        let short = match answer.status {
            200 | 201 => "+",
            401 => "U",
            403 => "D",
            404 => "N",
            _ => &text,
        };
        (Outcome { short: short.to_owned(), text: text.clone() }, answer.json())
    }

    fn about(&mut self, key: Option<&str>, path: &str, whom: &Whom) -> Option<Outcome> {
        // By a service's name alone nothing is asked here.
        let body = json!({"service": whom.service, "address": whom.url}).to_string();
        (whom.id != whom.service).then(|| self.exchange(key, "POST", path, &body).0)
    }
}

impl Door for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    async fn call(&mut self, key: Option<&str>, call: &Call) -> Option<Outcome> {
        match call {
            Call::Register(whom) => self.about(key, "/register", whom),
            Call::Ping(whom) => self.about(key, "/heartbeat", whom),
            Call::Deregister(whom) => self.about(key, "/deregister", whom),
            Call::List(None) => {
                let (outcome, body) = self.exchange(key, "GET", "/services", "");
                let Some(seen) = body["services"].as_object() else { return Some(outcome) };
                Some(Outcome::seen(seen.keys().cloned()))
            }
            Call::List(Some(service)) => {
                let (outcome, body) = self.exchange(key, "GET", &format!("/discover/{service}"), "");
                let Some(seen) = body["instances"].as_array() else { return Some(outcome) };
                Some(Outcome::seen(seen.iter().map(|_| (*service).to_owned())))
            }
            Call::Health => {
                let short = self.exchange(key, "GET", "/health", "").0.short;
                Some(Outcome::each([short.clone(), short]))
            }
            _ => None,
        }
    }
}

/// One of the two headers that a key comes in.
fn header(key: &str, bearer: bool) -> (&'static str, String) {
    if bearer { ("authorization", format!("Bearer {key}")) } else { ("x-service-key", key.to_owned()) }
}
