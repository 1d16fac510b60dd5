//! How many connections there may be, and what may be held for one.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use bytes::Bytes;
use futures_util::future::select_all;
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, Response};
use leasehold::proto::KeepAliveRequest;
use prost::Message as _;
use serde_json::json;

use crate::{
    connect,
    support::{SOON, Server, wait_for, within},
};

const HALF: &str = "POST /services/$register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n";

/// A request that is begun and does not end.
fn busy(server: &Server) -> TcpStream {
    let mut stream = connect(server.addr);
    stream.write_all(HALF.as_bytes()).unwrap();
    stream
}

#[track_caller]
fn ended(mut stream: TcpStream) {
    assert!(matches!(stream.read(&mut [0]), Ok(0)), "it gives way");
}

#[test]
fn at_the_cap_the_longest_idle_connection_gives_way() {
    let server = Server::start(&["--max-connections", "3"]);
    let mut first = busy(&server);
    let silent = connect(server.addr);
    let mut idle = connect(server.addr);
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).unwrap(), 0);

    assert_eq!(server.get("/health").status, 200);
    ended(silent);
    let second = busy(&server);
    let third = busy(&server);
    ended(idle);
    // Nobody is idle: a newcomer waits until one ends.
    let mut newcomer = connect(server.addr);
    newcomer.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    drop(second);
    assert_ne!(newcomer.read(&mut [0; 1024]).unwrap(), 0);
    // Whoever has a request open was left alone.
    first.write_all(br#"{"service": "orders", "url": "http://a"}"#).unwrap();
    let mut said = [0; 1024];
    let read = first.read(&mut said).unwrap();
    assert!(said[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said[..read]));
    drop(third);
}

/// A connection that takes no more of an answer than its first 64 KiB.
async fn sparing(server: &Server) -> SendRequest<Bytes> {
    let socket = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn list(client: &mut SendRequest<Bytes>, grpc: bool) -> ResponseFuture {
    let request = Request::builder();
    if !grpc {
        let request = request.uri("http://localhost/services").body(()).unwrap();
        return client.send_request(request, true).unwrap().0;
    }
    let request = request
        .method("POST")
        .uri("http://localhost/leasehold.v1.Registry/List")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), true).unwrap();
    answer
}

async fn head(answer: ResponseFuture) -> Response<h2::RecvStream> {
    within("an answer", SOON, answer).await.unwrap()
}

/// Registers so much that a list takes more than a megabyte.
fn fill(server: &Server) {
    for n in 0..20 {
        let info = json!({"text": "x".repeat(60 << 10)});
        server.post_registration(
            &json!({"service": "orders", "url": format!("http://10.0.0.{n}"), "info": info}),
        );
    }
}

/// Reads an answer to its end.
async fn read(answer: Response<h2::RecvStream>) -> usize {
    let mut body = answer.into_body();
    let mut length = 0;
    while let Some(data) = within("data", SOON, body.data()).await {
        let data = data.unwrap();
        length += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    length
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_read_are_held_up_to_a_bound() {
    let server = Server::start(&["--max-connection-bytes", "2MiB"]);
    fill(&server);
    let mut client = sparing(&server).await;
    let first = head(list(&mut client, true)).await;
    assert_eq!(first.headers().get("grpc-status"), None);
    let refused = head(list(&mut client, true)).await;
    assert_eq!(refused.headers()["grpc-status"], "8");
    let message = refused.headers()["grpc-message"].to_str().unwrap().to_owned();
    assert!(message.contains("--max-connection-bytes"), "{message}");
    let refused = head(list(&mut client, false)).await;
    assert_eq!(refused.status(), 429);
    // Another connection has a bound of its own.
    assert_eq!(server.get("/services").status, 200);
    assert!(read(first).await > 1 << 20);
    let again = head(list(&mut client, false)).await;
    assert_eq!(again.status(), 200);
    assert!(read(again).await > 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_end_are_held_up_to_a_bound() {
    let server = Server::start(&["--max-connection-bytes", "2MiB"]);
    let mut client = sparing(&server).await;
    let (mut answers, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (answer, mut body) = begin(&mut client);
        send(&mut body, 900 << 10).await;
        answers.push(answer);
        bodies.push(body);
    }
    // What came before these on the connection has been read when they are answered.
    for _ in 0..10 {
        let health = Request::get("http://localhost/health").body(()).unwrap();
        let (answer, _) = client.send_request(health, true).unwrap();
        assert_eq!(head(answer).await.status(), 200);
    }
    let (answer, mut body) = begin(&mut client);
    let upload = async {
        send(&mut body, 900 << 10).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        refused = head(answer) => assert_eq!(refused.status(), 429),
        () = upload => unreachable!(),
    }
    // The others are not touched: they end with what is wrong with them.
    for mut body in bodies {
        body.send_data(Bytes::new(), true).unwrap();
    }
    for other in answers {
        assert_eq!(head(other).await.status(), 400);
    }
}

/// Begins a registration, of which the body is to be sent.
fn begin(client: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post("http://localhost/services/$register").body(()).unwrap();
    client.send_request(request, false).unwrap()
}

/// Sends so much of a body, unless the server wants no more of it.
async fn send(body: &mut SendStream<Bytes>, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        body.reserve_capacity(left);
        let room = within("room", SOON, std::future::poll_fn(|cx| body.poll_capacity(cx))).await;
        let Some(Ok(room)) = room else { return };
        let part = room.min(left);
        left -= part;
        if body.send_data(Bytes::from(vec![b'x'; part]), false).is_err() {
            return;
        }
    }
}

/// An open `KeepAlive` stream with one lease attached.
async fn attached(client: &mut SendRequest<Bytes>, id: &str) -> (h2::RecvStream, SendStream<Bytes>) {
    let request = Request::post("http://localhost/leasehold.v1.Registry/KeepAlive")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let message = KeepAliveRequest { ids: vec![id.to_owned()], ..Default::default() }.encode_to_vec();
    let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    body.send_data(framed.into(), false).unwrap();
    let mut answers = head(answer).await.into_body();
    within("an answer", SOON, answers.data()).await.expect("an answer").unwrap();
    (answers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_ended_for_what_is_held_loses_nothing() {
    let server = Server::start(&["--max-connection-bytes", "2MiB"]);
    let mut client = sparing(&server).await;
    let (mut ends, mut bodies) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let body = json!({"service": "orders", "url": format!("http://10.0.0.{n}")});
        let id = server.post_registration(&body)["id"].as_str().unwrap().to_owned();
        let (mut answers, body) = attached(&mut client, &id).await;
        ends.push(Box::pin(async move {
            while let Some(data) = answers.data().await {
                data.expect("no reset before the end");
            }
            answers.trailers().await.unwrap().expect("a status")
        }));
        bodies.push(body);
    }
    // Of each a message of 1 MiB, which does not come to its end.
    let upload = async {
        for body in &mut bodies {
            body.send_data(Bytes::from_static(&[0, 0, 0x0f, 0xff, 0xff]), false).unwrap();
            send(body, 900 << 10).await;
        }
        std::future::pending::<()>().await;
    };
    let (status, ..) = tokio::select! {
        ended = within("an end", SOON, select_all(ends)) => ended,
        () = upload => unreachable!(),
    };
    assert_eq!(status["grpc-status"], "8");
    wait_for("its end in the log", SOON, || {
        server.stderr().contains("KeepAlive stream ended by the server").then_some(())
    });
    assert_eq!(server.get("/services").json()["count"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_code_reads_like_a_refusal_of_ours_is_the_clients_doing() {
    let server = Server::start(&[]);
    let mut client = sparing(&server).await;
    let body = json!({"service": "orders", "url": "http://10.0.0.1"});
    let id = server.post_registration(&body)["id"].as_str().unwrap().to_owned();
    let (_answers, mut body) = attached(&mut client, &id).await;
    body.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
    wait_for("the drop", SOON, || (server.get("/services").json()["count"] == 0).then_some(()));
}
