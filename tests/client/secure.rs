//! Leases where the registry asks for TLS and a key.

use std::{fs, path::Path};

use leasehold::client::{Client, Ended, State};

use super::{
    orders, registered,
    support::{SOON, Serve, data_dir::DataDir, secret, within},
    until,
};

#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../support/tls.rs"]
mod certificates;

use certificates::{Authority, LOOPBACK};

#[tokio::test]
async fn what_the_registry_asks_for_is_shown_and_what_is_missing_is_said() {
    let dir = DataDir::new("client-tls");
    let authority = Authority::new("Our Authority");
    let ca = fs::read(authority.write(dir.path(), "ca.pem")).unwrap();
    let files = authority.issue(&LOOPBACK).write(dir.path(), "server");
    let key = secret("the key of the SDK's test");
    let server = Serve::new()
        .args(["--store", "memory"])
        .args([Path::new("--tls-cert"), &files.cert])
        .args([Path::new("--tls-key"), &files.key])
        .env("LEASEHOLD_SERVICE_KEY", &key)
        .start();
    let builder = || Client::builder(server.url());

    let stranger = builder().ca_pem(ca.clone()).build().unwrap();
    let refused = stranger.hold(orders(1));
    let ended = within("the refusal", SOON, refused.registered()).await.expect_err("it has no key");
    assert!(matches!(&ended, Ended::Refused(why) if why.contains("key")), "{ended}");

    let other = Authority::new("Another Authority").write(dir.path(), "other.pem");
    let suspicious = builder().ca_pem(fs::read(other).unwrap()).service_key(&key).unwrap().build().unwrap();
    let pending = suspicious.hold(orders(1));
    let state =
        until("the first try", &pending, |state| matches!(state, State::Pending { why: Some(_) })).await;
    assert!(format!("{state:?}").contains("certificate"), "{state:?}");

    let client = builder().ca_pem(ca).service_key(&key).unwrap().build().unwrap();
    let lease = client.hold(orders(1));
    registered(&lease).await;
    assert!(!format!("{client:?} {lease:?}").contains(&key));
    within("closing", SOON, client.close()).await.expect("the registry confirms it");
}
