//! A key that is good for some services has no effect on others, and no sight of them.

use std::collections::BTreeMap;

use leasehold::proto::{
    DeregisterRequest, KeepAliveRequest, ListRequest, ListResponse, PingRequest, RegisterRequest,
    WatchRequest,
    event::{Reason, Type as Kind},
    keep_alive_response::lost::Reason as Lost,
    registry_client::RegistryClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, transport::Channel};

use super::{
    rig::{Key, Keyed, fresh_url, with_key},
    support::{
        SOON, replica, wait_for,
        watch::{Watch, instance, what},
        within,
    },
};

const BILLING: &str = "allow = [\"register\", \"read\"]\nservices = [\"billing-*\"]";

fn billing() -> Key {
    Key::new("billing", BILLING)
}

async fn list(
    client: &mut RegistryClient<Channel>,
    key: &str,
    request: ListRequest,
) -> Result<ListResponse, Code> {
    let listed = client.list(with_key(key, request)).await;
    listed.map(tonic::Response::into_inner).map_err(|status| status.code())
}

fn services(listed: &ListResponse) -> Vec<&str> {
    listed.services.iter().map(|one| one.service.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_others_on_a_stream_are_lost_and_nothing_happens_to_them() {
    let key = billing();
    let keyed = Keyed::start(&[&key], &["--protect-reads"]);
    let mut client = keyed.server.registry().await;
    let short = RegisterRequest { ttl_seconds: 1, ..replica("other", &fresh_url()) };
    let lapsed = keyed.register(&keyed.shared, short).await.id;
    let own = keyed.replica(&key.secret, "billing-api").await.id;
    let other = keyed.replica(&keyed.shared, "other").await.id;
    let unknown = "01K83B5V85PQZ1HTH4DQ7NC9JM".to_owned();
    let mut watch = {
        let stream =
            client.watch(with_key(&keyed.shared, WatchRequest::default())).await.unwrap().into_inner();
        Watch::of(stream)
    };
    watch.snapshot().await;
    let mut lapsing = list(&mut client, &keyed.shared, ListRequest::default()).await.unwrap();
    while lapsing.services.iter().any(|one| one.id == lapsed) {
        watch.event(SOON).await;
        lapsing = list(&mut client, &keyed.shared, ListRequest::default()).await.unwrap();
    }
    let before: BTreeMap<String, _> = lapsing.services.into_iter().map(|one| (one.id.clone(), one)).collect();

    let (beats, outgoing) = mpsc::unbounded_channel();
    let lower = keyed.replica(&keyed.shared, "third").await.id.to_lowercase();
    let ids = [&own, &other, &lower, &unknown, &lapsed, "no ulid"].map(ToString::to_string).to_vec();
    beats.send(KeepAliveRequest { ids, ..KeepAliveRequest::default() }).unwrap();
    let request = with_key(&key.secret, UnboundedReceiverStream::new(outgoing));
    let mut answers = client.keep_alive(request).await.unwrap().into_inner();
    let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
    assert_eq!(answer.ttl_seconds, 30);
    let lost: BTreeMap<&str, Lost> =
        answer.lost.iter().map(|lost| (lost.id.as_str(), lost.reason())).collect();
    let expect = [&other, &lower, &unknown, &lapsed].map(|id| (id.as_str(), Lost::PermissionDenied));
    assert_eq!(lost, expect.into_iter().chain([("no ulid", Lost::NotFound)]).collect());
    assert_eq!(answer.lost.len(), 5);

    // Neither do they leave another's stream, nor are they told of in beats.
    let detach =
        KeepAliveRequest { ids: vec![other.clone(), unknown.clone()], detach: true, ..Default::default() };
    beats.send(detach).unwrap();
    let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
    assert_eq!(answer.lost.len(), 2);
    assert!(answer.lost.iter().all(|lost| lost.reason() == Lost::PermissionDenied), "{answer:?}");
    beats.send(KeepAliveRequest::default()).unwrap();
    let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
    assert_eq!((answer.lost, answer.ttl_seconds), (vec![], 30));

    let after = list(&mut client, &keyed.shared, ListRequest::default()).await.unwrap().services;
    let of_other = after.iter().find(|one| one.id == other);
    assert_eq!(of_other, Some(&before[&other]), "it was renewed");
    assert!(!after.iter().any(|one| one.id == lapsed), "it was revived");
    // The end of the stream drops what was attached, which they were not.
    drop((beats, answers));
    let gone = watch.until("the drop", SOON, |event| instance(event).id == own).await;
    assert_eq!(what(&gone), (Kind::Expired, Reason::StreamDropped));
    let after = list(&mut client, &keyed.shared, ListRequest::default()).await.unwrap();
    assert_eq!(services(&after), ["other", "third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lapsed_comes_back_for_its_own_key_only() {
    let key = billing();
    let keyed = Keyed::start(&[&key], &["--protect-reads"]);
    let mut client = keyed.server.registry().await;
    let short = |service: &str| RegisterRequest { ttl_seconds: 1, ..replica(service, &fresh_url()) };
    let own = keyed.register(&key.secret, short("billing-api")).await.id;
    let other = keyed.register(&keyed.shared, short("other")).await.id;
    let mut left = 2;
    while left > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        left = list(&mut client, &keyed.shared, ListRequest::default()).await.unwrap().count;
    }
    let ping = |id: &str| with_key(&key.secret, PingRequest { id: id.to_owned(), ..PingRequest::default() });
    assert_eq!(client.ping(ping(&other)).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(client.ping(ping("other")).await.unwrap_err().code(), Code::PermissionDenied);
    client.ping(ping(&own)).await.unwrap();
    let listed = list(&mut client, &keyed.shared, ListRequest::default()).await.unwrap();
    assert_eq!(services(&listed), ["billing-api"]);
    // What is forgotten is as what was never there: see docs/keys.md.
    let request = DeregisterRequest { id: other, ..DeregisterRequest::default() };
    let refused = client.deregister(with_key(&key.secret, request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_takes_the_place_of_its_own_services_only() {
    let key = billing();
    let keyed = Keyed::start(&[&key], &["--duplicate-id", "replace"]);
    let named =
        |service: &str| RegisterRequest { id: "climate".to_owned(), ..replica(service, &fresh_url()) };
    let other = keyed.register(&keyed.shared, named("other")).await.id;
    let first = keyed.register(&key.secret, named("billing-api")).await.id;
    let second = keyed.register(&key.secret, named("billing-worker")).await.id;
    let mut client = keyed.server.registry().await;
    let live = keyed.listed(&mut client).await.unwrap();
    assert_eq!(live, [format!("billing-worker {second}"), format!("other {other}")], "{first}");
    // One that is good for all replaces all.
    let last = keyed.register(&keyed.shared, named("last")).await.id;
    assert_eq!(keyed.listed(&mut client).await.unwrap(), [format!("last {last}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_their_tokens_are_a_keys_own() {
    let key = billing();
    let ops = Key::new("ops", "allow = [\"read\"]\nservices = [\"*s\", \"billing-*\"]");
    let keyed = Keyed::start(&[&key, &ops], &["--protect-reads"]);
    for service in ["alpha", "billing-a", "billing-b", "billing-c", "cards", "zones"] {
        keyed.replica(&keyed.shared, service).await;
    }
    let mut client = keyed.server.registry().await;
    let mut page = ListRequest { page_size: 2, ..ListRequest::default() };
    let first = list(&mut client, &key.secret, page.clone()).await.unwrap();
    assert_eq!((services(&first), first.count), (vec!["billing-a", "billing-b"], 3));
    page.page_token.clone_from(&first.next_page_token);
    let second = list(&mut client, &key.secret, page.clone()).await.unwrap();
    assert_eq!((services(&second), second.count), (vec!["billing-c"], 3));
    assert!(second.next_page_token.is_empty());
    for other in [&ops.secret, &keyed.shared] {
        assert_eq!(list(&mut client, other, page.clone()).await.unwrap_err(), Code::InvalidArgument);
    }
    let all = list(&mut client, &ops.secret, ListRequest::default()).await.unwrap();
    assert_eq!(services(&all), ["billing-a", "billing-b", "billing-c", "cards", "zones"]);
    // One of several that is beyond the key is one too many.
    let both =
        ListRequest { service: vec!["billing-a".to_owned(), "cards".to_owned()], ..ListRequest::default() };
    assert_eq!(list(&mut client, &key.secret, both.clone()).await.unwrap_err(), Code::PermissionDenied);
    assert_eq!(services(&list(&mut client, &ops.secret, both).await.unwrap()), ["billing-a", "cards"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_of_a_keys_own_services_and_its_token_is_no_others() {
    let key = billing();
    // A history that little churn fills.
    let keyed = Keyed::start(&[&key], &["--protect-reads", "--history-bytes", "1MiB"]);
    let mut client = keyed.server.registry().await;
    let gold = |service: &str| RegisterRequest {
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ..replica(service, &fresh_url())
    };
    keyed.register(&keyed.shared, gold("billing-a")).await;
    keyed.register(&keyed.shared, gold("other")).await;
    let open = |key: &str, request: WatchRequest| {
        let (mut client, request) = (client.clone(), with_key(key, request));
        async move { Watch::of(client.watch(request).await.unwrap().into_inner()) }
    };
    let mut watch = open(&key.secret, WatchRequest::default()).await;
    let of = |view: &super::support::watch::View| {
        let mut services: Vec<String> = view.0.values().map(|one| one.service.clone()).collect();
        services.sort();
        services
    };
    assert_eq!(of(&watch.snapshot().await), ["billing-a"]);
    let labelled =
        WatchRequest { labels: [("tier".to_owned(), "gold".to_owned())].into(), ..Default::default() };
    let mut gold_watch = open(&key.secret, labelled).await;
    assert_eq!(of(&gold_watch.snapshot().await), ["billing-a"]);
    let mut all = open(&keyed.shared, WatchRequest::default()).await;
    assert_eq!(of(&all.snapshot().await), ["billing-a", "other"]);

    // Much of others, which fills the history, and one of its own.
    let text = "x".repeat(50_000);
    for _ in 0..40 {
        let info = Some(super::support::info("text", &text));
        keyed.register(&keyed.shared, RegisterRequest { info, ..replica("churn", &fresh_url()) }).await;
    }
    let id = keyed.register(&key.secret, gold("billing-b")).await.id;
    for watch in [&mut watch, &mut gold_watch] {
        let event = watch.event(SOON).await;
        assert_eq!(instance(&event).id, id, "nothing of others is told before");
        assert_eq!(watch.resets, 0);
    }
    // Its token is of its own view: to another it says nothing, and the other way round.
    all.until("the same", SOON, |event| instance(event).id == id).await;
    for (token, key) in [(&watch.token, &keyed.shared), (&all.token, &key.secret)] {
        let request = WatchRequest { resume_token: token.clone(), ..WatchRequest::default() };
        let mut other = open(key, request).await;
        other.message().await;
        assert_eq!(other.resets, 1);
    }
    let request = WatchRequest { resume_token: watch.token.clone(), ..WatchRequest::default() };
    let mut resumed = open(&key.secret, request).await;
    let next = keyed.replica(&key.secret, "billing-c").await.id;
    assert_eq!(instance(&resumed.event(SOON).await).id, next);
    assert_eq!(resumed.resets, 0);
    client.list(with_key(&key.secret, ListRequest::default())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_words_for_what_is_there_and_what_is_not() {
    let key = billing();
    let keyed = Keyed::start(&[&key], &[]);
    let other = keyed.replica(&keyed.shared, "other").await.id;
    let header = [("x-service-key", key.secret.as_str())];
    let answer = |id: &str, method: &str, suffix: &str| {
        let answer = keyed.server.http(method, &format!("/services/{id}{suffix}"), &header, b"");
        let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
        (answer.status, headers, answer.text())
    };
    for (method, suffix) in [("PUT", "/$ping"), ("DELETE", "")] {
        let there = answer(&other, method, suffix);
        assert_eq!(there.0, 403, "{there:?}");
        for absent in ["01K83B5V85PQZ1HTH4DQ7NC9JM", "other", "nobody"] {
            assert_eq!(answer(absent, method, suffix), there, "{absent}");
        }
    }
    wait_for("the refusals in the log", SOON, || (keyed.said("is not good for this") >= 8).then_some(()));
    assert!(keyed.server.stderr().contains("\"key\":\"billing\""), "{}", keyed.server.stderr());
}
