//! The real parts that other tests are made of do what those tests take for granted: a Docker engine,
//! etcd and Consul.

#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use support::{SOON, consul::Consul, docker::Engine, etcd::Etcd, wait_for};

fn greeting(engine: &Engine, addr: SocketAddr) -> Option<String> {
    let mut text = String::new();
    engine.connect(addr).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn an_engine_runs_containers_and_keeps_them_over_a_restart() {
    let mut engine = Engine::start();
    let health = "HEALTHCHECK --interval=1s --retries=1 CMD [\"/guest\", \"check\"]";
    engine.build("web", &["EXPOSE 80 53/udp", "CMD [\"serve\", \"tcp:80\", \"udp:53\"]", health]);
    let id =
        engine.run(&["--name", "one", "--restart", "always", "-p", "8080:80", "-p", "8053:53/udp", "web"]);
    assert_eq!(engine.running(), std::slice::from_ref(&id));
    let published = SocketAddr::new(engine.address(), 8080);
    let mut text = String::new();
    std::net::TcpStream::connect(published).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "guest\n");
    let own = engine.inspect("one")["NetworkSettings"]["IPAddress"].as_str().unwrap().to_owned();
    assert_eq!(greeting(&engine, format!("{own}:80").parse().unwrap()).as_deref(), Some("guest\n"));
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(b"echo", SocketAddr::new(engine.address(), 8053)).unwrap();
    let mut packet = [0; 8];
    assert_eq!(socket.recv(&mut packet).unwrap(), 4);

    let health = |wanted: &str| {
        wait_for(wanted, SOON, || {
            (engine.inspect("one")["State"]["Health"]["Status"] == wanted).then_some(())
        });
    };
    health("healthy");
    engine.docker(&["exec", "one", "/guest", "sicken"]);
    health("unhealthy");
    engine.docker(&["exec", "one", "/guest", "heal"]);
    health("healthy");
    engine.docker(&["pause", "one"]);
    engine.docker(&["unpause", "one"]);
    engine.docker(&["rename", "one", "two"]);

    engine.signal("STOP");
    engine.signal("CONT");
    engine.restart();
    wait_for("the container to be back", SOON, || (engine.running() == [id.clone()]).then_some(()));
    engine.kill();
    engine.start_again();
    engine.remove_all();
    assert!(engine.running().is_empty());
}

#[test]
fn two_engines_do_not_meet() {
    let (one, two) = (Engine::start(), Engine::start());
    for engine in [&one, &two] {
        engine.build("web", &["CMD [\"serve\", \"tcp:80\"]"]);
        engine.run(&["-p", "80:80", "web"]);
    }
    assert_ne!(one.address(), two.address());
    for engine in [&one, &two] {
        assert_eq!(engine.running().len(), 1);
        assert_eq!(greeting(engine, "127.0.0.1:80".parse().unwrap()).as_deref(), Some("guest\n"));
    }
}

#[test]
fn an_engine_leaves_nothing_behind() {
    let engine = Engine::start();
    engine.build("web", &["EXPOSE 80", "VOLUME /kept", "CMD [\"serve\", \"tcp:80\"]"]);
    engine.docker(&["network", "create", "other"]);
    engine.run(&["--network", "other", "-p", "80:80", "web"]);
    let (network, name, dir) = (engine.network(), engine.name().to_owned(), engine.socket());
    let inside = || within(&network);
    assert!(inside() >= 4, "namespaces, an engine, its containerd and a shim: {}", inside());
    assert!(traces(&name).len() >= 2, "a cable and a cgroup: {:?}", traces(&name));
    drop(engine);
    assert_eq!(inside(), 0);
    // The kernel takes a network apart some time after its last process.
    wait_for("its traces to go", SOON, || traces(&name).is_empty().then_some(()));
    assert!(!dir.parent().unwrap().exists());
}

/// How many processes have this network.
fn within(network: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("ns/net")).is_ok_and(|link| link == *network))
        .count()
}

/// Interfaces and cgroups with this name.
fn traces(name: &str) -> Vec<PathBuf> {
    let named = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let wanted =
            |path: &PathBuf| path.file_name().is_some_and(|own| own.to_string_lossy().ends_with(name));
        entries.filter(wanted).collect::<Vec<_>>()
    };
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let roots =
        hierarchies.map(|entry| entry.path()).chain(["/sys/class/net".into(), "/sys/fs/cgroup".into()]);
    roots.flat_map(|root| named(&root)).collect()
}

#[test]
fn etcd_keeps_what_it_has_over_a_restart() {
    let mut etcd = Etcd::start();
    etcd.put("/services/a", "1");
    etcd.put("/services/b", "");
    etcd.put("/other", "3");
    etcd.kill();
    etcd.start_again();
    let keys: Vec<String> = etcd.list("/services/").into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["/services/a", "/services/b"]);
    assert_eq!(etcd.list("").len(), 3);
    etcd.delete("/services/b");
    assert_eq!((etcd.value("/services/a").as_deref(), etcd.value("/services/b")), (Some("1"), None));
}

#[test]
fn consul_keeps_what_it_has_over_a_restart() {
    let mut consul = Consul::start();
    let service = json!({"Service": "web", "ID": "web-1", "Address": "10.0.0.1", "Port": 80});
    consul.put("catalog/register", &json!({"Node": "host", "Address": "10.0.0.1", "Service": service}));
    consul.kill();
    consul.start_again();
    assert_eq!(consul.nodes(), ["host", "test"]);
    assert_eq!(consul.services_of("host")["web-1"]["Port"], 80);
    assert!(consul.services_of("nobody").is_empty());
}
