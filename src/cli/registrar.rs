//! `leasehold registrar run`: the Docker registrar. What was typed becomes its settings and a backend; the
//! rest is `registrar/`.

use std::{env, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, credentials::Credentials, signals};
use crate::{
    registrar::{
        self, Settings,
        backend::{Backend, Consul, Etcd, Held, Pruned},
        settings::{BackendUri, Flags, Mode},
    },
    telemetry,
};

/// Keep what runs on a Docker engine in a registry
#[derive(Args, Debug)]
pub struct Registrar {
    /// A YAML file with the settings
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Log what is done and why, not only what comes of it
    #[arg(short, long, global = true)]
    debug: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<Run>),
}

/// Follow Docker and advertise each port of each running container
///
/// Every setting can also stand in the environment, in the YAML file of --config or in the file of
/// --environment: defaults, variables, YAML, environment file, flags, each overriding those before. A Consul's
/// token is read from `CONSUL_HTTP_TOKEN`.
#[derive(Args, Debug)]
struct Run {
    /// The name of this Docker host in what is advertised [HOST; default: this host's]
    #[arg(short = 'H', long, value_name = "NAME")]
    hostname: Option<String>,

    /// The address that published ports are advertised at [IPADDRESS; default: this host's]
    #[arg(short, long, value_name = "ADDRESS")]
    addr: Option<String>,

    /// The registry: `leasehold://HOST:PORT`, `etcd://HOST:PORT,…` or `consul://HOST:PORT` [BACKEND; default:
    /// `leasehold://localhost:9000`]
    #[arg(short = 'B', long, value_name = "URI")]
    backend: Option<String>,

    /// Milliseconds between two looks at everything [INTERVAL; default: 3000]
    #[arg(short, long, value_name = "MS")]
    interval: Option<String>,

    /// Milliseconds that what is advertised outlives the registrar in mode ttl [TTL; default: 12000]
    #[arg(short, long, value_name = "MS")]
    ttl: Option<String>,

    /// Where the log goes [LOGFILE; default: stdout]
    #[arg(short, long, value_name = "FILE")]
    log: Option<String>,

    /// A file with settings, NAME=VALUE a line
    #[arg(short, long, value_name = "FILE")]
    environment: Option<PathBuf>,

    /// A glob of variables to publish of containers' environments, besides those that names and paths are made
    /// of; may be given several times
    #[arg(long, value_name = "GLOB")]
    publish_env: Vec<String>,

    #[command(flatten)]
    credentials: Credentials,
}

impl Registrar {
    /// Runs until a signal.
    pub async fn run(self) -> Result<(), Failure> {
        let Command::Run(run) = self.command;
        let flags = Flags {
            config: self.config,
            environment: run.environment,
            debug: self.debug,
            hostname: run.hostname,
            addr: run.addr,
            backend: run.backend,
            interval: run.interval,
            ttl: run.ttl,
            log: run.log,
            publish_env: run.publish_env,
        };
        let settings = Settings::load(&flags, |name| env::var_os(name))
            .map_err(|error| Failure::usage(error.to_string()))?;
        let backend = backend(&settings, &run.credentials)?;
        let _log = telemetry::init_plain(settings.log.as_deref(), settings.debug)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let stop = signals::stop_token()
            .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        registrar::agent::run(&settings, backend, stop).await;
        Ok(())
    }
}

fn backend(settings: &Settings, credentials: &Credentials) -> Result<Box<dyn Backend>, Failure> {
    let (rules, host) = (&settings.rules, settings.rules.hostname.clone());
    let unusable = |failure: registrar::backend::Failure| Failure::usage(failure.to_string());
    Ok(match (&settings.backend, settings.mode) {
        (BackendUri::Leasehold(server), Mode::Ttl) => {
            Box::new(Held::new(credentials.client(server)?, host, settings.ttl))
        }
        (BackendUri::Leasehold(server), Mode::Prune) => {
            Box::new(Pruned::new(credentials.client(server)?, host))
        }
        (BackendUri::Etcd(members), mode) => {
            let ttl = (mode == Mode::Ttl).then_some(settings.ttl);
            Box::new(Etcd::new(members, host, &rules.prefix_services, ttl).map_err(unusable)?)
        }
        (BackendUri::Consul(agent), _) => {
            let token = consul_token()?;
            let ipaddress = rules.ipaddress.clone();
            let consul = Consul::new(agent, host, ipaddress, &rules.prefix_services, token.as_deref());
            Box::new(consul.map_err(unusable)?)
        }
    })
}

/// The token, which never stands on a command line: others can read those.
fn consul_token() -> Result<Option<String>, Failure> {
    match env::var("CONSUL_HTTP_TOKEN") {
        Ok(token) => Ok(Some(token).filter(|token| !token.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Failure::usage("CONSUL_HTTP_TOKEN is no text")),
    }
}
