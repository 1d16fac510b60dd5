//! Where a container is reached: at the host, where a port is published or the network is the host's, else at
//! the container's own address.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Container, ProblemKind, Rules};
use crate::registrar::facts::{Binding, Network, Port};

/// Docker's label that says in which network a container is reached.
pub const NETWORK_LABEL: &str = "leasehold.network";

/// One place to reach a container at.
#[derive(Debug)]
pub struct Place<'a> {
    /// The port in the container, and its protocol.
    pub port: Option<(u16, &'a str)>,
    /// The address to connect to, without brackets.
    pub ipaddress: String,
    /// The port on the host.
    pub host_port: Option<u16>,
}

impl Place<'_> {
    /// `tcp://10.0.0.7:49153`.
    pub fn url(&self) -> String {
        let ip = &self.ipaddress;
        let address = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        match self.port {
            Some((port, proto)) => format!("{proto}://{address}:{}", self.host_port.unwrap_or(port)),
            None => format!("tcp://{address}"),
        }
    }
}

/// Every place of a container, in the order of its ports. One without ports has one.
pub fn places<'a>(
    container: &'a Container,
    by_id: &BTreeMap<&str, &'a Container>,
    rules: &Rules,
    problems: &mut Vec<ProblemKind>,
) -> Vec<Place<'a>> {
    let net = match &container.shares_network_of {
        None => Some(container),
        Some(id) => by_id.get(id.as_str()).copied().filter(|owner| owner.state.running),
    };
    let inside = net.and_then(|net| address_inside(net, problems));
    let host = net.is_some_and(|net| net.host_network);
    let mut ports: Vec<&Port> = container.ports.iter().collect();
    ports.sort_by_key(|port| (port.port, &port.proto));
    ports.dedup_by_key(|port| (port.port, &port.proto));
    if ports.is_empty() {
        let ipaddress = if host { Some(rules.ipaddress.clone()) } else { inside.map(|ip| ip.to_string()) };
        if ipaddress.is_none() {
            problems.push(ProblemKind::NoAddress(None));
        }
        return ipaddress
            .map(|ipaddress| Place { port: None, ipaddress, host_port: None })
            .into_iter()
            .collect();
    }
    let mut places = Vec::new();
    for Port { port, proto, .. } in ports {
        let at = |ipaddress, host_port| Place { port: Some((*port, proto.as_str())), ipaddress, host_port };
        let published = if host {
            vec![(rules.ipaddress.clone(), *port)]
        } else {
            let bindings =
                net.and_then(|net| net.ports.iter().find(|p| p.port == *port && p.proto == *proto));
            published(bindings.map_or(&[], |port| &port.published), rules).unwrap_or_else(|| {
                problems.push(ProblemKind::OtherFamily(format!("{port}/{proto}")));
                Vec::new()
            })
        };
        match (published.is_empty(), inside) {
            (true, None) => problems.push(ProblemKind::NoAddress(Some(format!("{port}/{proto}")))),
            (true, Some(inside)) => places.push(at(inside.to_string(), None)),
            (false, _) => {
                places.extend(published.into_iter().map(|(ip, port)| at(ip, Some(port))));
            }
        }
    }
    places
}

/// Where these bindings are reached, each place once: at a binding's own address, or at the advertised one if it
/// is for any. An advertised address of one IP version is not reached by a binding of the other; a name is
/// taken for IPv4 where there is a choice. None: there are bindings, and none is reached.
fn published(bindings: &[Binding], rules: &Rules) -> Option<Vec<(String, u16)>> {
    let any = |v4: bool| bindings.iter().any(|one| one.ip.is_unspecified() && one.ip.is_ipv4() == v4);
    let v4 = rules.ipaddress.parse::<IpAddr>().map_or_else(|_| any(true), |ip| ip.is_ipv4());
    let mut places: Vec<(String, u16)> = bindings
        .iter()
        .filter(|one| !one.ip.is_unspecified() || one.ip.is_ipv4() == v4)
        .map(|one| {
            let ip = if one.ip.is_unspecified() { rules.ipaddress.clone() } else { one.ip.to_string() };
            (ip, one.port)
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    (bindings.is_empty() || !places.is_empty()).then_some(places)
}

/// Its address in the network that its label names, else in `bridge`, else in the first by name in which it has
/// one; IPv4 before IPv6.
fn address_inside(container: &Container, problems: &mut Vec<ProblemKind>) -> Option<IpAddr> {
    let label = container.labels.get(NETWORK_LABEL);
    let address = |network: &Network| network.v4.or(network.v6);
    if let Some(label) = label
        && !container.networks.iter().any(|network| network.name == *label)
    {
        problems.push(ProblemKind::NoSuchNetwork(label.clone()));
    }
    let preference =
        |network: &&Network| (Some(&network.name) != label, network.name != "bridge", network.name.clone());
    let with_address = container.networks.iter().filter(|network| address(network).is_some());
    with_address.min_by_key(preference).and_then(address)
}
