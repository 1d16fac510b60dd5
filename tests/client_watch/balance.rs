//! A service called by its name, while its replicas come and go and the registry fails.

use std::time::Duration;

use leasehold::client::{Client, Filter, Watch};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    certificates::{Authority, LOOPBACK},
    replica::{Replica, deregister},
    rig::{NOTICED, until_shown, until_stale},
    support::{SOON, Server, data_dir::DataDir, replica as registration, within},
};

/// In a row to one of two: by chance, once in 2^40.
const IN_A_ROW: usize = 40;

/// Calls the service by its name.
#[derive(Clone)]
struct Caller {
    watch: Watch,
    greeter: HealthClient<Channel>,
}

impl Caller {
    fn new(server: &Server) -> Self {
        let watch = Client::new(server.addr.to_string()).unwrap().watch(Filter::service("greeter"));
        let greeter = HealthClient::new(watch.channel());
        Self { watch, greeter }
    }

    async fn try_call(&mut self) -> Result<(), Status> {
        within("a call", SOON, self.greeter.check(HealthCheckRequest::default())).await.map(drop)
    }

    async fn call(&mut self) {
        self.try_call().await.unwrap();
    }

    /// Calls until each of these was called again.
    async fn until_all(&mut self, replicas: &[&Replica]) {
        let before: Vec<usize> = replicas.iter().map(|replica| replica.calls()).collect();
        let search = async {
            while replicas.iter().zip(&before).any(|(replica, before)| replica.calls() == *before) {
                self.call().await;
            }
        };
        within("a call to each", NOTICED, search).await;
    }

    /// Calls until many calls in a row went to this one.
    async fn until_only(&mut self, only: &Replica) {
        let search = async {
            loop {
                let before = only.calls();
                for _ in 0..IN_A_ROW {
                    self.call().await;
                }
                if only.calls() == before + IN_A_ROW {
                    return;
                }
            }
        };
        within("calls to one only", NOTICED, search).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_follow_those_who_come_and_go() {
    let server = Server::start(&[]);
    let (a, b, c) = (Replica::start().await, Replica::start().await, Replica::start().await);
    let a_id = a.register(&server).await;
    let b_id = b.register(&server).await;
    let mut caller = Caller::new(&server);
    caller.until_all(&[&a, &b]).await;
    assert_eq!(c.calls(), 0);

    deregister(&server, &a_id).await;
    caller.until_only(&b).await;
    let c_id = c.register(&server).await;
    caller.until_all(&[&b, &c]).await;

    // Nobody: calls wait, and the first who comes answers.
    deregister(&server, &b_id).await;
    deregister(&server, &c_id).await;
    let mut waiting = caller.clone();
    let answered = async {
        loop {
            let call = waiting.greeter.check(HealthCheckRequest::default());
            if tokio::time::timeout(Duration::from_millis(300), call).await.is_err() {
                return;
            }
        }
    };
    within("a call that waits", NOTICED, answered).await;
    let waiting = tokio::spawn(async move { waiting.try_call().await });
    a.register(&server).await;
    within("its answer", NOTICED, waiting).await.unwrap().unwrap();
    caller.until_only(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_when_the_registry_is_gone() {
    let mut server = Server::start(&[]);
    let (a, b) = (Replica::start().await, Replica::start().await);
    a.register(&server).await;
    b.register(&server).await;
    let mut caller = Caller::new(&server);
    caller.until_all(&[&a, &b]).await;
    server.kill();
    until_stale(&caller.watch).await;
    for _ in 0..5 {
        caller.until_all(&[&a, &b]).await;
    }
    // Connections to replicas are made anew as well.
    let addr = a.addr;
    drop(a);
    let a = within("its port", SOON, Replica::at(addr, None)).await;
    let search = async {
        while a.calls() == 0 {
            // While it was gone a call may have failed.
            let _ = caller.try_call().await;
        }
    };
    within("a call to the restarted one", NOTICED, search).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_goes_on() {
    let server = Server::start(&[]);
    let (a, b) = (Replica::start().await, Replica::start().await);
    let a_id = a.register(&server).await;
    let mut caller = Caller::new(&server);
    caller.call().await;
    let mut stream = caller.greeter.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(within("the first news", SOON, stream.message()).await.unwrap().unwrap().status, 0);
    b.register(&server).await;
    deregister(&server, &a_id).await;
    caller.until_only(&b).await;
    for news in 1..3 {
        a.tell(news);
        assert_eq!(within("news", SOON, stream.message()).await.unwrap().unwrap().status, news);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_fails_its_share_until_it_goes() {
    let server = Server::start(&[]);
    let good = Replica::start().await;
    good.register(&server).await;
    // A port that nobody listens at any more.
    let bad = Replica::start().await;
    let bad_id = bad.register(&server).await;
    drop(bad);
    // Nor can everybody be called who is registered.
    server.register(registration("greeter", "tcp://127.0.0.1:1")).await;
    let mut caller = Caller::new(&server);
    let search = async {
        loop {
            match caller.try_call().await {
                Ok(()) => {}
                Err(status) => return status,
            }
        }
    };
    let status = within("a call that fails", NOTICED, search).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let before = good.calls();
    while good.calls() < before + 10 {
        // A second try may go to the same one.
        let _ = caller.try_call().await;
    }
    deregister(&server, &bad_id).await;
    until_shown(&caller.watch, "its end", |shown| shown.get(&bad_id).is_none()).await;
    let search = async {
        let mut in_a_row = 0;
        while in_a_row < IN_A_ROW {
            in_a_row = if caller.try_call().await.is_ok() { in_a_row + 1 } else { 0 };
        }
    };
    within("calls that do not fail", NOTICED, search).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let server = Server::start(&[]);
    let authority = Authority::new("Replicas");
    let a = Replica::secure(&authority.issue(&LOOPBACK)).await;
    a.register(&server).await;
    let mut caller = Caller::new(&server);
    let dir = DataDir::new("client-watch");
    let ca = Certificate::from_pem(std::fs::read(authority.write(dir.path(), "ca.pem")).unwrap());
    let tls = ClientTlsConfig::new().ca_certificate(ca);
    let channel = caller
        .watch
        .balance()
        .tls(tls)
        .configure(|endpoint| endpoint.timeout(SOON).http2_keep_alive_interval(SOON))
        .channel();
    caller.greeter = HealthClient::new(channel);
    caller.call().await;
    assert_eq!(a.calls(), 1);
    // The system does not trust this authority, so it is not called without that.
    let mut untrusting = HealthClient::new(caller.watch.channel());
    let search = within("a refusal", SOON, untrusting.check(HealthCheckRequest::default()));
    assert_eq!(search.await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_ends_with_the_channel() {
    let server = Server::start(&[]);
    let a = Replica::start().await;
    a.register(&server).await;
    let Caller { watch, mut greeter } = Caller::new(&server);
    drop(watch);
    within("a call", SOON, greeter.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(crate::life::watchers(&server), "1");
    drop(greeter);
    crate::support::wait_for("no watcher", SOON, || (crate::life::watchers(&server) == "0").then_some(()));
}
