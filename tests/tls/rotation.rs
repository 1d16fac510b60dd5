//! The certificate is replaced under live streams.

use std::{fs, path::Path, process::Command};

use leasehold::proto::{
    KeepAliveRequest, WatchRequest,
    event::{Reason, Type as Kind},
    registry_client::RegistryClient,
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    Secure,
    certificates::LOOPBACK,
    support::{
        SOON, replica, wait_for,
        watch::{Watch, instance, what},
        within,
    },
};

/// The first certificate that a new connection is shown, as PEM.
fn shown(secure: &Secure) -> String {
    let said = Command::new("openssl")
        .args(["s_client", "-connect", &secure.server.addr.to_string(), "-alpn", "h2"])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let start = said.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
    let end = said.find("-----END CERTIFICATE-----").expect("its end");
    said[start..end].split_whitespace().collect()
}

fn written(file: &Path) -> String {
    let pem = fs::read_to_string(file).unwrap();
    let end = pem.find("-----END CERTIFICATE-----").unwrap();
    pem[..end].split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_live_on_and_new_connections_see_the_new_certificate() {
    let secure = Secure::start(&[]);
    let mut registry = RegistryClient::new(secure.channel(None).await);
    let id = registry.register(replica("orders", "http://10.0.0.1:80")).await.unwrap().into_inner().id;
    let (beat, beats) = tokio::sync::mpsc::unbounded_channel();
    beat.send(KeepAliveRequest { ids: vec![id.clone()], ..Default::default() }).unwrap();
    let mut answers = registry.keep_alive(UnboundedReceiverStream::new(beats)).await.unwrap().into_inner();
    within("the first answer", SOON, answers.message()).await.unwrap().expect("it is attached");
    let mut other = RegistryClient::new(secure.channel(None).await);
    let (mut watch, _) = Watch::synced(&mut other, WatchRequest::default()).await;

    let first = written(&secure.files.cert);
    assert_eq!(shown(&secure), first);
    secure.authority.issue(&LOOPBACK).replace(&secure.files);
    let second = written(&secure.files.cert);
    wait_for("the new certificate", SOON, || (shown(&secure) == second).then_some(()));

    // What cannot be used: a key that does not fit, then no certificate at all.
    let stranger = secure.authority.issue(&LOOPBACK);
    fs::write(&secure.files.key, &stranger.key).unwrap();
    wait_for("the error", SOON, || secure.server.stderr().contains("does not fit").then_some(()));
    fs::write(&secure.files.cert, "nonsense").unwrap();
    wait_for("the error", SOON, || {
        let log = secure.server.stderr();
        (log.contains("there is no certificate in it") && log.contains("the former one goes on"))
            .then_some(())
    });
    assert_eq!(shown(&secure), second);
    let health = crate::request("GET", "/health", "", "");
    let answer = crate::exchange(secure.over(crate::connect(secure.server.addr)), health.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // All along, the streams were not touched.
    beat.send(KeepAliveRequest::default()).unwrap();
    let answer = within("an answer", SOON, answers.message()).await.unwrap().expect("it goes on");
    assert_eq!((answer.ttl_seconds, answer.lost.len()), (30, 0));
    registry.register(replica("billing", "http://10.0.0.2:80")).await.unwrap();
    let event = watch.event(SOON).await;
    assert_eq!((what(&event), &*instance(&event).service), ((Kind::Registered, Reason::New), "billing"));

    stranger.replace(&secure.files);
    let third = written(&secure.files.cert);
    wait_for("the third certificate", SOON, || (shown(&secure) == third).then_some(()));
}
