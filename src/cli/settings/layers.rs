//! The layers as they were found, all in one form, and the search through them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use clap::Args as _;
use toml::{Table, Value};

use super::Flags;

/// What stands before the name of every variable.
const VARIABLES: &str = "LEASEHOLD_";

/// Flags, variables and the file, in the order they win.
#[derive(Debug)]
pub struct Layers {
    flags: Table,
    variables: Table,
    file: Option<(PathBuf, Table)>,
}

/// A value that was settled, and by whom.
#[derive(Debug)]
pub struct Given<T> {
    /// What it means.
    pub value: T,
    /// Where it was set.
    pub origin: Origin,
}

/// Where a value was set; displays as what the person has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(String),
    /// In the environment.
    Variable(String),
    /// In the file.
    Key(String, PathBuf),
    /// Nowhere.
    Default(String),
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// A value is not allowed.
    #[error("{origin}: {value:?} is not allowed; allowed: {allowed}")]
    Value {
        /// Where it was set.
        origin: Origin,
        /// As written.
        value: String,
        /// What could be written instead.
        allowed: String,
    },
    /// Two values contradict each other.
    #[error(
        "{low} ({low_value}) is longer than {high} ({high_value}); shorten the one or lengthen the other"
    )]
    Order {
        /// Must be the shorter one.
        low: Origin,
        /// As it is.
        low_value: String,
        /// Must be the longer one.
        high: Origin,
        /// As it is.
        high_value: String,
    },
    /// One setting means nothing without another.
    #[error("{given} needs {lacking} beside it")]
    Lacks {
        /// What was set.
        given: Origin,
        /// What was not.
        lacking: String,
    },
    /// A variable with a secret holds no text. The secret is not shown.
    #[error("{0} is no text in UTF-8; write the key to a file and name it with --service-key-file")]
    SecretNoText(&'static str),
    /// The file has a key that means nothing.
    #[error("{}: unknown key `{key}`{hint}", file.display())]
    UnknownKey {
        /// As written.
        key: String,
        /// Where.
        file: PathBuf,
        /// What may have been meant.
        hint: String,
    },
    /// The file is no TOML.
    #[error("{}: {message}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Line, column and what was expected there.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The flags cannot be looked at: a bug of ours, never of the input.
    #[error("cannot read the flags: {0}")]
    Flags(#[from] toml::ser::Error),
}

impl Layers {
    /// Collects the layers; refuses a file that cannot be read, is no TOML or has unknown keys.
    pub fn read(
        flags: &Flags,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingError> {
        let keys = keys();
        let mut variables = Table::new();
        for key in &keys {
            if let Some(text) = variable(&variable_name(key)).filter(|text| !text.is_empty()) {
                // What is no Unicode is no value of any setting either: the parser refuses it.
                variables.insert(key.clone(), Value::String(text.to_string_lossy().into_owned()));
            }
        }
        let file = match file {
            Some(path) => Some((path.to_owned(), read_file(path, &keys)?)),
            None => None,
        };
        Ok(Self { flags: Table::try_from(flags)?, variables, file })
    }

    /// A setting with one value.
    pub fn read_one<T>(
        &self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Given<T>, SettingError> {
        let Some((origin, value)) = self.find(key) else {
            return Ok(Given { value: default, origin: Origin::Default(flag_name(key)) });
        };
        let text = scalar(value).ok_or_else(|| SettingError::Value {
            origin: origin.clone(),
            value: value.to_string(),
            allowed: "one string, whole number or boolean".to_owned(),
        })?;
        match parse(&text) {
            Ok(value) => Ok(Given { value, origin }),
            Err(allowed) => Err(SettingError::Value { origin, value: text, allowed }),
        }
    }

    /// A setting with any number of values: a flag given again, an array in the file, or in one
    /// string separated by commas. The layer that wins replaces the others.
    pub fn read_list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, SettingError> {
        let Some((origin, value)) = self.find(key) else { return Ok(Vec::new()) };
        let items = match value {
            Value::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut list = Vec::new();
        for item in items {
            let text = item.as_str().ok_or_else(|| SettingError::Value {
                origin: origin.clone(),
                value: item.to_string(),
                allowed: "strings".to_owned(),
            })?;
            for part in text.split(',').map(str::trim) {
                list.push(parse(part).map_err(|allowed| SettingError::Value {
                    origin: origin.clone(),
                    value: part.to_owned(),
                    allowed,
                })?);
            }
        }
        Ok(list)
    }

    fn find(&self, key: &str) -> Option<(Origin, &Value)> {
        // A list that was not given is an empty array among the flags.
        let given = |value: &&Value| value.as_array().is_none_or(|items| !items.is_empty());
        if let Some(value) = self.flags.get(key).filter(given) {
            return Some((Origin::Flag(flag_name(key)), value));
        }
        if let Some(value) = self.variables.get(key) {
            return Some((Origin::Variable(variable_name(key)), value));
        }
        let (path, table) = self.file.as_ref()?;
        Some((Origin::Key(key.to_owned(), path.clone()), table.get(key)?))
    }
}

impl Origin {
    /// What sets it.
    pub fn name(&self) -> String {
        match self {
            Self::Flag(name) | Self::Variable(name) | Self::Default(name) | Self::Key(name, _) => {
                name.clone()
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::Key(key, file) => write!(f, "{key} in {}", file.display()),
            Self::Default(flag) => write!(f, "the default of {flag}"),
        }
    }
}

/// The names of all settings, read off [`Flags`].
fn keys() -> BTreeSet<String> {
    let command = Flags::augment_args(clap::Command::new(""));
    command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
}

fn flag_name(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

fn variable_name(key: &str) -> String {
    format!("{VARIABLES}{}", key.to_ascii_uppercase())
}

fn read_file(path: &Path, keys: &BTreeSet<String>) -> Result<Table, SettingError> {
    let file = path.to_owned();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) => return Err(SettingError::Unreadable { file, source }),
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            return Err(SettingError::Syntax { file, message: error.to_string().trim_end().to_owned() });
        }
    };
    match table.keys().find(|key| !keys.contains(*key)) {
        None => Ok(table),
        Some(key) => {
            let underscored = key.replace('-', "_");
            let hint = if keys.contains(&underscored) {
                format!("; keys are written with underscores: `{underscored}`")
            } else {
                "; the keys are the names of serve's settings, with underscores".to_owned()
            };
            Err(SettingError::UnknownKey { key: key.clone(), file, hint })
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
