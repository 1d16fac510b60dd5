//! Clients of all kinds: those with what it takes get in, by either protocol on the one port, and
//! the others do not.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::json;

use crate::{
    Secure,
    certificates::Authority,
    support::{SOON, grpcio, installed, servicekit::App, wait_for},
};

fn grpcurl(secure: &Secure, flags: &[&Path]) -> Output {
    let mut command = Command::new(installed("LEASEHOLD_TEST_GRPCURL"));
    command.args(["-max-time", "20"]).args(flags).arg(secure.server.addr.to_string()).arg("list");
    command.output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn fails(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}

#[test]
fn grpcurl_needs_the_right_authority() {
    let secure = Secure::start(&[]);
    let ca = Path::new("-cacert");
    assert!(succeeds(&grpcurl(&secure, &[ca, &secure.ca])).contains("leasehold.v1.Registry"));
    let other = Authority::new("Another").write(secure.dir.path(), "other.pem");
    fails(&grpcurl(&secure, &[ca, &other]), "certificate signed by unknown authority");
    fails(&grpcurl(&secure, &[Path::new("-plaintext")]), "");
}

#[test]
fn grpcurl_shows_a_certificate_where_one_is_required() {
    let secure = Secure::asking("required");
    let ca = Path::new("-cacert");
    let with = |files: &crate::Files| {
        grpcurl(&secure, &[ca, &secure.ca, Path::new("-cert"), &files.cert, Path::new("-key"), &files.key])
    };
    succeeds(&with(&secure.client("orders.example")));
    fails(&grpcurl(&secure, &[ca, &secure.ca]), "certificate required");
    // One of another name is not even shown by this client: the server names the one it wants.
    let stranger = Authority::new("Our Authority").issue(&["orders.example"]);
    fails(&with(&stranger.write(secure.dir.path(), "stranger")), "tls:");
    let expired = secure.authority.issue_expired(&["orders.example"]).write(secure.dir.path(), "expired");
    fails(&with(&expired), "expired certificate");
}

#[test]
fn a_certificate_may_be_optional() {
    let secure = Secure::asking("optional");
    let ca = Path::new("-cacert");
    succeeds(&grpcurl(&secure, &[ca, &secure.ca]));
    let stranger =
        Authority::new("Our Authority").issue(&["orders.example"]).write(secure.dir.path(), "stranger");
    let shown = [ca, &secure.ca, Path::new("-cert"), &stranger.cert, Path::new("-key"), &stranger.key];
    fails(&grpcurl(&secure, &shown), "tls:");
}

#[test]
fn grpcurl_takes_neither_an_expired_certificate_nor_one_of_another_name() {
    let ca = Path::new("-cacert");
    let expired = Secure::with(&[], |authority| authority.issue_expired(&crate::LOOPBACK));
    fails(&grpcurl(&expired, &[ca, &expired.ca]), "certificate has expired");
    assert!(expired.server.stderr().contains("the certificate has expired"), "{}", expired.server.stderr());
    let elsewhere = Secure::with(&[], |authority| authority.issue(&["registry.example"]));
    fails(&grpcurl(&elsewhere, &[ca, &elsewhere.ca]), "doesn't contain any IP SANs");
}

/// `openssl s_client` with these arguments, told `sent`.
fn openssl(secure: &Secure, args: &[&str], sent: &str) -> (bool, String) {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &secure.server.addr.to_string(), "-verify_return_error"])
        .args(["-CAfile", secure.ca.to_str().unwrap()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().unwrap().write_all(sent.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn openssl_is_offered_both_protocols_and_both_versions() {
    let secure = Secure::start(&[]);
    for (args, expect) in [
        (&["-alpn", "h2"][..], "ALPN protocol: h2"),
        (&["-alpn", "http/1.1"], "ALPN protocol: http/1.1"),
        (&["-alpn", "http/1.1,h2"], "ALPN protocol: h2"),
        (&[], "No ALPN negotiated"),
        (&["-tls1_2"], "TLSv1.2"),
        (&["-tls1_3"], "TLSv1.3"),
    ] {
        let (ok, said) = openssl(&secure, args, "");
        assert!(ok && said.contains(expect), "{args:?}: {said}");
    }
    let (ok, said) = openssl(&secure, &["-alpn", "gopher"], "");
    assert!(!ok && said.contains("no application protocol"), "{said}");
    let (ok, said) = openssl(&secure, &["-tls1_1"], "");
    assert!(!ok, "{said}");

    // Which protocol is spoken without ALPN, the first bytes tell.
    let request = crate::request("GET", "/health", "", "");
    for alpn in [&["-alpn", "http/1.1"][..], &[]] {
        let (_, said) = openssl(&secure, &[&["-quiet", "-ign_eof"], alpn].concat(), &request);
        assert!(said.contains("HTTP/1.1 200") && said.contains("healthy"), "{said}");
    }
}

#[test]
fn grpcio_keeps_a_lease_over_tls_with_a_certificate_of_its_own() {
    let secure = Secure::asking("required");
    let files = secure.client("orders.example");
    let paths = [&secure.ca, &files.cert, &files.key].map(|path| path.to_str().unwrap());
    let mut client = grpcio::Client::start_with(&secure.server, &paths);
    let id = client.ask("register orders http://10.0.0.1:80 30")["id"].as_str().unwrap().to_owned();
    client.attach(&[&id]);
    assert!(client.ask("beat")["answer"]["ttl_seconds"].as_u64().is_some_and(|ttl| ttl > 0));
    // Its half-close drops the lease, as without TLS.
    client.tell("half-close");
    assert_eq!(client.heard(), json!({"ended": "OK"}));
    wait_for("the drop", SOON, || {
        let log = secure.server.stderr();
        log.contains("KeepAlive stream dropped by the client").then_some(())
    });
}

#[test]
fn a_connection_that_is_lost_drops_what_is_attached_over_tls_too() {
    let secure = Secure::start(&[]);
    let mut client = grpcio::Client::start_with(&secure.server, &[secure.ca.to_str().unwrap()]);
    let id = client.ask("register orders http://10.0.0.1:80 30")["id"].as_str().unwrap().to_owned();
    client.attach(&[&id]);
    client.0.kill();
    wait_for("the drop", SOON, || {
        let log = secure.server.stderr();
        (log.contains("connection lost") && log.contains("dropped by the client")).then_some(())
    });
}

#[test]
fn servicekit_registers_at_an_https_url() {
    let secure = Secure::start(&[]);
    let mut app = App::start_trusting(&secure.server, "climate", &secure.ca);
    app.pinged();
    let log = app.stop();
    assert!(log.contains("registration.success"), "{log}");
    assert!(!log.contains("failed"), "{log}");
}
