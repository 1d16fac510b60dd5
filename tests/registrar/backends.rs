//! Each backend by itself, on the real registry: what it writes, what it leaves alone, and what it makes of
//! a registry that forgets, refuses or does not answer.

use std::{net::TcpListener, time::Duration};

use leasehold::{
    client::Client,
    registrar::{
        backend::{Backend, Consul, Done, Etcd, Held, Pass, Pruned},
        document::Document,
    },
};
use serde_json::{Value, json};

use crate::support::{self, START, Server, wait_for, within};

const TTL: Duration = Duration::from_secs(12);

/// A document of `host`.
fn document(host: &str, name: &str) -> Document {
    Document {
        id: format!("id of {name}"),
        host: host.to_owned(),
        ipaddress: "192.0.2.1".to_owned(),
        name: format!("/{name}"),
        tags: vec!["blue".to_owned()],
        port: Some("80".to_owned()),
        proto: Some("tcp".to_owned()),
        host_port: Some("4000".to_owned()),
        path: format!("/services/{name}/80"),
        service: name.to_owned(),
        url: format!("tcp://192.0.2.1/{name}"),
        ..Document::default()
    }
}

fn documents(host: &str, count: usize) -> Vec<Document> {
    (0..count).map(|number| document(host, &format!("web-{number:04}"))).collect()
}

/// What a pass came to, times left out.
async fn pass(backend: &mut impl Backend, wanted: &[Document], pass: Pass) -> (usize, usize) {
    let done = within("a pass", START, backend.apply(wanted, pass)).await;
    let Done { written, removed, .. } = done.unwrap_or_else(|failure| panic!("{failure}"));
    (written, removed)
}

fn held(server: &Server, host: &str) -> Held {
    Held::new(Client::new(server.url()).unwrap(), host.to_owned(), TTL)
}

fn pruned(server: &Server, host: &str) -> Pruned {
    Pruned::new(Client::new(server.url()).unwrap(), host.to_owned())
}

fn etcd(etcd: &support::etcd::Etcd, host: &str, ttl: Option<Duration>) -> Etcd {
    Etcd::new(&[etcd.addr().to_string()], host.to_owned(), "/services", ttl).unwrap()
}

fn consul(consul: &support::consul::Consul, host: &str) -> Consul {
    let address = consul.addr().to_string();
    Consul::new(&address, host.to_owned(), "192.0.2.1".to_owned(), "/services", None).unwrap()
}

/// The services of a leasehold, by name.
fn services(server: &Server) -> Vec<Value> {
    let mut services = server.get("/services").json()["services"].as_array().unwrap().clone();
    services.sort_by_key(|service| service["service"].to_string());
    services
}

/// Documents come, change and go, and a second backend of the same host takes up what the first left.
async fn keeps_up(first: &mut impl Backend, second: &mut impl Backend) {
    let mut wanted = documents("h1", 3);
    assert_eq!(pass(first, &wanted, Pass::Whole).await, (3, 0));
    assert_eq!(pass(first, &wanted, Pass::Whole).await, (0, 0));
    wanted[0].tags.push("green".to_owned());
    let gone = wanted.pop().unwrap();
    assert_eq!(pass(first, &wanted, Pass::Known).await, (1, 1));
    wanted.push(gone);
    assert_eq!(pass(first, &wanted, Pass::Known).await, (1, 0));
    wanted.remove(0);
    let (_, removed) = pass(second, &wanted, Pass::Whole).await;
    assert_eq!(removed, 1, "what the first left and nobody wants");
    assert_eq!(pass(second, &[], Pass::Whole).await, (0, 2));
}

#[tokio::test]
async fn documents_come_change_and_go() {
    let server = Server::start(&[]);
    keeps_up(&mut held(&server, "h1"), &mut held(&server, "h1")).await;
    keeps_up(&mut pruned(&server, "h1"), &mut pruned(&server, "h1")).await;
    assert!(services(&server).is_empty());
    let store = support::etcd::Etcd::start();
    keeps_up(&mut etcd(&store, "h1", Some(TTL)), &mut etcd(&store, "h1", Some(TTL))).await;
    keeps_up(&mut etcd(&store, "h1", None), &mut etcd(&store, "h1", None)).await;
    assert!(store.list("").is_empty());
    let catalog = support::consul::Consul::start();
    keeps_up(&mut consul(&catalog, "h1"), &mut consul(&catalog, "h1")).await;
    assert!(catalog.services_of("h1").is_empty());
}

#[tokio::test]
async fn a_leasehold_has_the_document_as_info_and_labels() {
    let server = Server::start(&[]);
    let (mut held, mut pruned) = (held(&server, "h1"), pruned(&server, "h2"));
    let (one, mut two) = (document("h1", "one"), document("h2", "two"));
    two.host_port = None;
    pass(&mut held, std::slice::from_ref(&one), Pass::Whole).await;
    pass(&mut pruned, std::slice::from_ref(&two), Pass::Whole).await;
    let services = services(&server);
    for (service, document, ttl) in [(&services[0], &one, 12), (&services[1], &two, 86_400)] {
        assert_eq!(service["info"], serde_json::to_value(document).unwrap());
        assert_eq!(service["ttl_seconds"], ttl);
        assert_eq!(service["url"], document.url);
        let labels =
            json!({"registrar": "docker", "host": document.host, "path": document.path, "tag.blue": "true"});
        assert_eq!(service["labels"], labels);
    }
}

#[tokio::test]
async fn many_documents_are_listed_and_written_in_parts() {
    let many = documents("h1", 1_200);
    let server = Server::start(&[]);
    let mut backend = pruned(&server, "h1");
    assert_eq!(pass(&mut backend, &many, Pass::Whole).await, (1_200, 0));
    let store = support::etcd::Etcd::start();
    let mut in_etcd = etcd(&store, "h1", None);
    assert_eq!(pass(&mut in_etcd, &many, Pass::Whole).await, (1_200, 0));
    for backend in [&mut pruned(&server, "h1") as &mut dyn Backend, &mut etcd(&store, "h1", None)] {
        let done = backend.apply(&many[..1], Pass::Whole).await.unwrap();
        assert_eq!(done.removed, 1_199);
    }
}

#[tokio::test]
async fn a_document_that_a_leasehold_refuses_stops_no_other() {
    let server = Server::start(&[]);
    let mut wanted = documents("h1", 2);
    wanted[0].name = "x".repeat(70_000);
    pass(&mut held(&server, "h1"), &wanted, Pass::Whole).await;
    assert_eq!(services(&server).len(), 1);
    let mut backend = pruned(&server, "h2");
    for document in &mut wanted {
        document.host = "h2".to_owned();
    }
    pass(&mut backend, &wanted, Pass::Whole).await;
    assert_eq!(services(&server).len(), 1, "{:?}", services(&server));
    wanted[0].name = "short".to_owned();
    pass(&mut backend, &wanted, Pass::Whole).await;
    assert_eq!(services(&server).len(), 2);
}

#[tokio::test]
async fn what_another_host_took_over_is_left_to_it_until_it_goes() {
    let server = Server::start(&[]);
    let (ours, theirs) = ([document("h1", "web")], [document("h2", "web")]);
    let host = || services(&server)[0]["labels"]["host"].clone();

    let (mut first, mut second) = (pruned(&server, "h1"), pruned(&server, "h2"));
    pass(&mut first, &ours, Pass::Whole).await;
    pass(&mut second, &theirs, Pass::Whole).await;
    for _ in 0..3 {
        pass(&mut first, &ours, Pass::Whole).await;
        pass(&mut second, &theirs, Pass::Whole).await;
        assert_eq!(host(), "h2");
    }
    pass(&mut first, &[], Pass::Whole).await;
    assert_eq!(host(), "h2", "it is not ours to remove");
    pass(&mut first, &ours, Pass::Known).await;
    pass(&mut second, &theirs, Pass::Whole).await;
    pass(&mut first, &[], Pass::Known).await;
    pass(&mut second, &[], Pass::Whole).await;
    pass(&mut first, &[], Pass::Whole).await;
    assert!(services(&server).is_empty());

    let (mut first, mut second) = (held(&server, "h1"), held(&server, "h2"));
    pass(&mut first, &ours, Pass::Whole).await;
    pass(&mut second, &theirs, Pass::Whole).await;
    for _ in 0..3 {
        // Until it knows, a pass of the first fails or finds all well.
        let _ = first.apply(&ours, Pass::Whole).await;
        pass(&mut second, &theirs, Pass::Whole).await;
        assert_eq!(host(), "h2");
    }
    pass(&mut second, &[], Pass::Whole).await;
    wait_for_pass(&mut first, &ours, || !services(&server).is_empty() && host() == "h1").await;
}

/// Whole passes until `done`.
async fn wait_for_pass(backend: &mut impl Backend, wanted: &[Document], done: impl Fn() -> bool) {
    within("a pass that makes it so", START, async {
        while !done() {
            let _ = backend.apply(wanted, Pass::Whole).await;
        }
    })
    .await;
}

#[tokio::test]
async fn etcd_keys_of_others_are_neither_written_nor_removed() {
    let store = support::etcd::Etcd::start();
    let wanted = documents("h1", 3);
    let theirs = json!({"host": "h2"}).to_string();
    store.put(&wanted[0].path, &theirs);
    store.put(&wanted[1].path, "not JSON");
    let mut backend = etcd(&store, "h1", None);
    assert_eq!(pass(&mut backend, &wanted, Pass::Whole).await, (1, 0));
    assert_eq!(store.value(&wanted[0].path), Some(theirs.clone()));
    assert_eq!(store.value(&wanted[1].path).as_deref(), Some("not JSON"));
    // Another host takes a path that we have, and we are about to remove it.
    store.put(&wanted[2].path, &theirs);
    let overtaken = backend.apply(&[], Pass::Known).await.unwrap_err().to_string();
    assert!(overtaken.contains(&wanted[2].path), "{overtaken}");
    assert_eq!(store.value(&wanted[2].path), Some(theirs));
    // It goes, and the path is ours.
    for document in &wanted {
        store.delete(&document.path);
    }
    assert_eq!(pass(&mut backend, &wanted, Pass::Whole).await, (3, 0));
}

#[tokio::test]
async fn etcd_keys_go_with_a_lease_that_is_granted_anew_when_it_is_lost() {
    let store = support::etcd::Etcd::start();
    let wanted = documents("h1", 2);
    let mut backend = etcd(&store, "h1", Some(TTL));
    pass(&mut backend, &wanted, Pass::Whole).await;
    let leases: Vec<_> = store.list("").into_iter().map(|entry| entry.lease).collect();
    assert!(leases[0].is_some() && leases[0] == leases[1], "one lease for all: {leases:?}");
    assert_eq!(store.lease_seconds(leases[0].unwrap()).unwrap().0, 12);
    // One that is started anew moves them to a lease of its own.
    let mut second = etcd(&store, "h1", Some(TTL));
    assert_eq!(pass(&mut second, &wanted, Pass::Whole).await, (2, 0));
    assert_ne!(store.list("")[0].lease, leases[0]);
    // In mode prune they have none.
    assert_eq!(pass(&mut etcd(&store, "h1", None), &wanted, Pass::Whole).await, (2, 0));
    assert_eq!(store.list("")[0].lease, None);
}

#[tokio::test]
async fn a_consul_node_of_an_agent_keeps_its_address_and_services() {
    let catalog = support::consul::Consul::start();
    let theirs = json!({"Node": "h1", "Address": "192.0.2.77",
        "Service": {"ID": "/services/web/80", "Service": "by-hand", "Meta": {"by": "hand"}}});
    catalog.put("catalog/register", &theirs);
    let mut backend = consul(&catalog, "h1");
    let wanted = [document("h1", "web"), document("h1", "other")];
    assert_eq!(pass(&mut backend, &wanted, Pass::Whole).await, (1, 0));
    assert_eq!(catalog.get("catalog/node/h1")["Node"]["Address"], "192.0.2.77");
    assert_eq!(catalog.services_of("h1")["/services/web/80"]["Service"], "by-hand");
    let other = &catalog.services_of("h1")["/services/other/80"];
    assert_eq!((&other["Address"], &other["Port"]), (&json!("192.0.2.1"), &json!(4000)));
    assert_eq!(other["Tags"], json!(["blue"]));
    // The original marked nothing; what it left under its prefix goes.
    catalog.put(
        "catalog/register",
        &json!({"Node": "h1", "Address": "192.0.2.77", "SkipNodeUpdate": true,
        "Service": {"ID": "/services/left", "Service": "left"}}),
    );
    assert_eq!(pass(&mut backend, &[], Pass::Whole).await, (0, 2));
    assert_eq!(catalog.services_of("h1").keys().collect::<Vec<_>>(), ["/services/web/80"]);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_fails_the_pass() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let wanted = documents("h1", 2);
    let client = || Client::new(address.as_str()).unwrap();
    let members = [address.clone()];
    let mut backends: Vec<Box<dyn Backend>> = vec![
        Box::new(Held::new(client(), "h1".to_owned(), TTL)),
        Box::new(Pruned::new(client(), "h1".to_owned())),
        Box::new(Etcd::new(&members, "h1".to_owned(), "/services", None).unwrap()),
        Box::new(Etcd::new(&members, "h1".to_owned(), "/services", Some(TTL)).unwrap()),
        Box::new(Consul::new(&address, "h1".to_owned(), "192.0.2.1".to_owned(), "/services", None).unwrap()),
    ];
    for backend in &mut backends {
        let done = within("the end of a pass", START, backend.apply(&wanted, Pass::Whole)).await;
        let failure = done.unwrap_err().to_string();
        assert!(failure.contains(&address), "{failure}");
        within("the end of it", START, backend.leave()).await;
    }
}

#[tokio::test]
async fn etcd_is_asked_at_the_member_that_answers() {
    let store = support::etcd::Etcd::start();
    let nobody = support::free_address().to_string();
    let members = [nobody, store.addr().to_string()];
    let mut backend = Etcd::new(&members, "h1".to_owned(), "/services", Some(TTL)).unwrap();
    let wanted = documents("h1", 1);
    assert!(backend.apply(&wanted, Pass::Whole).await.is_err());
    assert_eq!(pass(&mut backend, &wanted, Pass::Whole).await, (1, 0));
    wait_for("the key", START, || store.value(&wanted[0].path));
}
