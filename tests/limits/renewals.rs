//! Renewals of what lives go on while their peer asks for too much: a second apart each, however
//! many they are.

use std::time::{Duration, Instant};

use leasehold::proto::{
    BatchRegisterRequest, ListRequest, PingRequest, RegisterRequest,
    batch_register_response::result::Result as Outcome, registry_client::RegistryClient,
};
use tokio::task::JoinSet;
use tonic::{Code, transport::Channel};

use crate::{
    check_answer, check_refusal, lasting,
    support::{SOON, Server, replica, wait_for},
};

const EXCEEDED: &str = "--max-requests-per-peer sets it";

fn ping(id: &str) -> PingRequest {
    PingRequest { id: id.to_owned(), lease_token: String::new() }
}

/// Asks until the peer has asked too much.
async fn exhaust(client: &mut RegistryClient<Channel>) {
    while client.list(ListRequest { page_size: 1, ..ListRequest::default() }).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_lease_is_renewed_once_a_second_whatever_its_peer_asks() {
    let server = Server::start(&["--max-requests-per-peer", "1"]);
    let mut client = server.registry().await;
    let id = client.register(lasting("alone", "http://h:1")).await.unwrap().into_inner().id;
    // By name and by id, in gRPC and in JSON: one lease, one rule.
    for path in [&*id, "alone", &*id, "alone"] {
        exhaust(&mut client).await;
        wait_for("a renewal", SOON, || {
            let answer = server.http("PUT", &format!("/services/{path}/$ping"), &[], b"");
            if answer.status == 200 {
                return Some(());
            }
            check_answer(&answer, EXCEEDED);
            None
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_renewal_of_the_living_is_refused() {
    let server = Server::start(&["--max-requests-per-peer", "1"]);
    let mut client = server.registry().await;
    let registered = client.register(lasting("alone", "http://h:1")).await.unwrap().into_inner();
    exhaust(&mut client).await;
    for (id, lease_token) in [
        // Renewed just now, unknown, and with a token that is not its own.
        (registered.id.clone(), String::new()),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), String::new()),
        ("nobody".to_owned(), String::new()),
        (registered.id, "f".repeat(32)),
    ] {
        let mut refused = 0;
        for _ in 0..10 {
            let request = PingRequest { id: id.clone(), lease_token: lease_token.clone() };
            if let Err(status) = client.ping(request).await
                && status.code() == Code::ResourceExhausted
            {
                check_refusal(&status, EXCEEDED);
                refused += 1;
            }
        }
        assert!(refused > 0, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_behind_one_address_live_on() {
    const SERVICES: usize = 200;
    const ROUNDS: usize = 3;
    // A twentieth of what they ask.
    let server = Server::start(&["--max-requests-per-peer", "10"]);
    let mut client = server.registry().await;
    let entry = |n| RegisterRequest { ttl_seconds: 15, ..replica(&format!("nat-{n}"), "http://10.0.0.1:80") };
    let batch = (0..SERVICES).map(entry).collect::<BatchRegisterRequest>();
    let registered = client.batch_register(batch).await.unwrap().into_inner().results;
    let mut pinging = JoinSet::new();
    for result in registered {
        let Some(Outcome::Response(registered)) = result.result else { panic!("{result:?}") };
        let mut client = client.clone();
        pinging.spawn(async move {
            let mut renewed = Instant::now();
            for _ in 0..ROUNDS {
                tokio::time::sleep_until((renewed + Duration::from_secs(1)).into()).await;
                client.ping(ping(&registered.id)).await.expect("a renewal a second");
                renewed = Instant::now();
            }
        });
    }
    while let Some(done) = pinging.join_next().await {
        done.unwrap();
    }
    exhaust(&mut client).await;
    let living = loop {
        // From here on the list has to wait for its turn.
        let listed = client.list(ListRequest::default()).await;
        match listed {
            Ok(listed) => break listed.into_inner().count,
            Err(status) => tokio::time::sleep(check_refusal(&status, EXCEEDED)).await,
        }
    };
    assert_eq!(living as usize, SERVICES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_lease_is_renewed_three_times_in_its_ttl() {
    let server = Server::start(&["--max-requests-per-peer", "1"]);
    let mut client = server.registry().await;
    let request = RegisterRequest { ttl_seconds: 2, ..replica("brief", "http://h:1") };
    let id = client.register(request).await.unwrap().into_inner().id;
    let mut renewed = Instant::now();
    exhaust(&mut client).await;
    for _ in 0..6 {
        tokio::time::sleep_until((renewed + Duration::from_millis(670)).into()).await;
        if renewed.elapsed() > Duration::from_millis(1200) {
            // On a machine so busy that it may have lapsed nothing can be told.
            return;
        }
        client.ping(ping(&id)).await.expect("a third of its TTL has passed");
        renewed = Instant::now();
    }
}
