//! Keys: who may do what. A caller shows a secret, or a certificate; [`Keys`] knows whose that
//! is and answers with a [`Grant`], which says what it is good for. What a call needs, and that
//! it is asked for, is the API's business (`api/gate.rs`).

use std::sync::Arc;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use wildmatch::WildMatch;

use crate::{config::AccessConfig, types::ServiceName};

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To register, renew and deregister.
    Register,
    /// To read, where reading needs a key.
    Read,
    /// To make backups.
    Admin,
}

/// The keys that are good now.
#[derive(Debug, Default)]
pub struct Keys;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {}

/// A caller showed a secret that is none, or a broken one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is not one of this server's")]
pub struct WrongKey;

impl Keys {
    /// Reads the keys.
    pub fn open(_: &AccessConfig) -> Result<Self, KeysError> {
        Ok(Self)
    }

    /// Whether there are any; without, everybody may do everything.
    pub fn are_used(&self) -> bool {
        false
    }

    /// Whose key a caller shows, in its headers or by its certificate's names (`subjects`); none
    /// if it shows none.
    pub fn identify(&self, _: &HeaderMap, _subjects: &[String]) -> Result<Option<Arc<Grant>>, WrongKey> {
        Ok(None)
    }
}

/// What one key allows; it is the same as long as its entry is.
#[derive(Debug)]
pub struct Grant {
    name: Arc<str>,
    allow: Vec<Scope>,
    /// Names that it is good for, with `*` for any text; none for all.
    services: Option<Vec<WildMatch>>,
    revoked: CancellationToken,
}

impl Grant {
    /// The key's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is good for this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.allow.contains(&scope)
    }

    /// Whether it is good for some services only.
    pub fn is_limited(&self) -> bool {
        self.services.is_some()
    }

    /// Whether it is good for this service.
    pub fn covers(&self, service: &ServiceName) -> bool {
        let Some(globs) = &self.services else { return true };
        globs.iter().any(|glob| glob.matches(service.as_str()))
    }

    /// Returns once the key is good no more.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}
