//! `leasehold registrar run` in a container, as docs/container.md has it.

use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::{
    run::registry,
    site::{IMAGE, PATIENCE, Site},
    support::{Server, wait_for},
};

/// It needs the engine's socket, and the group that may use it; not root.
pub fn follows_the_engine_it_runs_on(site: &Site) {
    let engine = &site.engine;
    let registry = registry(site);
    let socket = engine.socket();
    let group = std::fs::metadata(&socket).unwrap().gid().to_string();
    let (mount, backend) =
        (format!("{}:/var/run/docker.sock", socket.display()), format!("leasehold://{}", registry.addr));
    let docker = ["--no-healthcheck", "--name", "registrar", "-v", &mount, "--group-add", &group, IMAGE];
    let command = ["registrar", "run", "--backend", &backend, "--hostname", "a-host", "--addr", "192.0.2.7"];
    engine.run(&[&docker[..], &command].concat());

    engine.build("guest", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]"]);
    engine.run(&["--name", "web", "-p", "9180:80", "guest"]);
    wait_for("the container in the registry", PATIENCE, || {
        let logs = site.logs("registrar");
        assert_eq!(engine.inspect("registrar")["State"]["Status"], "running", "{logs}");
        urls(&registry).iter().any(|url| url.contains("192.0.2.7:9180")).then_some(())
    });
    engine.docker(&["rm", "--force", "web"]);
    wait_for("it to be gone", PATIENCE, || {
        (!urls(&registry).iter().any(|url| url.contains("192.0.2.7:9180"))).then_some(())
    });
    engine.docker(&["stop", "--time", "60", "registrar"]);
    assert_eq!(engine.inspect("registrar")["State"]["ExitCode"], 0, "{}", site.logs("registrar"));
    engine.docker(&["rm", "registrar"]);
}

fn urls(registry: &Server) -> Vec<String> {
    let listed = registry.get("/services").json();
    let services = listed["services"].as_array().unwrap();
    services.iter().map(|service: &Value| service["url"].as_str().unwrap().to_owned()).collect()
}
