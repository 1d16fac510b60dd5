use prost::Message as _;
use tokio::net::TcpListener;

use super::*;
use crate::{
    bench::{load::record::Template, null},
    proto::{BatchRegisterRequest, BatchRegisterResponse},
};

const BATCH: &str = "/leasehold.v1.Registry/BatchRegister";

fn batch(records: u64) -> Vec<u8> {
    let entry = |number| {
        let mut bytes = Vec::new();
        Template::protobuf().write(number, &mut bytes);
        Bytes::from(bytes)
    };
    let request = BatchRegisterRequest { requests: (0..records).map(entry).collect() };
    let mut message = Vec::new();
    prefixed(&mut message, |out| out.extend_from_slice(&request.encode_to_vec()));
    message
}

/// Several calls at once, each far larger than every window and frame, and their answers.
#[tokio::test]
async fn messages_may_be_larger_than_windows() {
    const RECORDS: u64 = 5_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(null::unary(listener));
    let mut connection = Connection::open(address).await.unwrap();
    let message = batch(RECORDS);
    assert!(message.len() as i64 > 10 * DEFAULT_WINDOW);
    for _ in 0..3 {
        let stream = connection.call(BATCH, Instant::now());
        let (begin, rest) = message.split_at(70_000);
        connection.send(stream, begin, false);
        connection.send(stream, rest, true);
    }
    let (mut heard, mut answers, mut ends) = (Vec::new(), Vec::new(), 0);
    while ends < 3 {
        connection.exchange(&mut heard).await.unwrap();
        for one in heard.drain(..) {
            match one.what {
                What::Message(message) => answers.push(BatchRegisterResponse::decode(message).unwrap()),
                What::End { in_order, messages } => {
                    assert_eq!((in_order, messages), (true, 1));
                    ends += 1;
                }
            }
        }
    }
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| answer.results.len() == RECORDS as usize));
    assert!(connection.streams.is_empty() && connection.blocked.is_empty());
}

#[tokio::test]
async fn what_is_cancelled_is_heard_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(null::unary(listener));
    let mut connection = Connection::open(address).await.unwrap();
    let cancelled = connection.call(BATCH, Instant::now());
    let answered = connection.call(BATCH, Instant::now());
    connection.cancel(cancelled);
    connection.send(cancelled, &batch(1), true);
    connection.send(answered, &batch(1), true);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        connection.exchange(&mut heard).await.unwrap();
    }
    assert!(heard.iter().all(|one| one.stream == answered), "{heard:?}");
}
