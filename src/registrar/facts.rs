//! What a Docker engine said of its containers. Plain values: what Docker's API calls them stays in `docker`.

use std::{collections::BTreeMap, net::IpAddr};

/// A container, as `docker inspect` tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The full id, 64 hexadecimal digits.
    pub id: String,
    /// With the slash in front, as the engine has it: `/jovial_albattani`.
    pub name: String,
    /// As it was named when the container was made: `redis:7`.
    pub image: String,
    /// The name it has for itself.
    pub hostname: String,
    /// Its environment, in Docker's order: `NAME` and what stands after the first `=`.
    pub env: Vec<(String, String)>,
    /// Docker's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it can be used.
    pub state: State,
    /// Its networks by name, with its address in each; none with host networking.
    pub networks: Vec<Network>,
    /// It shares the host's network.
    pub host_network: bool,
    /// The full id of the container whose network it shares (`--network container:…`).
    pub shares_network_of: Option<String>,
    /// What it exposes, each port once, whether published or not. With the host's or another container's
    /// network, the engine lists these with the container's configuration only.
    pub ports: Vec<Port>,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its process runs. Docker says so of a paused and of a restarting one, too.
    pub running: bool,
    /// Its processes are frozen.
    pub paused: bool,
    /// It ended and is being started again.
    pub restarting: bool,
    /// What its health check says, if it has one.
    pub health: Option<Health>,
}

impl State {
    /// Whether it can be used now: it runs, is not frozen nor between two starts, and its health check, if
    /// it has one, passes.
    pub fn alive(self) -> bool {
        self.running
            && !self.paused
            && !self.restarting
            && !matches!(self.health, Some(Health::Starting | Health::Unhealthy))
    }
}

/// What a health check of Docker's says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It did not pass so far.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `bridge`, or what it was called by who made it.
    pub name: String,
    /// Its IPv4 address in it.
    pub v4: Option<IpAddr>,
    /// Its global IPv6 address in it.
    pub v6: Option<IpAddr>,
}

/// A port that a container exposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// In the container.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`, as the engine says it.
    pub proto: String,
    /// Where it is published on the host; none: nowhere.
    pub published: Vec<Binding>,
}

/// Where a port is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `0.0.0.0` and `::` mean every address of the host.
    pub ip: IpAddr,
    /// The port on the host.
    pub port: u16,
}
