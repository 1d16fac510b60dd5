//! A disk that fills up. The file system is a small one in memory, in a mount namespace of
//! its own.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use leasehold::proto::{
    BatchRegisterRequest, DeregisterRequest, PingRequest, RegisterRequest, WatchRequest,
    batch_register_response::result::Result as BatchResult,
    event::{Reason, Type as Kind},
};
use tonic::Code;

use crate::{
    outage::{Attached, Pinger, load, nothing_expires, recovered, takes_nothing, until_refused},
    support::{
        SOON, START, Serve, Server,
        data_dir::DataDir,
        process::Process,
        replica,
        watch::{Watch, instance, list, what},
    },
    sync_errors::Strace,
};

/// A file system of a few MiB.
struct Small {
    /// Holds the namespace for as long as it runs.
    holder: Process,
    dir: DataDir,
}

impl Small {
    /// A namespace with a file system of this size in it.
    fn new(name: &str, size: &str) -> Self {
        let dir = DataDir::new(name);
        let mut command = Command::new("unshare");
        command.arg(if is_root() { "-m" } else { "-rm" });
        let script = "mount -t tmpfs -o \"size=$1\" tmpfs \"$2\" && echo mounted && exec cat";
        command.args(["sh", "-c", script, "sh", size, dir.text()]);
        let mut holder = Process::spawn(command);
        assert_eq!(holder.next_line("a file system in memory", START), "mounted");
        Self { holder, dir }
    }

    /// A server in the namespace, on a directory in the small file system.
    fn serve(&self, name: &str) -> Serve {
        self.serve_through(&[], name)
    }

    /// The same, started by a program that becomes it.
    fn serve_through(&self, program: &[String], name: &str) -> Serve {
        let holder = self.holder.id().to_string();
        let mut words = vec!["nsenter", "--target", &holder, "--mount"];
        if !is_root() {
            words.extend(["--user", "--preserve-credentials"]);
        }
        words.extend(program.iter().map(String::as_str));
        Serve::through(words).on(self.dir.path().join(name)).args(["--default-ttl", "1h"])
    }

    /// What is at this path in the file system, as seen from here.
    fn inside(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(dir).join(name)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.inside("filler")).unwrap();
        for size in [64 << 10, 4 << 10, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Gives it back.
    fn empty(&self) {
        fs::remove_file(self.inside("filler")).unwrap();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

async fn resumed(server: &Server, token: &str) -> Watch {
    let request = WatchRequest { resume_token: token.to_owned(), ..WatchRequest::default() };
    Watch::open(&mut server.registry().await, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_loses_nothing() {
    let small = Small::new("full", "16m");
    let mut server = small.serve("data").start();
    let mut watch = Watch::everything(&server).await;
    let mut client = server.registry().await;
    let steady = client.register(replica("steady", "http://steady:1")).await.unwrap().into_inner().id;
    let request = RegisterRequest { ttl_seconds: 1, ..replica("brief", "http://brief:1") };
    let brief = client.register(request).await.unwrap().into_inner().id;
    let pinger = Pinger::start(&server, &brief);
    let streamed = client.register(replica("streamed", "http://streamed:1")).await.unwrap().into_inner().id;
    let mut stream = Attached::open(&server, &streamed).await;

    small.fill();
    let (mut acknowledged, refused) = until_refused(&mut client, 0).await;
    pinger.stop();
    let file = small.dir.path().join("data/registry.db");
    let pieces = ["no room", file.to_str().unwrap()];
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    for piece in pieces {
        assert!(refused.message().contains(piece), "{piece:?} in {refused}");
    }
    takes_nothing(&server, &steady, &pieces).await;
    stream.beat().await;
    stream.half_close().await;
    nothing_expires(&server, Duration::from_secs(1), &[&steady, &brief, &streamed]).await;
    takes_nothing(&server, &steady, &pieces).await;

    small.empty();
    recovered(&server).await;
    // The one that was refused first may have come to be: its outcome was not known.
    let undecided = acknowledged.len();
    acknowledged.push(client.register(load(10_000)).await.unwrap().into_inner());
    let gone = watch
        .until("the end of the brief one", SOON, |event| {
            instance(event).id == brief && what(event).0 != Kind::Registered
        })
        .await;
    assert_eq!(what(&gone), (Kind::Expired, Reason::TtlLapsed));

    for signal in ["KILL", "TERM"] {
        watch.catch_up(&server).await;
        let token = watch.token.clone();
        server.signal(signal);
        server.wait_exit(START);
        drop(server);
        server = small.serve("data").start();
        let more = watch.seen;
        watch = resumed(&server, &token).await;
        watch.catch_up(&server).await;
        assert_eq!(watch.seen, [], "{signal}");
        assert_eq!(watch.resets, 0, "{signal}");
        watch.seen = more;

        let mut expect: BTreeMap<String, usize> =
            acknowledged.iter().map(|answer| (answer.id.clone(), 1)).collect();
        expect.insert(steady.clone(), 1);
        expect.insert(streamed.clone(), 1);
        let url = load(undecided).url;
        let mut listed = BTreeMap::new();
        for found in list(&server).await.services {
            if found.url != url && found.service != crate::support::watch::MARKER {
                *listed.entry(found.id).or_insert(0) += 1;
            }
        }
        assert_eq!(listed, expect, "{signal}");
        for id in expect.keys() {
            assert_eq!(watch.seen_of(id), [(Kind::Registered, Reason::New)], "{signal}");
        }
        assert_eq!(
            watch.seen_of(&brief),
            [(Kind::Registered, Reason::New), (Kind::Expired, Reason::TtlLapsed)]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_says_so_and_changes_nothing() {
    let small = Small::new("full-start", "16m");
    // Nothing is there yet.
    small.fill();
    let refused = small.serve("data").refused();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let file = small.dir.path().join("data/registry.db");
    for piece in [file.to_str().unwrap(), "No space left on device"] {
        assert!(refused.stderr.contains(piece), "{piece:?} in {refused:?}");
    }
    assert!(!small.inside("data/registry.db").exists());

    // What is there can be read, and takes no room.
    small.empty();
    let mut server = small.serve("data").start();
    let id = server.register(replica("steady", "http://steady:1")).await.id;
    server.kill();
    small.fill();
    let mut server = small.serve("data").start();
    assert_eq!(server.get(&format!("/services/{id}")).status, 200);
    let (_, refused) = until_refused(&mut server.registry().await, 0).await;
    assert!(refused.message().contains("no room"), "{refused}");
    server.signal("TERM");
    assert_eq!(server.wait_exit(START).code(), Some(1), "{}", server.stderr());
    assert!(server.stderr().contains("no room"), "{}", server.stderr());
    small.empty();

    // One whose sync failed is written anew, which takes room.
    let scratch = DataDir::new("full-start-strace");
    let strace = Strace::new(scratch.path(), Some("fdatasync:error=EIO:when=9+"));
    let mut server = small.serve_through(&strace.words(), "data").start();
    until_refused(&mut server.registry().await, 10_000).await;
    server.kill();
    small.fill();
    let before = fs::read(small.inside("data/registry.db")).unwrap();
    let refused = small.serve("data").refused();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for piece in ["no room", file.to_str().unwrap()] {
        assert!(refused.stderr.contains(piece), "{piece:?} in {refused:?}");
    }
    assert!(fs::read(small.inside("data/registry.db")).unwrap() == before, "as it was");
    small.empty();
    let server = small.serve("data").start();
    assert_eq!(server.get(&format!("/services/{id}")).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_may_never_be_written() {
    let small = Small::new("full-doubt", "16m");
    let server = small.serve("data").start();
    let mut client = server.registry().await;
    let requests = (0..500).map(|n| replica("many", &format!("http://many:{}", n + 1)));
    let answers =
        client.batch_register(requests.collect::<BatchRegisterRequest>()).await.unwrap().into_inner();
    let ids: Vec<String> = answers
        .results
        .into_iter()
        .map(|result| match result.result {
            Some(BatchResult::Response(response)) => response.id,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut stream = Attached::open_all(&server, ids.clone()).await;

    small.fill();
    until_refused(&mut client, 0).await;
    small.empty();
    recovered(&server).await;
    small.fill();
    let mut gone = Vec::new();
    let doubtful = loop {
        let id = ids[gone.len()].clone();
        match client.deregister(DeregisterRequest { id: id.clone(), ..DeregisterRequest::default() }).await {
            Ok(_) => gone.push(id),
            Err(refused) => {
                assert_eq!(refused.code(), Code::Unavailable, "{refused}");
                break id;
            }
        }
    };
    // It is gone if it can be written, and else it is not: until then it is what it was.
    let mut lost = stream.lost().await;
    lost.sort_unstable();
    gone.sort_unstable();
    assert_eq!(lost, gone);
    let ping = client.ping(PingRequest { id: doubtful.clone(), ..PingRequest::default() }).await.unwrap_err();
    assert_eq!(ping.code(), Code::Unavailable, "{ping}");
    assert_eq!(server.get(&format!("/services/{doubtful}")).json()["status"], "alive");

    small.empty();
    recovered(&server).await;
    assert_eq!(stream.lost().await, std::slice::from_ref(&doubtful));
    let ping = client.ping(PingRequest { id: doubtful.clone(), ..PingRequest::default() }).await.unwrap_err();
    assert_eq!(ping.code(), Code::NotFound, "{ping}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_was_told_locks_nobody_out() {
    let small = Small::new("full-token", "16m");
    let server = small.serve("data").args(["--require-lease-token"]).start();
    let mut client = server.registry().await;
    small.fill();
    let (acknowledged, _) = until_refused(&mut client, 0).await;
    small.empty();
    recovered(&server).await;
    let again = client.register(load(acknowledged.len())).await.unwrap().into_inner();
    let ping = PingRequest { id: again.id, lease_token: again.lease_token };
    client.ping(ping).await.unwrap();
    // Once it was told it is needed.
    let refused = client.register(load(acknowledged.len())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_for_the_disk_can_stop_as_soon_as_there_is_room() {
    let small = Small::new("full-os", "16m");
    let start = || small.serve("data").args(["--durability", "os"]).start();
    let mut server = start();
    let token = Watch::everything(&server).await.token;
    small.fill();
    let mut client = server.registry().await;
    let mut acknowledged = Vec::new();
    while let Ok(answer) =
        client.register(replica("small", &format!("http://small:{}", acknowledged.len() + 1))).await
    {
        acknowledged.push(answer.into_inner());
        assert!(acknowledged.len() < 60_000, "nothing is refused");
    }
    small.empty();
    server.signal("TERM");
    assert_eq!(server.wait_exit(START).code(), Some(0), "{}", server.stderr());
    drop(server);
    let server = start();
    let listed: Vec<String> = list(&server).await.services.into_iter().map(|found| found.id).collect();
    for answer in &acknowledged {
        assert!(listed.contains(&answer.id), "{} was acknowledged", answer.id);
    }
    let mut watch = resumed(&server, &token).await;
    watch.catch_up(&server).await;
    assert_eq!(watch.resets, 0);
}
