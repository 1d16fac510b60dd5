//! servicekit, unmodified, which has had a key to send all along.

use std::time::Duration;

use leasehold::proto::{
    WatchRequest,
    event::{Reason, Type as Kind},
};

use super::{
    rig::{Key, Keyed, with_key},
    support::{
        SOON, Serve, secret,
        servicekit::App,
        wait_for,
        watch::{Watch, instance, what},
    },
};

/// Python and its imports take their time.
const START: Duration = Duration::from_mins(1);

/// Registers, is pinged for a while and deregisters, with this key.
async fn a_life(keyed: &Keyed, key: &str, id: &str) {
    let mut client = keyed.server.registry().await;
    let stream = client.watch(with_key(&keyed.shared, WatchRequest::default())).await.unwrap().into_inner();
    let mut watch = Watch::of(stream);
    watch.snapshot().await;
    let mut app = App::start_with_key(&keyed.server, id, key);
    let event = watch.until("its registration", START, |event| instance(event).service == id).await;
    assert_eq!(what(&event), (Kind::Registered, Reason::New));
    for _ in 0..3 {
        app.pinged();
    }
    let log = app.stop();
    assert!(log.contains("deregistration.success"), "{log}");
    let event = watch.until("its end", SOON, |event| instance(event).service == id).await;
    assert_eq!(what(&event), (Kind::Deregistered, Reason::Client));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_the_shared_key_or_one_of_its_own_lives_as_ever() {
    let key = Key::new("climate", "allow = [\"register\"]\nservices = [\"climate-*\"]");
    let keyed = Keyed::start(&[&key], &["--protect-reads", "--default-ttl", "3s"]);
    a_life(&keyed, &keyed.shared, "climate-data").await;
    a_life(&keyed, &key.secret, "climate-model").await;
}

#[test]
fn an_app_without_the_key_is_refused() {
    let shared = secret("servicekit");
    // The variable that the apps read will do for the server, too.
    let server = Serve::new().args(["--store", "memory"]).env("SERVICEKIT_REGISTRATION_KEY", &shared).start();
    let app = App::start(&server, "climate-data", 0);
    wait_for("the refusal", START, || server.stderr().contains("this needs a key").then_some(()));
    assert_eq!(server.get("/services").json()["count"], 0);
    drop(app);
    let mut app = App::start_with_key(&server, "climate-data", &shared);
    app.pinged();
    assert_eq!(server.get("/services").json()["count"], 1);
    assert!(!server.stderr().contains(&shared) && !app.stop().contains(&shared));
}
