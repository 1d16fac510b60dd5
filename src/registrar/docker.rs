//! Docker's API, as far as the registrar needs it: what runs, what one container is, what happens. What it
//! says becomes [`facts`](super::facts) here; nobody else knows its names.

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as BollardError,
    models::{
        ContainerInspectResponse, EndpointSettings, EventMessage, EventMessageTypeEnum, HealthStatusEnum,
        PortBinding,
    },
    query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptions},
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use thiserror::Error;

use super::facts::{Binding, Container, Health, Network, Port, State};
use crate::client::cause::root_cause;

/// Within this an engine answers a question, or it does not answer. Long, for it may be starting fifty
/// containers meanwhile, and nothing is removed while we wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How many containers are looked at in one moment.
pub const CONCURRENT: usize = 8;
/// Events since so long before we ask for them are told again, so that none falls between.
const OVERLAP: Duration = Duration::from_secs(1);

/// An engine that answered once, in a version of its API that both sides speak.
#[derive(Clone, Debug)]
pub struct Engine(Docker);

/// A container, and when it was started last, in nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What it is.
    pub container: Container,
    /// 0 where the engine does not say.
    pub started: i64,
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// When, in nanoseconds since 1970; the far end of time where the engine does not say.
    pub at: i64,
    /// What.
    pub kind: EventKind,
}

/// The kinds of events that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Its process ended, or it was removed.
    Ended,
    /// It may be another than it was.
    Changed,
}

/// Docker did not answer, or not as it should: nothing is known of what runs.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No answer, within 10 s.
    #[error("Docker does not tell {asked} within {} s", CALL_TIMEOUT.as_secs())]
    Silent {
        /// What it was asked.
        asked: &'static str,
    },
    /// It cannot be reached, or it refused.
    #[error("Docker does not tell {asked}: {}", root_cause(.error.as_ref()))]
    Failed {
        /// What it was asked.
        asked: &'static str,
        /// What it said.
        error: Box<BollardError>,
    },
}

impl Engine {
    /// The engine behind this socket, a path or `unix://` and a path.
    pub async fn connect(socket: &Path) -> Result<Self, EngineError> {
        const ASKED: &str = "its version";
        let socket = socket.to_string_lossy();
        let path = socket.strip_prefix("unix://").unwrap_or(&socket);
        let docker = Docker::connect_with_socket(path, CALL_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
            .map_err(|error| failed(ASKED, error))?;
        Ok(Self(in_time(ASKED, docker.negotiate_version()).await?))
    }

    /// Every container that runs, paused and restarting ones among them. All of them, or an error: a
    /// container that vanishes meanwhile does not run.
    pub async fn containers(&self) -> Result<Vec<Observed>, EngineError> {
        let options = ListContainersOptions::default();
        let listed = in_time("what runs", self.0.list_containers(Some(options))).await?;
        let looks = listed.into_iter().filter_map(|summary| summary.id).map(|id| self.look(id));
        let found: Vec<_> = stream::iter(looks).buffer_unordered(CONCURRENT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn look(&self, id: String) -> Result<Option<Observed>, EngineError> {
        self.container(&id).await
    }

    /// One container, running or not; none if there is none of this id.
    pub async fn container(&self, id: &str) -> Result<Option<Observed>, EngineError> {
        let answer = in_time("of a container", self.0.inspect_container(id, None::<InspectContainerOptions>));
        match answer.await {
            Ok(inspected) => Ok(Some(observed(id, inspected))),
            Err(EngineError::Failed { error, .. }) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it takes new questions. One that is being stopped does not, while it still tells of the
    /// containers that end with it.
    pub async fn answers(&self) -> Result<(), EngineError> {
        in_time("that it is there", self.0.ping()).await.map(drop)
    }

    /// What happens from now on, and what happened within the last second. It ends with the engine.
    pub fn events(&self) -> impl Stream<Item = Result<Event, EngineError>> + Send + use<> {
        let types = [("type", vec!["container", "network"])].into();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(OVERLAP);
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let options = EventsOptionsBuilder::new().since(&since).filters(&types).build();
        let docker = self.0.clone();
        let told = stream::once(async move { docker.events(Some(options)) }).flatten();
        told.filter_map(|message| async {
            match message {
                Ok(message) => event(message).map(Ok),
                Err(error) => Some(Err(failed("what happens", error))),
            }
        })
    }
}

async fn in_time<T>(
    asked: &'static str,
    answer: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(CALL_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(BollardError::RequestTimeoutError)) | Err(_) => Err(EngineError::Silent { asked }),
        Ok(Err(error)) => Err(failed(asked, error)),
    }
}

fn failed(asked: &'static str, error: BollardError) -> EngineError {
    EngineError::Failed { asked, error: Box::new(error) }
}

fn is_missing(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 404, .. })
}

fn event(message: EventMessage) -> Option<Event> {
    let mut actor = message.actor?;
    let action = message.action?;
    // `health_status: healthy`, `exec_start: /bin/sh -c …`
    let action = action.split(':').next().unwrap_or_default();
    let (id, kind) = match (message.typ?, action) {
        (EventMessageTypeEnum::CONTAINER, "die" | "destroy") => (actor.id?, EventKind::Ended),
        (
            EventMessageTypeEnum::CONTAINER,
            "start" | "stop" | "restart" | "pause" | "unpause" | "rename" | "update" | "health_status",
        ) => (actor.id?, EventKind::Changed),
        (EventMessageTypeEnum::NETWORK, "connect" | "disconnect") => {
            (actor.attributes.as_mut()?.remove("container")?, EventKind::Changed)
        }
        _ => return None,
    };
    Some(Event { id, at: message.time_nano.unwrap_or(i64::MAX), kind })
}

fn observed(id: &str, inspected: ContainerInspectResponse) -> Observed {
    let state = inspected.state.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let settings = inspected.network_settings.unwrap_or_default();
    let mode = inspected.host_config.and_then(|host| host.network_mode);
    let health = state.health.and_then(|health| health.status).and_then(|status| match status {
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
    });
    let bound = settings.ports.unwrap_or_default();
    // A container in the host's network has no bindings; what it exposes is in its configuration.
    let exposed = config.exposed_ports.unwrap_or_default();
    let unbound = exposed.into_iter().filter(|port| !bound.contains_key(port)).map(|port| (port, None));
    let unbound: Vec<_> = unbound.collect();
    let mut ports: Vec<Port> =
        bound.into_iter().chain(unbound).filter_map(|(port, bindings)| published(&port, bindings)).collect();
    ports.sort_by(|one, other| (one.port, &one.proto).cmp(&(other.port, &other.proto)));
    let networks = settings.networks.unwrap_or_default().into_iter().map(network);
    let mut networks: Vec<Network> = networks.filter(|net| net.v4.is_some() || net.v6.is_some()).collect();
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    Observed {
        container: Container {
            id: inspected.id.unwrap_or_else(|| id.to_owned()),
            name: inspected.name.unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            hostname: config.hostname.unwrap_or_default(),
            env: config.env.unwrap_or_default().iter().map(|line| variable(line)).collect(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            state: State {
                running: state.running.unwrap_or(false),
                paused: state.paused.unwrap_or(false),
                restarting: state.restarting.unwrap_or(false),
                health,
            },
            networks,
            host_network: mode.as_deref() == Some("host"),
            shares_network_of: mode
                .as_deref()
                .and_then(|mode| mode.strip_prefix("container:"))
                .map(str::to_owned),
            ports,
        },
        started: state.started_at.as_deref().map_or(0, nanoseconds),
    }
}

/// `NAME=value`, or a name alone.
fn variable(line: &str) -> (String, String) {
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    (name.to_owned(), value.to_owned())
}

/// `8080/udp` and where it is published.
fn published(port: &str, bindings: Option<Vec<PortBinding>>) -> Option<Port> {
    let (number, proto) = port.split_once('/').unwrap_or((port, "tcp"));
    let bindings = bindings.unwrap_or_default().into_iter().filter_map(|binding| {
        let ip = binding.host_ip.filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        Some(Binding { ip: ip.parse().ok()?, port: binding.host_port?.parse().ok()? })
    });
    Some(Port { port: number.parse().ok()?, proto: proto.to_owned(), published: bindings.collect() })
}

fn network((name, settings): (String, EndpointSettings)) -> Network {
    let address = |text: Option<String>| text.and_then(|text| text.parse::<IpAddr>().ok());
    Network { name, v4: address(settings.ip_address), v6: address(settings.global_ipv6_address) }
}

/// Since 1970; 0 of what is no time, such as the year 1 of a container that was never started.
fn nanoseconds(time: &str) -> i64 {
    let time = humantime::parse_rfc3339(time).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &serde_json::Value) -> Container {
        observed("ab12", serde_json::from_value(json.clone()).expect("an answer of Docker's")).container
    }

    #[test]
    fn an_answer_becomes_facts() {
        let observed = observed(
            "ab12",
            serde_json::from_value(serde_json::json!({
                "Id": "ab12", "Name": "/web",
                "State": {"Status": "running", "Running": true, "Paused": false, "Restarting": false,
                          "StartedAt": "2026-01-01T00:00:00.000000002Z", "Health": {"Status": "healthy"}},
                "Config": {"Hostname": "ab", "Image": "web:1", "Env": ["A=1=2", "B", "C="],
                           "ExposedPorts": {"80/tcp": {}, "9/udp": {}}, "Labels": {"k": "v"}},
                "HostConfig": {"NetworkMode": "default"},
                "NetworkSettings": {
                    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "49155"}, {"HostIp": "::", "HostPort": "49155"}],
                              "53/udp": null},
                    "Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""}, "none": {"IPAddress": ""}}
                }
            }))
            .expect("an answer of Docker's"),
        );
        assert_eq!(observed.started % 1_000_000_000, 2);
        let container = observed.container;
        let env = [("A", "1=2"), ("B", ""), ("C", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(container.env, env);
        assert_eq!(container.state.health, Some(Health::Healthy));
        let ports: Vec<_> =
            container.ports.iter().map(|p| (p.port, p.proto.as_str(), p.published.len())).collect();
        assert_eq!(ports, [(9, "udp", 0), (53, "udp", 0), (80, "tcp", 2)]);
        assert_eq!(container.networks.len(), 1);
        assert!(!container.host_network);
    }

    #[test]
    fn an_empty_answer_is_a_container_that_does_not_run() {
        let container = of(&serde_json::json!({}));
        assert_eq!(container, Container { id: "ab12".to_owned(), ..Container::default() });
        let host = of(&serde_json::json!({"HostConfig": {"NetworkMode": "host"}}));
        assert!(host.host_network);
    }

    #[test]
    fn events_name_their_container() {
        #[track_caller]
        fn check(json: serde_json::Value, expect: Option<(&str, EventKind)>) {
            let told = event(serde_json::from_value(json).expect("an event of Docker's"));
            assert_eq!(told.as_ref().map(|event| (event.id.as_str(), event.kind)), expect);
        }
        let of = |typ: &str, action: &str| serde_json::json!({"Type": typ, "Action": action, "Actor": {"ID": "c1", "Attributes": {"container": "c2"}}});
        check(of("container", "start"), Some(("c1", EventKind::Changed)));
        check(of("container", "die"), Some(("c1", EventKind::Ended)));
        check(of("container", "health_status: unhealthy"), Some(("c1", EventKind::Changed)));
        check(of("network", "disconnect"), Some(("c2", EventKind::Changed)));
        check(of("container", "exec_start: sh"), None);
        check(of("image", "pull"), None);
        check(serde_json::json!({}), None);
    }

    #[test]
    fn a_time_is_nanoseconds_since_1970() {
        assert_eq!(nanoseconds("1970-01-01T00:00:01.5Z"), 1_500_000_000);
        assert_eq!(nanoseconds("0001-01-01T00:00:00Z"), 0);
        assert_eq!(nanoseconds("soon"), 0);
    }
}
