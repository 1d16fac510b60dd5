//! The image that the Dockerfile makes.

use serde_json::json;

use crate::site::{IMAGE, PATIENCE, Site};
use crate::support::wait_for;

/// Settings are variables, the user is not root, the volume outlives the container, and a lease outlives the
/// server's stop.
pub fn serves_as_nobody_and_keeps_what_it_has(site: &Site) {
    let engine = &site.engine;
    let run = |name: &str| {
        let publish = "127.0.0.1:9100:9000";
        engine.run(&["--name", name, "-p", publish, "-v", "kept:/var/lib/leasehold", IMAGE]);
        site.healthy(name);
    };
    run("first");
    assert_eq!(site.http(9100, "GET", "/health", "").json()["status"], "healthy");
    assert_eq!(engine.docker(&["exec", "first", "id", "-u"]), "10001");
    let labels = engine.inspect("first")["Config"]["Labels"].clone();
    assert_eq!(labels["org.opencontainers.image.version"], "of-a-test");

    let registration = json!({"service": "kept", "url": "http://kept:80", "ttl_seconds": 3600});
    let id = site.http(9100, "POST", "/services/$register", &registration.to_string()).json()["id"].clone();
    let listed = engine.docker(&["exec", "first", "leasehold", "ls"]);
    assert!(listed.contains(id.as_str().unwrap()), "{listed}");

    // Connections that are open do not keep it from ending as it should.
    let open = engine.connect("127.0.0.1:9100".parse().unwrap()).unwrap();
    engine.docker(&["stop", "--time", "60", "first"]);
    assert_eq!(engine.inspect("first")["State"]["ExitCode"], 0, "{}", site.logs("first"));
    drop(open);
    engine.docker(&["rm", "first"]);

    run("second");
    let services = site.services(9100);
    assert_eq!((services.len(), &services[0]["id"]), (1, &id));
    engine.docker(&["rm", "--force", "second"]);
    engine.docker(&["volume", "rm", "kept"]);
}

/// docs/container.md says what it can do without.
pub fn needs_no_capability_and_no_disk_but_its_volume(site: &Site) {
    let engine = &site.engine;
    let less = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    engine.run(&[&["--name", "less"], &less[..], &[IMAGE]].concat());
    site.healthy("less");
    engine.docker(&["exec", "less", "curl", "--fail", "--silent", "http://localhost:9000/health"]);
    // A command in place of `serve`.
    let version = engine.docker(&["run", "--rm", "--no-healthcheck", IMAGE, "--version"]);
    assert_eq!(version, concat!("leasehold ", env!("CARGO_PKG_VERSION")));
    engine.docker(&["kill", "--signal", "TERM", "less"]);
    wait_for("its end", PATIENCE, || (engine.inspect("less")["State"]["Status"] == "exited").then_some(()));
    assert_eq!(engine.inspect("less")["State"]["ExitCode"], 0, "{}", site.logs("less"));
    engine.docker(&["rm", "--volumes", "less"]);
}
