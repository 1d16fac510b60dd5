//! What a Watch promises: every matching change once and in order, across reconnects and
//! under churn; RESET when and only when a change is not to be had; filters, bookmarks
//! and tokens.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use leasehold::proto::{
    BatchRegisterRequest, DeregisterRequest, Event, ListRequest, RegisterRequest, WatchRequest,
    WatchResponse,
    event::{Reason, Type as Kind},
    registry_client::RegistryClient,
    watch_response::Type as Step,
};
use support::{
    SOON, Server, info, replica,
    watch::{View, Watch, instance, list, what},
    within,
};
use tonic::{Code, transport::Channel};

fn from(token: &str) -> WatchRequest {
    WatchRequest { resume_token: token.to_owned(), ..WatchRequest::default() }
}

fn of(service: &str) -> WatchRequest {
    WatchRequest { service: vec![service.to_owned()], ..WatchRequest::default() }
}

fn labelled(tier: &str) -> RegisterRequest {
    RegisterRequest {
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        ..replica("labelled", "http://l:1")
    }
}

/// A small generator of numbers, the same on each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test]
async fn a_watch_begins_with_what_lives_and_goes_on_with_changes() {
    let server = Server::start(&[]);
    let (mut empty, view) = Watch::synced(&mut server.registry().await, WatchRequest::default()).await;
    assert_eq!(view, View::default(), "no snapshot where nothing matches");
    let mut ids = BTreeMap::new();
    for number in 1..=3 {
        let made = server.register(replica("early", &format!("http://early:{number}"))).await;
        ids.insert(made.id, made.revision);
    }
    let (_, view) = Watch::synced(&mut server.registry().await, WatchRequest::default()).await;
    assert_eq!(view.revisions(), ids);
    for (id, revision) in &ids {
        let event = empty.event(SOON).await;
        assert_eq!(
            (&instance(&event).id, event.revision, what(&event)),
            (id, *revision, (Kind::Registered, Reason::New))
        );
    }
}

#[tokio::test]
async fn a_resumed_watch_sees_what_it_missed() {
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let (mut watch, _) = Watch::synced(&mut client, WatchRequest::default()).await;
    let first = server.register(replica("first", "http://first:1")).await.id;
    watch.event(SOON).await;
    let token = watch.token.clone();
    drop(watch);

    let second = server.register(replica("second", "http://second:1")).await.id;
    server.register(RegisterRequest { zone: "z".to_owned(), ..replica("first", "http://first:1") }).await;
    client
        .deregister(DeregisterRequest { id: second.clone(), ..DeregisterRequest::default() })
        .await
        .unwrap();
    let expect = [
        (second.clone(), (Kind::Registered, Reason::New)),
        (first, (Kind::Updated, Reason::Content)),
        (second, (Kind::Deregistered, Reason::Client)),
    ];
    // The same token, as often as it is used.
    for _ in 0..3 {
        let mut watch = Watch::open(&mut server.registry().await, from(&token)).await;
        watch.catch_up(&server).await;
        let seen: Vec<_> = watch.seen.iter().map(|event| (instance(event).id.clone(), what(event))).collect();
        assert_eq!(seen, expect);
        assert_eq!(watch.resets, 0);
    }
}

/// What one writer did, as the server acknowledged it.
#[derive(Default)]
struct Written {
    registered: Vec<(u64, String)>,
    deregistered: Vec<String>,
}

/// `count` changes of twenty pairs of its own.
async fn churn(mut client: RegistryClient<Channel>, service: String, seed: u64, count: u32) -> Written {
    let mut numbers = Numbers(seed);
    let mut live: BTreeMap<u64, String> = BTreeMap::new();
    let mut written = Written::default();
    for change in 0..count {
        let pair = numbers.below(20);
        if numbers.below(3) == 0
            && let Some(id) = live.remove(&pair)
        {
            client
                .deregister(DeregisterRequest { id: id.clone(), ..DeregisterRequest::default() })
                .await
                .unwrap();
            written.deregistered.push(id);
        } else {
            let request = replica(&service, &format!("http://{service}:{}", pair + 1));
            let request = RegisterRequest { zone: format!("z{change}"), ..request };
            let answer = client.register(request).await.unwrap().into_inner();
            live.insert(pair, answer.id.clone());
            written.registered.push((answer.revision, answer.id));
        }
    }
    written
}

/// Checks the order within and across messages, and that nothing is told twice.
#[derive(Default)]
struct Reader {
    told: u64,
    view: View,
    events: Vec<(u64, Kind, String)>,
}

impl Reader {
    fn read(&mut self, message: &WatchResponse) {
        assert!(matches!(message.r#type(), Step::Changes | Step::Bookmark), "{:?}", message.r#type());
        let mut last = 0;
        for event in &message.events {
            assert!(event.revision > self.told, "{} after {} was told whole", event.revision, self.told);
            assert!(event.revision >= last && event.revision <= message.revision);
            last = event.revision;
            self.view.apply(event);
            self.events.push((event.revision, event.r#type(), instance(event).id.clone()));
        }
        assert!(message.revision >= self.told, "revisions rise");
        self.told = message.revision;
    }

    fn saw(&self, revision: u64) -> bool {
        self.told >= revision
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_many_times_under_churn_loses_and_repeats_nothing() {
    const EACH: u32 = 1_000;
    let server = Server::start(&[]);
    let mut client = server.registry().await;
    let (mut steady, _) = Watch::synced(&mut client, WatchRequest::default()).await;
    let mut token = steady.token.clone();

    let writers = [
        tokio::spawn(churn(server.registry().await, "left".to_owned(), 1, EACH)),
        tokio::spawn(churn(server.registry().await, "right".to_owned(), 2, EACH)),
    ];
    let mut numbers = Numbers(3);
    let mut hopping = Reader::default();
    let mut connections = 0;
    let mut until_the_end = None;
    let mut writers = Some(writers);
    let mut written = Vec::new();
    while until_the_end.is_none_or(|revision| !hopping.saw(revision)) {
        connections += 1;
        if connections % 4 == 0 {
            client = server.registry().await;
        }
        let mut watch = Watch::open(&mut client, from(&token)).await;
        for _ in 0..=numbers.below(8) {
            // A watch that has caught up waits for its next change: then it hops.
            let Ok(message) = tokio::time::timeout(Duration::from_millis(200), watch.try_message(SOON)).await
            else {
                break;
            };
            hopping.read(&message.unwrap());
        }
        if !watch.token.is_empty() {
            token.clone_from(&watch.token);
        }
        if writers.as_ref().is_some_and(|writers| writers.iter().all(tokio::task::JoinHandle::is_finished)) {
            for writer in writers.take().unwrap() {
                written.push(writer.await.unwrap());
            }
            until_the_end = Some(server.register(replica("end", "http://end:1")).await.revision);
        }
        assert!(connections < 5_000, "it comes to an end");
    }

    let end = until_the_end.unwrap();
    let mut reference = Reader::default();
    while !reference.saw(end) {
        reference.read(&steady.message().await);
    }
    assert!(connections > 20, "{connections} connections");
    assert_eq!(hopping.events, reference.events, "as one that never left saw it");

    let registered: usize = written.iter().map(|written| written.registered.len()).sum();
    let deregistered: usize = written.iter().map(|written| written.deregistered.len()).sum();
    assert_eq!(registered + deregistered, 2 * EACH as usize);
    assert_eq!(hopping.events.len(), 2 * EACH as usize + 1, "one event a change, and the last marker");
    for (revision, id) in written.iter().flat_map(|written| &written.registered) {
        let count = hopping
            .events
            .iter()
            .filter(|(at, kind, of)| (at, of) == (revision, id) && *kind != Kind::Deregistered);
        assert_eq!(count.count(), 1, "revision {revision} of {id}");
    }
    for id in written.iter().flat_map(|written| &written.deregistered) {
        let count = hopping.events.iter().filter(|(_, kind, of)| of == id && *kind == Kind::Deregistered);
        assert_eq!(count.count(), 1, "the end of {id}");
    }
    let listed: BTreeMap<String, u64> =
        list(&server).await.services.into_iter().map(|found| (found.id, found.revision)).collect();
    assert_eq!(hopping.view.revisions(), listed);
}

#[tokio::test]
async fn a_batch_is_shown_together() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let requests: BatchRegisterRequest =
        (1..=20).map(|number| replica("batch", &format!("http://batch:{number}"))).collect();
    server.registry().await.batch_register(requests).await.unwrap();
    let message = watch.message().await;
    assert_eq!(message.events.len(), 20);
    assert!(message.events.iter().all(|event| event.revision == message.events[0].revision));
}

/// Reads the RESET that a token leads to, and the snapshot after it.
async fn check_reset(server: &Server, request: WatchRequest) -> View {
    let mut watch = Watch::open(&mut server.registry().await, request).await;
    let first = watch.message().await;
    assert_eq!((first.r#type(), first.events.len()), (Step::Reset, 0));
    watch.snapshot().await
}

#[tokio::test]
async fn a_token_of_another_epoch_is_a_reset() {
    let before = Server::start(&[]);
    before.register(replica("old", "http://old:1")).await;
    let token = Watch::everything(&before).await.token;
    drop(before);

    let server = Server::start(&[]);
    let id = server.register(replica("new", "http://new:1")).await.id;
    let view = check_reset(&server, from(&token)).await;
    assert_eq!(view.0.keys().collect::<Vec<_>>(), [&id]);
}

#[tokio::test]
async fn a_token_of_another_filter_is_a_reset() {
    let server = Server::start(&[]);
    let id = server.register(replica("alpha", "http://alpha:1")).await.id;
    server.register(replica("beta", "http://beta:1")).await;
    let token = Watch::everything(&server).await.token;
    let view = check_reset(&server, WatchRequest { resume_token: token.clone(), ..of("alpha") }).await;
    assert_eq!(view.0.keys().collect::<Vec<_>>(), [&id]);
    let by_label = WatchRequest { labels: [("a".to_owned(), "b".to_owned())].into(), ..from(&token) };
    assert_eq!(check_reset(&server, by_label).await, View::default());

    // The same filter, spelled otherwise, is the same.
    let (watch, _) = Watch::synced(
        &mut server.registry().await,
        WatchRequest { service: vec!["alpha".to_owned(), "beta".to_owned()], ..WatchRequest::default() },
    )
    .await;
    let again = WatchRequest { service: vec!["Beta".to_owned(), "alpha".to_owned()], ..from(&watch.token) };
    let mut resumed = Watch::open(&mut server.registry().await, again).await;
    let late = server.register(replica("beta", "http://beta:2")).await.id;
    assert_eq!(instance(&resumed.event(SOON).await).id, late);
}

#[tokio::test]
async fn a_string_that_is_no_token_is_refused() {
    let server = Server::start(&[]);
    let token = Watch::everything(&server).await.token;
    let cut = &token[..token.len() / 2];
    let doubled = format!("{token}{token}");
    let long = "A".repeat(10_000);
    for text in ["x", "not a token", "ÄÖÜ", "====", "0", cut, &doubled, &long] {
        let refused = server.registry().await.watch(from(text)).await;
        let status = match refused {
            Err(status) => status,
            Ok(stream) => within("a refusal", SOON, stream.into_inner().message()).await.unwrap_err(),
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{text}");
    }
}

#[tokio::test]
async fn a_list_token_starts_a_watch() {
    let server = Server::start(&[]);
    server.register(replica("alpha", "http://alpha:1")).await;
    let request = ListRequest { service: vec!["alpha".to_owned()], ..ListRequest::default() };
    let token = server.registry().await.list(request).await.unwrap().into_inner().resume_token;
    let late = server.register(replica("alpha", "http://alpha:2")).await.id;
    let resumed = WatchRequest { resume_token: token, ..of("alpha") };
    let mut watch = Watch::open(&mut server.registry().await, resumed).await;
    assert_eq!(instance(&watch.event(SOON).await).id, late);
}

#[tokio::test]
async fn an_update_can_enter_and_leave_a_filter() {
    let server = Server::start(&[]);
    let gold =
        WatchRequest { labels: [("tier".to_owned(), "gold".to_owned())].into(), ..WatchRequest::default() };
    let (mut watch, _) = Watch::synced(&mut server.registry().await, gold).await;
    server.register(labelled("iron")).await;
    let id = server.register(labelled("gold")).await.id;
    server.register(RegisterRequest { zone: "z".to_owned(), ..labelled("gold") }).await;
    server.register(labelled("lead")).await;
    server.register(labelled("tin")).await;
    server.register(labelled("gold")).await;
    let expect = [
        (Kind::Registered, Reason::EnteredFilter),
        (Kind::Updated, Reason::Content),
        (Kind::Deregistered, Reason::LeftFilter),
        (Kind::Registered, Reason::EnteredFilter),
    ];
    for expect in expect {
        let event = watch.event(SOON).await;
        assert_eq!((instance(&event).id.as_str(), what(&event)), (id.as_str(), expect));
    }
}

/// Replaces the content of fifty replicas of `noisy`, about 50 KiB a round.
async fn noise(server: &Server, rounds: u32) {
    let mut client = server.registry().await;
    for round in 0..rounds {
        let text = format!("{round:08}").repeat(128);
        let request = |number| RegisterRequest {
            info: Some(info("text", &text)),
            ..replica("noisy", &format!("http://noisy:{number}"))
        };
        let batch = (1..=50).map(request).collect::<BatchRegisterRequest>();
        client.batch_register(batch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn churn_of_other_services_costs_a_watcher_nothing() {
    let server = Server::start(&["--history-bytes", "1048576"]);
    server.register(replica("quiet", "http://quiet:1")).await;
    noise(&server, 1).await;
    let (mut live, _) = Watch::synced(&mut server.registry().await, of("quiet")).await;
    let quiet_token = live.token.clone();
    let (noisy, _) = Watch::synced(&mut server.registry().await, of("noisy")).await;
    let noisy_token = noisy.token.clone();
    drop(noisy);

    // About 4 MiB through a ring of 1 MiB.
    noise(&server, 80).await;
    let late = server.register(replica("quiet", "http://quiet:2")).await.id;

    assert_eq!(instance(&live.event(SOON).await).id, late);
    assert_eq!(live.resets, 0, "a live watch of the quiet service");
    let resumed = WatchRequest { resume_token: quiet_token, ..of("quiet") };
    let mut resumed = Watch::open(&mut server.registry().await, resumed).await;
    assert_eq!(instance(&resumed.event(SOON).await).id, late);
    assert_eq!(resumed.resets, 0, "an old token of the quiet service");

    let view = check_reset(&server, WatchRequest { resume_token: noisy_token, ..of("noisy") }).await;
    assert_eq!(view.0.len(), 50, "an old token of the noisy one begins anew, with all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_too_slowly_converges_after_a_reset() {
    let server = Server::start(&["--history-bytes", "1048576"]);
    noise(&server, 1).await;
    let (mut slow, mut view) = Watch::synced(&mut server.registry().await, of("noisy")).await;
    // Nothing is read meanwhile: 8 MiB, far over the ring and every buffer on the way.
    noise(&server, 160).await;
    let end = server.register(replica("noisy", "http://noisy-end:1")).await;
    while !view.0.contains_key(&end.id) {
        let message = slow.message().await;
        match message.r#type() {
            Step::Changes => message.events.iter().for_each(|event: &Event| view.apply(event)),
            Step::Reset => view = slow.snapshot().await,
            Step::Bookmark => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(slow.resets >= 1, "history is bounded");
    let listed: BTreeMap<String, u64> =
        list(&server).await.services.into_iter().map(|found| (found.id, found.revision)).collect();
    assert_eq!(view.revisions(), listed);
}

#[tokio::test]
async fn an_idle_watch_gets_bookmarks_that_move_its_token() {
    let server = Server::start(&[]);
    let bookmark_interval = Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 });
    let request = WatchRequest { bookmark_interval, ..of("alpha") };
    let (mut watch, _) = Watch::synced(&mut server.registry().await, request.clone()).await;
    let first = watch.message().await;
    assert_eq!((first.r#type(), first.events.len()), (Step::Bookmark, 0));

    let other = server.register(replica("beta", "http://beta:1")).await;
    let moved = async {
        loop {
            let message = watch.message().await;
            assert_eq!(message.r#type(), Step::Bookmark);
            if message.revision >= other.revision {
                return message;
            }
        }
    };
    let bookmark = within("a bookmark past the other service's change", SOON, moved).await;
    drop(watch);

    let late = server.register(replica("alpha", "http://alpha:1")).await;
    let resumed = WatchRequest { resume_token: bookmark.resume_token, ..request };
    let mut watch = Watch::open(&mut server.registry().await, resumed).await;
    let event = watch.event(SOON).await;
    assert_eq!((&instance(&event).id, event.revision), (&late.id, late.revision));
    assert!(event.revision > bookmark.revision, "nothing at or below a bookmark comes after it");
}
