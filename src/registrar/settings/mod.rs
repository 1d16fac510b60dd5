//! How the registrar works: defaults and their variables, a YAML file, an environment file, flags; each
//! overrides those before.

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use thiserror::Error;
use wildmatch::WildMatch;

use super::document::{Element, Rules};

mod backend;
mod host;
mod sources;
mod values;

pub use backend::BackendUri;
use sources::Sources;

/// What follows `prefix_services` unless told otherwise.
const DEFAULT_PATH: [&str; 5] =
    ["environment:ENVIRONMENT", "environment:NAME", "service:PORT", "service:HOST_PORT", "service:HOSTNAME"];

/// All of it, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Docker's socket, `docker`. It may not be there yet.
    pub docker: PathBuf,
    /// Between two full passes; at least 10 ms.
    pub interval: Duration,
    /// Of what is advertised, in mode ttl: whole seconds, at least one, at most a day.
    pub ttl: Duration,
    /// Where the log goes; none: stdout.
    pub log: Option<PathBuf>,
    /// `info` or `debug`.
    pub debug: bool,
    /// How documents are made.
    pub rules: Rules,
    /// How what ended goes, `service_ttl`.
    pub mode: Mode,
    /// Where documents go.
    pub backend: BackendUri,
    /// Where to send statistics.
    pub statsd: Option<Statsd>,
    /// What was given and has no effect, or not the one it seems to have; for the log, once it is open.
    pub warnings: Vec<String>,
}

/// How what ended goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is advertised lapses unless it is renewed.
    Ttl,
    /// It stays until a pass removes it.
    Prune,
}

/// Where statistics go, over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statsd {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// In front of every name.
    pub prefix: String,
}

/// What the command line says; a flag that was not given says nothing.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the YAML file.
    pub config: Option<PathBuf>,
    /// `--environment`: the environment file.
    pub environment: Option<PathBuf>,
    /// `--debug`
    pub debug: bool,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--addr`
    pub addr: Option<String>,
    /// `--backend`
    pub backend: Option<String>,
    /// `--interval`, milliseconds.
    pub interval: Option<String>,
    /// `--ttl`, milliseconds.
    pub ttl: Option<String>,
    /// `--log`
    pub log: Option<String>,
    /// `--publish-env`, as often as it was given.
    pub publish_env: Vec<String>,
}

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The YAML file cannot be read.
    #[error("cannot read the configuration file {}: {error}", file.display())]
    Unreadable {
        /// It.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no YAML, or no map.
    #[error("the configuration file {} is not as it should be: {error}", file.display())]
    Yaml {
        /// It.
        file: PathBuf,
        /// Where and why.
        error: String,
    },
    /// A value that will not do.
    #[error("{whence} is {value:?}: {why}")]
    Value {
        /// Where it was given: a flag, a variable, a key of a file.
        whence: String,
        /// The value, without the user and the password of a URI.
        value: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
}

impl Settings {
    /// Reads what was given. `variable` is the environment: an empty variable counts as absent, as an empty value
    /// in a file does.
    pub fn load(flags: &Flags, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let mut given = Sources::read(flags, variable)?;
        let docker = given.or("docker", || "/var/run/docker.sock".to_owned()).read(values::socket)?;
        let log_level = given.or("log_level", || "info".to_owned());
        let debug = values::debug(&log_level, &mut given.warnings);
        let rules = rules(&mut given)?;
        Ok(Self {
            interval: given.or("interval", || "3000".to_owned()).read(values::interval)?,
            ttl: given.or("ttl", || "12000".to_owned()).read(values::ttl)?,
            log: values::log(&given.or("log", || "-".to_owned())),
            mode: given.or("service_ttl", || "prune".to_owned()).read(values::mode)?,
            backend: given.or("backend", || "leasehold://localhost:9000".to_owned()).read(backend::parse)?,
            statsd: statsd(&given)?,
            docker,
            debug,
            rules,
            warnings: given.warnings,
        })
    }
}

fn rules(given: &mut Sources) -> Result<Rules, SettingsError> {
    let prefix_services =
        given.or("prefix_services", || "/services".to_owned()).read(values::prefix_services)?;
    let globs = given.publish_env.take().unwrap_or_default();
    let ipaddress = given.or("ipaddress", host::address);
    if given.get("ipaddress").is_none() && ipaddress.text == "127.0.0.1" {
        given
            .warnings
            .push("this host has no route to others, so 127.0.0.1 is advertised; --addr says better".into());
    }
    Ok(Rules {
        hostname: given.or("hostname", host::name).read(values::hostname)?,
        ipaddress: ipaddress.read(values::address)?,
        prefix_path: prefix_path(given, &prefix_services)?,
        prefix_services,
        publish_env: globs.texts.iter().map(|glob| WildMatch::new(glob)).collect(),
    })
}

/// What stands under `prefix_path`, or else `path`. An element that is none is left out with a warning. `path` is
/// the whole path: where it begins as `prefix_services` does, that is not said twice.
fn prefix_path(given: &mut Sources, prefix_services: &str) -> Result<Vec<Element>, SettingsError> {
    let (list, whole_path) = match (given.prefix_path.take(), given.path.take()) {
        (Some(list), _) => (list, false),
        (None, Some(list)) => (list, true),
        (None, None) => return Ok(DEFAULT_PATH.iter().filter_map(|text| text.parse().ok()).collect()),
    };
    let mut elements = Vec::new();
    for text in &list.texts {
        match text.parse() {
            Ok(element) => elements.push(element),
            Err(error) => {
                given.warnings.push(format!("{}: the element {text:?} is left out: it {error}", list.whence));
            }
        }
    }
    if whole_path {
        let prefix: Vec<Element> = prefix_services
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| Element::String(segment.to_owned()))
            .collect();
        if elements.starts_with(&prefix) {
            elements.drain(..prefix.len());
        }
    }
    if elements.is_empty() {
        return Err(SettingsError::Value {
            value: list.texts.join(", "),
            why: format!("it has no element that would tell services apart; the default is {DEFAULT_PATH:?}"),
            whence: list.whence,
        });
    }
    Ok(elements)
}

fn statsd(given: &Sources) -> Result<Option<Statsd>, SettingsError> {
    let Some(host) = given.get("statsd.host") else { return Ok(None) };
    Ok(Some(Statsd {
        host: host.read(values::statsd_host)?,
        port: given.or("statsd.port", || "8125".to_owned()).read(values::port)?,
        prefix: given.or("prefix_stats", || "registrar-service".to_owned()).read(values::statsd_prefix)?,
    }))
}

#[cfg(test)]
mod tests;
