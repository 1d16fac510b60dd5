//! Keys: who may do what. A caller shows a secret, or a certificate; [`Keys`] knows whose that
//! is and answers with a [`Grant`], which says what it is good for. What a call needs, and that
//! it is asked for, is the API's business (`api/gate.rs`).

mod grant;
mod secret;
mod source;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use parking_lot::Mutex;
use subtle::ConditionallySelectable as _;
use tracing::{error, info};

use crate::config::{AccessConfig, SharedKey};

pub use grant::{Grant, Scope};
pub use secret::{SecretHash, fresh};
pub use source::{check_name, scopes_of};

use source::{Credential, Key};

/// The header that a secret comes in, as servicekit sends it.
const SERVICE_KEY: HeaderName = HeaderName::from_static("x-service-key");
/// So many names are shown in a line of the log.
const SHOWN_NAMES: usize = 20;

/// The keys that are good now.
#[derive(Default)]
pub struct Keys {
    /// Where they come from; none where there are none.
    sources: Option<AccessConfig>,
    ring: ArcSwap<Ring>,
    /// One reading at a time.
    reading: Mutex<()>,
}

/// All keys of one reading.
#[derive(Debug, Default)]
struct Ring {
    /// Those known by a secret.
    secrets: Vec<(SecretHash, Arc<Grant>)>,
    /// Those known by a certificate's name.
    subjects: HashMap<String, Arc<Grant>>,
    has_admin: bool,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read.
    #[error("the keys in {} cannot be read: {why}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A file holds something else than keys.
    #[error("the keys in {} are not good: {wrong}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong in it.
        wrong: Wrong,
    },
    /// The environment's variable holds no key.
    #[error("the service key in the environment {0}; set LEASEHOLD_SERVICE_KEY to a secret, or unset it")]
    Environment(&'static str),
}

/// What is wrong in a file of keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is no TOML.
    #[error(
        "line {line} is no TOML (which is not shown: it may be a secret); the file holds [[key]] entries as `leasehold key new` prints them"
    )]
    Syntax {
        /// Where.
        line: usize,
    },
    /// It holds no keys.
    #[error(
        "it holds no [[key]] entries; `leasehold key new` prints one. To lock everybody out, leave one that nobody has"
    )]
    NoEntries,
    /// It has a field outside of all entries.
    #[error("it has an unknown field {0:?}; it holds [[key]] entries and nothing else")]
    UnknownTop(String),
    /// An entry cannot be.
    #[error("{entry} {why}")]
    Entry {
        /// Which.
        entry: String,
        /// Why.
        why: String,
    },
    /// Two entries have a name.
    #[error("the name {0:?} is given twice; to rotate a secret, give the second entry a name of its own")]
    SameName(String),
    /// Two keys would be known by the same.
    #[error("the keys {one:?} and {other:?} have the same {shown}; it must be clear whose it is")]
    Twice {
        /// What.
        shown: String,
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
    /// A line of the shared key's file is none.
    #[error("line {line} {why}")]
    Line {
        /// Which.
        line: usize,
        /// Why.
        why: &'static str,
    },
    /// The shared key's file is empty.
    #[error("it holds no key; write one a line")]
    NoSharedKey,
}

/// A caller showed a secret that is none, or a broken one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is not one of this server's")]
pub struct WrongKey;

/// What reading the keys again came to: names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    added: BTreeSet<Arc<str>>,
    removed: BTreeSet<Arc<str>>,
}

impl Keys {
    /// Reads the keys.
    pub fn open(config: &AccessConfig) -> Result<Self, KeysError> {
        let none = config.service_key.is_none() && config.keys.is_none();
        let keys = Self { sources: (!none).then(|| config.clone()), ..Self::default() };
        keys.read()?;
        Ok(keys)
    }

    /// Whether there are any; without, everybody may do everything.
    pub fn are_used(&self) -> bool {
        self.sources.is_some()
    }

    /// How many are good.
    pub fn count(&self) -> usize {
        self.ring.load().all().count()
    }

    /// Whether there is one that allows to administer: then only such ones do.
    pub fn has_admin(&self) -> bool {
        self.are_used() && self.ring.load().has_admin
    }

    /// Whose key a caller shows, in its headers or by its certificate's names (`subjects`); none
    /// if it shows none. A secret that is shown must be good, whatever the certificate says.
    pub fn identify(&self, headers: &HeaderMap, subjects: &[String]) -> Result<Option<Arc<Grant>>, WrongKey> {
        if !self.are_used() {
            return Ok(None);
        }
        let ring = self.ring.load();
        match shown(headers)? {
            Some(secret) => ring.of_secret(secret).map(Some).ok_or(WrongKey),
            None => Ok(ring.of_subjects(subjects)),
        }
    }

    /// The files that they come from.
    pub fn files(&self) -> Vec<PathBuf> {
        let Some(sources) = &self.sources else { return Vec::new() };
        let shared = match &sources.service_key {
            Some(SharedKey::File(file)) => Some(file.clone()),
            _ => None,
        };
        shared.into_iter().chain(sources.keys.clone()).collect()
    }

    /// Reads them again and says in the log what that came to. Keys that are gone, or changed, are
    /// revoked. Broken files change nothing.
    pub fn reload(&self) {
        if !self.are_used() {
            return;
        }
        match self.read() {
            Ok(Difference { added, removed }) => {
                let (count, names) = self.names();
                let (sources, added, removed) = (self.describe(), list(&added), list(&removed));
                info!(count, names, sources, added, removed, "the keys in use");
            }
            Err(error) => {
                let (count, names) = self.names();
                error!(count, names, %error, "the keys were not changed: those from before stay in use");
            }
        }
    }

    fn read(&self) -> Result<Difference, KeysError> {
        let Some(sources) = &self.sources else { return Ok(Difference::default()) };
        let _reading = self.reading.lock();
        let keys = source::read(sources)?;
        let old = self.ring.load_full();
        let new = Ring::of(keys, &old);
        let gone: Vec<_> = old.all().filter(|grant| !new.has(grant)).map(Arc::clone).collect();
        let fresh = new.all().filter(|grant| !old.has(grant));
        let difference = Difference {
            added: fresh.map(|grant| Arc::clone(grant.name())).collect(),
            removed: gone.iter().map(|grant| Arc::clone(grant.name())).collect(),
        };
        // First nobody is let in by them any more, then those who are in are sent away.
        self.ring.store(Arc::new(new));
        for grant in gone {
            grant.revoke();
        }
        Ok(difference)
    }

    /// Where they come from, for people.
    fn describe(&self) -> String {
        let of_environment = self.sources.as_ref().and_then(|sources| match &sources.service_key {
            Some(SharedKey::Value(_)) => Some("the environment".to_owned()),
            _ => None,
        });
        let files = self.files().into_iter().map(|file| file.display().to_string());
        of_environment.into_iter().chain(files).collect::<Vec<_>>().join(", ")
    }

    fn names(&self) -> (usize, String) {
        let ring = self.ring.load();
        (ring.all().count(), list(&ring.all().map(|grant| Arc::clone(grant.name())).collect()))
    }
}

impl Ring {
    /// A ring of these keys; those that an older one knows as they are keep their grants.
    fn of(keys: Vec<Key>, old: &Self) -> Self {
        let mut ring = Self::default();
        for Key { credential, grant } in keys {
            let known = match &credential {
                Credential::Secret(hash) => {
                    old.secrets.iter().find(|(known, _)| known == hash).map(|(_, grant)| grant)
                }
                Credential::Subject(subject) => old.subjects.get(subject),
            };
            let grant = match known {
                Some(known) if known.is_same(&grant) => Arc::clone(known),
                _ => Arc::new(grant),
            };
            ring.has_admin |= grant.allows(Scope::Admin);
            match credential {
                Credential::Secret(hash) => ring.secrets.push((hash, grant)),
                Credential::Subject(subject) => drop(ring.subjects.insert(subject, grant)),
            }
        }
        ring
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.secrets.iter().map(|(_, grant)| grant).chain(self.subjects.values())
    }

    fn has(&self, grant: &Arc<Grant>) -> bool {
        self.all().any(|known| Arc::ptr_eq(known, grant))
    }

    /// Looks at all keys, whichever it is: how long it takes says nothing.
    fn of_secret(&self, secret: &[u8]) -> Option<Arc<Grant>> {
        let hash = SecretHash::of(secret);
        let mut found = u64::MAX;
        for (index, (known, _)) in (0..).zip(&self.secrets) {
            found = u64::conditional_select(&found, &index, known.is(&hash));
        }
        let (_, grant) = self.secrets.get(usize::try_from(found).ok()?)?;
        Some(Arc::clone(grant))
    }

    fn of_subjects(&self, subjects: &[String]) -> Option<Arc<Grant>> {
        if self.subjects.is_empty() {
            return None;
        }
        subjects.iter().find_map(|name| self.subjects.get(&source::subject(name))).map(Arc::clone)
    }
}

/// The secret that a caller shows, if it does: that of its own header, else the bearer's. Two
/// different ones are none.
fn shown(headers: &HeaderMap) -> Result<Option<&[u8]>, WrongKey> {
    let own = headers.get_all(SERVICE_KEY).iter().map(|value| value.as_bytes().trim_ascii());
    match one(own)? {
        Some(secret) => Ok(Some(secret)),
        None => one(headers.get_all(AUTHORIZATION).iter().filter_map(bearer)),
    }
}

fn one<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, WrongKey> {
    let mut first = None;
    for secret in secrets.filter(|secret| !secret.is_empty()) {
        match first {
            Some(known) if known != secret => return Err(WrongKey),
            _ => first = Some(secret),
        }
    }
    Ok(first)
}

/// The token of `Bearer …` (RFC 6750, section 2.1); schemes are the same in upper and lower case.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().trim_ascii().split_at_checked(6)?;
    let token = scheme.eq_ignore_ascii_case(b"bearer").then_some(token)?;
    token.first().is_some_and(u8::is_ascii_whitespace).then(|| token.trim_ascii())
}

fn list(names: &BTreeSet<Arc<str>>) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN_NAMES).map(|name| &**name).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("ring", &self.ring.load()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
