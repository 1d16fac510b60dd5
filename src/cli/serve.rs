//! `leasehold serve`: settle the settings, listen, say so, and run until a signal.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::net::TcpListener;

use super::{
    Failure, output,
    settings::{self, Flags},
    signals,
};
use crate::{
    audit::Audit,
    config::{Config, Durability},
    reload::Asking,
    server::{self, Listeners},
    telemetry,
};

/// Run a registry
#[derive(Args, Debug)]
#[command(after_help = PRECEDENCE)]
pub struct Serve {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

const PRECEDENCE: &str = "\
Every setting can come from its flag (--default-ttl 30s), else from its variable \
(LEASEHOLD_DEFAULT_TTL=30s), else from its key in the --config file (default_ttl = \"30s\"). \
An empty variable counts as not set; a list in a variable is separated by commas. \
Durations are written 30s, 1m30s, 500ms; TTLs are whole seconds, from 1s to 24h.";

impl Serve {
    /// Serves until a signal, and until what it began is drained.
    pub fn run(self) -> Result<(), Failure> {
        let file = self.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let settings = settings::resolve(&self.flags, file, |name| env::var_os(name))?;
        let audit = Audit::open(settings.config.audit_log.as_deref())
            .map_err(|error| Failure::other(error.to_string()))?;
        let _log = telemetry::init(&settings.log, &audit).map_err(anyhow::Error::from)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::other(format!("cannot start: {error}")))?;
        let ended = runtime.block_on(listen_and_serve(settings.config, audit));
        // A store whose disk does not answer is not waited for.
        runtime.shutdown_background();
        ended
    }
}

async fn listen_and_serve(config: Config, audit: Audit) -> Result<(), Failure> {
    let stop = signals::stop_token()
        .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
    let asking = Asking::default();
    let ask = asking.clone();
    signals::on_hangup(move || {
        tracing::info!("SIGHUP: files are read again");
        ask.ask();
    })
    .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
    tokio::spawn(tell_untold());
    let main = bind(config.listen, "--listen").await?;
    let address = main
        .local_addr()
        .map_err(|error| Failure::other(format!("cannot tell the address listened on: {error}")))?;
    let names = match config.name_registry_listen {
        Some(address) => Some(bind(address, "--name-registry-listen").await?),
        None => None,
    };
    let durability = config.store.durability;
    let is_open = is_open(&config);
    let tls = config.tls.is_some();
    let server = server::open(config, audit).await.map_err(|error| Failure::other(error.to_string()))?;
    let names_address = names.as_ref().and_then(|names| names.local_addr().ok());
    announce(&promise(server.data_dir(), durability), tls, names_address, address, is_open)?;
    // The process ends with it: nobody waits until a million leases are freed one by one.
    std::mem::forget(server.engine());
    let ended = server.run(Listeners { main, names }, asking, stop.cancelled_owned()).await;
    ended.map_err(|error| Failure::other(error.to_string()))
}

/// Says of how many refusals the log has no lines.
async fn tell_untold() {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let count = telemetry::untold();
        if count > 0 {
            tracing::warn!(count, "more refusals than are logged one by one; --audit-log has each");
        }
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::other(format!("cannot listen on {address}: {error}; choose another with {flag}"))
    })
}

/// Where registrations are kept, and what a crash can lose.
fn promise(data_dir: Option<&Path>, durability: Durability) -> String {
    let Some(dir) = data_dir else {
        return "keeping registrations in memory: they are gone when this server ends".to_owned();
    };
    let promise = match durability {
        Durability::Sync => "durability sync: nothing acknowledged is lost",
        Durability::Os => "durability os: a crash loses up to the last second",
        Durability::None => "durability none: a crash loses everything since the start",
    };
    format!("keeping registrations in {} ({promise})", dir.display())
}

/// Whether whoever reaches it may do everything, unseen or not.
fn is_open(config: &Config) -> bool {
    config.access.service_key.is_none() && config.access.keys.is_none() && config.tls.is_none()
}

/// Lines on stdout, for people and for scripts that wait for the last. A registry whose
/// stdout nobody reads is none the worse.
fn announce(
    promise: &str,
    tls: bool,
    names: Option<SocketAddr>,
    address: SocketAddr,
    is_open: bool,
) -> Result<(), Failure> {
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    let names_line = names
        .map(|names| {
            let scheme = scheme(tls && server::names_need_tls(names));
            format!("name registry on {scheme}://{names}\n")
        })
        .unwrap_or_default();
    match output::line(&format!("{promise}\n{names_line}listening on {}://{address}", scheme(tls))) {
        Err(failure) if !failure.is_closed_pipe() => return Err(failure),
        _ => {}
    }
    if !is_open {
        return Ok(());
    }
    for address in names.into_iter().chain([address]).filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(
            %address,
            "listening beyond loopback without a key or TLS: whoever reaches this port can register, \
             deregister and read"
        );
    }
    Ok(())
}
