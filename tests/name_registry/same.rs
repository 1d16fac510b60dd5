//! It is the same registry: what one door registers shows at the others, and lives through a
//! restart.

use std::collections::BTreeSet;

use leasehold::proto::{
    BatchRegisterRequest, KeepAliveRequest, ListRequest, PingRequest, RegisterRequest, WatchRequest,
    event::{Reason, Type as Kind},
};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};

use crate::{
    rig::{Names, addresses, seen},
    support::{
        SOON, Serve,
        data_dir::DataDir,
        info, replica, wait_for,
        watch::{Watch, instance, list, what},
    },
};

#[tokio::test]
async fn what_registers_here_shows_in_list_and_watch() {
    let names = Names::start(&[]);
    let mut watch = Watch::everything(&names.server).await;
    assert_eq!(
        names.post("/register", &json!({ "service": "plain", "address": "http://p:1", "v": "1" })).status,
        201
    );
    let event = watch.event(SOON).await;
    assert_eq!(what(&event), (Kind::Registered, Reason::New));
    let shown = instance(&event).clone();
    assert_eq!((&*shown.service, &*shown.url, &shown.info), ("plain", "http://p:1", &Some(info("v", "1"))));
    assert_eq!(list(&names.server).await.services[0].id, shown.id);

    // A pair that is a name and a url already is the very instance of the other doors.
    let again = names
        .server
        .register(RegisterRequest { info: Some(info("v", "1")), ..replica("plain", "http://p:1") })
        .await;
    assert_eq!(again.id, shown.id);
    assert_eq!(names.pair("/register", "plain", "http://p:1").0, 200);
    assert_eq!(what(&watch.event(SOON).await), (Kind::Updated, Reason::Content));

    names.register("Billing API", "10.0.0.7:80");
    let event = watch.event(SOON).await;
    let url = "http://10.0.0.7:80#name-registry?service=Billing%20API&address=10.0.0.7:80";
    assert_eq!((&*instance(&event).service, &*instance(&event).url), ("billing-api", url));
    let request = ListRequest { service: vec!["Billing API".to_owned()], ..ListRequest::default() };
    let found = names.server.registry().await.list(request).await.unwrap().into_inner();
    assert_eq!(found.count, 1);

    assert_eq!(names.pair("/heartbeat", "Billing API", "10.0.0.7:80").0, 200);
    assert_eq!(names.pair("/deregister", "Billing API", "10.0.0.7:80").0, 200);
    assert_eq!(what(&watch.event(SOON).await), (Kind::Deregistered, Reason::Client));
}

#[tokio::test]
async fn what_others_register_shows_here() {
    let names = Names::start(&[]);
    let request = RegisterRequest { info: Some(info("team", "x")), ..replica("search", "grpc://s:50051") };
    let made = names.server.register(request).await;
    names.server.post_registration(&json!({ "url": "http://k:1", "info": { "display_name": "My Kit" } }));
    let counted = json!({ "total_instances": 1, "active_instances": 1 });
    let services = names.get("/services").json();
    assert_eq!(services["services"], json!({ "search": counted, "my-kit": counted }));
    let found = names.get("/discover/search").json();
    assert_eq!(addresses(&found), ["grpc://s:50051"]);
    assert_eq!(found["instances"][0]["metadata"], json!({ "team": "x" }));

    assert_eq!(names.pair("/heartbeat", "search", "grpc://s:50051").0, 200);
    assert_eq!(names.pair("/deregister", "search", "grpc://s:50051").0, 200);
    let ping =
        names.server.registry().await.ping(PingRequest { id: made.id, ..PingRequest::default() }).await;
    assert_eq!(ping.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_suspect_is_counted_and_not_discovered() {
    let names = Names::start(&[]);
    let grace = prost_types::Duration { seconds: 600, nanos: 0 };
    let made = names
        .server
        .register(RegisterRequest { drop_grace: Some(grace), ..replica("wavering", "http://w:1") })
        .await;
    let (beats, stream) = unbounded_channel();
    beats.send(KeepAliveRequest { ids: vec![made.id], ..KeepAliveRequest::default() }).unwrap();
    let answers = names.server.registry().await.keep_alive(UnboundedReceiverStream::new(stream)).await;
    let mut answers = answers.unwrap().into_inner();
    answers.next().await.unwrap().unwrap();
    drop((beats, answers));
    let services = wait_for("the suspect", SOON, || {
        let services = names.get("/services").json();
        (services["services"]["wavering"]["active_instances"] == 0).then_some(services)
    });
    assert_eq!(services["services"]["wavering"]["total_instances"], 1);
    let found = names.get("/discover/wavering").json();
    assert_eq!(found, json!({ "service": "wavering", "instances": [], "count": 0 }));
    assert_eq!(names.pair("/heartbeat", "wavering", "http://w:1").0, 200);
    assert_eq!(names.discover("wavering").unwrap(), ["http://w:1"], "a heartbeat brings it back");
}

#[tokio::test]
async fn a_restart_keeps_registrations() {
    let dir = DataDir::new("names");
    let pairs = [("plain", "http://p:1"), ("Raw Name", "raw address"), ("raw name", "raw address"), ("", "")];
    let names = Names::of(Serve::new().on(dir.path()));
    for (service, address) in pairs {
        names.register(service, address);
    }
    let ids: Vec<String> = list(&names.server).await.services.into_iter().map(|one| one.id).collect();
    drop(names);

    let names = Names::of(Serve::new().on(dir.path()));
    let again: Vec<String> = list(&names.server).await.services.into_iter().map(|one| one.id).collect();
    assert_eq!(again, ids);
    for (service, address) in pairs {
        assert_eq!(names.pair("/heartbeat", service, address).0, 200, "{service:?}");
    }
    let services = names.get("/services").json();
    assert_eq!(services["total_services"], 4);
    assert_eq!(names.discover("Raw%20Name").unwrap(), ["raw address"]);
    assert_eq!(names.pair("/register", "plain", "http://p:1").0, 200, "it is known");
}

#[tokio::test]
async fn a_watch_of_one_service_has_all_its_spellings() {
    let names = Names::start(&[]);
    for service in ["a b", "A B", "a-b"] {
        names.register(service, "http://x:1");
    }
    let request = WatchRequest { service: vec!["a-b".to_owned()], ..WatchRequest::default() };
    let (_, view) = Watch::synced(&mut names.server.registry().await, request).await;
    let mut urls: Vec<&str> = view.0.values().map(|one| &*one.url).collect();
    urls.sort_unstable();
    let expect =
        ["http://x:1", "http://x:1#name-registry?service=A%20B", "http://x:1#name-registry?service=a%20b"];
    assert_eq!(urls, expect);
}

#[tokio::test]
async fn of_many_each_is_shown_once() {
    const COUNT: usize = 5000;
    let names = Names::start(&[]);
    names.register("One More", "first");
    for part in (0..COUNT).collect::<Vec<_>>().chunks(1000) {
        let request: BatchRegisterRequest =
            part.iter().map(|number| replica("one-more", &format!("http://many/{number}"))).collect();
        names.server.registry().await.batch_register(request).await.unwrap();
    }
    let counted = |count: usize| json!({ "total_instances": count, "active_instances": count });
    let services = names.get("/services").json();
    let expect = json!({ "One More": counted(1), "one-more": counted(COUNT) });
    assert_eq!((&services["services"], &services["total_services"]), (&expect, &json!(2)));

    let first = names.discover("one-more").unwrap();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), COUNT);
    let mut second = names.discover("one-more").unwrap();
    assert_eq!(second[..3], first[1..4]);
    second.rotate_right(1);
    assert!(second == first, "the order is the same but for where it begins");
    assert_eq!(names.discover("One%20More").unwrap(), ["first"]);
}

/// A disk that fails is put in place of the real one by strace.
#[tokio::test]
async fn a_registry_that_takes_no_changes_says_so() {
    let dir = DataDir::new("names-failing");
    let log = dir.path().join("strace");
    let inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=20+"];
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", log.to_str().unwrap()];
    let serve = Serve::through(words.into_iter().chain(inject)).on(dir.path().join("data"));
    let names = Names::of(serve.args(["--default-ttl", "1h"]));
    let (taken, refused) = (0..1000)
        .find_map(|number| {
            let (status, body) = names.pair("/register", "load", &number.to_string());
            (status != 201).then_some((number, (status, body)))
        })
        .unwrap();
    assert_eq!((refused.0, &refused.1["status"]), (503, &json!("error")));
    assert!(refused.1["message"].as_str().unwrap().contains("takes no changes now"), "{}", refused.1);
    let (status, health) = seen(&names.get("/health"));
    assert_eq!((status, &health["status"]), (503, &json!("failing")));
    assert!(health["message"].as_str().unwrap().contains("Input/output error"), "{health}");
    // What is there is read and renewed.
    assert!(taken > 0);
    assert_eq!(names.discover("load").unwrap().len(), taken);
    assert_eq!(names.pair("/heartbeat", "load", "0").0, 200);
    assert_eq!(names.pair("/register", "load", "0").0, 503);
    assert_eq!(names.pair("/deregister", "load", "0").0, 503);
}
