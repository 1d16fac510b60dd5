//! A watch while nothing fails: what it shows, and when it ends.

use leasehold::{
    client::{Client, Filter, Freshness},
    proto::{KeepAliveRequest, RegisterRequest},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    rig::{ids, lasting, register, until_live, until_shown, watch},
    support::{SOON, Serve, Server, wait_for, within},
};

pub fn watchers(server: &Server) -> String {
    let metrics = server.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("leasehold_watchers"));
    line.expect("watchers are counted").split(' ').next_back().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_decides_what_is_shown() {
    let server = Server::start(&[]);
    let labelled = |number, tier: &str| RegisterRequest {
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        ..lasting("orders", number)
    };
    let gold = server.register(labelled(0, "gold")).await.id;
    server.register(labelled(1, "iron")).await;
    register(&server, "other", 0).await;
    let watch =
        Client::new(server.addr.to_string()).unwrap().watch(Filter::service("Orders").label("tier", "gold"));
    let shown = within("what lives", SOON, watch.ready()).await;
    assert_eq!(ids(&shown), [gold.clone()].into());
    assert_eq!(shown.get(&gold).unwrap().url, "http://orders.test:1");
    assert_eq!(watch.freshness(), Freshness::Live);
    // It does not match any more.
    server.register(labelled(0, "iron")).await;
    until_shown(&watch, "nobody", leasehold::client::Snapshot::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_also_an_answer() {
    let server = Server::start(&[]);
    let watch = watch(server.addr);
    assert!(within("what lives", SOON, watch.ready()).await.is_empty());
    assert_eq!(watch.freshness(), Freshness::Live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_there_yet() {
    let server = Server::start(&[]);
    let addr = server.addr;
    drop(server);
    let watch = watch(addr);
    assert!(matches!(watch.freshness(), Freshness::Empty { .. }));
    let told =
        crate::rig::until_fresh(&watch, "why", |it| matches!(it, Freshness::Empty { why: Some(_) })).await;
    assert_eq!(told, Freshness::Empty { why: Some("Connection refused (os error 111)".to_owned()) });
    let server = Serve::new().args(["--store", "memory"]).at(addr).start();
    until_live(&watch).await;
    register(&server, "late", 0).await;
    until_shown(&watch, "the first one", |shown| shown.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_shown_as_one() {
    let server = Server::start(&[]);
    let grace = prost_types::Duration { seconds: 600, nanos: 0 };
    let id = server.register(RegisterRequest { drop_grace: Some(grace), ..lasting("held", 0) }).await.id;
    let watch = watch(server.addr);
    let (beats, outgoing) = mpsc::unbounded_channel();
    beats.send(KeepAliveRequest { ids: vec![id.clone()], ..KeepAliveRequest::default() }).unwrap();
    let mut stream = server
        .registry()
        .await
        .keep_alive(UnboundedReceiverStream::new(outgoing))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap();
    drop((beats, stream));
    until_shown(&watch, "a suspect", |shown| shown.get(&id).is_some_and(|it| it.status == "suspect")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_last_clone() {
    let server = Server::start(&[]);
    let watch = watch(server.addr);
    until_live(&watch).await;
    let changes = watch.changes();
    drop(watch);
    assert_eq!(watchers(&server), "1", "who waits for changes keeps it");
    drop(changes);
    wait_for("no watcher", SOON, || (watchers(&server) == "0").then_some(()));
}

#[test]
fn it_says_that_its_runtime_has_ended() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let watch = runtime.block_on(async {
        let watch = watch(server.addr);
        until_live(&watch).await;
        watch
    });
    drop(runtime);
    let Freshness::Stale { why, .. } = watch.freshness() else { panic!("{:?}", watch.freshness()) };
    assert!(why.contains("runtime"), "{why}");
}
