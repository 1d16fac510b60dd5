//! Clients as people run them ride through a restart of the registry, in order or not: no
//! consumer's view loses them for a moment.

use std::time::{Duration, Instant};

use leasehold::proto::{
    WatchRequest,
    event::{Reason, Type as Kind},
};
use serde_json::json;

use crate::support::{
    SOON, START, Serve, Server,
    data_dir::DataDir,
    grpcio::Client,
    servicekit::App,
    watch::{MARKER, Watch, instance, listed_ids, what},
};

const TTL: Duration = Duration::from_secs(5);
/// Beyond what the contract promises, for a machine that is not idle.
const SLACK: Duration = Duration::from_secs(2);

fn serve(dir: &DataDir) -> Serve {
    Serve::new().on(dir).args(["--default-ttl", "5s"])
}

/// Goes on with what a watch was told last.
async fn resumed(server: &Server, token: &str) -> Watch {
    let request = WatchRequest { resume_token: token.to_owned(), ..WatchRequest::default() };
    Watch::open(&mut server.registry().await, request).await
}

/// What is still told before a server is gone.
async fn to_the_end(watch: &mut Watch) {
    while let Ok(message) = watch.try_message(SOON).await {
        watch.seen.extend(message.events.into_iter().filter(|event| instance(event).service != MARKER));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_ride_through_a_stop_and_a_kill() {
    let dir = DataDir::new("riders");
    let mut server = serve(&dir).start();
    let mut watch = Watch::everything(&server).await;
    let mut app = App::start(&server, "climate-data", 0);
    let url = app.url();
    let event = watch.until("the app's registration", START, |event| instance(event).url == url).await;
    let app_id = instance(&event).id.clone();
    let mut rider = Client::start(&server);
    let rider_id = rider.ask("register rider http://rider:1 5")["id"].as_str().unwrap().to_owned();
    assert_eq!(rider.ask(&format!("ride {rider_id}")), json!({"riding": true}));
    watch.until("the rider's registration", SOON, |event| instance(event).id == rider_id).await;
    watch.seen.clear();
    let mut both = vec![app_id.clone(), rider_id.clone()];
    both.sort();

    for signal in ["TERM", "KILL"] {
        app.pinged_again();
        server.signal(signal);
        let status = server.wait_exit(START);
        assert_eq!(status.code(), (signal == "TERM").then_some(0), "{signal}: {}", server.stderr());
        to_the_end(&mut watch).await;
        assert_eq!(watch.seen, [], "{signal}");

        let addr = server.addr;
        drop(server);
        server = serve(&dir).at(addr).start();
        watch = resumed(&server, &watch.token).await;
        assert_eq!(rider.heard(), json!({"riding": true}), "{signal}: attached again by its id");
        app.pinged_again();
        // The passing of time is what is tested: they are kept by what they do now.
        tokio::time::sleep(TTL + Duration::from_secs(1)).await;
        watch.catch_up(&server).await;
        assert_eq!(watch.seen, [], "{signal}");
        assert_eq!(watch.resets, 0, "{signal}");
        assert_eq!(listed_ids(&server).await, both, "{signal}");
    }

    app.process.kill();
    rider.0.kill();
    let killed = Instant::now();
    for _ in 0..2 {
        let gone = watch
            .until("their end", SOON, |event| {
                assert!(instance(event).service == MARKER || event.r#type() == Kind::Expired, "{event:?}");
                both.contains(&instance(event).id)
            })
            .await;
        // A stream that ends soon after a start may have been ended by it: then the TTL decides.
        let by_ttl = what(&gone) == (Kind::Expired, Reason::TtlLapsed);
        let by_drop = what(&gone) == (Kind::Expired, Reason::StreamDropped) && instance(&gone).id == rider_id;
        assert!(by_ttl || by_drop, "{gone:?}");
    }
    assert!(killed.elapsed() <= TTL + SLACK, "gone {:?} after they were killed", killed.elapsed());
    assert_eq!(listed_ids(&server).await, [""; 0]);
    assert_eq!(server.get("/services/climate-data").status, 404);
}
