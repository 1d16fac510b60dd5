//! What a server is told, from four places: the flag, else the `LEASEHOLD_*` variable, else
//! the key in the TOML file, else the default. [`Flags`] names every setting once; the
//! variables and the keys follow from its field names (`default_ttl`: `--default-ttl`,
//! `LEASEHOLD_DEFAULT_TTL`, `default_ttl = "30s"`). [`Layers`] finds a value and remembers
//! where it came from, so that an error can say what to change.
//!
//! Keys in the file have underscores only; one with dashes is an error that says so.

use std::{ffi::OsString, net::SocketAddr, path::Path};

use clap::Args;
use serde::Serialize;

mod layers;
#[cfg(test)]
mod tests;
mod values;

pub use layers::SettingError;
use layers::{Given, Layers};

use crate::{
    config::{Config, ConnectionLimits, DuplicateId, HttpConfig, LeaseConfig, StoreConfig},
    telemetry::LogConfig,
};

/// All that `serve` can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The server's part.
    pub config: Config,
    /// The log's part.
    pub log: LogConfig,
}

/// One flag per setting, as typed; what they mean is decided when all layers are there.
#[derive(Args, Clone, Debug, Default, Serialize)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Where to listen, gRPC and JSON on one port [default: 127.0.0.1:9000]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,

    /// What holds the registrations: embedded, a file in the data directory, or memory, which
    /// forgets them at its end [default: embedded]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,

    /// The directory of the embedded store, else `leasehold` in the platform's folder for state
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// When a change counts as written: sync, on disk; os, within a second; none, when the server
    /// stops [default: sync]
    #[arg(long, value_name = "WHEN")]
    pub durability: Option<String>,

    /// Start even if the store has lost acknowledged changes [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub accept_loss: Option<String>,

    /// The TTL of a registration that wishes none [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub default_ttl: Option<String>,

    /// The shortest TTL that is granted [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub min_ttl: Option<String>,

    /// The longest TTL that is granted [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub max_ttl: Option<String>,

    /// How long a registration outlives the drop of its stream [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub drop_grace: Option<String>,

    /// How long a lapsed lease can be revived [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub revive_window: Option<String>,

    /// What a second registration of one client-sent id is: replica or replace [default: replica]
    #[arg(long, value_name = "WHICH")]
    pub duplicate_id: Option<String>,

    /// Renewing, updating and deregistering need the lease token [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub require_lease_token: Option<String>,

    /// Spread expiries that come all at once: on or off [default: on]
    #[arg(long, value_name = "SWITCH")]
    pub mass_expiry_brake: Option<String>,

    /// Scheme and authority that ping urls start with, else the request's own
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// A host that requests may name; may be given several times
    #[arg(long, value_name = "HOST")]
    pub allowed_host: Vec<String>,

    /// Addresses of proxies whose X-Forwarded-* headers are believed, such as 10.0.0.0/8; may be
    /// given several times
    #[arg(long, value_name = "CIDR")]
    pub trusted_proxy: Vec<String>,

    /// A path before every JSON path, such as /v2
    #[arg(long, value_name = "PATH")]
    pub http_prefix: Option<String>,

    /// Connections open at once [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<String>,

    /// Streams open at once on one HTTP/2 connection [default: 1000]
    #[arg(long, value_name = "COUNT")]
    pub max_streams: Option<String>,

    /// From accept to the first bytes of a request [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub handshake_timeout: Option<String>,

    /// For a request's headers, and for an idle HTTP/1 connection [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub header_timeout: Option<String>,

    /// For the body of a request that is no stream [default: 20s]
    #[arg(long, value_name = "DURATION")]
    pub body_timeout: Option<String>,

    /// How often an HTTP/2 connection is asked whether it lives [default: 4s]
    #[arg(long, value_name = "DURATION")]
    pub keepalive_interval: Option<String>,

    /// How long it may take to answer [default: 4s]
    #[arg(long, value_name = "DURATION")]
    pub keepalive_timeout: Option<String>,

    /// How long a drain waits for connections to end [default: 8s]
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,

    /// History kept for watchers that resume [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub history_bytes: Option<String>,

    /// The form of the log: auto, pretty or json; auto is pretty on a terminal [default: auto]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// A level, or directives such as `info,leasehold::engine=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
}

/// Settles every setting. `variable` looks up an environment variable; an empty one counts as
/// not set, as compose files leave them.
pub fn resolve(
    flags: &Flags,
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Settings, SettingError> {
    let layers = Layers::read(flags, file, variable)?;
    let default = Settings::default();
    let config = Config {
        listen: listen(&layers)?,
        store: store(&layers)?,
        leases: leases(&layers, &default.config.leases)?,
        http: http(&layers)?,
        limits: limits(&layers, &default.config.limits)?,
        drain_timeout: layers
            .read_one("drain_timeout", default.config.drain_timeout, values::duration(values::UP_TO_1H))?
            .value,
        history_bytes: layers.read_one("history_bytes", default.config.history_bytes, values::history)?.value,
    };
    let log = LogConfig {
        format: layers.read_one("log_format", default.log.format, str::parse)?.value,
        filter: layers.read_one("log_level", default.log.filter, str::parse)?.value,
    };
    Ok(Settings { config, log })
}

/// Only where a server with these settings would listen: a health check of the same
/// container needs no more.
pub fn resolve_listen(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<SocketAddr, SettingError> {
    listen(&Layers::read(&Flags::default(), file, variable)?)
}

fn listen(layers: &Layers) -> Result<SocketAddr, SettingError> {
    Ok(layers.read_one("listen", Config::default().listen, values::listen)?.value)
}

fn store(layers: &Layers) -> Result<StoreConfig, SettingError> {
    let default = StoreConfig::default();
    Ok(StoreConfig {
        kind: layers.read_one("store", default.kind, values::store)?.value,
        data_dir: layers.read_one("data_dir", None, values::data_dir)?.value,
        durability: layers.read_one("durability", default.durability, values::durability)?.value,
        accept_loss: layers.read_one("accept_loss", default.accept_loss, values::switch)?.value,
    })
}

fn leases(layers: &Layers, default: &LeaseConfig) -> Result<LeaseConfig, SettingError> {
    let min = layers.read_one("min_ttl", default.min_ttl, values::ttl)?;
    let default_ttl = layers.read_one("default_ttl", default.default_ttl, values::ttl)?;
    let max = layers.read_one("max_ttl", default.max_ttl, values::ttl)?;
    let drop_grace =
        layers.read_one("drop_grace", default.drop_grace, values::duration(values::UP_TO_24H))?;
    in_order(&min, &max)?;
    in_order(&min, &default_ttl)?;
    in_order(&default_ttl, &max)?;
    in_order(&drop_grace, &max)?;
    Ok(LeaseConfig {
        default_ttl: default_ttl.value,
        min_ttl: min.value,
        max_ttl: max.value,
        drop_grace: drop_grace.value,
        revive_window: layers
            .read_one("revive_window", default.revive_window, values::duration(values::UP_TO_7D))?
            .value,
        duplicate_id: layers.read_one("duplicate_id", DuplicateId::Replica, values::duplicate_id)?.value,
        require_lease_token: layers
            .read_one("require_lease_token", default.require_lease_token, values::switch)?
            .value,
        mass_expiry_brake: layers
            .read_one("mass_expiry_brake", default.mass_expiry_brake, values::switch)?
            .value,
    })
}

fn http(layers: &Layers) -> Result<HttpConfig, SettingError> {
    Ok(HttpConfig {
        public_url: layers.read_one("public_url", None, values::public_url)?.value,
        allowed_hosts: layers.read_list("allowed_host", values::host)?,
        trusted_proxies: layers.read_list("trusted_proxy", values::network)?,
        prefix: layers.read_one("http_prefix", String::new(), values::prefix)?.value,
    })
}

fn limits(layers: &Layers, default: &ConnectionLimits) -> Result<ConnectionLimits, SettingError> {
    let timeout = |key, default| {
        layers.read_one(key, default, values::duration(values::TIMEOUT)).map(|given| given.value)
    };
    Ok(ConnectionLimits {
        max_connections: layers
            .read_one("max_connections", default.max_connections, |text| Ok(values::count(text)? as usize))?
            .value,
        handshake_timeout: timeout("handshake_timeout", default.handshake_timeout)?,
        header_timeout: timeout("header_timeout", default.header_timeout)?,
        body_timeout: timeout("body_timeout", default.body_timeout)?,
        max_streams: layers.read_one("max_streams", default.max_streams, values::count)?.value,
        keepalive_interval: timeout("keepalive_interval", default.keepalive_interval)?,
        keepalive_timeout: timeout("keepalive_timeout", default.keepalive_timeout)?,
    })
}

/// The error names both, and which of them nobody set: a lone `--max-ttl 10s` contradicts the
/// default of `--default-ttl`.
fn in_order(low: &Given<std::time::Duration>, high: &Given<std::time::Duration>) -> Result<(), SettingError> {
    if low.value <= high.value {
        return Ok(());
    }
    Err(SettingError::Order {
        low: low.origin.clone(),
        low_value: humantime::format_duration(low.value).to_string(),
        high: high.origin.clone(),
        high_value: humantime::format_duration(high.value).to_string(),
    })
}
