//! Frames that are legal one by one, and too many; and such as make the server do the work.

use crate::{
    Attack,
    support::h2raw::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PREFACE, SETTINGS, block,
    },
    throw, withstand,
};

const WINDOW_UPDATE: u8 = 8;
const LIST: &str = "/leasehold.v1.Registry/List";

/// A connection's beginning and these frames.
fn connection(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(Frame::new(SETTINGS, 0, 0, []).encode());
    frames.into_iter().for_each(|frame| bytes.extend(frame.encode()));
    bytes
}

/// Numbers of streams that a client opens.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// A call of List with an empty message, complete.
fn call(stream: u32) -> [Frame; 2] {
    let mut message = Frame::message(stream, &[]);
    message.flags = END_STREAM;
    [Frame::grpc_call(stream, LIST), message]
}

/// Throws the same bytes again and again.
fn flood(bytes: Vec<u8>) -> impl FnOnce(&Attack) + Send + 'static {
    move |attack| attack.waves(|addr| throw(addr, &bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    let frames = streams(1_000).flat_map(|stream| {
        let [head, message] = call(stream);
        [head, message, Frame::reset(stream, 8)]
    });
    withstand(&[], flood(connection(frames))).await;
}

/// The client never resets: it has the server do so, once it has made it work.
#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_by_windows() {
    let frames = streams(1_000).flat_map(|stream| {
        let [head, message] = call(stream);
        let none = Frame::new(WINDOW_UPDATE, 0, stream, 0_u32.to_be_bytes());
        let too_much = Frame::new(WINDOW_UPDATE, 0, stream, 0x7fff_ffff_u32.to_be_bytes());
        [head, message, if stream % 4 == 1 { none } else { too_much }]
    });
    withstand(&[], flood(connection(frames))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_by_closed_streams() {
    let frames = streams(1_000).flat_map(|stream| {
        let [head, message] = call(stream);
        // On a stream that the client has closed on its side.
        [head, message, Frame::new(DATA, 0, stream, *b"more")]
    });
    withstand(&[], flood(connection(frames))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_by_malformed_requests() {
    // No method: malformed (RFC 9113, section 8.3.1).
    let faulty = block(&[(":scheme", "http"), (":path", LIST)]);
    let frames = streams(2_000)
        .map(move |stream| Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, faulty.clone()));
    withstand(&[], flood(connection(frames))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuation_flood() {
    let head = Frame::new(HEADERS, 0, 1, block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]));
    let part = block(&[("x", &"y".repeat(1_000))]);
    let parts = (0..4_000).map(move |number| {
        // Empty ones among them: they add up to nothing, without end.
        let payload = if number % 2 == 0 { part.clone() } else { Vec::new() };
        Frame::new(CONTINUATION, 0, 1, payload)
    });
    withstand(&[], flood(connection(std::iter::once(head).chain(parts)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_flood() {
    // The header table's size to and fro: each is to be applied and acknowledged.
    let frames = (0..10_000_u32).map(|number| {
        let mut payload = vec![0, 1];
        payload.extend((4096 * (number % 2)).to_be_bytes());
        Frame::new(SETTINGS, 0, 0, payload)
    });
    withstand(&[], flood(connection(frames))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood() {
    let frames = (0..30_000_u64).map(|number| Frame::new(PING, 0, 0, number.to_be_bytes()));
    withstand(&[], flood(connection(frames))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_header_lists() {
    let large = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/services"),
        ("large", &"x".repeat(15_000)),
        ("larger", &"x".repeat(15_000)),
    ]);
    let (first, rest) = large.split_at(16 << 10);
    let in_parts = streams(200).flat_map(|stream| {
        [Frame::new(HEADERS, END_STREAM, stream, first), Frame::new(CONTINUATION, END_HEADERS, stream, rest)]
    });
    let in_parts = connection(in_parts);
    // Small on the wire, large when it is read: one entry of the dynamic table, named a thousand
    // times (RFC 7541, sections 6.2.1 and 6.1).
    let mut bomb = vec![0x40, 1, b'x', 127, 0xa1, 0x1e];
    bomb.extend(std::iter::repeat_n(b'y', 4_000));
    bomb.extend(std::iter::repeat_n(0xbe, 10_000));
    let bombs = connection(
        streams(100).map(|stream| Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, bomb.clone())),
    );
    let lines = format!("GET /services HTTP/1.1\r\nHost: localhost\r\n{}", "x: y\r\n".repeat(50_000));
    let one = format!("GET /services HTTP/1.1\r\nHost: localhost\r\nx: {}", "y".repeat(1 << 20));
    withstand(&[], move |attack| {
        attack.waves(|addr| {
            for bytes in [&in_parts, &bombs, lines.as_bytes(), one.as_bytes()] {
                throw(addr, bytes);
            }
        });
    })
    .await;
}
