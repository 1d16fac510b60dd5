//! What a server can be told, as it is meant: durations are durations, addresses are
//! addresses, and every bound was checked. `cli/settings/` makes one from flags,
//! `LEASEHOLD_*` variables and the TOML file, in that precedence.

use std::{fmt, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use ipnet::IpNet;

/// The settings of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What holds the registrations.
    pub store: StoreConfig,
    /// How leases behave.
    pub leases: LeaseConfig,
    /// How the registry is seen from outside.
    pub http: HttpConfig,
    /// What a connection may take.
    pub limits: ConnectionLimits,
    /// Who may do what.
    pub access: AccessConfig,
    /// What the listener shows of itself; none is plain text.
    pub tls: Option<TlsConfig>,
    /// How much may be registered.
    pub quotas: Quotas,
    /// How much a peer or a key may ask for.
    pub rates: Rates,
    /// Where the small name registry's dialect listens, if anywhere.
    pub name_registry_listen: Option<SocketAddr>,
    /// Where each change and each refusal gets a line of its own, beside the log.
    pub audit_log: Option<PathBuf>,
    /// The collector that traces are sent to, by OTLP over gRPC.
    pub otlp_endpoint: Option<String>,
    /// How long a drain waits for connections to end before it cuts them.
    pub drain_timeout: Duration,
    /// How many bytes of history are kept for watchers that resume.
    pub history_bytes: usize,
}

/// What holds the registrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which store.
    pub kind: StoreKind,
    /// The directory of the embedded store; none is the platform's folder for state.
    pub data_dir: Option<PathBuf>,
    /// When a change counts as written.
    pub durability: Durability,
    /// Whether to go on without acknowledged changes that the store has lost.
    pub accept_loss: bool,
}

/// What holds the registrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// A file in a directory of its own.
    #[default]
    Embedded,
    /// Memory: a restart begins with nothing.
    Memory,
}

/// When a change counts as written, so that it is acknowledged and shown to watchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is synced: nothing acknowledged is ever lost.
    #[default]
    Sync,
    /// When it is decided; it is synced within a second. A crash loses that second.
    Os,
    /// When it is decided; it is synced when the server stops in order. A crash loses all
    /// since the start.
    None,
}

impl Durability {
    /// Its name in settings and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Os => "os",
            Self::None => "none",
        }
    }
}

/// How leases behave.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseConfig {
    /// Granted when a registration wishes none; whole seconds.
    pub default_ttl: Duration,
    /// The least that is granted; whole seconds, at least one.
    pub min_ttl: Duration,
    /// The most that is granted; whole seconds, at most 24 h.
    pub max_ttl: Duration,
    /// How long a registration outlives the drop of its stream when it does not say.
    pub drop_grace: Duration,
    /// How long a lapsed lease can be revived.
    pub revive_window: Duration,
    /// What a second registration of the same client-sent id means.
    pub duplicate_id: DuplicateId,
    /// Whether renewing, updating and deregistering need the lease token.
    pub require_lease_token: bool,
    /// Whether expiries that come all at once are spread over a further TTL.
    pub mass_expiry_brake: bool,
}

/// What a second registration of the same client-sent id means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateId {
    /// Another replica.
    #[default]
    Replica,
    /// The newest takes the older one's place.
    Replace,
}

/// How the registry is seen from outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpConfig {
    /// Scheme and authority that `ping_url` starts with, `https://registry.example`;
    /// else those of the request.
    pub public_url: Option<String>,
    /// Hosts that requests may name beside the ones always allowed; without port.
    pub allowed_hosts: Vec<String>,
    /// Whose `X-Forwarded-*` headers and PROXY protocol are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of web pages that may call: `https://console.example`.
    pub cors_origins: Vec<String>,
    /// A path before every JSON path, `/v2`; empty or without a slash at its end.
    pub prefix: String,
}

/// Who may do what. Without a key everybody may do everything, backups apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// The key that all services share.
    pub service_key: Option<SharedKey>,
    /// A file of named keys.
    pub keys: Option<PathBuf>,
    /// Whether reading needs a key too.
    pub protect_reads: bool,
}

/// Where the shared key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedKey {
    /// In a file, one key a line; each is good.
    File(PathBuf),
    /// It was in the environment.
    Value(Secret),
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the listener shows of itself, and wants to see; PEM files, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and those between it and the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// How much may be registered. What lives counts, and what may still be revived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// In all.
    pub all: Quota,
    /// Of one service.
    pub service: Quota,
    /// By one named key.
    pub key: Quota,
    /// By one peer: an IPv4 address, or an IPv6 network of 64 bits.
    pub peer: Quota,
}

/// A bound on registrations; none is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub count: Option<u64>,
    /// Their bytes in memory.
    pub bytes: Option<u64>,
}

/// How much a peer or a key may ask for; none is without bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one peer in a second.
    pub peer_requests: Option<NonZeroU32>,
    /// Requests with one key in a second.
    pub key_requests: Option<NonZeroU32>,
    /// Watch streams that one peer has open.
    pub peer_watchers: Option<NonZeroU32>,
    /// `KeepAlive` streams that one peer has open.
    pub peer_keepalives: Option<NonZeroU32>,
}

impl Default for Quotas {
    fn default() -> Self {
        let quota = |count, mebibytes: u64| Quota { count: Some(count), bytes: Some(mebibytes << 20) };
        Self {
            all: quota(1_000_000, 1024),
            service: quota(100_000, 256),
            key: quota(500_000, 512),
            peer: quota(100_000, 256),
        }
    }
}

impl Quotas {
    /// No bounds.
    pub fn none() -> Self {
        let none = Quota { count: None, bytes: None };
        Self { all: none, service: none, key: none, peer: none }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            peer_requests: NonZeroU32::new(10_000),
            key_requests: NonZeroU32::new(20_000),
            peer_watchers: NonZeroU32::new(1_000),
            peer_keepalives: NonZeroU32::new(10_000),
        }
    }
}

/// What a connection may take.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionLimits {
    /// Open at once; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// From accept to the first bytes that tell HTTP/1 from HTTP/2.
    pub handshake_timeout: Duration,
    /// For a request's headers, from its first byte, and for an idle HTTP/1 connection.
    pub header_timeout: Duration,
    /// For the body of a request that is no stream.
    pub body_timeout: Duration,
    /// Streams open at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Bytes of requests and answers that are held for one connection.
    pub max_bytes: usize,
    /// How often an HTTP/2 connection is asked whether it lives.
    pub keepalive_interval: Duration,
    /// How long it may take to answer.
    pub keepalive_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            store: StoreConfig::default(),
            leases: LeaseConfig::default(),
            http: HttpConfig::default(),
            limits: ConnectionLimits::default(),
            access: AccessConfig::default(),
            tls: None,
            quotas: Quotas::default(),
            rates: Rates::default(),
            name_registry_listen: None,
            audit_log: None,
            otlp_endpoint: None,
            // Docker kills ten seconds after it has asked to stop.
            drain_timeout: Duration::from_secs(8),
            history_bytes: 64 << 20,
        }
    }
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            default_ttl: Duration::from_secs(30),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_hours(24),
            drop_grace: Duration::ZERO,
            revive_window: Duration::from_mins(10),
            duplicate_id: DuplicateId::Replica,
            require_lease_token: false,
            mass_expiry_brake: true,
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            max_streams: 1_000,
            max_bytes: 16 << 20,
            keepalive_interval: Duration::from_secs(4),
            keepalive_timeout: Duration::from_secs(4),
        }
    }
}
