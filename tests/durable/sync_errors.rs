//! A disk that fails to write, fails to sync, or takes its time, by way of strace, which
//! puts the error in the place of the real server's system call.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use leasehold::proto::{
    RegisterRequest, WatchRequest,
    event::{Reason, Type as Kind},
};
use tonic::Code;

use crate::{
    outage::{Attached, Pinger, load, nothing_expires, recovered, takes_nothing, trouble, until_refused},
    support::{
        SOON, START, Serve, Server,
        data_dir::DataDir,
        replica, wait_for,
        watch::{MARKER, Watch, instance, list, what},
        within,
    },
};

/// What strace does to a server, and what it saw.
pub struct Strace {
    log: PathBuf,
    inject: Option<&'static str>,
}

impl Strace {
    /// `inject` is as strace takes it.
    pub fn new(dir: &Path, inject: Option<&'static str>) -> Self {
        Self { log: dir.join("strace"), inject }
    }

    /// The program and its arguments, for [`Serve::through`]. The server stays our own child.
    pub fn words(&self) -> Vec<String> {
        const CALLS: &str =
            "trace=fdatasync,fsync,sync_file_range,msync,pwrite64,pwritev,write,ftruncate,fallocate";
        let log = self.log.to_str().expect("a path in Unicode");
        let inject = self.inject.map(|inject| format!("inject={inject}"));
        let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-o", log];
        let words = words.into_iter().chain(["-e", CALLS, "-e", "signal=none"]);
        words.chain(inject.iter().flat_map(|inject| ["-e", inject.as_str()])).map(str::to_owned).collect()
    }

    /// The calls on a store's file, in order.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).expect("strace's output");
        let calls = text.lines().filter(|line| line.contains("registry.db"));
        calls.map(str::to_owned).collect()
    }
}

/// Those after the first that failed.
fn after_failure(calls: &[String]) -> &[String] {
    let failed = calls.iter().position(|call| call.contains("(INJECTED)")).expect("one was made to fail");
    &calls[failed + 1..]
}

fn serve(dir: &DataDir) -> Serve {
    Serve::new().on(dir.path().join("data")).args(["--default-ttl", "1h"])
}

fn serve_traced(dir: &DataDir, strace: &Strace) -> Serve {
    Serve::through(strace.words()).on(dir.path().join("data"))
}

fn inode(dir: &DataDir) -> u64 {
    fs::metadata(dir.path().join("data/registry.db")).unwrap().ino()
}

async fn resumed(server: &Server, token: &str) -> Watch {
    let request = WatchRequest { resume_token: token.to_owned(), ..WatchRequest::default() };
    Watch::open(&mut server.registry().await, request).await
}

/// From the failure on nothing is written; what was acknowledged is there after a restart.
/// Says whether that has written the file anew.
async fn fails_for_good(name: &str, inject: &'static str, allowed: impl Fn(&[String])) -> bool {
    let dir = DataDir::new(name);
    let strace = Strace::new(dir.path(), Some(inject));
    let mut server = serve_traced(&dir, &strace).args(["--default-ttl", "1h"]).start();
    let mut watch = Watch::everything(&server).await;
    let mut client = server.registry().await;
    let (acknowledged, refused) = {
        let steady = client.register(replica("steady", "http://steady:1")).await.unwrap().into_inner();
        let request = RegisterRequest { ttl_seconds: 1, ..replica("brief", "http://brief:1") };
        let brief = client.register(request).await.unwrap().into_inner();
        let streamed = client.register(replica("streamed", "http://streamed:1")).await.unwrap().into_inner();
        let pinger = Pinger::start(&server, &brief.id);
        let (load, refused) = until_refused(&mut client, 0).await;
        pinger.stop();
        ([vec![steady, brief, streamed], load].concat(), refused)
    };
    let (steady, brief, streamed) = (&acknowledged[0].id, &acknowledged[1].id, &acknowledged[2].id);
    let mut stream = Attached::open(&server, streamed).await;

    let file = dir.path().join("data/registry.db");
    let pieces = ["writing to", file.to_str().unwrap(), "Input/output error", "restarted"];
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    for piece in pieces {
        assert!(refused.message().contains(piece), "{piece:?} in {refused}");
    }
    takes_nothing(&server, steady, &pieces).await;
    stream.beat().await;
    stream.half_close().await;
    let ids: Vec<&str> = acknowledged.iter().map(|answer| answer.id.as_str()).collect();
    nothing_expires(&server, Duration::from_secs(1), &ids).await;
    takes_nothing(&server, steady, &pieces).await;
    // What was shown so far was acknowledged, but for the brief one's renewals no more.
    let shown: Vec<String> = acknowledged.iter().map(|answer| answer.id.clone()).collect();
    for id in &shown {
        watch.until("what was acknowledged", SOON, |event| instance(event).id == *id).await;
    }

    server.signal("TERM");
    while let Ok(message) = watch.try_message(SOON).await {
        watch.seen.extend(message.events);
    }
    let told: Vec<String> = watch.seen.iter().map(|event| instance(event).id.clone()).collect();
    assert_eq!(told, shown, "nothing else was shown");
    assert_eq!(server.wait_exit(START).code(), Some(1), "{}", server.stderr());
    for piece in ["not closed in order", "Input/output error"] {
        assert!(server.stderr().contains(piece), "{piece:?} in {}", server.stderr());
    }
    allowed(after_failure(&strace.calls()));
    let token = watch.token.clone();
    drop(server);
    let before = inode(&dir);

    let server = serve(&dir).start();
    let made_anew = inode(&dir) != before;
    let mut watch = resumed(&server, &token).await;
    let refused_url = load(acknowledged.len() - 3).url;
    let mut listed = BTreeMap::new();
    for found in list(&server).await.services {
        // The outcome of the one that failed was not known.
        if found.url != refused_url {
            listed.insert(found.id, found.revision);
        }
    }
    let expect: BTreeMap<String, u64> =
        acknowledged.iter().map(|answer| (answer.id.clone(), answer.revision)).collect();
    assert_eq!(listed, expect, "each once");
    watch.until("the end of the brief one", SOON, |event| instance(event).id == *brief).await;
    watch.catch_up(&server).await;
    for event in &watch.seen {
        let found = instance(event);
        let expired = found.id == *brief && what(event) == (Kind::Expired, Reason::TtlLapsed);
        let undecided = found.url == refused_url && what(event) == (Kind::Registered, Reason::New);
        assert!(expired || undecided, "{event:?}");
    }
    assert_eq!(watch.resets, 0, "the same epoch");
    assert_eq!(trouble(&server).await, None);
    made_anew
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_synced_again() {
    let made_anew = fails_for_good("sync-error", "fdatasync:error=EIO:when=20+", |after| {
        let syncs = after.iter().filter(|call| !call.contains(" pwrite64("));
        assert_eq!(syncs.count(), 0, "{after:?}");
        // That it failed is noted for the next start.
        assert!(after.len() <= 1, "{after:?}");
    })
    .await;
    assert!(made_anew, "what the kernel holds of the old file may not be on the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_nothing_is_written_again() {
    fails_for_good("write-error", "pwrite64:error=EIO:when=99+", |after| {
        assert_eq!(after, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_the_disk_and_nobody_pays_for_that() {
    let dir = DataDir::new("slow-sync");
    let strace = Strace::new(dir.path(), Some("fdatasync:delay_enter=9s:when=20"));
    let server = serve_traced(&dir, &strace).args(["--default-ttl", "2s"]).start();
    let mut watch = Watch::everything(&server).await;
    let mut client = server.registry().await;
    let steady = client.register(replica("steady", "http://steady:1")).await.unwrap().into_inner().id;
    let streamed = client.register(replica("streamed", "http://streamed:1")).await.unwrap().into_inner().id;
    let pinger = Pinger::start(&server, &steady);
    let mut stream = Attached::open(&server, &streamed).await;

    // One after the other, until one has to wait.
    let mut made = Vec::new();
    let waiting = loop {
        let mut client = client.clone();
        let number = made.len();
        let mut call = tokio::spawn(async move { client.register(load(number)).await });
        tokio::select! {
            answer = &mut call => made.push(answer.unwrap().unwrap().into_inner().id),
            () = tokio::time::sleep(Duration::from_secs(1)) => break call,
        }
        assert!(made.len() < 1000, "no sync takes its time");
    };
    let stuck = Instant::now();
    let url = load(made.len()).url;
    assert_eq!(trouble(&server).await, None, "that may be any disk");
    let health = wait_for("health to tell of it", SOON, || {
        let health = server.get("/health");
        (health.status == 503).then(|| health.json())
    });
    let reason = health["reason"].as_str().unwrap();
    assert!(reason.contains("disk") && reason.contains("5 s"), "{reason}");
    assert_eq!(trouble(&server).await.as_deref(), Some(reason));
    assert!(!waiting.is_finished(), "nothing is acknowledged before it is kept");
    assert!(list(&server).await.services.iter().all(|found| found.url != url), "nor shown");
    while !waiting.is_finished() {
        stream.beat().await;
        assert!(stuck.elapsed() < SOON * 2, "the disk goes on");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let late = within("the answer", SOON, waiting).await.unwrap().unwrap().into_inner().id;
    recovered(&server).await;
    assert!(pinger.stop() > 20);
    made.push(late);
    made.extend([steady, streamed]);
    let after = client.register(replica("after", "http://after:1")).await.unwrap().into_inner().id;
    made.push(after);
    watch.catch_up(&server).await;
    for id in &made {
        assert_eq!(watch.seen_of(id), [(Kind::Registered, Reason::New)]);
    }
    assert_eq!(watch.seen.len(), made.len());
    assert!(
        list(&server).await.services.iter().filter(|found| found.service != MARKER).count() == made.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_sync_is_refused() {
    let dir = DataDir::new("sync-start");
    let mut server = serve(&dir).start();
    let id = server.register(replica("steady", "http://steady:1")).await.id;
    server.kill();
    for (inject, error) in [
        ("pwrite64:error=EIO", "Input/output error"),
        ("pwrite64:error=ENOSPC", "No space left on device"),
        ("fdatasync:error=ENOSPC", "No space left on device"),
        ("fdatasync:error=EIO", "Input/output error"),
        // By now it is to be copied.
        ("fdatasync:error=EIO", "Input/output error"),
        ("pwrite64:error=EDQUOT", "Disk quota exceeded"),
        ("fsync:error=EIO", "Input/output error"),
    ] {
        let strace = Strace::new(dir.path(), Some(inject));
        let refused = serve_traced(&dir, &strace).refused();
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{inject}: {refused:?}");
        for piece in [error, dir.path().join("data").to_str().unwrap()] {
            assert!(refused.stderr.contains(piece), "{inject}: {piece:?} in {refused:?}");
        }
    }
    let server = serve(&dir).start();
    assert_eq!(server.get(&format!("/services/{id}")).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_writes_nothing() {
    let dir = DataDir::new("renewals");
    let strace = Strace::new(dir.path(), None);
    let mut server = serve_traced(&dir, &strace).args(["--default-ttl", "2s"]).start();
    let steady = server.register(replica("steady", "http://steady:1")).await.id;
    let streamed = server.register(replica("streamed", "http://streamed:1")).await.id;
    let before = strace.calls().len();
    assert!(before > 0);
    let pinger = Pinger::start(&server, &steady);
    let mut stream = Attached::open(&server, &streamed).await;
    let start = Instant::now();
    // The passing of time is what is tested: deadlines come, and are moved.
    while start.elapsed() < Duration::from_secs(5) {
        stream.beat().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pinger.stop();
    let calls = strace.calls();
    assert_eq!(calls[before..], [""; 0]);
    // It does see what is written.
    server.register(replica("other", "http://other:1")).await;
    assert!(strace.calls().iter().skip(before).any(|call| call.contains("fdatasync(")));
    server.kill();
}
