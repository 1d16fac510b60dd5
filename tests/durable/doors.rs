//! What a start does with the directory it is given: makes it, takes it, or says why it
//! cannot, and then leaves all in it as it was.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use leasehold::proto::{DeregisterRequest, RegisterRequest, WatchRequest};

use crate::support::{
    SOON, START, Serve, Server,
    data_dir::DataDir,
    info, replica,
    watch::{Watch, instance},
};

fn serve(dir: &DataDir) -> Serve {
    Serve::new().on(dir)
}

/// A server without the privileges that let root write anywhere.
fn serve_unprivileged() -> Serve {
    Serve::through(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"])
}

/// A store with something in it, whose server has stopped in order.
async fn store(name: &str) -> DataDir {
    let dir = DataDir::new(name);
    let mut server = serve(&dir).start();
    for number in 1..=50 {
        let info = info("text", &"some content ".repeat(20));
        server
            .register(RegisterRequest {
                info: Some(info),
                ..replica("kept", &format!("http://kept:{number}"))
            })
            .await;
    }
    stop(&mut server);
    dir
}

fn stop(server: &mut Server) {
    server.signal("TERM");
    assert_eq!(server.wait_exit(START).code(), Some(0), "{}", server.stderr());
}

/// Every file below a directory, with its bytes, but for the lock, which holds the id of the
/// last process.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    if dir.is_file() {
        all.insert(String::new(), fs::read(dir).unwrap());
        return all;
    }
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            all.insert(format!("{name}/"), Vec::new());
            all.extend(
                contents(&entry.path()).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            );
        } else if name != "lock" {
            all.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// Expects a start on `dir` to fail with these pieces in its message, and to change nothing.
#[track_caller]
fn check_refused(serve: Serve, dir: &Path, pieces: &[&str]) {
    let before = contents(dir);
    let refused = serve.on(dir).refused();
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{refused:?}");
    for piece in [&[dir.to_str().unwrap()], pieces].concat() {
        assert!(last.contains(piece), "{piece:?} in {refused:?}");
    }
    assert!(contents(dir) == before, "it changed: {:?}", contents(dir).keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_a_directory_is_refused() {
    let dir = DataDir::new("second");
    let mut first = serve(&dir).start();
    let id = first.register(replica("first", "http://first:1")).await.id;
    for _ in 0..2 {
        let refused = serve(&dir).refused();
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
        for piece in [dir.text(), "in use", &format!("process {}", first.id()), "--data-dir"] {
            assert!(refused.stderr.contains(piece), "{piece:?} in {refused:?}");
        }
    }
    // The first one is none the worse, and neither is what it keeps.
    let more = first.register(replica("first", "http://first:2")).await.id;
    stop(&mut first);
    let second = serve(&dir).start();
    for id in [id, more] {
        assert_eq!(second.get(&format!("/services/{id}")).status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_store_of_ours_is_refused_and_left_alone() {
    let dir = store("refusals").await;
    let good = fs::read(dir.store()).unwrap();
    // The version stands behind the magic number, and is checked with it.
    let mut newer = good.clone();
    newer[16..20].copy_from_slice(&7_u32.to_le_bytes());
    let checksum = crc32fast::hash(&newer[..20]);
    newer[20..24].copy_from_slice(&checksum.to_le_bytes());
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let text = b"some content ";
    let content = good.windows(text.len()).position(|window| window == text).expect("it is in there");

    let cases: [(&[u8], &[&str]); 9] = [
        (&newer, &["newer leasehold", "format 7", "knows 2"]),
        (b"SQLite format 3\0 and so on", &["not a file of leasehold", "--data-dir"]),
        (&vec![0; 1 << 20], &["not a file of leasehold"]),
        (b"", &["registry.db"]),
        (&flipped(3), &["damaged"]),
        (&flipped(18), &["damaged"]),
        (&flipped(content), &["damaged", "Nothing was changed", "backup"]),
        (&good[..good.len() / 2], &["damaged"]),
        (&good[..4096], &["damaged"]),
    ];
    for (number, (bytes, pieces)) in cases.into_iter().enumerate() {
        fs::write(dir.store(), bytes).unwrap();
        println!("case {number}");
        check_refused(Serve::new(), dir.path(), pieces);
    }

    fs::remove_file(dir.store()).unwrap();
    fs::create_dir(dir.store()).unwrap();
    fs::write(dir.store().join("other"), "of somebody else").unwrap();
    check_refused(Serve::new(), dir.path(), &["registry.db"]);
    fs::remove_dir_all(dir.store()).unwrap();

    // As it was, it is taken.
    fs::write(dir.store(), &good).unwrap();
    let server = serve(&dir).start();
    assert_eq!(server.get("/services?service=kept").json()["count"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_missed() {
    let dir = store("missed").await;
    let mut server = serve(&dir).start();
    let mut watch = Watch::everything(&server).await;
    let kept = server.register(replica("newest", "http://newest:1")).await;
    let newest = server.register(replica("newest", "http://newest:2")).await;
    watch.until("the newest", SOON, |event| instance(event).id == newest.id).await;
    server.kill();
    // Only the pages of the last commit have it: without them, the file is whole as of the
    // one before.
    let mut bytes = fs::read(dir.store()).unwrap();
    let url = b"http://newest:2";
    let places: Vec<usize> =
        (0..bytes.len() - url.len()).filter(|at| bytes[*at..].starts_with(url)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(dir.store(), &bytes).unwrap();
    let acknowledged = newest.revision.to_string();
    let pieces = ["lost what was acknowledged", &acknowledged, "--accept-loss", "Nothing was changed"];
    check_refused(Serve::new(), dir.path(), &pieces);

    let server = serve(&dir).args(["--accept-loss"]).start();
    assert_eq!(server.get("/services?service=kept").json()["count"], 50);
    assert_eq!(server.get(&format!("/services/{}", kept.id)).status, 200);
    assert_eq!(server.get(&format!("/services/{}", newest.id)).status, 404);
    // Its revision is given again: that takes a new epoch.
    let request = WatchRequest { resume_token: watch.token.clone(), ..WatchRequest::default() };
    let mut watch = Watch::open(&mut server.registry().await, request).await;
    watch.message().await;
    assert_eq!(watch.resets, 1);
    assert_eq!(watch.snapshot().await.0.len(), 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_refused() {
    let dir = DataDir::new("unusable");
    let file = dir.path().join("file");
    fs::write(&file, "of somebody else").unwrap();
    check_refused(Serve::new(), &file, &["cannot"]);
    let below = file.join("below");
    let refused = Serve::new().on(&below).refused();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(below.to_str().unwrap()), "{refused:?}");

    // Not to be written by whoever runs it.
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    check_refused(serve_unprivileged(), &locked, &["Permission denied", "--data-dir"]);
    let refused = serve_unprivileged().on(locked.join("new")).refused();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for piece in [locked.join("new").to_str().unwrap(), "Permission denied", "--data-dir"] {
        assert!(refused.stderr.contains(piece), "{piece:?} in {refused:?}");
    }

    // Nor the file in it.
    let kept = store("unusable-file").await;
    fs::set_permissions(kept.store(), fs::Permissions::from_mode(0o400)).unwrap();
    check_refused(serve_unprivileged(), kept.path(), &["Permission denied", "--data-dir"]);
    fs::set_permissions(kept.store(), fs::Permissions::from_mode(0o600)).unwrap();
    let server = serve_unprivileged().on(&kept).start();
    assert_eq!(server.get("/services?service=kept").json()["count"], 50);
}

#[test]
fn the_default_directory_is_made_for_its_user_alone() {
    let home = DataDir::new("home");
    let state = home.path().join("state");
    let start = || Serve::new().env("HOME", home.path()).env("XDG_STATE_HOME", &state);
    // Whatever the umask lets others do.
    let mut server = Serve::through(["sh", "-c", "umask 0 && exec \"$0\" \"$@\""])
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", &state)
        .start();
    let dir = state.join("leasehold");
    let promise =
        format!("keeping registrations in {} (durability sync: nothing acknowledged is lost)", dir.display());
    assert_eq!(server.stdout().lines().next(), Some(promise.as_str()));
    let mode = |path: &Path| format!("{:o}", fs::metadata(path).unwrap().mode() & 0o7777);
    assert_eq!(mode(&dir), "700");
    assert_eq!(mode(&dir.join("registry.db")), "600");
    for entry in fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), "600");
    }
    stop(&mut server);
    // And found again.
    let server = start().start();
    assert_eq!(server.stdout().lines().next(), Some(promise.as_str()));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_what_is_promised() {
    let dir = DataDir::new("promises");
    for (durability, promise) in [
        ("sync", "nothing acknowledged is lost"),
        ("os", "a crash loses up to the last second"),
        ("none", "a crash loses everything since the start"),
    ] {
        let mut server = serve(&dir).args(["--durability", durability]).start();
        let stdout = server.stdout();
        let lines: Vec<&str> = stdout.lines().collect();
        let first = format!("keeping registrations in {} (durability {durability}: {promise})", dir.text());
        assert_eq!(lines, [first, format!("listening on {}", server.url())]);
        stop(&mut server);
    }

    // In memory means nowhere else.
    let home = DataDir::new("memory");
    let mut server = Serve::new()
        .args(["--store", "memory"])
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", home.path().join("state"))
        .start();
    let first = "keeping registrations in memory: they are gone when this server ends";
    assert_eq!(server.stdout().lines().next(), Some(first));
    let id = server.register(replica("fleeting", "http://fleeting:1")).await.id;
    let request = DeregisterRequest { id, ..DeregisterRequest::default() };
    server.registry().await.deregister(request).await.unwrap();
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    for entry in open {
        let Ok(target) = fs::read_link(entry.unwrap().path()) else { continue };
        assert!(!target.ends_with("registry.db"), "{target:?} is open");
    }
    stop(&mut server);
    assert_eq!(home.names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_token_is_in_the_file() {
    let dir = DataDir::new("tokens");
    let mut server = serve(&dir).args(["--require-lease-token"]).start();
    let request = replica("secret", "http://secret:1");
    let mut tokens = Vec::new();
    let first = server.register(request.clone()).await;
    tokens.push(first.lease_token.clone());
    // Updated with its token, and one more that was ended with it.
    let update = RegisterRequest { zone: "z".to_owned(), lease_token: first.lease_token, ..request };
    tokens.push(server.register(update).await.lease_token);
    let other = server.register(replica("secret", "http://secret:2")).await;
    tokens.push(other.lease_token.clone());
    let end = DeregisterRequest { id: other.id, lease_token: other.lease_token };
    server.registry().await.deregister(end).await.unwrap();

    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let check = |when: &str, stderr: &str| {
        for (name, bytes) in contents(dir.path()) {
            assert!(has(&bytes, b"http://secret:1") || name != "registry.db", "{when}: it is the right file");
            for token in &tokens {
                assert_eq!(token.len(), 32);
                let bits = u128::from_str_radix(token, 16).expect("128 bits");
                let forms = [token.as_bytes().to_vec(), bits.to_be_bytes().into(), bits.to_le_bytes().into()];
                assert!(forms.iter().all(|form| !has(&bytes, form)), "{when}: a token in {name}");
                assert!(!stderr.contains(token), "{when}: a token in the log");
            }
        }
    };
    check("running", &server.stderr());
    server.kill();
    check("killed", &server.stderr());
    let mut server = serve(&dir).start();
    // The hash is enough to know it by.
    let path = format!("/services/{}/$ping", first.id);
    let with = |token: &str| server.http("PUT", &format!("{path}?lease_token={token}"), &[], b"").status;
    assert_eq!((with(&tokens[1]), with(&tokens[2])), (200, 403));
    stop(&mut server);
    check("stopped", &server.stderr());
}

#[test]
fn the_tools_of_these_tests_are_there() {
    for (tool, package) in [
        ("strace", "strace"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
    ] {
        let found = Command::new(tool).arg("--version").output();
        assert!(
            found.as_ref().is_ok_and(|output| output.status.success()),
            "{tool} of the package {package} is needed: run tests/run, which installs it ({found:?})"
        );
    }
}
