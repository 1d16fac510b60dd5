//! `leasehold backup` of a registry in use, and `leasehold inspect` of whatever a server
//! left.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, thread, time::Duration};

use leasehold::proto::{ListRequest, WatchRequest, registry_client::RegistryClient};
use serde_json::Value;

use crate::{
    follower::{Follower, lasting},
    ledger::{MARKER, Writer},
    outage::load,
    support::{
        Ended, SOON, START, Serve, Server, data_dir::DataDir, leasehold, numbers::Numbers, replica,
        spawn_leasehold, watch::Watch, within,
    },
};

const WRITERS: usize = 4;

fn serve(dir: &DataDir) -> Serve {
    Serve::new().on(dir)
}

fn stop(server: &mut Server) {
    server.signal("TERM");
    assert_eq!(server.wait_exit(START).code(), Some(0), "{}", server.stderr());
}

fn revision(server: &Server) -> u64 {
    server.get("/health").json()["revision"].as_str().unwrap().parse().unwrap()
}

fn backup(server: &Server, file: &Path) -> Ended {
    leasehold(["backup".as_ref(), file.as_os_str(), "--server".as_ref(), server.url().as_ref()])
}

/// What a successful backup says of itself: how many registrations, at which revision.
fn said(backup: &Ended, file: &Path) -> (usize, u64) {
    assert_eq!(backup.code, Some(0), "{backup:?}");
    let line = backup.stdout.strip_prefix(&format!("{}: ", file.display())).expect("it names the file");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..4], ["registrations", "at", "revision"], "{line}");
    (words[0].parse().unwrap(), words[4].parse().unwrap())
}

fn inspect(path: impl AsRef<Path>) -> Ended {
    leasehold(["inspect".as_ref(), path.as_ref().as_os_str()])
}

/// The same for scripts, which must succeed.
fn inspect_json(path: impl AsRef<Path>) -> Value {
    let ended = leasehold(["inspect".as_ref(), path.as_ref().as_os_str(), "-o".as_ref(), "json".as_ref()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

async fn resumed(server: &Server, token: &str) -> Watch {
    let request = WatchRequest { resume_token: token.to_owned(), ..WatchRequest::default() };
    Watch::open(&mut server.registry().await, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_registry_in_use_is_of_one_revision() {
    let (dir, out) = (DataDir::new("backup"), DataDir::new("backups"));
    let mut server = serve(&dir).start();
    let follower = Follower::new(WatchRequest::default());
    let following = follower.follow(server.registry().await);
    let mut numbers = Numbers::new(5);
    let mut writing = Vec::new();
    for number in 0..WRITERS {
        let (mut writer, mut client) =
            (Writer::new(numbers.fork(), number, WRITERS, 2_000), server.registry().await);
        writing.push(tokio::spawn(async move {
            writer.burst(&mut client, false).await;
            writer.faults
        }));
    }
    let mut marker = Writer::marker(WRITERS);
    let mut client = server.registry().await;
    let mut backups = Vec::new();
    for number in 0..5 {
        let acknowledged = marker.register(&mut client, MARKER).await.unwrap().revision;
        let file = out.path().join(format!("backup-{number}"));
        let ended = tokio::task::block_in_place(|| backup(&server, &file));
        let (registrations, revision) = said(&ended, &file);
        assert!(revision >= acknowledged, "{revision} is before {acknowledged}, which was acknowledged");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        backups.push((file, registrations, revision));
    }
    let last = marker.register(&mut client, MARKER).await.unwrap().revision;
    assert!(last > backups[4].2 && backups[4].2 > backups[0].2, "it was written to meanwhile");
    follower.reach(last).await;
    let token = follower.seen().token.clone();
    server.kill();
    for writer in writing {
        assert_eq!(within("a writer's end", SOON, writer).await.unwrap(), [""; 0]);
    }
    within("the watch's end", SOON, following).await.unwrap();
    assert_eq!(out.names().len(), backups.len(), "{:?}", out.names());

    for (file, registrations, at) in backups {
        let report = inspect_json(&file);
        assert_eq!(report["condition"], "copy");
        assert_eq!((&report["revision"], &report["refused"]), (&at.to_string().into(), &false.into()));
        let count = |name: &str| usize::try_from(report[name].as_u64().unwrap()).unwrap();
        assert_eq!(count("live") + count("lapsed") + count("ended"), registrations);

        let restored = DataDir::new("restored");
        fs::copy(&file, restored.store()).unwrap();
        let mut server = serve(&restored).start();
        assert_eq!(revision(&server), at);
        let mut client = server.registry().await;
        let listed = list(&mut client).await;
        let then = follower.seen().view_at(at).expect("it was told that far");
        assert_eq!(lasting(&listed), lasting(then.0.values()), "as it was at revision {at}");

        // It goes on from there, in an epoch of its own.
        let mut watch = resumed(&server, &token).await;
        let first = watch.message().await;
        assert_eq!((watch.resets, first.events.len()), (1, 0), "{first:?}");
        watch.snapshot().await;
        let id = server.register(replica("later", "http://later:1")).await.id;
        assert_eq!(revision(&server), at + 1);
        let token = watch.token.clone();
        stop(&mut server);
        let server = serve(&restored).start();
        let mut watch = resumed(&server, &token).await;
        watch.catch_up(&server).await;
        assert_eq!((watch.seen_of(&id).len(), watch.seen.len(), watch.resets), (1, 1, 0));
    }
}

async fn list(client: &mut RegistryClient<tonic::transport::Channel>) -> Vec<leasehold::proto::Instance> {
    let (mut all, mut request) = (Vec::new(), ListRequest { page_size: 500, ..ListRequest::default() });
    loop {
        let page = client.list(request.clone()).await.unwrap().into_inner();
        all.extend(page.services);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_whole_or_not_there() {
    let (dir, out) = (DataDir::new("no-backup"), DataDir::new("no-backups"));
    let mut server = serve(&dir).start();
    let mut client = server.registry().await;
    for number in 0..300 {
        client.register(load(number)).await.unwrap();
    }

    // What is there stays.
    let taken = out.path().join("taken");
    fs::write(&taken, "of somebody else").unwrap();
    let ended = backup(&server, &taken);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(taken.to_str().unwrap()) && ended.stdout.is_empty(), "{ended:?}");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "of somebody else");
    let nowhere = out.path().join("nowhere/backup");
    let ended = backup(&server, &nowhere);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(out.path().join("nowhere").to_str().unwrap()), "{ended:?}");
    assert_eq!(out.names(), ["taken"]);

    // The server dies while it is read.
    for millis in [20, 60, 200] {
        let file = out.path().join("cut-off");
        let url = server.url();
        let running = spawn_leasehold(["backup", file.to_str().unwrap(), "--server", &url]);
        // When it is cut off is what chance decides.
        thread::sleep(Duration::from_millis(millis));
        server.kill();
        let ended = Ended::wait(running);
        if ended.code == Some(0) {
            assert_eq!(said(&ended, &file).0, 300);
            assert_eq!(inspect_json(&file)["live"], 300);
            fs::remove_file(&file).unwrap();
        } else {
            assert!(matches!(ended.code, Some(1 | 5)), "{ended:?}");
            assert!(ended.stderr.contains("no backup was made"), "{ended:?}");
        }
        assert_eq!(out.names(), ["taken"], "after {millis} ms: {ended:?}");
        drop(server);
        server = serve(&dir).start();
    }

    // Nobody is there, or nothing is kept.
    let url = server.url();
    drop(server);
    let file = out.path().join("backup");
    let ended = leasehold(["backup", file.to_str().unwrap(), "--server", &url]);
    assert_eq!(ended.code, Some(5), "{ended:?}");
    let memory = Server::start(&[]);
    let ended = backup(&memory, &file);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("memory"), "{ended:?}");
    assert_eq!(out.names(), ["taken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_tells_what_is_there_and_changes_nothing() {
    let dir = DataDir::new("inspect");
    let absent = inspect(dir.path());
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(absent.stderr.contains("no registry") && absent.stderr.contains(dir.text()), "{absent:?}");
    assert_eq!(dir.names(), [""; 0], "nothing is made");

    let mut server = serve(&dir).start();
    let mut watch = Watch::everything(&server).await;
    for number in 1..=3 {
        server.register(replica("one", &format!("http://one:{number}"))).await;
    }
    let gone = server.register(replica("two", "http://two:1")).await.id;
    assert_eq!(server.http("DELETE", &format!("/services/{gone}"), &[], b"").status, 200);

    // A server is on it.
    let refused = inspect(dir.path());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for piece in ["in use", &format!("process {}", server.id())] {
        assert!(refused.stderr.contains(piece), "{piece:?} in {refused:?}");
    }
    watch.catch_up(&server).await;
    let (at, token) = (revision(&server).to_string(), watch.token.clone());

    for (signal, condition) in [("KILL", "unclean"), ("TERM", "clean")] {
        server.signal(signal);
        server.wait_exit(START);
        let before = (fs::read(dir.store()).unwrap(), dir.names());
        for path in [dir.path(), &dir.store()] {
            let report = inspect_json(path);
            let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
            assert_eq!((text("condition"), text("durability")), (condition.to_owned(), "sync".to_owned()));
            assert_eq!((text("revision"), text("acknowledged")), (at.clone(), at.clone()), "{report}");
            assert_eq!(text("file"), dir.store().to_str().unwrap());
            assert_eq!(
                (&report["live"], &report["ended"], &report["lapsed"]),
                (&4.into(), &1.into(), &0.into())
            );
            assert_eq!((&report["services"], &report["refused"]), (&2.into(), &false.into()));
            assert_eq!(report["history"]["last"], at.as_str(), "{report}");
        }
        let shown = inspect(dir.path());
        assert_eq!(shown.code, Some(0), "{shown:?}");
        for (name, value) in [("revision", at.as_str()), ("live", "4, of 2 services"), ("durability", "sync")]
        {
            let line = shown.stdout.lines().find(|line| line.starts_with(name)).expect(name);
            assert!(line.ends_with(value), "{line}");
        }
        assert!((fs::read(dir.store()).unwrap(), dir.names()) == before, "{condition}: it changed");

        drop(server);
        server = serve(&dir).start();
        watch = resumed(&server, &token).await;
        assert_eq!(revision(&server).to_string(), at);
    }
    watch.catch_up(&server).await;
    assert_eq!((watch.resets, watch.seen.len()), (0, 0), "the same epoch");
    stop(&mut server);

    let good = fs::read(dir.store()).unwrap();
    let mut damaged = good.clone();
    let at = damaged.windows(12).position(|window| window == b"http://one:2").unwrap();
    damaged[at] ^= 1;
    fs::write(dir.store(), &damaged).unwrap();
    for path in [dir.path(), &dir.store()] {
        let refused = inspect(path);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
        for piece in ["damaged", dir.store().to_str().unwrap()] {
            assert!(refused.stderr.contains(piece), "{piece:?} in {refused:?}");
        }
    }
    assert!(fs::read(dir.store()).unwrap() == damaged);
}
