//! Health checks: registered while they pass, out while they fail, and never before the first passed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tonic_health::ServingStatus;

use super::{
    rig::{instances, listed, noted, run_child, unlisted},
    support::{SOON, Server, free_address, wait_for, within},
    tls::{Authority, LOOPBACK},
};

/// Quick ones, so that the tests are too.
const PACE: [&str; 6] = ["--health-interval", "50ms", "--health-timeout", "1s", "--health-retries", "2"];

/// Answers each GET with the status that is set; 0: not at all.
struct Answers {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    status: AtomicU16,
    asked: AtomicUsize,
    ends: AtomicBool,
}

impl Answers {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { status: AtomicU16::new(status), ..Shared::default() });
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.ends.load(Ordering::SeqCst) {
                    return;
                }
                unanswered.extend(of_thread.answer(stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    fn set(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Waits until it was asked so many times more, each after the one before was answered.
    fn asked_again(&self, times: usize) {
        let before = self.shared.asked.load(Ordering::SeqCst);
        wait_for("further checks", SOON, || {
            (self.shared.asked.load(Ordering::SeqCst) >= before + times).then_some(())
        });
    }

    fn flags<'a>(&self, url: &'a mut String, path: &str) -> Vec<&'a str> {
        *url = format!("http://{}{path}", self.address);
        [["--health", url.as_str()].as_slice(), PACE.as_slice()].concat()
    }
}

impl Shared {
    /// The connection, if it is left open.
    fn answer(&self, stream: TcpStream) -> Option<TcpStream> {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            line.clear();
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let status = self.status.load(Ordering::SeqCst);
        if status == 0 {
            return Some(stream);
        }
        // Whoever asked may have gone.
        let _ = write!(
            &stream,
            "HTTP/1.1 {status} Status\r\nlocation: /elsewhere\r\ncontent-length: 2\r\n\r\nok"
        );
        None
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn an_http_check_decides_who_is_in() {
    let server = Server::start(&[]);
    let answers = Answers::start(503);
    // No secret: it stands on a command line, where others can read it. Notes leave it out all the same.
    let (mut url, hidden) = (String::new(), "of-the-checker");
    let flags = answers.flags(&mut url, &format!("/health?token={hidden}"));
    let (mut process, _) = run_child(&server.url(), "http", &flags, &[]);
    answers.asked_again(5);
    assert!(instances(&server, "http").is_empty(), "it never passed");
    // No redirect is followed: the answer is the child's.
    answers.set(302);
    answers.asked_again(5);
    assert!(instances(&server, "http").is_empty(), "a redirect is no 2xx");
    answers.set(204);
    listed(&server, "http");
    for bad in [500, 0] {
        answers.set(bad);
        unlisted(&server, "http");
        answers.set(200);
        listed(&server, "http");
    }
    noted(&process, "fails: it answers 500");
    noted(&process, "fails: no answer within 1s");
    noted(&process, "/health passes");
    process.write_line("exit 0");
    assert_eq!(process.wait_exit(SOON).code(), Some(0));
    unlisted(&server, "http");
    assert!(!process.stderr().contains(hidden), "what may be secret in the URL is not shown");
}

#[test]
fn one_failure_is_no_reason_to_leave() {
    let server = Server::start(&[]);
    let answers = Answers::start(200);
    let mut url = String::new();
    answers.flags(&mut url, "/");
    let flags = ["--health", &url, "--health-interval", "50ms", "--health-retries", "1000"];
    let (mut process, _) = run_child(&server.url(), "flaky", &flags, &[]);
    let id = listed(&server, "flaky")["id"].clone();
    answers.set(500);
    answers.asked_again(5);
    answers.set(200);
    answers.asked_again(2);
    assert_eq!(listed(&server, "flaky")["id"], id);
    assert!(!process.stderr().contains("taken out"), "{}", process.stderr());
    process.write_line("exit 0");
    process.wait_exit(SOON);
}

#[test]
fn a_tcp_check_waits_for_the_port() {
    let server = Server::start(&[]);
    let address = free_address();
    let url = format!("tcp://{address}");
    let flags = [["--health", url.as_str()].as_slice(), PACE.as_slice()].concat();
    let (mut process, _) = run_child(&server.url(), "tcp", &flags, &[]);
    process.write_line("say up");
    super::rig::hear(&mut process, "said up");
    assert!(instances(&server, "tcp").is_empty(), "nobody listens yet");
    let listener = TcpListener::bind(address).unwrap();
    listed(&server, "tcp");
    drop(listener);
    unlisted(&server, "tcp");
    let _listener = TcpListener::bind(address).unwrap();
    listed(&server, "tcp");
    process.write_line("exit 0");
    process.wait_exit(SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_check_asks_for_the_service() {
    let server = Server::start(&[]);
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Cart", ServingStatus::NotServing).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving =
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let url = format!("grpc://{address}/shop.Cart");
    let flags = [["--health", url.as_str()].as_slice(), PACE.as_slice()].concat();
    let (mut process, _) = run_child(&server.url(), "grpc", &flags, &[]);
    process.write_line("say up");
    super::rig::hear(&mut process, "said up");
    assert!(instances(&server, "grpc").is_empty(), "it does not serve");
    for _ in 0..2 {
        reporter.set_service_status("shop.Cart", ServingStatus::Serving).await;
        listed(&server, "grpc");
        reporter.set_service_status("shop.Cart", ServingStatus::NotServing).await;
        unlisted(&server, "grpc");
    }
    noted(&process, "fails: it says NOT_SERVING");
    process.write_line("exit 0");
    process.wait_exit(SOON);
    serving.abort();
    let _ = within("the end of the health server", SOON, serving).await;
}

#[test]
fn whose_certificate_it_is_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new("nobody knows it").issue(&LOOPBACK).write(folder.path(), "child");
    let (cert, key) = (files.cert.display().to_string(), files.key.display().to_string());
    let child = Server::start(&["--tls-cert", &cert, "--tls-key", &key]);
    let server = Server::start(&[]);
    for (name, url) in [
        ("https", format!("https://{}/health", child.addr)),
        ("grpcs", format!("grpcs://{}/leasehold.v1.Registry", child.addr)),
    ] {
        let (mut process, _) = run_child(&server.url(), name, &["--health", &url], &[]);
        listed(&server, name);
        process.write_line("exit 0");
        process.wait_exit(SOON);
    }
}

#[test]
fn a_check_that_never_passes_is_told_of_and_holds_nothing_up() {
    let server = Server::start(&[]);
    let url = format!("tcp://{}", free_address());
    let (mut process, _) = run_child(&server.url(), "never", &["--health", &url], &[]);
    noted(&process, "does not pass yet: Connection refused");
    assert!(instances(&server, "never").is_empty());
    process.write_line("exit 2");
    assert_eq!(process.wait_exit(Duration::from_secs(30)).code(), Some(2));
}
