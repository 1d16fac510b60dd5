//! Keys come and go while a server runs.

use std::fs;

use leasehold::proto::{
    BackupRequest, Event, KeepAliveRequest, KeepAliveResponse, ListRequest, PingRequest, RegisterRequest,
    WatchRequest,
    admin_client::AdminClient,
    event::{Reason, Type as Kind},
};
use prost::Message as _;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

use super::{
    rig::{Key, Keyed, fresh_url, with_key},
    support::{
        SOON, Serve, Server, replica, secret, wait_for,
        watch::{Watch, instance, what},
        within,
    },
};

const REGISTER: &str = "allow = [\"register\"]";
const BOTH: &str = "allow = [\"register\", \"read\"]";

/// A stream that keeps one lease alive, its first answer read.
async fn keep(
    keyed: &Keyed,
    key: &str,
    id: &str,
) -> (UnboundedSender<KeepAliveRequest>, Streaming<KeepAliveResponse>) {
    let (beats, outgoing) = mpsc::unbounded_channel();
    beats.send(KeepAliveRequest { ids: vec![id.to_owned()], ..KeepAliveRequest::default() }).unwrap();
    let request = with_key(key, UnboundedReceiverStream::new(outgoing));
    let mut answers = keyed.server.registry().await.keep_alive(request).await.unwrap().into_inner();
    let first = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
    assert_eq!((first.lost, first.ttl_seconds > 0), (vec![], true));
    (beats, answers)
}

async fn open_watch(keyed: &Keyed, key: &str) -> Watch {
    let mut client = keyed.server.registry().await;
    let stream = client.watch(with_key(key, WatchRequest::default())).await.unwrap().into_inner();
    let mut watch = Watch::of(stream);
    watch.snapshot().await;
    watch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_and_the_old_ones_streams_end_without_expiring_anything() {
    let (old, new) = (Key::new("billing", BOTH), Key::new("billing-2", BOTH));
    let mut keyed = Keyed::start(&[&old], &["--protect-reads", "--default-ttl", "3s"]);
    let id = keyed.replica(&old.secret, "billing-api").await.id;
    let (_beats, mut answers) = keep(&keyed, &old.secret, &id).await;
    let mut old_watch = open_watch(&keyed, &old.secret).await;

    // Both are good; what the old one opened goes on.
    keyed.write_keys(&[&old, &new]);
    let mut watch = open_watch(&keyed, &new.secret).await;
    keyed.replica(&old.secret, "billing-api").await;
    keyed.replica(&new.secret, "billing-api").await;
    for watch in [&mut old_watch, &mut watch] {
        for _ in 0..2 {
            assert_eq!(what(&watch.event(SOON).await), (Kind::Registered, Reason::New));
        }
    }

    keyed.write_keys(&[&new]);
    let ended = within("the stream's end", SOON, answers.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    let ended = old_watch.try_message(SOON).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    let request = with_key(&old.secret, replica("x", "http://x:1"));
    let refused = keyed.server.registry().await.register(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    // The lease lives on by its TTL, and by that alone.
    let gone = watch.until("its end", SOON, |event| is_end_of(event, &id)).await;
    assert_eq!(what(&gone), (Kind::Expired, Reason::TtlLapsed));
    assert!(keyed.said("key revoked") > 0, "{}", keyed.server.stderr());
    keyed.replica(&new.secret, "billing-api").await;
}

fn is_end_of(event: &Event, id: &str) -> bool {
    instance(event).id == id && matches!(event.r#type(), Kind::Expired | Kind::Deregistered)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_key_is_rotated_line_by_line() {
    let keyed = Keyed::start(&[&Key::new("other", REGISTER)], &[]);
    let second = secret("shared");
    let write = |lines: &str| {
        let before = keyed.said("the keys in use");
        fs::write(keyed.shared_file(), lines).unwrap();
        wait_for("the keys to be read", SOON, || (keyed.said("the keys in use") > before).then_some(()));
    };
    let id = keyed.replica(&keyed.shared, "api").await.id;
    let (_beats, mut answers) = keep(&keyed, &keyed.shared, &id).await;
    write(&format!("{}\n\n# the next one\n{second}\n", keyed.shared));
    let kept = keyed.replica(&second, "api").await.id;
    let (beats, mut kept_answers) = keep(&keyed, &second, &kept).await;
    keyed.replica(&keyed.shared, "api").await;
    write(&second);
    let ended = within("the stream's end", SOON, answers.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    // That of the line that stays goes on.
    beats.send(KeepAliveRequest::default()).unwrap();
    let answer = within("an answer", SOON, kept_answers.message()).await.unwrap().unwrap();
    assert_eq!((answer.lost, answer.ttl_seconds), (vec![], 30));
    assert!(!keyed.server.stderr().contains(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_entry_is_another_key() {
    let key = Key::new("billing", REGISTER);
    let mut keyed = Keyed::start(&[&key], &[]);
    let id = keyed.replica(&key.secret, "other").await.id;
    let (_beats, mut answers) = keep(&keyed, &key.secret, &id).await;
    let narrow = Key { rest: "allow = [\"register\"]\nservices = [\"billing-*\"]", ..key.clone() };
    keyed.write_keys(&[&narrow]);
    let ended = within("the stream's end", SOON, answers.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    let again = PingRequest { id, ..PingRequest::default() };
    let refused = keyed.server.registry().await.ping(with_key(&key.secret, again)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_the_keys_and_says_so() {
    let key = Key::new("billing", BOTH);
    let keyed = Keyed::start(&[&key], &["--protect-reads"]);
    let id = keyed.replica(&key.secret, "api").await.id;
    let (beats, mut answers) = keep(&keyed, &key.secret, &id).await;
    let oops = secret("pasted");
    for (count, broken) in
        [String::new(), format!("[[key]]\nname = \"x\"\nsecret = \"{oops}\"\n"), oops.clone()]
            .iter()
            .enumerate()
    {
        fs::write(keyed.keys_file(), broken).unwrap();
        let said = "the keys were not changed: those from before stay in use";
        wait_for("the log to say so", SOON, || (keyed.said(said) > count).then_some(()));
        beats.send(KeepAliveRequest::default()).unwrap();
        let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.lost, []);
        keyed.replica(&key.secret, "api").await;
    }
    let log = keyed.server.stderr();
    assert!(log.contains("keys.toml") && log.contains("ERROR") && !log.contains(&oops), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_has_the_keys_read_again() {
    let key = Key::new("billing", BOTH);
    let mut keyed = Keyed::start(&[&key], &[]);
    let before = keyed.said("the keys in use");
    for count in 1..=3 {
        keyed.server.signal("HUP");
        wait_for("the keys to be read", SOON, || {
            (keyed.said("the keys in use") >= before + count).then_some(())
        });
    }
    assert!(keyed.server.alive());
    keyed.replica(&key.secret, "api").await;
}

#[test]
fn without_keys_a_hangup_changes_nothing() {
    let mut server = Server::start(&[]);
    server.signal("HUP");
    wait_for("the log to say so", SOON, || server.stderr().contains("SIGHUP").then_some(()));
    assert!(server.alive() && server.get("/health").status == 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_backups_key_is_the_backups() {
    // Enough for several parts, more than a connection buffers.
    let admin = Key::new("admin", "allow = [\"admin\"]");
    let mut keyed = Keyed::start(&[&admin], &["--max-registrations-per-peer", "off"]);
    let text = "x".repeat(60_000);
    for batch in 0..20 {
        let requests = (0..15).map(|at| RegisterRequest {
            info: Some(super::support::info("text", &text)),
            ..replica("large", &format!("http://large-{batch}-{at}:80"))
        });
        let request = leasehold::proto::BatchRegisterRequest {
            requests: requests.map(|one| one.encode_to_vec().into()).collect(),
        };
        keyed.server.registry().await.batch_register(with_key(&keyed.shared, request)).await.unwrap();
    }
    let mut client = AdminClient::new(keyed.server.channel().await).max_decoding_message_size(64 << 20);
    let mut parts = client.backup(with_key(&admin.secret, BackupRequest {})).await.unwrap().into_inner();
    within("the first part", SOON, parts.message()).await.unwrap().unwrap();
    keyed.write_keys(&[&Key::new("next", "allow = [\"admin\"]")]);
    let ended = loop {
        match within("the backup's end", SOON, parts.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the whole backup came"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
}

/// A backup up to its first part.
async fn backup(server: &Server, key: Option<&str>) -> Result<(), Code> {
    let mut client: AdminClient<Channel> = AdminClient::new(server.channel().await);
    let request =
        key.map_or_else(|| tonic::Request::new(BackupRequest {}), |key| with_key(key, BackupRequest {}));
    let mut parts = client.backup(request).await.map_err(|status| status.code())?.into_inner();
    parts.message().await.map(|_| ()).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_key_is_for_backups_any_whole_one_is_on_the_servers_machine() {
    let whole = Key::new("whole", REGISTER);
    let limited = Key::new("limited", "allow = [\"read\"]\nservices = [\"billing-*\"]");
    let mut keyed = Keyed::start(&[&whole, &limited], &[]);
    let shared = keyed.shared.clone();
    for (key, expect) in [
        (None, Err(Code::Unauthenticated)),
        (Some(&shared), Ok(())),
        (Some(&whole.secret), Ok(())),
        // It would hold what the key is not good for.
        (Some(&limited.secret), Err(Code::PermissionDenied)),
    ] {
        assert_eq!(backup(&keyed.server, key.map(String::as_str)).await, expect);
    }
    // Others are elsewhere, unless a key is for it.
    let forwarded = |key: &str| {
        let mut request = with_key(key, BackupRequest {});
        request.metadata_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        request
    };
    let mut client = AdminClient::new(keyed.server.channel().await);
    let refused = client.backup(forwarded(&shared)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let admin = Key::new("admin", "allow = [\"admin\"]");
    keyed.write_keys(&[&whole, &admin]);
    client.backup(forwarded(&admin.secret)).await.unwrap();
    assert_eq!(backup(&keyed.server, Some(&shared)).await, Err(Code::PermissionDenied));
    assert_eq!(backup(&keyed.server, Some(&whole.secret)).await, Err(Code::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_whoever_shows_one_is_let_in() {
    let server = Server::start(&[]);
    let key = secret("of no use");
    let request = with_key(&key, replica("api", &fresh_url()));
    server.registry().await.register(request).await.unwrap();
    server.registry().await.list(with_key(&key, ListRequest::default())).await.unwrap();
    assert!(!server.stderr().contains(&key));
}

#[test]
fn what_is_no_file_of_keys_keeps_a_server_from_starting() {
    let dir = super::support::data_dir::DataDir::new("broken-keys");
    let (file, oops) = (dir.path().join("keys.toml"), secret("pasted"));
    fs::write(&file, format!("[[key]]\nname = \"a\"\nhash = \"{oops}\"\nallow = [\"read\"]\n")).unwrap();
    let keys = ["--store".as_ref(), "memory".as_ref(), "--keys".as_ref(), file.as_os_str()];
    let ended = Serve::new().args(keys).refused();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("keys.toml") && ended.stderr.contains("key \"a\" (entry 1)"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains(&oops) && !ended.stdout.contains(&oops));
    fs::write(&file, "# none yet\n\n").unwrap();
    let shared = ["--store".as_ref(), "memory".as_ref(), "--service-key-file".as_ref(), file.as_os_str()];
    let ended = Serve::new().args(shared).refused();
    assert!(ended.stderr.contains("holds no key"), "{}", ended.stderr);
}

#[test]
fn beyond_loopback_an_open_server_says_so_and_a_keyed_one_does_not() {
    let warning = "listening beyond loopback without a key or TLS";
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let open = Serve::new().args(["--store", "memory"]).at(everywhere).start();
    wait_for("the warning", SOON, || open.stderr().contains(warning).then_some(()));
    let key = secret("environment");
    let keyed =
        Serve::new().args(["--store", "memory"]).env("LEASEHOLD_SERVICE_KEY", &key).at(everywhere).start();
    wait_for("the keys", SOON, || keyed.stderr().contains("the keys in use").then_some(()));
    assert_eq!(keyed.http("POST", "/services/$register", &[("host", "localhost")], b"{}").status, 401);
    assert!(!keyed.stderr().contains(warning) && !keyed.stderr().contains(&key), "{}", keyed.stderr());
}
