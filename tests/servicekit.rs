//! An app built on servicekit, unmodified: it registers by itself, stays as long as it
//! lives, and goes when it stops, is killed, or is one of two behind one address.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant, SystemTime};

use leasehold::proto::{
    Event,
    event::{Reason, Type as Kind},
};
use serde_json::json;
use support::{
    SOON, Server,
    servicekit::App,
    wait_for,
    watch::{Watch, instance, listed_ids, what},
};

/// The TTL of these servers.
const TTL: Duration = Duration::from_secs(3);
/// Beyond what the contract promises, for a machine that is not idle.
const SLACK: Duration = Duration::from_millis(1250);

fn server() -> Server {
    Server::start(&["--default-ttl", "3s"])
}

/// Starts an app and waits for the event of its registration.
async fn registered(server: &Server, watch: &mut Watch, id: &str, port: u16) -> (App, Event) {
    let app = App::start(server, id, port);
    let url = app.url();
    let listed = wait_for("the app in GET /services", Duration::from_secs(2), || {
        let listed = server.get("/services").json();
        let found = listed["services"].as_array().unwrap().iter().find(|found| found["url"] == url);
        found.cloned()
    });
    let after = app.started.elapsed();
    assert!(after <= Duration::from_secs(2), "listed {after:?} after its start");
    assert_eq!(listed["service"], id);
    assert_eq!(listed["info"]["display_name"], "Climate Data");
    let event = watch.until("its registration", SOON, |event| instance(event).url == url).await;
    assert_eq!(what(&event), (Kind::Registered, Reason::New));
    assert_eq!(listed["id"], instance(&event).id);
    (app, event)
}

async fn ended(watch: &mut Watch, id: &str) -> Event {
    watch.until("its end", SOON, |event| instance(event).id == id && !is_there(event)).await
}

fn is_there(event: &Event) -> bool {
    matches!(event.r#type(), Kind::Registered | Kind::Updated | Kind::Suspect)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_lives_past_three_ttls_and_deregisters_when_stopped() {
    let server = server();
    let mut watch = Watch::everything(&server).await;
    let (mut app, event) = registered(&server, &mut watch, "climate-data", 0).await;
    let id = instance(&event).id.clone();

    // The passing of time is what is tested.
    tokio::time::sleep(TTL * 3 + Duration::from_secs(1)).await;
    watch.catch_up(&server).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New)]);
    assert_eq!(listed_ids(&server).await, std::slice::from_ref(&id));
    let kept = server.get("/services/climate-data").json();
    assert_ne!(kept["last_ping_at"], kept["registered_at"]);

    let log = app.stop();
    assert!(log.contains("deregistration.success"), "{log}");
    assert!(
        log.contains(&format!("deregister_url={}/services/climate-data", server.url())),
        "by service id: {log}"
    );
    assert_eq!(what(&ended(&mut watch, &id).await), (Kind::Deregistered, Reason::Client));
    assert_eq!(listed_ids(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_app_is_gone_by_its_ttl() {
    let server = server();
    let mut watch = Watch::everything(&server).await;
    let (mut app, event) = registered(&server, &mut watch, "killed", 0).await;
    app.pinged();
    app.process.kill();
    let killed = Instant::now();
    let gone = ended(&mut watch, &instance(&event).id).await;
    let (late, now) = (killed.elapsed(), SystemTime::now());
    assert_eq!((what(&gone), gone.braked), ((Kind::Expired, Reason::TtlLapsed), false));
    assert!(late <= TTL + SLACK, "gone {late:?} after the kill");
    let last_ping = SystemTime::try_from(instance(&gone).last_ping_at.unwrap()).unwrap();
    assert!(now >= last_ping + TTL, "never early");
    assert_eq!(server.get("/services/killed").status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_one_of_two_replicas_leaves_the_other() {
    let server = server();
    let mut watch = Watch::everything(&server).await;
    let (mut first, first_event) = registered(&server, &mut watch, "twin", 0).await;
    let (mut second, second_event) = registered(&server, &mut watch, "twin", 0).await;
    let (first_id, second_id) = (instance(&first_event).id.clone(), instance(&second_event).id.clone());
    assert_ne!(first_id, second_id);
    assert_eq!(server.get("/services?service=twin").json()["count"], 2);

    let log = first.stop();
    assert!(log.contains("deregistration.failed") && log.contains("400"), "by name two can be meant: {log}");
    assert_eq!(what(&ended(&mut watch, &first_id).await), (Kind::Expired, Reason::TtlLapsed));
    second.pinged();
    watch.catch_up(&server).await;
    assert_eq!(watch.seen_of(&second_id), [(Kind::Registered, Reason::New)], "the sibling never left");
    let left = server.get("/services?service=twin").json();
    assert_eq!((&left["count"], &left["services"][0]["id"]), (&json!(1), &json!(second_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_restarted_at_its_url_deregisters_each_time() {
    let server = server();
    let mut watch = Watch::everything(&server).await;
    let mut port = 0;
    let mut former = Vec::new();
    for round in 0..3 {
        let (mut app, event) = registered(&server, &mut watch, "phoenix", port).await;
        port = app.port;
        let id = instance(&event).id.clone();
        assert!(!former.contains(&id), "an id is never used again");
        let log = app.stop();
        assert!(log.contains("deregistration.success"), "round {round}: {log}");
        assert_eq!(
            what(&ended(&mut watch, &id).await),
            (Kind::Deregistered, Reason::Client),
            "round {round}"
        );
        assert_eq!(listed_ids(&server).await, [""; 0]);
        former.push(id);
    }
}
