//! Reads keys from where they are kept. What is refused is named by file, entry and value, but a
//! secret never is, nor what may be one in a wrong place.

use std::{collections::BTreeMap, fs, io, path::Path};

use toml::{Table, Value};

use super::{
    KeysError, SecretHash, Wrong,
    grant::{Grant, Scope},
    secret,
};
use crate::{
    config::{AccessConfig, SharedKey},
    types::{Globs, SHARED_KEY},
};

/// What a caller shows to be known by a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Credential {
    /// A secret.
    Secret(SecretHash),
    /// A name that its certificate proves, as [`subject`] writes it.
    Subject(String),
}

/// One key as it is written down.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) credential: Credential,
    pub(super) grant: Grant,
}

/// A key's name is shown in logs and metrics.
const MAX_NAME: usize = 64;
const FIELDS: [&str; 5] = ["name", "hash", "subject", "allow", "services"];

/// All keys, from all sources.
pub(super) fn read(config: &AccessConfig) -> Result<Vec<Key>, KeysError> {
    let mut keys = match &config.service_key {
        None => Vec::new(),
        Some(SharedKey::File(file)) => shared_file(file)?,
        Some(SharedKey::Value(secret)) => vec![shared(secret.0.trim()).map_err(KeysError::Environment)?],
    };
    if let Some(file) = &config.keys {
        keys.extend(keys_file(file)?);
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for key in &keys {
        let (id, shown) = match &key.credential {
            Credential::Secret(hash) => {
                (hash.to_string(), format!("hash {}{}…", SecretHash::FORM, hash.short()))
            }
            Credential::Subject(subject) => (format!("subject:{subject}"), format!("subject {subject:?}")),
        };
        if let Some(other) = seen.insert(id, key.grant.name()) {
            let wrong = Wrong::Twice { shown, one: other.to_owned(), other: key.grant.name().to_string() };
            let file = config.keys.clone().unwrap_or_default();
            return Err(KeysError::File { file, wrong });
        }
    }
    Ok(keys)
}

/// A certificate's name as it is compared: names of hosts are the same in upper and lower case.
pub(super) fn subject(name: &str) -> String {
    let is_host = !name.contains(['/', '@']);
    if is_host { name.to_ascii_lowercase() } else { name.to_owned() }
}

fn text_of(file: &Path) -> Result<String, KeysError> {
    fs::read_to_string(file).map_err(|error| {
        // Its text would say that it is no UTF-8, and no more.
        let why = if error.kind() == io::ErrorKind::InvalidData {
            "it is no text".to_owned()
        } else {
            error.to_string()
        };
        KeysError::Unreadable { file: file.to_owned(), why }
    })
}

fn shared(secret: &str) -> Result<Key, &'static str> {
    if secret.is_empty() {
        return Err("is empty");
    }
    if !secret::can_be_sent(secret) {
        return Err("holds characters that no header can carry; use letters, digits and signs of ASCII");
    }
    let grant = Grant::new(SHARED_KEY, vec![Scope::Register, Scope::Read], None);
    Ok(Key { credential: Credential::Secret(SecretHash::of(secret.as_bytes())), grant })
}

/// One key a line; empty lines and those that begin with `#` are passed over.
fn shared_file(file: &Path) -> Result<Vec<Key>, KeysError> {
    let text = text_of(file)?;
    let wrong = |wrong| KeysError::File { file: file.to_owned(), wrong };
    let mut keys: Vec<Key> = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = shared(line).map_err(|why| wrong(Wrong::Line { line: index + 1, why }))?;
        if !keys.iter().any(|known| known.credential == key.credential) {
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(wrong(Wrong::NoSharedKey)) } else { Ok(keys) }
}

fn keys_file(file: &Path) -> Result<Vec<Key>, KeysError> {
    let text = text_of(file)?;
    entries(&text).map_err(|wrong| KeysError::File { file: file.to_owned(), wrong })
}

fn entries(text: &str) -> Result<Vec<Key>, Wrong> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        // Its text shows the line itself, which may be a secret in a wrong place.
        let at = error.span().map_or(0, |span| span.start);
        Wrong::Syntax { line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count() }
    })?;
    let entries = table.remove("key");
    if let Some(field) = table.keys().next() {
        return Err(Wrong::UnknownTop(field.clone()));
    }
    let Some(Value::Array(entries)) = entries else { return Err(Wrong::NoEntries) };
    let mut keys: Vec<Key> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let number = index + 1;
        let Value::Table(entry) = entry else { return Err(Wrong::NoEntries) };
        let key = self::entry(&entry, number)?;
        if keys.iter().any(|known| known.grant.name() == key.grant.name()) {
            return Err(Wrong::SameName(key.grant.name().to_string()));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(Wrong::NoEntries) } else { Ok(keys) }
}

fn entry(entry: &Table, number: usize) -> Result<Key, Wrong> {
    let named = match entry.get("name") {
        Some(Value::String(name)) => name.as_str(),
        _ => {
            return Err(Wrong::Entry {
                entry: format!("entry {number}"),
                why: "has no name, a text".to_owned(),
            });
        }
    };
    let wrong = |why: String| Wrong::Entry { entry: format!("key {named:?} (entry {number})"), why };
    check_name(named).map_err(&wrong)?;
    if let Some(field) = entry.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(wrong(format!("has an unknown field {field:?}; there are {}", FIELDS.join(", "))));
    }
    let credential = match (entry.get("hash"), entry.get("subject")) {
        (Some(Value::String(hash)), None) => SecretHash::parse(hash).map(Credential::Secret).ok_or_else(|| {
            // What stands there may be the secret itself.
            wrong("has a hash that is not sha256: and 64 hexadecimal digits, as `leasehold key new` prints it".to_owned())
        })?,
        (None, Some(Value::String(name))) if !name.is_empty() => Credential::Subject(subject(name)),
        (None, None) => return Err(wrong("has neither a hash nor a subject; give one".to_owned())),
        (Some(_), Some(_)) => {
            return Err(wrong("has both a hash and a subject; make two keys of it".to_owned()));
        }
        (Some(_), None) => return Err(wrong("has a hash that is no text".to_owned())),
        (None, Some(_)) => return Err(wrong("has a subject that is no text, or empty".to_owned())),
    };
    let scopes = texts(entry, "allow").map_err(&wrong)?.unwrap_or_default();
    let allow = scopes_of(&scopes).map_err(&wrong)?;
    let services = match texts(entry, "services").map_err(&wrong)? {
        None => None,
        Some(globs) if globs.is_empty() => {
            return Err(wrong("has no services in `services`; leave it out to mean all".to_owned()));
        }
        Some(globs) => {
            let globs = Globs::parse(&globs);
            Some(globs.map_err(|(glob, error)| wrong(format!("has a service {glob:?} that {error}")))?)
        }
    };
    if services.is_some() && allow.contains(&Scope::Admin) {
        let text = "allows admin for some services only, but a backup holds all of them; make two keys of it";
        return Err(wrong(text.to_owned()));
    }
    Ok(Key { credential, grant: Grant::new(named, allow, services) })
}

/// Whether a text can be a key's name; why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-@:/+".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        return Err(format!("has no good name: 1 to {MAX_NAME} letters, digits and . _ - @ : / + are"));
    }
    if name == SHARED_KEY {
        return Err(format!("has the name of the shared key: {SHARED_KEY:?} is taken"));
    }
    Ok(())
}

/// The scopes that these texts name, in order, each once; at least one.
pub fn scopes_of<T: AsRef<str>>(names: &[T]) -> Result<Vec<Scope>, String> {
    let all = Scope::ALL.map(Scope::name).join(", ");
    for name in names.iter().map(AsRef::as_ref) {
        if Scope::of(name).is_none() {
            return Err(format!("allows {name:?}, which is none of {all}"));
        }
    }
    let allowed = |scope: &Scope| names.iter().any(|name| name.as_ref() == scope.name());
    let scopes: Vec<Scope> = Scope::ALL.into_iter().filter(allowed).collect();
    if scopes.is_empty() { Err(format!("allows nothing; give `allow` some of {all}")) } else { Ok(scopes) }
}

fn texts(entry: &Table, field: &str) -> Result<Option<Vec<String>>, String> {
    let Some(value) = entry.get(field) else { return Ok(None) };
    let all = value.as_array().map(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    all.flatten().map(Some).ok_or_else(|| format!("has `{field}` that is no list of texts, such as [\"…\"]"))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
