//! What becomes of what is advertised as a container lives: only who can be used is.

use super::{Row, rig::Rig};
use crate::support::{START, wait_for};

pub const ROWS: &[Row] = &[
    ("created_started_ended", created_started_ended),
    ("paused", paused),
    ("restarting", restarting),
    ("restarted", restarted),
    ("renamed", renamed),
    ("health_starting", health_starting),
    ("health_changes", health_changes),
];

/// Advertised with one port.
fn is_up(rig: &Rig, name: &str) -> String {
    let listed = rig.wait(name, |listed| listed.len() == 1);
    listed[0].text("id").to_owned()
}

fn is_gone(rig: &Rig, name: &str) {
    rig.wait(name, <[_]>::is_empty);
}

fn created_started_ended(rig: &Rig) {
    rig.engine.docker(&["create", "--name", "ended", "web:1"]);
    rig.looked();
    is_gone(rig, "ended");
    rig.engine.docker(&["start", "ended"]);
    is_up(rig, "ended");
    rig.engine.docker(&["stop", "ended"]);
    is_gone(rig, "ended");
    rig.engine.docker(&["start", "ended"]);
    is_up(rig, "ended");
    rig.engine.docker(&["kill", "ended"]);
    is_gone(rig, "ended");
    rig.engine.docker(&["start", "ended"]);
    is_up(rig, "ended");
    rig.engine.docker(&["rm", "--force", "ended"]);
    is_gone(rig, "ended");
}

fn paused(rig: &Rig) {
    rig.run("paused", &["web:1"]);
    is_up(rig, "paused");
    rig.engine.docker(&["pause", "paused"]);
    is_gone(rig, "paused");
    rig.engine.docker(&["unpause", "paused"]);
    is_up(rig, "paused");
}

fn restarting(rig: &Rig) {
    // It ends at once, and the engine waits longer each time before it starts it again.
    rig.run("restarting", &["--restart=always", "web:1", "nonsense"]);
    wait_for("a container that is restarting", START, || {
        let state = &rig.engine.inspect("restarting")["State"];
        (state["Restarting"] == true && rig.listed("restarting").is_empty()).then_some(())
    });
    rig.engine.docker(&["rm", "--force", "restarting"]);
    is_gone(rig, "restarting");
}

fn restarted(rig: &Rig) {
    rig.run("restarted", &["--publish-all", "web:1"]);
    is_up(rig, "restarted");
    rig.engine.docker(&["restart", "--time=0", "restarted"]);
    let url = rig.at_host("tcp", rig.published("restarted", "80/tcp"));
    rig.expect("restarted", &[("web-80", url.clone())]);
    rig.answers(&url);
}

fn renamed(rig: &Rig) {
    rig.run("renamed", &["web:1"]);
    let id = is_up(rig, "renamed");
    rig.engine.docker(&["rename", "renamed", "renamed-now"]);
    assert_eq!(is_up(rig, "renamed-now"), id, "it is the same instance");
    is_gone(rig, "renamed");
}

fn health_starting(rig: &Rig) {
    rig.run("starting", &["starting:1"]);
    rig.looked();
    assert!(rig.listed("starting").is_empty());
    assert_eq!(rig.engine.inspect("starting")["State"]["Health"]["Status"], "starting");
}

fn health_changes(rig: &Rig) {
    rig.run("checked", &["checked:1"]);
    is_up(rig, "checked");
    assert_eq!(rig.engine.inspect("checked")["State"]["Health"]["Status"], "healthy");
    rig.engine.docker(&["exec", "checked", "/guest", "sicken"]);
    is_gone(rig, "checked");
    rig.engine.docker(&["exec", "checked", "/guest", "heal"]);
    is_up(rig, "checked");
}
