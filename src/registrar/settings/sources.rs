//! Where settings come from: each source as it was given, laid over those before. Nothing is checked
//! here but that a file is of its form.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use serde_json::Value;

use super::{Flags, SettingsError};

/// The names of the settings that are one text: in a YAML file, and of the variable that gives the default.
const NAMES: [(&str, &str); 12] = [
    ("docker", "DOCKER_SOCKET"),
    ("interval", "INTERVAL"),
    ("ttl", "TTL"),
    ("log", "LOGFILE"),
    ("log_level", "LOGLEVEL"),
    ("hostname", "HOST"),
    ("ipaddress", "IPADDRESS"),
    ("prefix_stats", "PREFIX_STATSD"),
    ("prefix_services", "PREFIX_SERVICES"),
    ("prefix_hosts", "PREFIX_HOSTS"),
    ("service_ttl", "SERVICE_METHOD"),
    ("backend", "BACKEND"),
];

/// Patterns, parted at commas: `publish_env` in a file.
const PUBLISH_ENV: &str = "PUBLISH_ENV";

/// A text, and where it was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// As it was given.
    pub text: String,
    /// A flag, a variable, a key of a file; as errors name it.
    pub whence: String,
}

/// Some texts, and where they were given.
#[derive(Debug, Default)]
pub struct List {
    /// As they were given.
    pub texts: Vec<String>,
    /// A flag, a variable, a key of a file; as errors name it.
    pub whence: String,
}

/// All that was given; of each setting, what the last source said.
#[derive(Debug, Default)]
pub struct Sources {
    texts: BTreeMap<&'static str, Given>,
    /// `prefix_path`
    pub prefix_path: Option<List>,
    /// `path`, which the first releases of the original had for it.
    pub path: Option<List>,
    /// `publish_env`
    pub publish_env: Option<List>,
    /// What was given and has no effect.
    pub warnings: Vec<String>,
}

impl Sources {
    /// Reads them all, the weakest first.
    pub fn read(flags: &Flags, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let mut given = Self::default();
        given.variables(variable);
        if let Some(file) = &flags.config {
            given.yaml(file)?;
        }
        if let Some(file) = &flags.environment {
            given.environment_file(file);
        }
        given.flags(flags);
        Ok(given)
    }

    /// What was given for it.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.texts.get(name)
    }

    /// What was given for it, or the default.
    pub fn or(&self, name: &str, default: impl FnOnce() -> String) -> Given {
        let default = || Given { text: default(), whence: format!("{name}, by default,") };
        self.get(name).cloned().unwrap_or_else(default)
    }

    fn set(&mut self, name: &'static str, text: &str, whence: String) {
        let text = text.trim();
        if !text.is_empty() {
            self.texts.insert(name, Given { text: text.to_owned(), whence });
        }
    }

    fn set_globs(&mut self, text: &str, whence: String) {
        let texts = text.split(',').map(str::trim).filter(|glob| !glob.is_empty());
        let texts: Vec<String> = texts.map(str::to_owned).collect();
        if !texts.is_empty() {
            self.publish_env = Some(List { texts, whence });
        }
    }

    fn variables(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        for (name, variable) in NAMES {
            self.set(name, &text(variable).unwrap_or_default(), variable.to_owned());
        }
        self.set_globs(&text(PUBLISH_ENV).unwrap_or_default(), PUBLISH_ENV.to_owned());
    }

    fn yaml(&mut self, file: &Path) -> Result<(), SettingsError> {
        let text = fs::read_to_string(file)
            .map_err(|error| SettingsError::Unreadable { file: file.to_owned(), error })?;
        let wrong = |error: String| SettingsError::Yaml { file: file.to_owned(), error };
        // Nothing but comments is nothing.
        let keys: Option<BTreeMap<String, Value>> =
            serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for (key, value) in keys.unwrap_or_default() {
            let whence = format!("{key} in {}", file.display());
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("statsd", Value::Object(keys)) => {
                    for (key, value) in keys {
                        let whence = format!("statsd.{key} in {}", file.display());
                        match key.as_str() {
                            "host" => self.set("statsd.host", &scalar(&value, &whence)?, whence),
                            "port" => self.set("statsd.port", &scalar(&value, &whence)?, whence),
                            _ => self.warnings.push(format!("{whence} is no setting; it has no effect")),
                        }
                    }
                }
                ("statsd", value) => return Err(unfit(&value, whence, "write host: and port: below it")),
                ("prefix_path", value) => self.prefix_path = Some(list(&value, whence)?),
                ("path", value) => self.path = Some(list(&value, whence)?),
                ("publish_env", value) => self.publish_env = Some(list(&value, whence)?),
                // The original read its prefix under this name, and set its default under the other.
                ("prefix_statsd", value) => self.set("prefix_stats", &scalar(&value, &whence)?, whence),
                (key, value) => match NAMES.iter().find(|(name, _)| *name == key) {
                    Some((name, _)) => self.set(name, &scalar(&value, &whence)?, whence),
                    None => self.warnings.push(format!("{whence} is no setting; it has no effect")),
                },
            }
        }
        Ok(())
    }

    /// Lines of `KEY=VALUE`, where a key is a variable's name or a setting's, in upper or lower case. All
    /// else is left alone: the file may be `/etc/environment`, which is not ours.
    fn environment_file(&mut self, file: &Path) {
        let text = match fs::read(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                self.warnings.push(format!("cannot read the environment file {}: {error}", file.display()));
                return;
            }
        };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.strip_prefix("export ").unwrap_or(key).trim();
            let whence = format!("{key} in {}", file.display());
            let is = |name: &str| name.eq_ignore_ascii_case(key);
            let setting = NAMES.iter().find(|(name, variable)| is(name) || is(variable));
            if let Some((name, _)) = setting {
                self.set(name, unquoted(value), whence);
            } else if is(PUBLISH_ENV) {
                self.set_globs(unquoted(value), whence);
            }
        }
    }

    fn flags(&mut self, flags: &Flags) {
        let named = [
            ("hostname", "--hostname", &flags.hostname),
            ("ipaddress", "--addr", &flags.addr),
            ("backend", "--backend", &flags.backend),
            ("interval", "--interval", &flags.interval),
            ("ttl", "--ttl", &flags.ttl),
            ("log", "--log", &flags.log),
        ];
        for (name, flag, value) in named {
            self.set(name, value.as_deref().unwrap_or_default(), flag.to_owned());
        }
        if flags.debug {
            self.set("log_level", "debug", "--debug".to_owned());
        }
        self.set_globs(&flags.publish_env.join(","), "--publish-env".to_owned());
    }
}

impl Given {
    /// What it means; an error of `parse` says what is wrong with it and what to do.
    pub fn read<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, SettingsError> {
        parse(&self.text).map_err(|why| SettingsError::Value {
            whence: self.whence.clone(),
            value: without_user(&self.text),
            why,
        })
    }
}

/// A value of a YAML file that is one text, number or truth.
fn scalar(value: &Value, whence: &str) -> Result<String, SettingsError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(unfit(value, whence.to_owned(), "write one value")),
    }
}

/// A list of texts in a YAML file; one text is a list of one.
fn list(value: &Value, whence: String) -> Result<List, SettingsError> {
    let texts = match value {
        Value::Array(values) => {
            values.iter().map(|value| scalar(value, &whence)).collect::<Result<_, _>>()?
        }
        other => vec![scalar(other, &whence)?],
    };
    Ok(List { texts, whence })
}

fn unfit(value: &Value, whence: String, why: &str) -> SettingsError {
    SettingsError::Value { whence, value: value.to_string(), why: why.to_owned() }
}

/// A URI without its user and password: errors are printed, and logged.
fn without_user(text: &str) -> String {
    match text.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((_, host)))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    }
}

/// Without the quotes around it: `/etc/environment` may have some.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let within = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}
