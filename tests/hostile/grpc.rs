//! Hostile messages from a proper gRPC client, and frames that no gRPC client sends.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use leasehold::proto::{
    BatchRegisterRequest, DeregisterRequest, GetRequest, KeepAliveRequest, ListRequest, PingRequest,
    RegisterRequest, WatchRequest, batch_register_response::result,
};
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    Findings,
    support::{SOON, Server, info, replica, within},
};

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn holding(inner: Value) -> Struct {
    Struct { fields: [("a".to_owned(), inner)].into() }
}

/// A struct of structs.
fn nested(depth: usize) -> Struct {
    (1..depth).fold(Struct::default(), |inner, _| holding(value(Kind::StructValue(inner))))
}

/// A registration whose info is nested so deep that only bytes can say it.
fn nested_bytes(depth: usize) -> Vec<u8> {
    let prefixed = |tag: u8, inner: &[u8]| {
        let mut bytes = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    };
    // Struct.fields is 1, an entry's key 1 and value 2, Value.struct_value 5.
    let info = (1..depth).fold(Vec::new(), |inner, _| {
        let value = prefixed(0x2a, &inner);
        prefixed(0x0a, &[prefixed(0x0a, b"a"), prefixed(0x12, &value)].concat())
    });
    [prefixed(0x12, b"http://hostile:1"), prefixed(0x1a, &info)].concat()
}

fn labels(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|number| (format!("k{number}"), "v".to_owned())).collect()
}

/// Registrations that are refused, each with the field that the refusal must name.
fn registrations() -> Vec<(&'static str, &'static str, RegisterRequest)> {
    let good = || replica("hostile", "http://hostile:1");
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let numbers = |number| Some(holding(value(Kind::NumberValue(number))));
    let lists = (0..30).fold(value(Kind::NullValue(0)), |inner, _| {
        value(Kind::ListValue(ListValue { values: vec![inner] }))
    });
    vec![
        ("no url", "url", RegisterRequest::default()),
        ("a relative url", "url", replica("hostile", "/path")),
        ("user info", "url", replica("hostile", "http://a:b@hostile:1")),
        ("a long url", "url", replica("hostile", &format!("http://{}:1", "h".repeat(2_048)))),
        ("a control character", "url", replica("hostile", "http://hostile:1/\u{1}")),
        ("a ULID for a name", "service", replica("01ARZ3NDEKTSV4RRFFQ69G5FAV", "http://hostile:1")),
        ("a name that folds to nothing", "service", replica("!!!", "http://hostile:1")),
        ("a long name", "service", replica(&"n".repeat(300), "http://hostile:1")),
        ("NaN", "info", RegisterRequest { info: numbers(f64::NAN), ..good() }),
        ("infinity", "info", RegisterRequest { info: numbers(f64::INFINITY), ..good() }),
        ("minus infinity", "info", RegisterRequest { info: numbers(f64::NEG_INFINITY), ..good() }),
        ("25 levels", "info", RegisterRequest { info: Some(nested(25)), ..good() }),
        ("30 lists", "info", RegisterRequest { info: Some(holding(lists)), ..good() }),
        (
            "a value without a kind",
            "info",
            RegisterRequest { info: Some(holding(Value { kind: None })), ..good() },
        ),
        ("64 KiB of info", "info", RegisterRequest { info: Some(info("t", &"x".repeat(65_536))), ..good() }),
        ("65 labels", "labels", RegisterRequest { labels: labels(65), ..good() }),
        (
            "a long key",
            "labels",
            RegisterRequest { labels: [("k".repeat(64), String::new())].into(), ..good() },
        ),
        (
            "a long value",
            "labels",
            RegisterRequest { labels: [("k".to_owned(), "v".repeat(257))].into(), ..good() },
        ),
        ("a long zone", "zone", RegisterRequest { zone: "z".repeat(65), ..good() }),
        ("a negative grace", "drop_grace", RegisterRequest { drop_grace: negative, ..good() }),
    ]
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

/// Well-formed messages with bad content.
pub async fn messages(server: &Server, findings: &mut Findings) {
    let mut client = server.registry().await;
    for (name, field, request) in registrations() {
        let refused = client.register(request.clone()).await;
        let violated: Option<Vec<String>> = refused.as_ref().err().map(|status| {
            let violations =
                status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
            violations.into_iter().map(|violation| violation.field).collect()
        });
        findings.check(&format!("Register with {name}"), &code(refused), &Code::InvalidArgument);
        let named = violated.iter().flatten().any(|violated| violated.starts_with(field));
        findings.check(&format!("Register with {name} names {field}: {violated:?}"), &named, &true);

        let batch = client.batch_register(BatchRegisterRequest::from_iter([request])).await;
        let entry =
            batch.map(|answer| match answer.into_inner().results.pop().and_then(|result| result.result) {
                Some(result::Result::Error(error)) => Code::from_i32(error.code),
                _ => Code::Ok,
            });
        findings.check(
            &format!("BatchRegister with {name}"),
            &entry.unwrap_or(Code::Unknown),
            &Code::InvalidArgument,
        );
    }

    let long = "n".repeat(300);
    for id in ["", "$ping", "$register", long.as_str()] {
        let id = id.to_owned();
        let pinged = client.ping(PingRequest { id: id.clone(), ..PingRequest::default() }).await;
        findings.check(&format!("Ping {id}"), &code(pinged), &Code::InvalidArgument);
        let got = client.get(GetRequest { id: id.clone() }).await;
        findings.check(&format!("Get {id}"), &code(got), &Code::InvalidArgument);
        let ended =
            client.deregister(DeregisterRequest { id: id.clone(), ..DeregisterRequest::default() }).await;
        findings.check(&format!("Deregister {id}"), &code(ended), &Code::InvalidArgument);
    }
    for token in ["x", "\u{0}", long.as_str()] {
        let listed =
            client.list(ListRequest { page_token: token.to_owned(), ..ListRequest::default() }).await;
        findings.check(&format!("List from {token:?}"), &code(listed), &Code::InvalidArgument);
        let request = WatchRequest { resume_token: token.to_owned(), ..WatchRequest::default() };
        let watched = match client.watch(request).await {
            Ok(stream) => within("a refusal", SOON, stream.into_inner().message()).await.map(|_| ()),
            Err(status) => Err(status),
        };
        findings.check(&format!("Watch from {token:?}"), &code(watched), &Code::InvalidArgument);
    }
    let many = BatchRegisterRequest::from_iter(vec![RegisterRequest::default(); 1_001]);
    findings.check("a batch of 1,001", &code(client.batch_register(many).await), &Code::InvalidArgument);
    let large = replica("hostile", &format!("http://{}", "h".repeat(1 << 20)));
    findings.check("a message over 1 MiB", &code(client.register(large).await), &Code::ResourceExhausted);
    let ids = vec!["01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(); 40_000];
    let beat = KeepAliveRequest { ids, ..KeepAliveRequest::default() };
    let beaten = match client.keep_alive(tokio_stream::once(beat)).await {
        Ok(stream) => within("a refusal", SOON, stream.into_inner().message()).await.map(|_| ()),
        Err(status) => Err(status),
    };
    findings.check("a beat over 1 MiB", &code(beaten), &Code::ResourceExhausted);
}

/// A length-prefixed message as gRPC frames it, its flag and length as given.
fn framed(flag: u8, length: u32, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(length);
    frame.put_slice(message);
    frame.freeze()
}

fn whole(message: &[u8]) -> Bytes {
    framed(0, message.len() as u32, message)
}

/// Further headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Sends one request body over HTTP/2 and gives the HTTP status and `grpc-status`.
async fn call(server: &Server, path: &str, headers: Headers<'_>, body: Bytes) -> (u16, Option<i32>) {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("{}{path}", server.url())).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await.unwrap();
    let (answer, mut sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // The server may answer before it has read all; then there is nobody to send to.
    let _ = sender.send_data(body, true);
    let (head, mut body) = answer.await.unwrap().into_parts();
    while let Some(Ok(part)) = body.data().await {
        let _ = body.flow_control().release_capacity(part.len());
    }
    let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    let status = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
    (head.status.as_u16(), status(&head.headers).or_else(|| status(&trailers)))
}

/// Frames and calls outside the protocol.
pub async fn frames(server: &Server, findings: &mut Findings) {
    const REGISTER: &str = "/leasehold.v1.Registry/Register";
    const LIST: &str = "/leasehold.v1.Registry/List";
    const KEEP_ALIVE: &str = "/leasehold.v1.Registry/KeepAlive";
    let deep =
        RegisterRequest { info: Some(nested(40)), ..replica("hostile", "http://hostile:1") }.encode_to_vec();
    let good = replica("hostile", "http://hostile:1").encode_to_vec();
    let length = good.len() as u32;
    // Field 2 is the url.
    let bad_text = [0x12, 0x03, 0xff, 0xfe, 0xfd];
    let cases: Vec<(&str, &str, Headers, Bytes, i32)> = vec![
        ("bytes that are no UTF-8", REGISTER, &[], whole(&bad_text), 3),
        ("a varint without end", REGISTER, &[], whole(&[0xff; 12]), 3),
        ("a length past the end", REGISTER, &[], whole(&[0x12, 0x7f, b'x']), 3),
        ("an open group", REGISTER, &[], whole(&[0x0b]), 3),
        ("a field number of zero", REGISTER, &[], whole(&[0x00, 0x00]), 3),
        ("a wire type of seven", REGISTER, &[], whole(&[0x17, 0x00]), 3),
        ("random bytes", REGISTER, &[], whole(b"\xde\xad\xbe\xef\x00\x01\x02\x03"), 3),
        ("random bytes to KeepAlive", KEEP_ALIVE, &[], whole(b"\xde\xad\xbe\xef"), 3),
        ("a struct 40 deep", REGISTER, &[], whole(&deep), 3),
        ("a struct 5,000 deep", REGISTER, &[], whole(&nested_bytes(5_000)), 3),
        ("a message cut short", REGISTER, &[], framed(0, length + 10, &good), 13),
        ("half a prefix", REGISTER, &[], Bytes::from_static(&[0, 0]), 13),
        ("no message", REGISTER, &[], Bytes::new(), 13),
        ("no message to List", LIST, &[], Bytes::new(), 13),
        ("compressed without an encoding", REGISTER, &[], framed(1, length, &good), 13),
        ("a flag of 255", REGISTER, &[], framed(255, length, &good), 13),
        ("an encoding nobody knows", REGISTER, &[("grpc-encoding", "rot13")], framed(1, length, &good), 12),
        ("a length of 4 GiB", REGISTER, &[], framed(0, u32::MAX, &good), 8),
        ("a length of 1 MiB and one", REGISTER, &[], framed(0, (1 << 20) + 1, &good), 8),
        ("a beat of 4 GiB", KEEP_ALIVE, &[], framed(0, u32::MAX, b""), 8),
        ("an unknown method", "/leasehold.v1.Registry/Destroy", &[], whole(b""), 12),
        ("an unknown service", "/leasehold.v2.Registry/List", &[], whole(b""), 12),
        ("another package", "/registry.Registry/List", &[], whole(b""), 12),
        ("no method", "/leasehold.v1.Registry/", &[], whole(b""), 12),
        ("no path", "/", &[], whole(b""), 12),
        ("the method in lower case", "/leasehold.v1.Registry/list", &[], whole(b""), 12),
    ];
    for (name, path, headers, body, expect) in cases {
        let answer = within(name, SOON, call(server, path, headers, body)).await;
        findings.check(&format!("gRPC: {name}"), &answer, &(200, Some(expect)));
    }
    // A deadline in the past is over before it begins; the call may not hang.
    let late =
        within("a call that is late", SOON, call(server, LIST, &[("grpc-timeout", "0n")], whole(b""))).await;
    findings.check("gRPC: a deadline of nothing", &matches!(late, (200, Some(0 | 1 | 4))), &true);

    // A client that opens streams and resets each at once.
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..500 {
        let Ok(ready) = client.clone().ready().await else { break };
        client = ready;
        let request = Request::post(format!("{}{KEEP_ALIVE}", server.url()))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let Ok((_, mut sender)) = client.send_request(request, false) else { break };
        sender.send_reset(h2::Reason::CANCEL);
    }
    drop(client);
    let still = tokio::time::timeout(Duration::from_secs(10), server.registry()).await.is_ok();
    findings.check("gRPC: a flood of resets", &still, &true);
}
