//! compose.yaml, as it is.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::site::{BUILD, IMAGE, PATIENCE, PROJECT, Site, finish};
use crate::support::{process::Process, wait_for};

/// Two services of servicekit register once the registry is healthy; the one that is stopped says goodbye, the
/// one that is killed goes when its lease lapses.
pub fn services_register_and_are_seen_leaving(site: &Site) {
    let project = Project { site };
    // The name of what compose would build: it knows nothing of layers that others have built.
    site.engine.docker(&["tag", IMAGE, "test_orchestrator"]);
    project.run(&["up", "--detach"]);
    wait_for("both services", PATIENCE, || (names(site) == ["service-a", "service-b"]).then_some(()));
    let urls: Vec<Value> = site.services(9000).into_iter().map(|service| service["url"].clone()).collect();
    assert_eq!(urls, ["http://service-a:8000", "http://service-b:8000"]);

    let watch = ["exec", "-T", "orchestrator", "leasehold", "watch", "--output", "json"];
    let mut watch = Process::spawn(project.command(&watch));
    let mut leaves = |service: &str| {
        watch.expect_line("its leaving", PATIENCE, |line| {
            let known =
                line.contains(service).then(|| ["CLIENT", "TTL_LAPSED"].map(|reason| line.contains(reason)));
            known.filter(|reasons| reasons.contains(&true))
        })
    };
    project.run(&["stop", "service-a"]);
    assert_eq!(leaves("service-a"), [true, false]);
    assert_eq!(names(site), ["service-b"]);
    project.run(&["kill", "service-b"]);
    assert_eq!(leaves("service-b"), [false, true]);
    assert!(names(site).is_empty());

    // It registers again where it was.
    project.run(&["start", "service-a"]);
    wait_for("the service to be back", PATIENCE, || (names(site) == ["service-a"]).then_some(()));
}

fn names(site: &Site) -> Vec<Value> {
    site.services(9000).into_iter().map(|service| service["service"].clone()).collect()
}

/// What compose made, removed when dropped.
struct Project<'a> {
    site: &'a Site,
}

impl Project<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        self.site.engine.environment(&mut command);
        command.current_dir(Path::new(PROJECT)).args(["--project-name", "test", "--no-ansi"]).args(args);
        command
    }

    fn run(&self, args: &[&str]) {
        finish(self.command(args), BUILD);
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in ["orchestrator", "service-a", "service-b"] {
                eprintln!("{service}:\n{}", self.site.logs(&format!("test_{service}_1")));
            }
        } else {
            self.run(&["down", "--volumes", "--timeout", "60"]);
        }
    }
}
