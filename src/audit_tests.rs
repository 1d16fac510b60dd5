use std::{fs, net::IpAddr};

use tracing::info;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::{
    catalog::{Kind, Reason},
    types::{
        Content, Head, Info, LeaseId, LeaseTimes, Moment, Parts, Revision, ServiceName, ServiceUrl, Status,
        TraceId, Ttl,
    },
};

const LIMIT: Duration = Duration::from_secs(10);

fn commit(kinds: &[Kind]) -> Arc<Commit> {
    let content = Content::from(Parts {
        service: ServiceName::fold("web").unwrap(),
        url: ServiceUrl::parse("http://h:1").unwrap(),
        info: Info::default(),
        labels: std::collections::BTreeMap::new(),
        zone: String::new(),
        weight: 0,
    });
    let instance = content.instance(Head {
        id: LeaseId(7),
        service: content.service().clone(),
        status: Status::Alive,
        ttl: Ttl(1),
        registered_at: WallTime(0),
        last_updated: WallTime(0),
        revision: Revision(3),
    });
    let change = |kind: &Kind| Change {
        kind: *kind,
        reason: Reason::New,
        before: None,
        after: Some(instance.clone()),
        times: LeaseTimes { renewed: Moment(0), deadline: Moment(0) },
        braked: *kind == Kind::Expired,
    };
    Arc::new(Commit { revision: Revision(3), changes: kinds.iter().map(change).collect() })
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_change_and_each_refusal_has_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = Audit::open(Some(&path)).unwrap();
    let log = tracing_subscriber::registry().with(audit.refusals());
    let by =
        Actor { key: Some("k".into()), trace: Some(TraceId(10)), ..Actor::at(IpAddr::from([10, 0, 0, 1])) };
    let mut actors = Actors::default();
    actors.push(Some(&by));
    actors.push(None);
    audit.changed(WallTime(1_500_000), &commit(&[Kind::Registered, Kind::Expired]), &actors);
    tracing::subscriber::with_default(log, || {
        info!(target: AUDITED, rpc = "Ping", key = None::<&str>, reason = "who \"knows\"", "refused");
        info!("not of its business");
    });
    audit.close(LIMIT);

    let id = LeaseId(7).to_string();
    let mut told = lines(&path);
    let refused = told.pop().unwrap();
    assert_eq!(
        told,
        [
            serde_json::json!({
                "time": "1970-01-01T00:00:01.500000Z", "event": "registered", "reason": "new", "id": id,
                "service": "web", "url": "http://h:1", "revision": 3, "key": "k", "peer": "10.0.0.1",
                "trace_id": "0000000000000000000000000000000a",
            }),
            serde_json::json!({
                "time": "1970-01-01T00:00:01.500000Z", "event": "expired", "reason": "new", "id": id,
                "service": "web", "url": "http://h:1", "revision": 3, "braked": true,
            }),
        ]
    );
    assert_eq!((&refused["event"], &refused["rpc"]), (&"refused".into(), &"Ping".into()));
    assert_eq!(refused["reason"], "who \"knows\"");
    assert!(refused.get("key").is_none() && refused["time"].is_string(), "{refused}");
    assert_eq!(audit.lost(), 0);
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit"), dir.path().join("audit.1"));
    let audit = Audit::open(Some(&path)).unwrap();
    let mut actors = Actors::default();
    actors.push(None);
    audit.changed(WallTime(0), &commit(&[Kind::Registered]), &actors);
    fs::rename(&path, &old).unwrap();
    audit.reopen();
    let began = std::time::Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < LIMIT, "it is not opened again");
        thread::sleep(Duration::from_millis(5));
    }
    audit.changed(WallTime(0), &commit(&[Kind::Deregistered]), &actors);
    audit.close(LIMIT);
    assert_eq!(lines(&old)[0]["event"], "registered");
    assert_eq!(lines(&path)[0]["event"], "deregistered");
}

#[test]
fn what_finds_no_room_is_counted_and_said() {
    let shared = Shared::default();
    shared.queue.lock().lines = WAITING - 1;
    let entry = || Entry::Refusal(SystemTime::UNIX_EPOCH, Map::new());
    shared.push(1, entry);
    shared.push(2, entry);
    assert_eq!((shared.lost.load(Ordering::Relaxed), shared.queue.lock().lost), (2, 2));
    let mut out = Vec::new();
    say_lost(&mut out, 2).unwrap();
    let line: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&line["event"], &line["lines"]), (&"lost".into(), &2.into()));
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = Audit::open(Some(Path::new("/nowhere/audit"))).unwrap_err().to_string();
    assert!(error.contains("/nowhere/audit"), "{error}");
    assert!(Audit::open(None).unwrap().refusals::<tracing_subscriber::Registry>().is_none());
}
