//! Nothing prints a secret. It runs last, by its name: it uses secrets in every way, and then looks
//! for them, and for those of all tests before it, in all that was printed.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::HashMap, fs, path::Path};

use leasehold::proto::{DeregisterRequest, PingRequest};
use serde_json::json;

use support::{
    SOON, Serve, Server, leasehold, secret,
    secrets::{LIST, logs},
};

/// The length of a secret, all of it hexadecimal digits.
const LENGTH: usize = 32;

/// The names of the secrets that stand in these bytes.
fn found<'s>(bytes: &[u8], secrets: &'s HashMap<Vec<u8>, String>) -> Vec<&'s str> {
    let mut run = 0;
    let mut names = Vec::new();
    for (end, byte) in bytes.iter().enumerate() {
        run = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { run + 1 } else { 0 };
        if run >= LENGTH {
            names.extend(secrets.get(&bytes[end + 1 - LENGTH..=end]).map(String::as_str));
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let printed = use_secrets(dir.path()).await;
    for (what, secret, texts) in printed {
        for text in texts {
            assert!(!text.contains(&secret), "the {what} is in\n{text}");
        }
    }

    // That of the whole run, if tests/run keeps it.
    let Some(logs) = logs() else { return };
    let list = fs::read_to_string(logs.join(LIST)).unwrap();
    let secrets: HashMap<Vec<u8>, String> = list
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, secret)| (secret.as_bytes().to_vec(), name.to_owned()))
        .collect();
    assert!(secrets.keys().all(|secret| secret.len() == LENGTH));
    let mut bytes = 0;
    let mut files = 0;
    for entry in fs::read_dir(&logs).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == LIST) {
            continue;
        }
        let content = fs::read(&path).unwrap();
        let names = found(&content, &secrets);
        assert!(names.is_empty(), "{} holds the secrets {names:?}", path.display());
        bytes += content.len();
        files += 1;
    }
    assert!(!secrets.is_empty() && files > 1 && bytes > 0, "{} secrets, {files} files", secrets.len());
}

/// Shows a server a good key, a wrong one and lease tokens, by every door, while it logs all it can;
/// what these are, the secrets, and all that it wrote and showed.
async fn use_secrets(dir: &Path) -> Vec<(&'static str, String, Vec<String>)> {
    let (good, wrong) = (secret("z_secrets: the shared key"), secret("z_secrets: a wrong key"));
    let key_file = dir.join("key");
    fs::write(&key_file, format!("{good}\n")).unwrap();
    let audit = dir.join("audit.log");
    let mut server = Serve::new()
        .args(["--store", "memory", "--require-lease-token", "--protect-reads"])
        .args(["--log-level", "debug,leasehold=trace"])
        .args(["--audit-log".as_ref(), audit.as_os_str()])
        .args(["--service-key-file".as_ref(), key_file.as_os_str()])
        .start();
    let arguments = fs::read(format!("/proc/{}/cmdline", server.id())).unwrap();
    let token = call(&server, &good, &wrong).await;

    let metrics = server.http("GET", "/metrics", &[("X-Service-Key", &good)], b"").text();
    let client = leasehold(["ls", "--server", &server.url()]);
    server.signal("TERM");
    assert!(server.wait_exit(SOON).success());
    let texts = [
        server.stdout(),
        server.stderr(),
        String::from_utf8_lossy(&arguments).into_owned(),
        metrics,
        fs::read_to_string(&audit).unwrap(),
        client.stdout,
        client.stderr,
    ];
    assert!(texts[1].contains("refused") && texts[4].contains("refused"), "it told of what it refused");
    let all = || texts.to_vec();
    vec![("shared key", good, all()), ("wrong key", wrong, all()), ("lease token", token, all())]
}

/// Calls by all doors; gives back the lease token of what it registered.
async fn call(server: &Server, good: &str, wrong: &str) -> String {
    let body = json!({"id": "web", "url": "http://web:1"}).to_string();
    let bearer = format!("Bearer {wrong}");
    for headers in [[("X-Service-Key", wrong)], [("Authorization", &*bearer)]] {
        server.http("POST", "/services/$register", &headers, br#"{"url": "http://elsewhere:1"}"#);
    }
    let key = [("X-Service-Key", good)];
    let answer = server.http("POST", "/services/$register", &key, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let registered = answer.json();
    let text = |name: &str| registered[name].as_str().unwrap().to_owned();
    let (id, token) = (text("id"), text("lease_token"));
    // As the answer's ping_url says it, and with another one.
    let ping = |token: &str| format!("/services/{id}/$ping?lease_token={token}");
    assert_eq!(server.http("PUT", &ping(&token), &key, b"").status, 200);
    assert_eq!(server.http("PUT", &ping(wrong), &key, b"").status, 403);
    server.http("PUT", &format!("/nowhere?lease_token={token}"), &key, b"");
    server.http("POST", "/services/$register", &key, format!("{{\"lease_token\": \"{token}\"").as_bytes());

    let mut registry = server.registry().await;
    let mut request = tonic::Request::new(PingRequest { id: id.clone(), lease_token: wrong.to_owned() });
    request.metadata_mut().insert("x-service-key", good.parse().unwrap());
    registry.ping(request).await.unwrap_err();
    let mut request = tonic::Request::new(DeregisterRequest { id, lease_token: token.clone() });
    request.metadata_mut().insert("authorization", format!("Bearer {good}").parse().unwrap());
    registry.deregister(request).await.unwrap();
    token
}
