//! What the server says stays within bounds, whatever it is asked: a message 1 MiB, a
//! refusal what clients take as headers. And what belongs to one entry stays its own.

#![allow(clippy::unwrap_used)]

mod support;

use leasehold::proto::{
    BatchRegisterRequest, GetRequest, KeepAliveRequest, ListRequest, RegisterRequest,
    batch_register_response::result::Result as BatchResult, keep_alive_response::lost::Reason,
};
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};
use support::{SOON, Server, replica, within};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};
use tonic_types::{StatusExt as _, pb::BadRequest};

const MIB: usize = 1 << 20;

fn nested(levels: usize) -> Struct {
    let mut info = Struct::default();
    for _ in 1..levels {
        let value = Value { kind: Some(Kind::StructValue(info)) };
        info = Struct { fields: [("k".to_owned(), value)].into() };
    }
    info
}

/// A refusal of this code that a client with the usual 8 KiB of headers can read.
fn check_refusal(status: &Status, code: Code) {
    assert_eq!(status.code(), code, "{status:?}");
    let bytes = status.message().len() * 3 + status.details().len() * 4 / 3;
    assert!(bytes < 8 << 10, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_much_are_short() {
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let labels = (0..10_000).map(|n| (format!("{n:0>64}"), "v".to_owned())).collect();
    let refused = client.register(RegisterRequest { labels, ..replica("s", "http://h") }).await.unwrap_err();
    check_refusal(&refused, Code::InvalidArgument);
    assert!(refused.message().ends_with("more"), "{}", refused.message());
    assert!(!refused.get_details_bad_request().unwrap().field_violations.is_empty());

    let service = vec!["!".repeat(64); 5_000];
    let refused = client.list(ListRequest { service, ..ListRequest::default() }).await.unwrap_err();
    check_refusal(&refused, Code::InvalidArgument);
    for id in ["a".to_owned() + &"!".repeat(16_000), "a".to_owned() + &"\x01".repeat(100_000)] {
        check_refusal(&client.get(GetRequest { id }).await.unwrap_err(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_does_not_decode_stops_no_other() {
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let deep = |levels| RegisterRequest { info: Some(nested(levels)), ..replica("s", "http://deep") };
    let entries = [replica("s", "http://a"), deep(25), deep(60), replica("s", "http://b")];
    let answer = client.batch_register(BatchRegisterRequest::from_iter(entries)).await.unwrap().into_inner();
    let results: Vec<Result<String, (i32, String)>> = answer
        .results
        .into_iter()
        .map(|one| match one.result.unwrap() {
            BatchResult::Response(response) => Ok(response.service_url),
            BatchResult::Error(status) => {
                let bad = BadRequest::decode(status.details[0].value.as_slice()).unwrap();
                Err((status.code, bad.field_violations[0].field.clone()))
            }
        })
        .collect();
    let bad = |index: usize| Err((Code::InvalidArgument as i32, format!("requests[{index}].info")));
    assert_eq!(results, [Ok("http://a".to_owned()), bad(1), bad(2), Ok("http://b".to_owned())]);

    let alone = client.register(deep(60)).await.unwrap_err();
    check_refusal(&alone, Code::InvalidArgument);
    assert_eq!(alone.get_details_bad_request().unwrap().field_violations[0].field, "info");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_would_be_too_large_changes_nothing() {
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let long = |n: usize| replica("s", &format!("http://h/{n}{}", "x".repeat(970)));
    let refused = client.batch_register((0..1_000).map(long).collect::<BatchRegisterRequest>()).await;
    check_refusal(&refused.unwrap_err(), Code::InvalidArgument);
    assert_eq!(server.get("/services").json()["count"], 0);

    let answer = client.batch_register((0..500).map(long).collect::<BatchRegisterRequest>()).await.unwrap();
    assert!(answer.into_inner().encoded_len() <= MIB);
    let short = |n: usize| replica("s", &format!("http://h{n}:8000"));
    let answer =
        client.batch_register((0..1_000).map(short).collect::<BatchRegisterRequest>()).await.unwrap();
    assert!(answer.into_inner().encoded_len() <= MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_do_not_pile_up() {
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let (beats, outgoing) = tokio::sync::mpsc::unbounded_channel();
    let mut answers = client.keep_alive(UnboundedReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let strange = KeepAliveRequest { ids: vec!["x".repeat(MIB - 8)], ..KeepAliveRequest::default() };
    let unknown = KeepAliveRequest {
        ids: vec!["01k83b5v85pqz1hth4dq7nc9jm".to_owned(); 30_000],
        ..KeepAliveRequest::default()
    };
    for _ in 0..40 {
        beats.send(strange.clone()).unwrap();
    }
    beats.send(unknown).unwrap();
    beats.send(KeepAliveRequest::default()).unwrap();
    beats.send(KeepAliveRequest::default()).unwrap();
    let (mut lost, mut lower) = (0, 0);
    while lost < 40 + 30_000 {
        let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
        assert!(answer.encoded_len() <= MIB);
        lost += answer.lost.len();
        assert!(answer.lost.iter().all(|one| one.id.len() <= 64 && one.reason() == Reason::NotFound));
        // As it was named.
        lower += answer.lost.iter().filter(|one| one.id == "01k83b5v85pqz1hth4dq7nc9jm").count();
    }
    assert_eq!(lower, 30_000);
}
