//! Whole exchanges, against a small service that answers with what it was asked.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use tonic::{Code, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::proto::{
    BatchRegisterRequest, BatchRegisterResponse, DeregisterRequest, DeregisterResponse, FILE_DESCRIPTOR_SET,
    GetRequest, Instance, ListRequest, ListResponse, PingRequest, PingResponse, RegisterRequest,
    RegisterResponse, SERVICE_NAME, WatchRequest, WatchResponse,
    plain::{Registry, RegistryServer},
    watch_response::Type,
};

/// What the stub saw last, and how it is to answer a watch.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    metadata: MetadataMap,
    caller: Option<Caller>,
    register: Option<RegisterRequest>,
    list: Option<ListRequest>,
    watch: Option<WatchRequest>,
    on_drop: Option<oneshot::Sender<()>>,
}

/// Stands for what the server knows of a connection.
#[derive(Clone, Debug, PartialEq)]
struct Caller(u8);

type Watching = Pin<Box<dyn Stream<Item = Result<WatchResponse, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl Registry for Stub {
    async fn register(
        &self,
        request: tonic::Request<RegisterRequest>,
    ) -> Result<tonic::Response<RegisterResponse>, tonic::Status> {
        let mut seen = self.0.lock().unwrap();
        seen.metadata = request.metadata().clone();
        seen.caller = request.extensions().get().cloned();
        seen.register = Some(request.get_ref().clone());
        let mut response = tonic::Response::new(RegisterResponse {
            id: "01ID".to_owned(),
            service_url: request.into_inner().url,
            ttl_seconds: 30,
            revision: 7,
            ..RegisterResponse::default()
        });
        response.metadata_mut().insert("x-extra", "e".parse().unwrap());
        Ok(response)
    }

    async fn batch_register(
        &self,
        _: tonic::Request<BatchRegisterRequest>,
    ) -> Result<tonic::Response<BatchRegisterResponse>, tonic::Status> {
        std::future::pending().await
    }

    /// Fails as its id says.
    async fn ping(
        &self,
        request: tonic::Request<PingRequest>,
    ) -> Result<tonic::Response<PingResponse>, tonic::Status> {
        let id = request.into_inner().id;
        let mut details = ErrorDetails::new();
        Err(match id.as_str() {
            "bad" => {
                details.add_bad_request_violation("id", "is bad");
                tonic::Status::with_error_details(Code::InvalidArgument, "bad “id”", details)
            }
            "later" => {
                details.set_retry_info(Some(Duration::from_millis(1500)));
                tonic::Status::with_error_details(Code::Unavailable, "later", details)
            }
            "unknown" => {
                details.set_request_info("id", "data");
                tonic::Status::with_error_details(Code::NotFound, "unknown", details)
            }
            "who" => tonic::Status::unauthenticated("who?"),
            "ok" => {
                return Ok(tonic::Response::new(PingResponse { id, ..PingResponse::default() }));
            }
            _ => tonic::Status::not_found("no such"),
        })
    }

    async fn list(
        &self,
        request: tonic::Request<ListRequest>,
    ) -> Result<tonic::Response<ListResponse>, tonic::Status> {
        self.0.lock().unwrap().list = Some(request.into_inner());
        Ok(tonic::Response::new(ListResponse::default()))
    }

    async fn get(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<Instance>, tonic::Status> {
        Ok(tonic::Response::new(Instance {
            id: request.into_inner().id,
            info: Some(prost_types::Struct::default()),
            ..Instance::default()
        }))
    }

    /// Behaves as its resume token says.
    async fn watch(
        &self,
        request: tonic::Request<WatchRequest>,
    ) -> Result<tonic::Response<Watching>, tonic::Status> {
        let mut seen = self.0.lock().unwrap();
        let request = request.into_inner();
        seen.watch = Some(request.clone());
        let guard = seen.on_drop.take();
        let message = |r#type: Type, token: &str| {
            Ok(WatchResponse {
                r#type: r#type.into(),
                resume_token: token.to_owned(),
                ..WatchResponse::default()
            })
        };
        let failed = || Err(tonic::Status::aborted("over"));
        let two = vec![message(Type::Snapshot, ""), message(Type::Synced, "t1")];
        let answer: Watching = match request.resume_token.as_str() {
            "refused" => return Err(tonic::Status::invalid_argument("no token")),
            "fails" => Box::pin(stream::iter([failed()])),
            "empty" => Box::pin(stream::empty()),
            "breaks" => Box::pin(stream::iter(two.into_iter().chain([failed()]))),
            "idle" => Box::pin(stream::pending().map(move |never| {
                let _ = &guard;
                never
            })),
            "sneaky" => Box::pin(stream::iter([message(Type::Synced, "a\ndata: b")])),
            _ => Box::pin(stream::iter(two)),
        };
        Ok(tonic::Response::new(answer))
    }

    async fn deregister(
        &self,
        _: tonic::Request<DeregisterRequest>,
    ) -> Result<tonic::Response<DeregisterResponse>, tonic::Status> {
        Ok(tonic::Response::new(DeregisterResponse::default()))
    }
}

fn gateway_with(stub: &Stub, change: impl FnOnce(&mut Options)) -> Gateway {
    let mut options = Options {
        json: JsonOptions { exact_numbers: true, ..JsonOptions::default() },
        header_allow_list: vec![http::HeaderName::from_static("x-service-key")],
        event_streams: Some(EventStreams { id_field: "resume_token".to_owned() }),
        explain_bad_text: true,
        hint: |method, path| {
            (method == Method::POST && path.trim_end_matches('/') == "/services")
                .then(|| "quote $register".to_owned())
        },
        ..Options::default()
    };
    change(&mut options);
    let routes = Routes::new(RegistryServer::new(stub.clone()));
    Gateway::new(FILE_DESCRIPTOR_SET, &[SERVICE_NAME], routes, options).unwrap()
}

fn gateway(stub: &Stub) -> Gateway {
    gateway_with(stub, |_| ())
}

fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let (method, uri) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn ask(gateway: &Gateway, line: &str, body: &str) -> (u16, Json) {
    let response = gateway.handle(request(line, &[], body)).await;
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let length = response.headers()[CONTENT_LENGTH].clone();
    let text = text(response).await;
    assert_eq!(length, text.len().to_string());
    (status, serde_json::from_str(&text).unwrap())
}

fn plain(code: i32, message: &str) -> Json {
    json!({"code": code, "message": message, "details": []})
}

#[tokio::test]
async fn routing() {
    let gateway = gateway(&Stub::default());
    for line in ["POST /services/$register", "POST /services/%24register", "POST /services/$re%67ister?x=%zz"]
    {
        let (status, body) = ask(&gateway, line, "{}").await;
        assert_eq!((status, &body["id"]), (200, &json!("01ID")), "{line}");
    }
    for (line, id) in [
        ("GET /services/a", "a"),
        ("GET /services/", ""),
        ("GET /services/a%252Fb", "a%2Fb"),
        ("GET /services/a+b", "a+b"),
        ("GET /services/%C3%A9", "é"),
        ("GET /services/$register", "$register"),
        ("GET http://host/services/a?id=b", "a"),
    ] {
        let (status, body) = ask(&gateway, line, "").await;
        assert_eq!((status, &body["id"]), (200, &json!(id)), "{line}");
    }
    for (line, status, expect) in [
        ("GET /nope", 404, plain(5, "Not Found")),
        ("GET /", 404, plain(5, "Not Found")),
        ("GET /Services", 404, plain(5, "Not Found")),
        ("GET /services/a%2Fb", 404, plain(5, "Not Found")),
        ("PUT /services/a/$ping:now", 404, plain(5, "Not Found")),
        ("PATCH /services", 501, plain(12, "Method Not Allowed")),
        ("HEAD /services", 501, plain(12, "Method Not Allowed")),
        ("OPTIONS /services/$register", 501, plain(12, "Method Not Allowed")),
        ("POST /services", 501, plain(12, "Method Not Allowed: quote $register")),
        ("POST /services/", 501, plain(12, "Method Not Allowed: quote $register")),
        ("OPTIONS *", 400, plain(3, "Bad Request")),
    ] {
        assert_eq!(ask(&gateway, line, "").await, (status, expect), "{line}");
    }
    for line in ["GET /services/%zz", "GET /services/%", "GET /services/%ff"] {
        let (status, body) = ask(&gateway, line, "").await;
        assert_eq!((status, &body["code"]), (400, &json!(3)), "{line}");
    }
    // As Go's HTTP server answers, before any gateway is asked.
    let gateway = gateway_with(&Stub::default(), |options| options.explain_bad_text = false);
    for line in ["GET /services/%zz", "GET /services/%", "GET /services/%a"] {
        let response = gateway.handle(request(line, &[], "")).await;
        assert_eq!(response.status(), 400, "{line}");
        assert_eq!(response.headers()[CONNECTION], "close", "{line}");
        assert_eq!(text(response).await, "400 Bad Request", "{line}");
    }
}

#[tokio::test]
async fn a_prefix_moves_every_path() {
    let gateway = gateway_with(&Stub::default(), |options| options.prefix = "/v2".to_owned());
    for (line, expect) in [
        ("GET /v2/services/a", 200),
        ("GET /v%32/services/a", 200),
        ("POST /v2/services", 501),
        ("GET /services/a", 404),
        ("GET /v2services", 404),
        ("GET /v2", 404),
    ] {
        assert_eq!(ask(&gateway, line, "").await.0, expect, "{line}");
    }
    for bad in ["v2", "/v2/", "/"] {
        let options = Options { prefix: bad.to_owned(), ..Options::default() };
        let built = Gateway::new(FILE_DESCRIPTOR_SET, &[SERVICE_NAME], Routes::default(), options);
        assert!(matches!(built, Err(BuildError::Prefix(_))), "{bad}");
    }
}

#[tokio::test]
async fn bodies() {
    let stub = Stub::default();
    let gateway = gateway_with(&stub, |options| options.max_body = 100);
    let register = "POST /services/$register?url=ignored&%zz";
    for (body, url) in
        [("", ""), (" \n", ""), ("{\"url\":\"a\"}xyz", "a"), ("{\"url\":\"a\",\"new\":[{}]}", "a")]
    {
        let (status, answer) = ask(&gateway, register, body).await;
        assert_eq!((status, &answer["service_url"]), (200, &json!(url)), "{body}");
    }
    for (body, status, code) in [
        ("null", 400, 3),
        ("{\"url\"", 400, 3),
        ("{\"url\":\"a\",\"url\":\"b\"}", 400, 3),
        ("{\"ttl_seconds\":1,\"ttlSeconds\":1}", 400, 3),
        ("\u{feff}{}", 400, 3),
        ("{\"info\":{\"a\":1e400}}", 400, 3),
        (&"x".repeat(101), 429, 8),
    ] {
        let (found, answer) = ask(&gateway, register, body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{body}");
    }
    let (_, answer) = ask(&gateway, register, "{\"info\":{\"n\":[9007199254740993]}}").await;
    let violation = &answer["details"][0]["field_violations"][0];
    assert_eq!(violation["field"], "info.n[0]");

    // Announced, but never sent.
    let announced = request("POST /services/$register", &[("content-length", "101")], "");
    assert_eq!(gateway.handle(announced).await.status(), 429);
    // Grows without being announced.
    let endless = stream::repeat_with(|| Ok::<_, tonic::Status>(Frame::data(Bytes::from("    "))));
    let endless = Request::post("/services/$register").body(StreamBody::new(endless));
    assert_eq!(gateway.handle(endless.unwrap()).await.status(), 429);
    // Breaks off.
    let broken = stream::iter([Ok(Frame::data(Bytes::from("{"))), Err(tonic::Status::cancelled("reset"))]);
    let broken = Request::post("/services/$register").body(StreamBody::new(broken));
    let response = gateway.handle(broken.unwrap()).await;
    assert_eq!(response.status(), 400);
    assert!(text(response).await.contains("broke off"));
    // Small as text, large as a message: each entry of the list costs six bytes less
    // in JSON than encoded.
    let gateway = gateway_with(&stub, |options| options.max_body = 90);
    let body = format!("{{\"info\":{{\"a\":[{}1]}}}}", "1,".repeat(30));
    assert!(body.len() < 90);
    assert_eq!(ask(&gateway, "POST /services/$register", &body).await.0, 429);
}

#[tokio::test]
async fn a_body_that_is_not_asked_for_is_passed_over() {
    let gateway = gateway(&Stub::default());
    let (status, body) = ask(&gateway, "PUT /services/ok/$ping?id=x", "{\"id\":\"y\"").await;
    assert_eq!((status, &body["id"]), (200, &json!("ok")));
    assert_eq!(body["expires_at"], Json::Null);
}

#[tokio::test]
async fn the_query_binds() {
    let stub = Stub::default();
    let gateway = gateway(&stub);
    let line = "GET /services?service=a&service=b&labels[k]=v+w&pageSize=2&x=y";
    let (status, body) = ask(&gateway, line, "").await;
    assert_eq!(status, 200);
    let empty = json!({"count": 0, "services": [], "next_page_token": "", "resume_token": ""});
    assert_eq!(body, empty);
    let seen = stub.0.lock().unwrap().list.take().unwrap();
    assert_eq!(seen.service, ["a", "b"]);
    assert_eq!(seen.labels["k"], "v w");
    assert_eq!(seen.page_size, 2);
    assert_eq!(
        ask(&gateway, "GET /services?page_size=1&page_size=2", "").await,
        (400, plain(3, "too many values for field \"page_size\": 1, 2"))
    );
}

#[tokio::test]
async fn failures() {
    let gateway = gateway(&Stub::default());
    assert_eq!(ask(&gateway, "PUT /services/x/$ping", "").await, (404, plain(5, "no such")));
    let (status, body) = ask(&gateway, "PUT /services/bad/$ping", "").await;
    assert_eq!(status, 400);
    assert_eq!(body["message"], "bad “id”");
    let detail = &body["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.BadRequest");
    assert_eq!(detail["field_violations"][0]["description"], "is bad");
    assert_eq!(
        ask(&gateway, "PUT /services/unknown/$ping", "").await,
        (500, json!({"code": 13, "message": "failed to marshal error message"}))
    );
    let response = gateway.handle(request("PUT /services/later/$ping", &[], "")).await;
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &"2".parse().unwrap()));
    let response = gateway.handle(request("PUT /services/who/$ping", &[], "")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[WWW_AUTHENTICATE]),
        (401, &"who?".parse().unwrap())
    );
}

#[tokio::test]
async fn headers_and_extensions_reach_the_service() {
    let stub = Stub::default();
    let headers = [
        ("x-service-key", "k"),
        ("authorization", "Bearer t"),
        ("grpc-metadata-a", "b"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-other", "no"),
    ];
    let mut request = request("POST /services/$register", &headers, "");
    request.extensions_mut().insert(Caller(5));
    let response = gateway(&stub).handle(request).await;
    assert_eq!(response.headers()["grpc-metadata-x-extra"], "e");
    assert_eq!(response.headers()["grpc-metadata-content-type"], "application/grpc");
    let seen = stub.0.lock().unwrap();
    assert_eq!(seen.caller, Some(Caller(5)));
    for (name, value) in [
        ("x-service-key", Some("k")),
        ("authorization", Some("Bearer t")),
        ("grpcgateway-authorization", Some("Bearer t")),
        ("a", Some("b")),
        ("x-forwarded-for", Some("1.2.3.4")),
        ("x-other", None),
    ] {
        let found = seen.metadata.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(found, value, "{name}");
    }
}

#[tokio::test]
async fn a_timeout_ends_the_call() {
    let gateway = gateway(&Stub::default());
    let line = "POST /services/$batchRegister";
    let response = gateway.handle(request(line, &[("grpc-timeout", "30m")], "")).await;
    assert_eq!(response.status(), 504);
    let response = gateway.handle(request(line, &[("grpc-timeout", "abc")], "")).await;
    assert_eq!(response.status(), 400);
    let line = "GET /services/$watch?resume_token=idle";
    let response = gateway.handle(request(line, &[("grpc-timeout", "30m")], "")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        text(response).await,
        "{\"error\":{\"code\":4,\"message\":\"context deadline exceeded\",\"details\":[]}}\n"
    );
}

#[tokio::test]
async fn streams_are_lines() {
    let gateway = gateway(&Stub::default());
    let watch = "GET /services/$watch?resume_token=";
    let snapshot = r#"{"result":{"type":"SNAPSHOT","events":[],"resume_token":"","revision":"0"}}"#;
    let synced = r#"{"result":{"type":"SYNCED","events":[],"resume_token":"t1","revision":"0"}}"#;
    let over = r#"{"error":{"code":10,"message":"over","details":[]}}"#;
    for (token, status, expect) in [
        ("", 200, format!("{snapshot}\n{synced}\n")),
        ("breaks", 200, format!("{snapshot}\n{synced}\n{over}\n")),
        ("fails", 409, format!("{over}\n")),
        ("refused", 400, r#"{"error":{"code":3,"message":"no token","details":[]}}"#.to_owned() + "\n"),
    ] {
        let response = gateway.handle(request(&format!("{watch}{token}"), &[], "")).await;
        assert_eq!(response.status(), status, "{token}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(text(response).await, expect, "{token}");
    }
    let response = gateway.handle(request(&format!("{watch}empty"), &[], "")).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key(CONTENT_TYPE));
    assert_eq!(text(response).await, "");
    // Before the stream begins, an error is not wrapped.
    let response = gateway.handle(request(watch, &[("grpc-timeout", "x")], "")).await;
    assert!(text(response).await.starts_with("{\"code\":3"));
    let (status, body) = ask(&gateway, "GET /services/$watch?bookmark_interval=5", "").await;
    assert_eq!((status, &body["code"]), (400, &json!(3)));
}

#[tokio::test]
async fn an_idle_stream_has_a_head_and_ends_with_its_reader() {
    let stub = Stub::default();
    let (sender, dropped) = oneshot::channel();
    stub.0.lock().unwrap().on_drop = Some(sender);
    let line = "GET /services/$watch?resume_token=idle";
    let response = gateway(&stub).handle(request(line, &[], "")).await;
    assert_eq!(response.status(), 200);
    drop(response);
    assert!(dropped.await.is_err(), "the call went on");
}

#[tokio::test]
async fn events_for_who_asks() {
    let stub = Stub::default();
    let gateway = gateway(&stub);
    let ask = async |token: &str, headers: &[(&str, &str)]| {
        let line = format!("GET /services/$watch?resume_token={token}");
        let response = gateway.handle(request(&line, headers, "")).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        text(response).await
    };
    let accept = ("accept", "text/html, Text/Event-Stream;q=0.9");
    assert_eq!(
        ask("breaks", &[accept]).await,
        "data: {\"type\":\"SNAPSHOT\",\"events\":[],\"resume_token\":\"\",\"revision\":\"0\"}\n\n\
         id: t1\ndata: {\"type\":\"SYNCED\",\"events\":[],\"resume_token\":\"t1\",\"revision\":\"0\"}\n\n\
         event: error\ndata: {\"error\":{\"code\":10,\"message\":\"over\",\"details\":[]}}\n\n"
    );
    let sneaky = ask("sneaky", &[accept]).await;
    assert!(sneaky.starts_with("data: {") && sneaky.matches('\n').count() == 2, "{sneaky}");

    let last = ("last-event-id", "t9");
    for (token, headers, expect) in
        [("", vec![accept, last], "t9"), ("t1", vec![accept, last], "t9"), ("", vec![accept], "")]
    {
        ask(token, &headers).await;
        let seen = stub.0.lock().unwrap().watch.take().unwrap();
        assert_eq!(seen.resume_token, expect);
    }
    // Without the wish for events, the header means nothing.
    gateway.handle(request("GET /services/$watch", &[last], "")).await;
    let seen = stub.0.lock().unwrap().watch.take().unwrap();
    assert_eq!(seen.resume_token, "");
}
