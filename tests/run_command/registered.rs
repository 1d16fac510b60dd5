//! What the registry has of it, from the child's start to its end.

use serde_json::json;

use super::{
    rig::{hear, listed, noted, run_child, signal, state_of, unlisted},
    support::{SOON, Server, watch::Watch},
};
use leasehold::proto::event::{Reason, Type as Kind};

#[test]
fn it_is_registered_while_the_child_is_up() {
    let server = Server::start(&[]);
    let flags = [
        "--label",
        "app=x",
        "--label",
        "tier=web",
        "--zone",
        "north",
        "--weight",
        "7",
        "--info",
        r#"{"version": "1.2"}"#,
        "--ttl",
        "45s",
    ];
    let (mut process, _) = run_child(&server.url(), "whole", &flags, &[]);
    let instance = listed(&server, "whole");
    assert_eq!(instance["url"], "http://whole:1");
    assert_eq!(instance["labels"], json!({"app": "x", "tier": "web"}));
    assert_eq!((&instance["zone"], &instance["weight"]), (&json!("north"), &json!(7)));
    assert_eq!((&instance["info"], &instance["ttl_seconds"]), (&json!({"version": "1.2"}), &json!(45)));
    noted(&process, &format!("leasehold: registered as {}", instance["id"].as_str().unwrap()));
    process.write_line("exit 4");
    assert_eq!(process.wait_exit(SOON).code(), Some(4));
    unlisted(&server, "whole");
    assert!(process.stderr().contains("leasehold: deregistered"), "{}", process.stderr());
}

#[tokio::test]
async fn its_end_is_a_deregistration_and_no_drop() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let (mut process, _) = run_child(&server.url(), "leaves", &[], &[]);
    let registered = watch.event(SOON).await;
    assert_eq!((registered.r#type(), registered.reason()), (Kind::Registered, Reason::New));
    process.write_line("die KILL");
    let gone = watch.event(SOON).await;
    assert_eq!((gone.r#type(), gone.reason()), (Kind::Deregistered, Reason::Client));
    process.wait_exit(SOON);
}

#[tokio::test]
async fn it_leaves_before_the_child_stops() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let (mut process, family) = run_child(&server.url(), "stops", &[], &["TERM", "HUP"]);
    assert_eq!(watch.event(SOON).await.r#type(), Kind::Registered);
    // One that does not ask it to stop changes nothing.
    process.signal("HUP");
    hear(&mut process, "got HUP 1");
    process.signal("TERM");
    hear(&mut process, "got TERM 1");
    let gone = watch.event(SOON).await;
    assert_eq!((gone.r#type(), gone.reason()), (Kind::Deregistered, Reason::Client));
    // The child goes on for as long as it likes, and so do we.
    assert!(state_of(family.child).is_some() && process.exited().is_none());
    process.write_line("say still there");
    hear(&mut process, "said still there");
    process.write_line("exit 0");
    assert_eq!(process.wait_exit(SOON).code(), Some(0));
    assert_eq!(watch.seen.len(), 2, "{:?}", watch.seen);
}

#[tokio::test]
async fn another_signal_may_ask_it_to_stop() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let (mut process, _) =
        run_child(&server.url(), "quits", &["--stop-signal", "SIGQUIT"], &["TERM", "QUIT"]);
    assert_eq!(watch.event(SOON).await.r#type(), Kind::Registered);
    process.signal("TERM");
    hear(&mut process, "got TERM 1");
    process.write_line("say listed?");
    hear(&mut process, "said listed?");
    listed(&server, "quits");
    process.signal("QUIT");
    hear(&mut process, "got QUIT 1");
    assert_eq!(watch.event(SOON).await.r#type(), Kind::Deregistered);
    process.write_line("exit 0");
    process.wait_exit(SOON);
}

#[test]
fn nothing_is_said_where_nothing_is_to_be() {
    let server = Server::start(&[]);
    let (mut process, _) = run_child(&server.url(), "quiet", &["--quiet"], &[]);
    listed(&server, "quiet");
    process.write_line("exit 0");
    process.wait_exit(SOON);
    assert_eq!(process.stderr(), "");
}

#[test]
fn a_killed_run_leaves_the_child_alone() {
    let server = Server::start(&[]);
    let (mut process, family) = run_child(&server.url(), "killed", &[], &[]);
    // From here on a stream holds it.
    noted(&process, "registered as");
    signal("KILL", family.parent);
    // Its stream dropped, and with it the registration.
    unlisted(&server, "killed");
    process.write_line("say alive");
    hear(&mut process, "said alive");
    process.close_stdin();
}
