//! What a key is good for.

use std::{fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::types::{Globs, ServiceName};

/// What a key may be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To register, renew and deregister.
    Register,
    /// To read, where reading needs a key.
    Read,
    /// To make backups.
    Admin,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Register, Self::Read, Self::Admin];

    /// Its name in a file of keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What one key allows; it is the same as long as its entry is.
pub struct Grant {
    name: Arc<str>,
    allow: Vec<Scope>,
    /// What it is good for; none for all services.
    services: Option<Arc<Globs>>,
    revoked: CancellationToken,
}

impl Grant {
    pub(super) fn new(name: &str, allow: Vec<Scope>, services: Option<Globs>) -> Self {
        let services = services.map(Arc::new);
        Self { name: Arc::from(name), allow, services, revoked: CancellationToken::new() }
    }

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

    /// The services that it is good for; none for all.
    pub fn reach(&self) -> Option<&Arc<Globs>> {
        self.services.as_ref()
    }

    /// Whether it is good for this service.
    pub fn covers(&self, service: &ServiceName) -> bool {
        self.services.as_ref().is_none_or(|globs| globs.cover(service))
    }

    /// Whether it is good no more.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }

    /// Returns once the key is good no more.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    /// From now on it is good no more.
    pub(super) fn revoke(&self) {
        self.revoked.cancel();
    }

    /// Whether it allows what another does, under the same name.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.allow, &self.services) == (&other.name, &other.allow, &other.services)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, allow, services, revoked } = self;
        f.debug_struct("Grant")
            .field("name", name)
            .field("allow", allow)
            .field("services", services)
            .field("revoked", &revoked.is_cancelled())
            .finish()
    }
}
