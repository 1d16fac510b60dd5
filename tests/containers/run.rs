//! `leasehold run` as process 1 of a container.

use std::{fs, net::SocketAddr};

use serde_json::Value;

use crate::{
    site::{IMAGE, PATIENCE, Site, argument},
    support::{Serve, Server, wait_for},
};

/// Says when it is up, passes time, and takes what signals ask of it.
const CHILD: &str = "trap 'echo got USR1' USR1; trap 'echo got TERM; exit 7' TERM; echo up; \
    while :; do sleep 1000 & wait $!; done";

/// A registry on this machine, where the containers of this engine find it.
pub fn registry(site: &Site) -> Server {
    Serve::new().args(["--store", "memory"]).at(SocketAddr::new(site.engine.host(), 0)).start()
}

fn names(registry: &Server) -> Vec<Value> {
    let listed = registry.get("/services").json();
    listed["services"].as_array().unwrap().iter().map(|service| service["service"].clone()).collect()
}

/// An image for services, as docs/container.md has it.
fn image(site: &Site) -> String {
    let dir = tempfile::tempdir().unwrap();
    let binary = "/usr/local/bin/leasehold";
    let lines = [
        format!("FROM {}", argument("Dockerfile", "RUNTIME_IMAGE")),
        format!("COPY --from={IMAGE} {binary} {binary}"),
        "ENTRYPOINT [\"leasehold\", \"run\"]".to_owned(),
    ];
    fs::write(dir.path().join("Dockerfile"), lines.join("\n")).unwrap();
    site.engine.docker(&["build", "--quiet", dir.path().to_str().unwrap()])
}

/// Starts a container of this name whose process 1 is leasehold, and which is registered under it.
fn start(site: &Site, registry: &Server, name: &str, script: &str) {
    let url = format!("http://{name}:80");
    let server = registry.url();
    let command = ["--service", name, "--url", &url, "--server", &server, "--", "sh", "-c", script];
    site.engine.run(&[&["--name", name, &image(site)], &command[..]].concat());
}

fn exit_code(site: &Site, container: &str) -> Value {
    wait_for("the container's end", PATIENCE, || {
        let state = &site.engine.inspect(container)["State"];
        (state["Status"] == "exited").then(|| state["ExitCode"].clone())
    })
}

/// `docker stop` and `docker kill --signal` reach the command, and its exit code is the container's.
pub fn passes_signals_and_the_exit_code(site: &Site) {
    let registry = registry(site);
    start(site, &registry, "one", CHILD);
    wait_for("the registration", PATIENCE, || (names(&registry) == ["one"]).then_some(()));
    assert_eq!(site.engine.docker(&["exec", "one", "cat", "/proc/1/comm"]), "leasehold");
    let says = |line: &str| {
        wait_for(line, PATIENCE, || site.logs("one").lines().any(|logged| logged == line).then_some(()));
    };
    says("up");
    site.engine.docker(&["kill", "--signal", "USR1", "one"]);
    says("got USR1");
    site.engine.docker(&["stop", "--time", "60", "one"]);
    says("got TERM");
    assert_eq!(exit_code(site, "one"), 7);
    assert!(names(&registry).is_empty(), "a command that ended is deregistered");
    site.engine.docker(&["rm", "one"]);
}

/// A command that ends by itself, or by a signal, ends the container in the way shells have it.
pub fn ends_as_its_command_does(site: &Site) {
    let registry = registry(site);
    for (name, script, code) in [("exits", "exit 3", 3), ("killed", "kill -KILL $$", 137)] {
        start(site, &registry, name, script);
        assert_eq!(exit_code(site, name), code, "{script}: {}", site.logs(name));
        site.engine.docker(&["rm", name]);
    }
    wait_for("an empty registry", PATIENCE, || names(&registry).is_empty().then_some(()));
}

/// Processes whose parents have ended come to process 1, which sees them off.
pub fn reaps_orphans(site: &Site) {
    let registry = registry(site);
    start(site, &registry, "host", CHILD);
    wait_for("the registration", PATIENCE, || (names(&registry) == ["host"]).then_some(()));
    // The shell in the middle ends at once, and prints the id of the one that it leaves behind.
    let orphan = site.engine.docker(&["exec", "host", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]);
    let status = |field: &str| {
        let status =
            site.engine.try_docker(&["exec", "host", "cat", &format!("/proc/{orphan}/status")]).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        Some(line.unwrap().trim().to_owned())
    };
    wait_for("it to be an orphan", PATIENCE, || (status("PPid:")? == "1").then_some(()));
    site.engine.docker(&["exec", "host", "sh", "-c", &format!("kill {orphan}")]);
    // What nobody waits for stays, as a zombie.
    wait_for("it to be gone", PATIENCE, || status("State:").is_none().then_some(()));
    assert_eq!(names(&registry), ["host"]);
    site.engine.docker(&["rm", "--force", "host"]);
    wait_for("its lease to end with its connection", PATIENCE, || names(&registry).is_empty().then_some(()));
}
