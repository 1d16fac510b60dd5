//! Documents of each kind of container, and what holds for any.

use proptest::prelude::*;

use super::*;
use crate::registrar::facts::{Binding, Health, Network, Port, State};

const RUNNING: State = State { running: true, paused: false, restarting: false, health: None };

fn rules() -> Rules {
    let path = [
        "environment:ENVIRONMENT",
        "environment:NAME",
        "service:PORT",
        "service:HOST_PORT",
        "service:HOSTNAME",
    ];
    Rules {
        hostname: "host1.example".into(),
        ipaddress: "10.0.0.7".into(),
        prefix_services: "/services".into(),
        prefix_path: path.iter().map(|text| text.parse().expect("an element")).collect(),
        publish_env: Vec::new(),
    }
}

fn rules_with_path(elements: &[&str]) -> Rules {
    Rules { prefix_path: elements.iter().map(|text| text.parse().expect("an element")).collect(), ..rules() }
}

fn port(text: &str, published: &[&str]) -> Port {
    let (port, proto) = text.split_once('/').expect("port/proto");
    let binding = |text: &&str| {
        let at: std::net::SocketAddr = text.parse().expect("an address");
        Binding { ip: at.ip(), port: at.port() }
    };
    Port {
        port: port.parse().expect("a port"),
        proto: proto.into(),
        published: published.iter().map(binding).collect(),
    }
}

fn network(name: &str, v4: Option<&str>, v6: Option<&str>) -> Network {
    let ip = |text: Option<&str>| text.map(|text| text.parse().expect("an address"));
    Network { name: name.into(), v4: ip(v4), v6: ip(v6) }
}

fn container(id: &str, ports: Vec<Port>) -> Container {
    Container {
        id: id.into(),
        name: format!("/{id}-name"),
        image: "registry.example:5000/team/redis:7".into(),
        hostname: format!("{id}-host"),
        state: RUNNING,
        networks: vec![network("bridge", Some("172.17.0.2"), None)],
        ports,
        ..Container::default()
    }
}

fn with_env(container: Container, env: &[(&str, &str)]) -> Container {
    Container {
        env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..container
    }
}

/// Service and url of all.
fn endpoints(containers: &[Container]) -> Vec<String> {
    let wanted = documents(containers, &rules());
    assert!(wanted.problems.is_empty(), "{:?}", wanted.problems);
    let mut all: Vec<String> =
        wanted.documents.iter().map(|one| format!("{} {}", one.service, one.url)).collect();
    all.sort();
    all
}

fn paths(containers: &[Container], rules: &Rules) -> Vec<String> {
    documents(containers, rules).documents.into_iter().map(|one| one.path).collect()
}

fn problems(containers: &[Container], rules: &Rules) -> Vec<String> {
    documents(containers, rules).problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_published_port_is_a_document() {
    let env = [
        ("ENVIRONMENT", "prod"),
        ("NAME", "cache"),
        ("TAGS", "a, b,,c"),
        ("PASSWORD", "s3cret"),
        ("SERVICE_6379_NAME", "redis"),
    ];
    let one = with_env(container("c1", vec![port("6379/tcp", &["0.0.0.0:49153", "[::]:49153"])]), &env);
    let wanted = documents(&[one], &rules());
    let json = serde_json::to_value(&wanted.documents).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!([{
            "id": "c1",
            "host": "host1.example",
            "ipaddress": "10.0.0.7",
            "env": {"ENVIRONMENT": "prod", "NAME": "cache", "TAGS": "a, b,,c", "SERVICE_6379_NAME": "redis"},
            "tags": ["a", "b", "c"],
            "name": "/c1-name",
            "image": "registry.example:5000/team/redis:7",
            "hostname": "c1-host",
            "port": "6379",
            "proto": "tcp",
            "host_port": "49153",
            "path": "/services/prod/cache/redis/49153/c1-host",
        }])
    );
    assert_eq!(
        (wanted.documents[0].service.as_str(), wanted.documents[0].url.as_str()),
        ("redis", "tcp://10.0.0.7:49153")
    );
    let read: Vec<Document> = serde_json::from_value(json).expect("documents");
    assert!(read[0].same_content(&wanted.documents[0]));
    assert!(!Document { tags: Vec::new(), ..read[0].clone() }.same_content(&read[0]));
}

#[test]
fn only_who_can_be_used_is_alive() {
    let health = |health| State { health: Some(health), ..RUNNING };
    let cases = [
        (RUNNING, true),
        (health(Health::Healthy), true),
        (health(Health::Starting), false),
        (health(Health::Unhealthy), false),
        (State { paused: true, ..RUNNING }, false),
        (State { restarting: true, ..RUNNING }, false),
        (State::default(), false),
    ];
    for (state, alive) in cases {
        let one = Container { state, ..container("c1", vec![port("80/tcp", &["0.0.0.0:80"])]) };
        assert_eq!(documents(&[one], &rules()).documents.len(), usize::from(alive), "{state:?}");
    }
}

#[test]
fn each_kind_of_publication_has_its_addresses() {
    #[track_caller]
    fn check(ports: Vec<Port>, expect: &[&str]) {
        let urls: Vec<String> =
            endpoints(&[container("c1", ports)]).iter().map(|one| one.replace("redis-", "")).collect();
        assert_eq!(urls, expect);
    }
    check(vec![port("80/tcp", &["192.0.2.4:8080"])], &["80 tcp://192.0.2.4:8080"]);
    check(vec![port("80/tcp", &["[2001:db8::4]:8080"])], &["80 tcp://[2001:db8::4]:8080"]);
    check(vec![port("80/tcp", &[])], &["80 tcp://172.17.0.2:80"]);
    check(vec![port("53/udp", &["0.0.0.0:53"])], &["53 udp://10.0.0.7:53"]);
    check(vec![port("5/sctp", &["0.0.0.0:5"])], &["5 sctp://10.0.0.7:5"]);
    check(
        vec![port("53/udp", &["0.0.0.0:53"]), port("53/tcp", &["0.0.0.0:53"])],
        &["53 tcp://10.0.0.7:53", "53 udp://10.0.0.7:53"],
    );
    check(
        vec![port("80/tcp", &["0.0.0.0:8080", "0.0.0.0:8081", "127.0.0.1:8080"])],
        &["80 tcp://10.0.0.7:8080", "80 tcp://10.0.0.7:8081", "80 tcp://127.0.0.1:8080"],
    );
    check(
        vec![port("7000/tcp", &["0.0.0.0:9000"]), port("7001/tcp", &["0.0.0.0:9001"])],
        &["7000 tcp://10.0.0.7:9000", "7001 tcp://10.0.0.7:9001"],
    );
    check(vec![], &["redis tcp://172.17.0.2"]);
    // The order of the ports, and a port that is named twice, change nothing.
    check(
        vec![port("81/tcp", &[]), port("80/tcp", &[]), port("81/tcp", &[])],
        &["80 tcp://172.17.0.2:80", "81 tcp://172.17.0.2:81"],
    );
}

#[test]
fn an_address_is_reached_by_its_own_ip_version() {
    let v6_only = [container("c1", vec![port("80/tcp", &["[::]:8080"])])];
    let first = |rules: &Rules| documents(&v6_only, rules).documents[0].url.clone();
    let v6 = Rules { ipaddress: "2001:db8::7".into(), ..rules() };
    assert_eq!(first(&v6), "tcp://[2001:db8::7]:8080");
    let name = Rules { ipaddress: "host1.example".into(), ..rules() };
    assert_eq!(first(&name), "tcp://host1.example:8080");
    assert_eq!(first(&rules()), "tcp://172.17.0.2:80", "as if it were not published");
    assert!(problems(&v6_only, &rules())[0].contains("port 80/tcp is published for the other IP version"));
    let both = [container("c1", vec![port("80/tcp", &["0.0.0.0:8080", "[::]:8081"])])];
    for (rules, url) in [(&v6, "tcp://[2001:db8::7]:8081"), (&name, "tcp://host1.example:8080")] {
        let wanted = documents(&both, rules);
        assert_eq!(wanted.documents.iter().map(|one| one.url.as_str()).collect::<Vec<_>>(), [url]);
    }
}

#[test]
fn without_a_publication_the_network_is_chosen_by_label_then_bridge_then_name() {
    let networks = vec![
        network("none", None, None),
        network("zeta", Some("172.20.0.2"), None),
        network("bridge", Some("172.17.0.2"), None),
        network("alpha", None, Some("fd00::2")),
    ];
    let of = |networks: &[Network], label: Option<&str>| {
        let labels =
            label.map(|name| (reach::NETWORK_LABEL.to_owned(), name.to_owned())).into_iter().collect();
        let networks = networks.to_vec();
        vec![Container { labels, networks, ..container("c1", vec![port("80/tcp", &[])]) }]
    };
    let url = |containers: Vec<Container>| documents(&containers, &rules()).documents[0].url.clone();
    assert_eq!(url(of(&networks, None)), "tcp://172.17.0.2:80");
    assert_eq!(url(of(&networks, Some("zeta"))), "tcp://172.20.0.2:80");
    let without_bridge = [networks[1].clone(), networks[3].clone()];
    assert_eq!(url(of(&without_bridge, None)), "tcp://[fd00::2]:80");
    assert_eq!(url(of(&networks, Some("nowhere"))), "tcp://172.17.0.2:80");
    assert!(
        problems(&of(&networks, Some("nowhere")), &rules())[0].contains("\"nowhere\", which it is not in")
    );
    let without = of(&networks[..1], None);
    assert!(documents(&without, &rules()).documents.is_empty());
    assert!(problems(&without, &rules())[0].contains("port 80/tcp is not published"));
    let nothing = Container { ports: Vec::new(), ..without[0].clone() };
    assert!(problems(&[nothing], &rules())[0].contains("no address in any network"));
}

#[test]
fn the_hosts_network_is_the_hosts_address() {
    let of = |ports| Container { host_network: true, networks: Vec::new(), ..container("c1", ports) };
    assert_eq!(endpoints(&[of(vec![port("80/tcp", &[])])]), ["redis-80 tcp://10.0.0.7:80"]);
    assert_eq!(endpoints(&[of(vec![])]), ["redis tcp://10.0.0.7"]);
    let document = &documents(&[of(vec![port("80/tcp", &[])])], &rules()).documents[0];
    assert_eq!(document.host_port.as_deref(), Some("80"));
}

#[test]
fn who_shares_a_network_is_reached_where_its_owner_is() {
    let owner = container("owner", vec![port("80/tcp", &["0.0.0.0:8080"])]);
    let mut sharing = container("sharing", vec![port("80/tcp", &[]), port("81/tcp", &[])]);
    sharing.image = "sidecar".into();
    sharing.networks.clear();
    sharing.shares_network_of = Some("owner".into());
    let all = [sharing.clone(), owner.clone()];
    let expect =
        ["redis-80 tcp://10.0.0.7:8080", "sidecar-80 tcp://10.0.0.7:8080", "sidecar-81 tcp://172.17.0.2:81"];
    assert_eq!(endpoints(&all), expect);
    let host = Container { host_network: true, ..owner.clone() };
    assert_eq!(documents(&[sharing.clone(), host], &rules()).documents[2].url, "tcp://10.0.0.7:81");
    let ended = Container { state: State::default(), ..owner };
    for gone in [vec![sharing.clone()], vec![sharing.clone(), ended]] {
        assert!(documents(&gone, &rules()).documents.is_empty());
        assert_eq!(problems(&gone, &rules()).len(), 2);
    }
}

#[test]
fn a_service_is_called_as_its_variables_or_its_image_say() {
    #[track_caller]
    fn check(image: &str, env: &[(&str, &str)], expect: &str) {
        let one = Container { image: image.into(), ..container("c1", vec![port("80/tcp", &[])]) };
        assert_eq!(documents(&[with_env(one, env)], &rules()).documents[0].service, expect);
    }
    check("redis", &[], "redis-80");
    check("redis:7.2", &[], "redis-80");
    check("registry.example:5000/team/redis:7@sha256:abcd", &[], "redis-80");
    check("registry.example:5000/team/redis", &[], "redis-80");
    check("sha256:0123456789abcdef0123", &[], "0123456789ab-80");
    check("redis", &[("SERVICE_NAME", "cache")], "cache");
    check("redis", &[("SERVICE_NAME", "cache"), ("SERVICE_80_NAME", "web")], "web");
    check("redis", &[("SERVICE_NAME", ""), ("SERVICE_80_NAME", ""), ("SERVICE_81_NAME", "x")], "redis-80");
    check("redis", &[("SERVICE_80_NAME", " !")], "redis-80");
}

#[test]
fn a_path_is_made_of_its_elements() {
    #[track_caller]
    fn check(elements: &[&str], expect: &str) {
        let ports = vec![port("80/udp", &["192.0.2.4:8080"])];
        let one =
            with_env(container("c1", ports), &[("NAME", "web"), ("EMPTY", ""), ("SERVICE_80_NAME", "http")]);
        assert_eq!(paths(&[one], &rules_with_path(elements)), [expect]);
    }
    check(&["string:x", "environment:NAME", "environment:NONE", "environment:EMPTY"], "/services/x/web");
    check(
        &["service:PORT", "service:port", "service:HOST_PORT", "service:PROTO"],
        "/services/http/80/8080/udp",
    );
    check(&["service:ID", "container:HOSTNAME", "container:NAME"], "/services/c1/c1-host/c1-name");
    check(&["service:HOST", "service:IPADDRESS"], "/services/host1.example/192.0.2.4");
    check(&["container:IMAGE"], "/services/registry.example:5000-team-redis:7");
}

#[test]
fn what_is_absent_is_left_out_of_a_path() {
    let rules = rules_with_path(&["service:PORT", "service:HOST_PORT", "service:HOSTNAME"]);
    assert_eq!(paths(&[container("c1", vec![port("80/tcp", &[])])], &rules), ["/services/80/c1-host"]);
    assert_eq!(paths(&[container("c1", vec![])], &rules), ["/services/c1-host"]);
    let nothing = rules_with_path(&["environment:NAME", "service:PORT"]);
    assert_eq!(paths(&[container("c1", vec![])], &nothing), ["/services/c1"]);
}

#[test]
fn a_container_does_not_choose_its_way_out_of_its_place() {
    let rules = rules_with_path(&["environment:NAME", "service:HOSTNAME"]);
    let long = "é".repeat(300);
    for (name, expect) in [
        ("a/b", "a-b"),
        ("../../etc", "..-..-etc"),
        ("..", "--"),
        (".", "-"),
        ("a b\n\u{7f}", "a-b--"),
        ("a\\b", "a-b"),
        (long.as_str(), &long[..254]),
    ] {
        let one = with_env(container("c1", vec![]), &[("NAME", name)]);
        assert_eq!(paths(&[one], &rules), [format!("/services/{expect}/c1-host")]);
    }
}

#[test]
fn elements_that_are_none_are_refused() {
    let refused = [
        ("services", ElementError::Form),
        ("string:", ElementError::Form),
        ("", ElementError::Form),
        ("etcd:PORT", ElementError::Kind),
        ("service:PORTS", ElementError::Field),
        ("container:ENV", ElementError::Field),
    ];
    for (text, error) in refused {
        assert_eq!(text.parse::<Element>(), Err(error), "{text}");
    }
}

#[test]
fn one_container_has_as_many_paths_as_places() {
    let one = container(
        "c1",
        vec![
            port("53/tcp", &["0.0.0.0:53"]),
            port("53/udp", &["0.0.0.0:53", "127.0.0.1:53", "192.0.2.4:53"]),
        ],
    );
    assert_eq!(
        paths(std::slice::from_ref(&one), &rules()),
        [
            "/services/53/53/c1-host",
            "/services/53/53/c1-host-53-udp",
            "/services/53/53/c1-host-53-udp-53-127.0.0.1",
            "/services/53/53/c1-host-53-udp-53-192.0.2.4",
        ]
    );
}

#[test]
fn of_two_with_one_path_or_endpoint_the_lower_id_has_it() {
    let short = rules_with_path(&["environment:NAME"]);
    let web = |id, at| with_env(container(id, vec![port("80/tcp", &[at])]), &[("NAME", "web")]);
    let (a, b) = (web("a", "0.0.0.0:80"), web("b", "0.0.0.0:81"));
    for both in [[a.clone(), b.clone()], [b.clone(), a.clone()]] {
        let wanted = documents(&both, &short);
        assert_eq!(wanted.documents.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(
            wanted.problems[0]
                .to_string()
                .starts_with("container b-name: another container is advertised under")
        );
    }
    // Both in the host's network, which only one of them can have.
    let host =
        |one: Container, name| with_env(Container { host_network: true, ..one }, &[("SERVICE_NAME", name)]);
    let wanted = documents(&[host(b, "Web!"), host(a, "web")], &rules());
    assert_eq!(wanted.documents.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(wanted.problems[0].kind, ProblemKind::UrlTaken("Web!".into(), "tcp://10.0.0.7:80".into()));
}

#[test]
fn globs_publish_more_of_the_environment() {
    let env = [
        ("LANG", "C"),
        ("DB_HOST", "db"),
        ("DB_PASSWORD", "s3cret"),
        ("SERVICE_X_NAME", "x"),
        ("CONSUL_DC", "dc2"),
    ];
    let one = [with_env(container("c1", vec![]), &env)];
    let published = |globs: &[&str]| {
        let rules = Rules { publish_env: globs.iter().map(|glob| WildMatch::new(glob)).collect(), ..rules() };
        let names = documents(&one, &rules).documents.remove(0).env.into_keys();
        names.collect::<Vec<String>>().join(" ")
    };
    assert_eq!(published(&[]), "CONSUL_DC");
    assert_eq!(published(&["DB_H*"]), "CONSUL_DC DB_HOST");
    assert_eq!(published(&["*"]), "CONSUL_DC DB_HOST DB_PASSWORD LANG SERVICE_X_NAME");
}

prop_compose! {
    fn any_port()(
        port in prop_oneof![Just(53_u16), Just(80), any::<u16>()],
        proto in "tcp|udp|sctp|[a-z]{0,2}",
        published in prop::collection::vec((any_ip(), prop_oneof![Just(80_u16), any::<u16>()]), 0..4),
    ) -> Port {
        let published = published.into_iter().map(|(ip, port)| Binding { ip, port }).collect();
        Port { port, proto, published }
    }
}

fn any_ip() -> impl Strategy<Value = std::net::IpAddr> {
    let some =
        ["0.0.0.0", "::", "127.0.0.1", "10.0.0.7", "fd00::7"].map(|ip| ip.parse().expect("an address"));
    prop_oneof![prop::sample::select(some.to_vec()), any::<std::net::IpAddr>()]
}

prop_compose! {
    fn any_network()(name in "bridge|none|[a-z]{0,2}", v4 in any::<Option<[u8; 4]>>(), v6 in any::<Option<[u8; 16]>>()) -> Network {
        Network { name, v4: v4.map(Into::into), v6: v6.map(Into::into) }
    }
}

prop_compose! {
    fn any_container()(
        id in "[a-c]{1,2}",
        hostname in "x|.{0,3}",
        image in "redis|.{0,9}",
        env in prop::collection::vec(("NAME|TAGS|SERVICE_NAME|SERVICE_80_NAME|SECRET_[A-Z]|.{0,4}", ".{0,6}"), 0..5),
        label in prop::option::of("bridge|[a-z]"),
        running in prop::bool::weighted(0.9),
        networks in prop::collection::vec(any_network(), 0..3),
        host_network in prop::bool::weighted(0.2),
        shares_network_of in prop::option::weighted(0.3, "[a-c]{1,2}"),
        ports in prop::collection::vec(any_port(), 0..4),
    ) -> Container {
        let labels = label.map(|name| (reach::NETWORK_LABEL.to_owned(), name)).into_iter().collect();
        let state = State { running, ..RUNNING };
        let name = format!("/{id}");
        Container { id, name, image, hostname, env, labels, state, networks, host_network, shares_network_of, ports }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever an engine says: one document to a path and to an endpoint, one segment to an element, no
    /// variable that is not allowed, and nothing that hangs on the order in which it was said.
    #[test]
    fn of_any_facts_come_sound_documents(
        mut containers in prop::collection::vec(any_container(), 0..8),
        short in any::<bool>(),
    ) {
        let mut ids = BTreeSet::new();
        containers.retain(|one| ids.insert(one.id.clone()));
        let rules = if short { rules_with_path(&["environment:NAME"]) } else { rules() };
        let wanted = documents(&containers, &rules);
        let paths: BTreeSet<&str> = wanted.documents.iter().map(|one| one.path.as_str()).collect();
        prop_assert_eq!(paths.len(), wanted.documents.len());
        let endpoints: BTreeSet<(String, &str)> =
            wanted.documents.iter().map(|one| (folded(&one.service), one.url.as_str())).collect();
        prop_assert_eq!(endpoints.len(), wanted.documents.len());
        for one in &wanted.documents {
            let below = one.path.strip_prefix("/services/").expect("below the prefix");
            let most = rules.prefix_path.len();
            prop_assert!(below.split('/').count() <= most && !below.split('/').any(|part| part == ".." || part == "."));
            prop_assert!(one.env.keys().all(|name| !name.starts_with("SECRET")));
        }
        containers.reverse();
        prop_assert_eq!(documents(&containers, &rules), wanted);
    }
}
