//! The client's commands over TLS: what a person reads when it does not work.

use std::{path::Path, process::Command};

use crate::{
    Secure,
    certificates::{Authority, LOOPBACK},
    support::{BINARY, Ended, Server, process::Process, without_settings},
};

/// Runs the binary with these arguments and variables to its end.
fn leasehold(args: &[&str], variables: &[(&str, &Path)]) -> Ended {
    let mut command = Command::new(BINARY);
    command.args(args);
    without_settings(&mut command);
    for (name, value) in variables {
        command.env(name, value);
    }
    Ended::wait(Process::spawn(command))
}

/// `leasehold ls` at this URL.
fn ls(url: &str, variables: &[(&str, &Path)]) -> Ended {
    leasehold(&["ls", "--server", url], variables)
}

#[track_caller]
fn works(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[track_caller]
fn fails(ended: &Ended, why: &[&str]) {
    assert_eq!(ended.code, Some(5), "{} {}", ended.stdout, ended.stderr);
    for part in why {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

#[test]
fn the_authority_is_named_by_flag_or_variable_or_is_the_systems() {
    let secure = Secure::start(&[]);
    let (url, ca) = (secure.server.url(), secure.ca.as_path());
    works(&leasehold(&["ls", "--server", &url, "--ca", ca.to_str().unwrap()], &[]));
    works(&ls(&url, &[("LEASEHOLD_CA", ca)]));
    // Where the system's authorities are, a variable may say.
    works(&ls(&url, &[("SSL_CERT_FILE", ca)]));
    let other = Authority::new("Another").write(secure.dir.path(), "other.pem");
    fails(&ls(&url, &[("LEASEHOLD_CA", &other)]), &["not trusted here", "--ca"]);
    fails(&ls(&url, &[("SSL_CERT_FILE", &other)]), &["not trusted here", "--ca"]);
    let missing = ls(&url, &[("LEASEHOLD_CA", Path::new("/nowhere.pem"))]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("cannot read /nowhere.pem (--ca)"), "{}", missing.stderr);
    let no_certificate = ls(&url, &[("LEASEHOLD_CA", &secure.files.key)]);
    assert_eq!(no_certificate.code, Some(2));
    assert!(no_certificate.stderr.contains("no certificate in"), "{}", no_certificate.stderr);
}

#[test]
fn an_expired_certificate_and_one_of_another_name_are_told_apart() {
    let expired = Secure::with(&[], |authority| authority.issue_expired(&LOOPBACK));
    fails(&ls(&expired.server.url(), &[("LEASEHOLD_CA", &expired.ca)]), &["has expired"]);
    let elsewhere = Secure::with(&[], |authority| authority.issue(&["registry.example"]));
    let ended = ls(&elsewhere.server.url(), &[("LEASEHOLD_CA", &elsewhere.ca)]);
    fails(&ended, &["not for 127.0.0.1", "registry.example"]);
}

#[test]
fn a_certificate_of_ones_own_is_shown_where_it_is_wanted() {
    let secure = Secure::asking("required");
    let (url, ca) = (secure.server.url(), ("LEASEHOLD_CA", secure.ca.as_path()));
    let files = secure.client("orders.example");
    works(&ls(&url, &[ca, ("LEASEHOLD_CERT", &files.cert), ("LEASEHOLD_KEY", &files.key)]));
    fails(&ls(&url, &[ca]), &["wants a client certificate", "--cert"]);
    let stranger = Authority::new("Another").issue(&["orders.example"]).write(secure.dir.path(), "stranger");
    let ended = ls(&url, &[ca, ("LEASEHOLD_CERT", &stranger.cert), ("LEASEHOLD_KEY", &stranger.key)]);
    fails(&ended, &["does not accept the certificate of --cert"]);
    let half = ls(&url, &[ca, ("LEASEHOLD_CERT", &files.cert)]);
    assert_eq!(half.code, Some(2));
    assert!(half.stderr.contains("--key"), "{}", half.stderr);
    let optional = Secure::asking("optional");
    works(&ls(&optional.server.url(), &[("LEASEHOLD_CA", &optional.ca)]));
}

#[test]
fn the_wrong_scheme_is_named() {
    let secure = Secure::start(&[]);
    fails(&ls(&format!("http://{}", secure.server.addr), &[]), &["it speaks TLS", "https://"]);
    let plain = Server::start(&[]);
    let ended = ls(&format!("https://{}", plain.addr), &[("LEASEHOLD_CA", &secure.ca)]);
    fails(&ended, &["does not speak TLS", "http://"]);
}

#[test]
fn a_health_check_finds_its_server_whatever_the_certificates_name() {
    let secure = Secure::with(&[], |authority| authority.issue(&["registry.example"]));
    let listen = secure.server.addr.to_string();
    let own = [
        ("LEASEHOLD_LISTEN", Path::new(&listen)),
        ("LEASEHOLD_TLS_CERT", &secure.files.cert),
        ("LEASEHOLD_TLS_KEY", &secure.files.key),
    ];
    let ended = leasehold(&["healthcheck"], &own);
    works(&ended);
    assert_eq!(ended.stdout, "healthy");
    // A server that is named has to prove its name.
    let named = leasehold(&["healthcheck", "--server", &secure.server.url()], &own);
    assert_eq!(named.code, Some(5), "{}", named.stderr);
}
