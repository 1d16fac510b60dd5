//! Where a container is reached: its ports, their publication, its networks.

use std::time::Duration;

use super::{
    Row,
    rig::{HOST, Rig},
};
use crate::support::{START, wait_for};

pub const ROWS: &[Row] = &[
    ("published", published),
    ("published_at_one_address", published_at_one_address),
    ("published_twice", published_twice),
    ("published_for_ipv6_only", published_for_ipv6_only),
    ("not_published", not_published),
    ("no_ports", no_ports),
    ("udp_beside_tcp", udp_beside_tcp),
    ("port_range", port_range),
    ("host_network", host_network),
    ("several_networks", several_networks),
    ("ipv6_network", ipv6_network),
    ("no_network", no_network),
    ("network_of_another_container", network_of_another_container),
];

fn published(rig: &Rig) {
    let env = [
        "--env=ENVIRONMENT=prod",
        "--env=NAME=shop/../cart",
        "--env=TAGS=blue, green",
        "--env=SERVICE_80_NAME=cart-http",
        "--env=LANG=C",
        "--env=PASSWORD=s3cret=2",
    ];
    rig.run("published", &[&env[..], &["--publish-all", "web:1"]].concat());
    let port = rig.published("published", "80/tcp");
    let url = rig.at_host("tcp", port);
    let listed = rig.expect("published", &[("cart-http", url.clone())]);
    rig.answers(&url);
    let one = &listed[0];
    let inspected = rig.engine.inspect("published");
    let hostname = inspected["Config"]["Hostname"].as_str().unwrap();
    let path = format!("/services/prod/shop-..-cart/cart-http/{port}/{hostname}");
    for (field, value) in [
        ("id", inspected["Id"].as_str().unwrap()),
        ("host", HOST),
        ("ipaddress", &rig.engine.address().to_string()),
        ("image", "web:1"),
        ("hostname", hostname),
        ("port", "80"),
        ("proto", "tcp"),
        ("host_port", &port.to_string()),
        ("path", &path),
    ] {
        assert_eq!(one.info(field), value, "{field}");
    }
    let published =
        ["ENVIRONMENT=prod", "LANG=C", "NAME=shop/../cart", "SERVICE_80_NAME=cart-http", "TAGS=blue, green"];
    assert_eq!(one.env(), published);
    assert_eq!((one.label("path"), one.label("host")), (path.as_str(), HOST));
    assert_eq!((one.label("tag.blue"), one.label("tag.green")), ("true", "true"));
}

fn published_at_one_address(rig: &Rig) {
    rig.run("one-address", &["--publish", "127.0.0.1::80", "web:1"]);
    let url = format!("tcp://127.0.0.1:{}", rig.published("one-address", "80/tcp"));
    let listed = rig.expect("one-address", &[("web-80", url.clone())]);
    assert_eq!(listed[0].info("ipaddress"), "127.0.0.1");
    rig.answers(&url);
}

fn published_twice(rig: &Rig) {
    rig.run("twice", &["--publish", "8080:80", "--publish", "8081:80", "web:1"]);
    let urls = [8080, 8081].map(|port| rig.at_host("tcp", port));
    rig.expect("twice", &urls.clone().map(|url| ("web-80", url)));
    for url in &urls {
        rig.answers(url);
    }
}

fn published_for_ipv6_only(rig: &Rig) {
    rig.run("ipv6-only", &["--publish", "[::]:8086:80", "web:1"]);
    let url = format!("tcp://{}:80", rig.address("ipv6-only", "bridge", "IPAddress"));
    let listed = rig.expect("ipv6-only", &[("web-80", url.clone())]);
    assert_eq!(listed[0].info("host_port"), "", "the advertised address is of IPv4");
    rig.answers(&url);
}

fn not_published(rig: &Rig) {
    rig.run("not-published", &["web:1"]);
    let url = format!("tcp://{}:80", rig.address("not-published", "bridge", "IPAddress"));
    let listed = rig.expect("not-published", &[("web-80", url.clone())]);
    let one = &listed[0];
    assert_eq!((one.info("port"), one.info("host_port")), ("80", ""));
    assert_eq!(url, format!("tcp://{}:80", one.info("ipaddress")));
    assert_eq!(one.path(), format!("/services/80/{}", one.info("hostname")));
    rig.answers(&url);
}

fn no_ports(rig: &Rig) {
    rig.run("no-ports", &["--env=NAME=worker", "bare:1"]);
    let url = format!("tcp://{}", rig.address("no-ports", "bridge", "IPAddress"));
    let listed = rig.expect("no-ports", &[("bare", url)]);
    let one = &listed[0];
    assert_eq!((one.info("port"), one.info("proto"), one.info("host_port")), ("", "", ""));
    assert_eq!(one.path(), format!("/services/worker/{}", one.info("hostname")));
}

fn udp_beside_tcp(rig: &Rig) {
    rig.run("dns", &["--env=SERVICE_NAME=dns", "--publish", "5353:53", "--publish", "5353:53/udp", "dns:1"]);
    let urls = ["tcp", "udp"].map(|proto| rig.at_host(proto, 5353));
    let listed = rig.expect("dns", &urls.clone().map(|url| ("dns", url)));
    assert_eq!(listed[1].path(), format!("{}-53-udp", listed[0].path()));
    rig.answers(&urls[0]);
    let socket = rig.engine.udp().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let echo = || {
        socket.send_to(b"ping", urls[1].strip_prefix("udp://").unwrap()).unwrap();
        socket.recv(&mut [0; 8]).ok()
    };
    assert_eq!(wait_for("an echo over UDP", START, echo), 4);
}

fn port_range(rig: &Rig) {
    let serve = ["bare:1", "serve", "tcp:7000", "tcp:7001", "tcp:7002"];
    rig.run("range", &[&["--publish", "9000-9002:7000-7002"], &serve[..]].concat());
    let urls = [9000, 9001, 9002].map(|port| rig.at_host("tcp", port));
    let names = ["bare-7000", "bare-7001", "bare-7002"];
    let expected: Vec<_> = names.into_iter().zip(urls.clone()).collect();
    rig.expect("range", &expected);
    for url in &urls {
        rig.answers(url);
    }
}

fn host_network(rig: &Rig) {
    rig.run("host-net", &["--network=host", "--expose=8070", "bare:1", "serve", "tcp:8070"]);
    rig.run("host-net-bare", &["--network=host", "bare:1"]);
    let url = rig.at_host("tcp", 8070);
    let listed = rig.expect("host-net", &[("bare-8070", url.clone())]);
    assert_eq!(listed[0].info("host_port"), "8070");
    rig.answers(&url);
    rig.expect("host-net-bare", &[("bare", format!("tcp://{}", rig.engine.address()))]);
}

fn several_networks(rig: &Rig) {
    for network in ["kinds-a", "kinds-b"] {
        rig.engine.docker(&["network", "create", network]);
    }
    let at = |name: &str, network: &str| format!("tcp://{}:80", rig.address(name, network, "IPAddress"));
    let connect = |name: &str, network: &str| rig.engine.docker(&["network", "connect", network, name]);

    rig.run("nets-bridge", &["web:1"]);
    connect("nets-bridge", "kinds-a");
    rig.expect("nets-bridge", &[("web-80", at("nets-bridge", "bridge"))]);

    rig.run("nets-name", &["--network=kinds-b", "web:1"]);
    rig.expect("nets-name", &[("web-80", at("nets-name", "kinds-b"))]);
    connect("nets-name", "kinds-a");
    rig.expect("nets-name", &[("web-80", at("nets-name", "kinds-a"))]);
    rig.answers(&at("nets-name", "kinds-a"));

    rig.run("nets-label", &["--network=kinds-b", "--label=leasehold.network=kinds-b", "web:1"]);
    connect("nets-label", "kinds-a");
    connect("nets-label", "bridge");
    rig.expect("nets-label", &[("web-80", at("nets-label", "kinds-b"))]);
}

fn ipv6_network(rig: &Rig) {
    rig.engine.docker(&["network", "create", "--ipv6", "--subnet=fd00:6b69::/64", "kinds-6"]);
    rig.run("ipv6", &["--network=kinds-6", "web:1"]);
    // The engine gives it an address of each version; IPv4 goes first.
    rig.address("ipv6", "kinds-6", "GlobalIPv6Address");
    let url = format!("tcp://{}:80", rig.address("ipv6", "kinds-6", "IPAddress"));
    rig.expect("ipv6", &[("web-80", url)]);
    rig.run("ipv6-published", &["--network=kinds-6", "--publish", "8096:80", "web:1"]);
    rig.expect("ipv6-published", &[("web-80", rig.at_host("tcp", 8096))]);
}

fn no_network(rig: &Rig) {
    rig.run("no-network", &["--network=none", "web:1"]);
    rig.looked();
    assert!(rig.listed("no-network").is_empty());
}

fn network_of_another_container(rig: &Rig) {
    rig.run("owner", &["--publish", "8060:80", "web:1"]);
    rig.run("sharing", &["--network=container:owner", "dns:1"]);
    rig.expect("owner", &[("web-80", rig.at_host("tcp", 8060))]);
    let ip = rig.address("owner", "bridge", "IPAddress");
    let listed =
        rig.expect("sharing", &[("dns-53", format!("tcp://{ip}:53")), ("dns-53", format!("udp://{ip}:53"))]);
    rig.answers(listed[0].text("url"));
}
