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
use layers::{Given, Layers, Origin};

use crate::{
    config::{
        AccessConfig, ClientAuth, Config, ConnectionLimits, DuplicateId, HttpConfig, LeaseConfig, Quota,
        Quotas, Rates, Secret, SharedKey, StoreConfig, TlsConfig,
    },
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

    /// Addresses of proxies whose X-Forwarded-* headers and PROXY protocol are believed, such as
    /// 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "CIDR")]
    pub trusted_proxy: Vec<String>,

    /// An origin of web pages that may call, such as <https://console.example>; may be given several
    /// times
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,

    /// A file with the key that all services share, one key a line; else the variable
    /// `LEASEHOLD_SERVICE_KEY` or `SERVICEKIT_REGISTRATION_KEY` holds it
    #[arg(long, value_name = "FILE")]
    pub service_key_file: Option<String>,

    /// A TOML file of named keys, read again when it changes; see `leasehold key new`
    #[arg(long, value_name = "FILE")]
    pub keys: Option<String>,

    /// Reading needs a key too, health checks excepted [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub protect_reads: Option<String>,

    /// A PEM file with the certificate and those between it and its root: the port speaks TLS;
    /// read again when it changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,

    /// A PEM file with the certificate's private key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,

    /// A PEM file with the roots of clients' certificates
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,

    /// Whether clients show certificates: none, optional or required; with --tls-client-ca it is
    /// required unless this says otherwise
    #[arg(long, value_name = "WHICH")]
    pub tls_client_auth: Option<String>,

    /// Where the small name registry's HTTP paths are served, such as 127.0.0.1:5001; nowhere without it
    #[arg(long, value_name = "IP:PORT")]
    pub name_registry_listen: Option<String>,

    /// A path before every JSON path, such as /v2
    #[arg(long, value_name = "PATH")]
    pub http_prefix: Option<String>,

    /// Connections open at once [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<String>,

    /// Streams open at once on one HTTP/2 connection [default: 1000]
    #[arg(long, value_name = "COUNT")]
    pub max_streams: Option<String>,

    /// Bytes of requests and answers that are held for one connection [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_connection_bytes: Option<String>,

    /// Registrations in all, those that may still be revived included; a count or off [default: 1000000]
    #[arg(long, value_name = "COUNT")]
    pub max_registrations: Option<String>,

    /// The same of one service [default: 100000]
    #[arg(long, value_name = "COUNT")]
    pub max_registrations_per_service: Option<String>,

    /// The same by one named key [default: 500000]
    #[arg(long, value_name = "COUNT")]
    pub max_registrations_per_key: Option<String>,

    /// The same by one peer [default: 100000]
    #[arg(long, value_name = "COUNT")]
    pub max_registrations_per_peer: Option<String>,

    /// Bytes of registrations in all; a size or off [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub max_registration_bytes: Option<String>,

    /// The same of one service [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_registration_bytes_per_service: Option<String>,

    /// The same by one named key [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_registration_bytes_per_key: Option<String>,

    /// The same by one peer [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_registration_bytes_per_peer: Option<String>,

    /// Requests of one peer in a second, a count or off; renewals of live leases are not refused
    /// below one a second each [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub max_requests_per_peer: Option<String>,

    /// The same with one named key [default: 20000]
    #[arg(long, value_name = "COUNT")]
    pub max_requests_per_key: Option<String>,

    /// Watch streams open at once from one peer; a count or off [default: 1000]
    #[arg(long, value_name = "COUNT")]
    pub max_watchers_per_peer: Option<String>,

    /// `KeepAlive` streams open at once from one peer; a count or off [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub max_keepalives_per_peer: Option<String>,

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

    /// A file that gets one JSON line for each change and each refusal
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<String>,

    /// Send traces to this OTLP collector (gRPC), such as <http://127.0.0.1:4317>; nowhere without it
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,

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
    let layers = Layers::read(flags, file, &variable)?;
    let default = Settings::default();
    let config = Config {
        listen: listen(&layers)?,
        store: store(&layers)?,
        leases: leases(&layers, &default.config.leases)?,
        http: http(&layers)?,
        limits: limits(&layers, &default.config.limits)?,
        access: access(&layers, &variable)?,
        tls: tls(&layers)?,
        quotas: quotas(&layers, &default.config.quotas)?,
        rates: rates(&layers, &default.config.rates)?,
        name_registry_listen: layers
            .read_one("name_registry_listen", None, |text| values::listen(text).map(Some))?
            .value,
        audit_log: layers.read_one("audit_log", None, values::file)?.value,
        otlp_endpoint: layers.read_one("otlp_endpoint", None, values::endpoint)?.value,
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

/// Only where a server with these settings would listen, and whether it would speak TLS: a
/// health check of the same container needs no more.
pub fn resolve_listen(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(SocketAddr, Option<TlsConfig>), SettingError> {
    let layers = Layers::read(&Flags::default(), file, variable)?;
    Ok((listen(&layers)?, tls(&layers)?))
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
        cors_origins: layers.read_list("cors_origin", values::origin)?,
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
        max_bytes: layers.read_one("max_connection_bytes", default.max_bytes, values::held)?.value,
        keepalive_interval: timeout("keepalive_interval", default.keepalive_interval)?,
        keepalive_timeout: timeout("keepalive_timeout", default.keepalive_timeout)?,
    })
}

/// The variables that may hold the shared key itself: ours, and the one that servicekit reads.
const SERVICE_KEY: [&str; 2] = ["LEASEHOLD_SERVICE_KEY", "SERVICEKIT_REGISTRATION_KEY"];

fn access(
    layers: &Layers,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<AccessConfig, SettingError> {
    let file = layers.read_one("service_key_file", None, values::file)?.value;
    let service_key = match file {
        Some(file) => Some(SharedKey::File(file)),
        None => shared_key(variable)?.map(SharedKey::Value),
    };
    Ok(AccessConfig {
        service_key,
        keys: layers.read_one("keys", None, values::file)?.value,
        protect_reads: layers.read_one("protect_reads", false, values::switch)?.value,
    })
}

/// The shared key that the environment holds.
pub fn shared_key(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Secret>, SettingError> {
    for name in SERVICE_KEY {
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
        return match value.into_string() {
            Ok(text) => Ok(Some(Secret(text))),
            Err(_) => Err(SettingError::SecretNoText(name)),
        };
    }
    Ok(None)
}

fn tls(layers: &Layers) -> Result<Option<TlsConfig>, SettingError> {
    let cert = layers.read_one("tls_cert", None, values::file)?;
    let key = layers.read_one("tls_key", None, values::file)?;
    let client_ca = layers.read_one("tls_client_ca", None, values::file)?;
    let default = if client_ca.value.is_some() { ClientAuth::Required } else { ClientAuth::None };
    let client_auth = layers.read_one("tls_client_auth", default, values::client_auth)?;
    let lacks = |given: &Origin, lacking: &Origin| {
        let (given, lacking) = (given.clone(), lacking.name());
        Err(SettingError::Lacks { given, lacking })
    };
    match (cert.value, key.value) {
        (Some(_), None) => lacks(&cert.origin, &key.origin),
        (None, Some(_)) => lacks(&key.origin, &cert.origin),
        (None, None) if client_ca.value.is_some() => lacks(&client_ca.origin, &cert.origin),
        (None, None) if client_auth.value != ClientAuth::None => lacks(&client_auth.origin, &cert.origin),
        (None, None) => Ok(None),
        (Some(_), Some(_)) if client_auth.value != ClientAuth::None && client_ca.value.is_none() => {
            lacks(&client_auth.origin, &client_ca.origin)
        }
        (Some(cert), Some(key)) => Ok(Some(TlsConfig {
            cert,
            key,
            client_ca: client_ca.value.filter(|_| client_auth.value != ClientAuth::None),
            client_auth: client_auth.value,
        })),
    }
}

fn quotas(layers: &Layers, default: &Quotas) -> Result<Quotas, SettingError> {
    let quota = |whose: &str, default: Quota| {
        Ok::<_, SettingError>(Quota {
            count: layers.read_one(&format!("max_registrations{whose}"), default.count, values::bound)?.value,
            bytes: layers
                .read_one(&format!("max_registration_bytes{whose}"), default.bytes, values::byte_bound)?
                .value,
        })
    };
    Ok(Quotas {
        all: quota("", default.all)?,
        service: quota("_per_service", default.service)?,
        key: quota("_per_key", default.key)?,
        peer: quota("_per_peer", default.peer)?,
    })
}

fn rates(layers: &Layers, default: &Rates) -> Result<Rates, SettingError> {
    let rate = |key, default| layers.read_one(key, default, values::rate).map(|given| given.value);
    Ok(Rates {
        peer_requests: rate("max_requests_per_peer", default.peer_requests)?,
        key_requests: rate("max_requests_per_key", default.key_requests)?,
        peer_watchers: rate("max_watchers_per_peer", default.peer_watchers)?,
        peer_keepalives: rate("max_keepalives_per_peer", default.peer_keepalives)?,
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
