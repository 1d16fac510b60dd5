//! What becomes of a watch when the server, or the way to it, fails.

use leasehold::{
    client::{Client, Filter, Freshness},
    proto::{DeregisterRequest, event::Type as Kind},
};

use crate::{
    rig::{
        Poller, durable, ids, lasting, register, snapshot, told, until_fresh, until_live, until_shown,
        until_stale, watch,
    },
    support::{
        SOON, Serve, Server,
        data_dir::DataDir,
        link::{Link, Way},
        secret, wait_for,
    },
};

async fn deregister(server: &Server, id: &str) {
    let request = DeregisterRequest { id: id.to_owned(), ..DeregisterRequest::default() };
    server.registry().await.deregister(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_it_goes_on_where_it_was() {
    let dir = DataDir::new("client-watch");
    let mut server = durable(&dir, None);
    let first = register(&server, "kept", 0).await.id;
    let watch = watch(server.addr);
    let mut changes = watch.changes();
    assert_eq!(ids(&*snapshot(&mut changes).await), [first.clone()].into());
    let poller = Poller::start(&watch, |shown| !shown.is_empty());

    for round in 0..3 {
        server.kill();
        let why = until_stale(&watch).await;
        assert!(!why.is_empty());
        assert_eq!(ids(&watch.current()).len(), 1, "what was known is shown");
        server = durable(&dir, Some(server.addr));
        // While it may not be connected yet, and after.
        let away = register(&server, "away", round).await.id;
        let back = register(&server, "back", round).await.id;
        deregister(&server, &away).await;
        until_live(&watch).await;
        deregister(&server, &back).await;
        let expect = [
            (Kind::Registered, away.clone()),
            (Kind::Registered, back.clone()),
            (Kind::Deregistered, away),
            (Kind::Deregistered, back),
        ];
        assert_eq!(told(&mut changes, 4).await, expect);
    }
    assert_eq!(ids(&watch.current()), [first].into());
    poller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reset_the_new_set_comes_whole() {
    const OLD: usize = 900;
    const NEW: usize = 1_100;
    let server = Server::start(&[]);
    let addr = server.addr;
    let link = Link::to(addr);
    fill(&server, "old", OLD).await;
    let watch = watch(link.addr);
    let mut changes = watch.changes();
    assert_eq!(snapshot(&mut changes).await.len(), OLD);
    let whole = |shown: &leasehold::client::Snapshot| {
        let service = &shown.iter().next().expect("it is empty").service;
        let expect = if service == "old" { OLD } else { NEW };
        shown.len() == expect && shown.iter().all(|instance| instance.service == *service)
    };
    let poller = Poller::start(&watch, whole);

    // A registry that remembers nothing, and that the watch does not see before it is full.
    link.refuse();
    link.cut();
    drop(server);
    until_stale(&watch).await;
    let server = Serve::new().args(["--store", "memory"]).at(addr).start();
    fill(&server, "new", NEW).await;
    assert_eq!(watch.current().len(), OLD);
    link.pass();
    assert_eq!(snapshot(&mut changes).await.len(), NEW, "consumers are told that all is new");
    until_live(&watch).await;
    poller.stop();

    let later = register(&server, "new", NEW).await.id;
    assert_eq!(told(&mut changes, 1).await, [(Kind::Registered, later)]);
}

async fn fill(server: &Server, service: &str, count: usize) {
    let mut client = server.registry().await;
    for number in 0..count {
        client.register(lasting(service, number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_and_started_again() {
    let dir = DataDir::new("client-watch");
    let mut server = durable(&dir, None);
    let kept = register(&server, "kept", 0).await.id;
    let watch = watch(server.addr);
    let mut changes = watch.changes();
    snapshot(&mut changes).await;
    let poller = Poller::start(&watch, |shown| shown.len() == 1);
    server.signal("TERM");
    until_stale(&watch).await;
    assert_eq!(
        server.wait_exit(crate::rig::NOTICED).code(),
        Some(0),
        "the watch does not keep it from ending"
    );
    let server = durable(&dir, Some(server.addr));
    until_live(&watch).await;
    poller.stop();
    deregister(&server, &kept).await;
    assert_eq!(told(&mut changes, 1).await, [(Kind::Deregistered, kept)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_partition_is_noticed_and_ends() {
    let server = Server::start(&[]);
    let link = Link::to(server.addr);
    let kept = register(&server, "kept", 0).await.id;
    let watch = watch(link.addr);
    let mut changes = watch.changes();
    snapshot(&mut changes).await;
    let poller = Poller::start(&watch, |shown| !shown.is_empty());
    link.hold(Way::Both);
    let meanwhile = register(&server, "kept", 1).await.id;
    let why = until_stale(&watch).await;
    assert!(!why.is_empty());
    assert_eq!(ids(&watch.current()), [kept.clone()].into());
    assert!(watch.staleness() > std::time::Duration::from_secs(1));
    link.pass();
    until_shown(&watch, "what came meanwhile", |shown| shown.get(&meanwhile).is_some()).await;
    until_live(&watch).await;
    deregister(&server, &kept).await;
    let expect = [(Kind::Registered, meanwhile), (Kind::Deregistered, kept)];
    assert_eq!(told(&mut changes, 2).await, expect);
    poller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_server_is_noticed_and_taken_up_again() {
    let server = Server::start(&[]);
    let kept = register(&server, "kept", 0).await.id;
    let watch = watch(server.addr);
    let mut changes = watch.changes();
    snapshot(&mut changes).await;
    server.signal("STOP");
    wait_for("a stopped server", SOON, || (server.process_state() == 'T').then_some(()));
    until_stale(&watch).await;
    assert_eq!(ids(&watch.current()), [kept.clone()].into());
    server.signal("CONT");
    until_live(&watch).await;
    deregister(&server, &kept).await;
    assert_eq!(told(&mut changes, 1).await, [(Kind::Deregistered, kept)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_empties_nothing() {
    let dir = DataDir::new("client-watch");
    let file = dir.path().join("service.key");
    let (first, second) = (secret("first"), secret("second"));
    std::fs::write(&file, &first).unwrap();
    let server = Serve::new()
        .args(["--store", "memory", "--protect-reads", "--service-key-file"])
        .args([&file])
        .start();
    let client = |key: &str| {
        let client = Client::builder(server.addr.to_string()).service_key(key).unwrap().build().unwrap();
        client.watch(Filter::service("none"))
    };
    let refused = client(&secret("none of its keys"));
    let seen = until_fresh(&refused, "a refusal", |it| matches!(it, Freshness::Empty { why: Some(_) })).await;
    let Freshness::Empty { why: Some(why) } = seen else { panic!("{seen:?}") };
    assert!(why.contains("refuses") && why.contains("Unauthenticated"), "{why}");
    assert!(refused.current().is_empty());

    let watch = client(&first);
    until_live(&watch).await;
    std::fs::write(&file, &second).unwrap();
    let why = until_stale(&watch).await;
    assert!(why.contains("refuses"), "{why}");
    // Given up is nothing: the key may be good again.
    std::fs::write(&file, &first).unwrap();
    until_live(&watch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_refused_is_told() {
    let server = Server::start(&[]);
    let watch = Client::new(server.addr.to_string()).unwrap().watch(Filter::service("!!"));
    let seen = until_fresh(&watch, "a refusal", |it| matches!(it, Freshness::Empty { why: Some(_) })).await;
    let Freshness::Empty { why: Some(why) } = seen else { panic!("{seen:?}") };
    assert!(why.contains("InvalidArgument"), "{why}");
}
