//! What is advertised of one port of one container: the document, its path, and what a leasehold makes
//! of it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::facts::Container;

mod path;
mod reach;

pub use path::{Element, ElementError};
use reach::{Place, places};

/// What is advertised of one port of one container. Its JSON is what etcd holds under `path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The container's id.
    pub id: String,
    /// The Docker host's name: `hostname` of the settings.
    pub host: String,
    /// Where it is reached: the address that the port is published at, else the container's own.
    pub ipaddress: String,
    /// Of its environment, what may be published.
    pub env: BTreeMap<String, String>,
    /// `TAGS` of its environment, parted at commas.
    pub tags: Vec<String>,
    /// The container's name, with its slash.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The container's own host name.
    pub hostname: String,
    /// The port in the container; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<String>,
    /// `tcp`, `udp` or `sctp`; absent without a port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proto: Option<String>,
    /// The port on the host; absent where it is not published.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host_port: Option<String>,
    /// Where a directory backend keeps it. No two documents of a plan have the same.
    pub path: String,
    /// What it is called: `SERVICE_<port>_NAME`, else `SERVICE_NAME`, else image-port. Not part of the document.
    #[serde(skip)]
    pub service: String,
    /// Where it is reached, as an absolute URL. Not part of the document. No two documents of a plan have the
    /// same service and url.
    #[serde(skip)]
    pub url: String,
}

/// How documents are made of facts.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The Docker host's name.
    pub hostname: String,
    /// The address to advertise, an IP address without brackets or a name.
    pub ipaddress: String,
    /// What every path begins with: `/services`.
    pub prefix_services: String,
    /// What follows in it, element by element.
    pub prefix_path: Vec<Element>,
    /// Patterns of variables that are published besides those that the path, the tags and the names need.
    pub publish_env: Vec<WildMatch>,
}

/// What came of the facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What is to be advertised, in the order of the paths.
    pub documents: Vec<Document>,
    /// What of them could not be, or not as asked; the same facts give the same ones in the same order.
    pub problems: Vec<Problem>,
}

/// What could not be advertised of a container, or not as asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The container's name.
    pub container: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// It has no address, so nobody could reach it: the ports, if it has any.
    NoAddress(Option<String>),
    /// This port is published for the other family of addresses than the advertised one's.
    OtherFamily(String),
    /// The network that its label names is none of its own.
    NoSuchNetwork(String),
    /// Another container's document has this path.
    PathTaken(String),
    /// Another container's document has this service and url.
    UrlTaken(String, String),
}

/// What is to be advertised of these containers, whatever their order. Where two would have the same path,
/// or the same service and url, the container with the lower id has it and the other is reported.
pub fn documents(containers: &[Container], rules: &Rules) -> Wanted {
    let by_id: BTreeMap<&str, &Container> = containers.iter().map(|one| (one.id.as_str(), one)).collect();
    let mut wanted = Wanted::default();
    let mut paths: BTreeMap<String, &str> = BTreeMap::new();
    let mut urls = BTreeSet::new();
    for container in by_id.values().filter(|container| container.state.alive()) {
        let mut problems = Vec::new();
        for place in places(container, &by_id, rules, &mut problems) {
            let mut document = document(container, &place, rules);
            let endpoint = (folded(&document.service), document.url.clone());
            if urls.contains(&endpoint) {
                problems.push(ProblemKind::UrlTaken(document.service, document.url));
                continue;
            }
            let Some(path) = free_path(&document, &paths) else {
                problems.push(ProblemKind::PathTaken(document.path));
                continue;
            };
            urls.insert(endpoint);
            document.path = path;
            paths.insert(document.path.clone(), &container.id);
            wanted.documents.push(document);
        }
        let of = |kind| Problem { container: container.name.clone(), kind };
        wanted.problems.extend(problems.into_iter().map(of));
    }
    wanted.documents.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    wanted
}

fn document(container: &Container, place: &Place<'_>, rules: &Rules) -> Document {
    let mut document = Document {
        id: container.id.clone(),
        host: rules.hostname.clone(),
        ipaddress: place.ipaddress.clone(),
        env: published_env(container, rules),
        tags: tags(container),
        name: container.name.clone(),
        image: container.image.clone(),
        hostname: container.hostname.clone(),
        port: place.port.map(|(port, _)| port.to_string()),
        proto: place.port.map(|(_, proto)| proto.to_owned()),
        host_port: place.host_port.map(|port| port.to_string()),
        path: String::new(),
        service: service_name(container, place.port.map(|(port, _)| port)),
        url: place.url(),
    };
    document.path = path::path(&document, container, rules);
    document
}

/// Its path; where the same container has it already, for another protocol or binding, one that says more.
/// None where another container has it.
fn free_path(document: &Document, taken: &BTreeMap<String, &str>) -> Option<String> {
    let field = |field: &Option<String>| field.clone().unwrap_or_default();
    let plain = &document.path;
    let port = format!("{plain}-{}-{}", field(&document.port), field(&document.proto));
    let binding = format!("{port}-{}-{}", field(&document.host_port), document.ipaddress);
    for path in [plain.clone(), port, binding] {
        match taken.get(&path) {
            None => return Some(path),
            Some(&by) if by == document.id => {}
            Some(_) => return None,
        }
    }
    None
}

/// A variable of its environment; an empty one counts as absent.
fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let mut named = container.env.iter().filter(|(variable, _)| variable == name);
    named.next_back().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// What may be published: what the path, the tags and the names are made of, and what the globs name.
fn published_env(container: &Container, rules: &Rules) -> BTreeMap<String, String> {
    let may = |name: &str| {
        ["TAGS", "SERVICE_NAME", "CONSUL_DC"].contains(&name)
            || is_service_port_name(name)
            || rules.prefix_path.iter().any(|element| *element == Element::Environment(name.to_owned()))
            || rules.publish_env.iter().any(|glob| glob.matches(name))
    };
    container.env.iter().filter(|(name, _)| may(name)).cloned().collect()
}

/// Whether it is `SERVICE_<port>_NAME`.
fn is_service_port_name(name: &str) -> bool {
    let port = name.strip_prefix("SERVICE_").and_then(|rest| rest.strip_suffix("_NAME"));
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn tags(container: &Container) -> Vec<String> {
    let tags = variable(container, "TAGS").unwrap_or_default().split(',').map(str::trim);
    tags.filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// What `SERVICE_<port>_NAME` says, if it is set.
fn port_name(container: &Container, port: u16) -> Option<&str> {
    variable(container, &format!("SERVICE_{port}_NAME"))
}

fn service_name(container: &Container, port: Option<u16>) -> String {
    let given = port.and_then(|port| port_name(container, port));
    let given = given.or_else(|| variable(container, "SERVICE_NAME")).filter(|name| !folded(name).is_empty());
    given.map_or_else(
        || {
            let image = image_name(&container.image);
            port.map_or_else(|| image.to_owned(), |port| format!("{image}-{port}"))
        },
        str::to_owned,
    )
}

/// `redis` of `registry.example:5000/team/redis:7@sha256:…`: a new version keeps its name. Of an image that has
/// an id only, the first twelve digits.
fn image_name(image: &str) -> &str {
    if let Some(id) = image.strip_prefix("sha256:") {
        return id.get(..12).unwrap_or(id);
    }
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

/// As a leasehold folds names: two that it takes for one are one here.
fn folded(name: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let words = name.split(|c| !kept(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").trim_matches('-').to_ascii_lowercase()
}

impl Document {
    /// Whether what a backend keeps is the same: all that is in the JSON.
    pub fn same_content(&self, other: &Self) -> bool {
        self.content() == other.content()
    }

    #[expect(clippy::type_complexity, reason = "it is compared, and goes nowhere")]
    fn content(&self) -> ([&str; 7], &BTreeMap<String, String>, &[String], [Option<&str>; 3]) {
        (
            [&self.id, &self.host, &self.ipaddress, &self.name, &self.image, &self.hostname, &self.path],
            &self.env,
            &self.tags,
            [self.port.as_deref(), self.proto.as_deref(), self.host_port.as_deref()],
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let container = self.container.trim_start_matches('/');
        write!(f, "container {container}: ")?;
        match &self.kind {
            ProblemKind::NoAddress(None) => {
                f.write_str("it has no address in any network; nothing is advertised")
            }
            ProblemKind::NoAddress(Some(port)) => {
                write!(
                    f,
                    "port {port} is not published and the container has no address; it is not advertised"
                )
            }
            ProblemKind::OtherFamily(port) => write!(
                f,
                "port {port} is published for the other IP version than the advertised address's; give --addr an \
                 address of that version or a name"
            ),
            ProblemKind::NoSuchNetwork(network) => {
                write!(
                    f,
                    "its label {} names the network {network:?}, which it is not in",
                    reach::NETWORK_LABEL
                )
            }
            ProblemKind::PathTaken(path) => write!(
                f,
                "another container is advertised under {path}; make prefix_path tell them apart, with \
                 service:HOSTNAME say"
            ),
            ProblemKind::UrlTaken(service, url) => {
                write!(f, "another container is advertised as {service} at {url}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
