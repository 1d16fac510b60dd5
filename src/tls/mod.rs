//! What the listener shows of itself, and what it wants to see of clients: certificates, read
//! from PEM files, and read again when they change. Start from [`Tls`].
//!
//! A connection keeps the certificate that it began with; whatever is read later is for those
//! that come later. What cannot be used is never taken: the former one goes on.

mod pem;
mod subjects;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tracing::{error, info, warn};

pub use self::{pem::TlsError, subjects::subjects};
use crate::config::{ClientAuth, TlsConfig};

/// The protocols that are spoken, the preferred one first.
pub const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate is about to expire when it has less than this left, or than a third of its life.
const SOON: Duration = Duration::from_hours(14 * 24);

/// The certificate of a listener, as it is now.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
    /// Seconds of Unix time.
    expires_at: AtomicI64,
}

/// What was read.
struct Loaded {
    server: ServerConfig,
    leaf: subjects::Leaf,
}

impl Tls {
    /// Reads the files, and says in the log what they hold.
    pub fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let Loaded { server, leaf } = load(config)?;
        say(&leaf, "serving this certificate");
        Ok(Self {
            config: config.clone(),
            current: ArcSwap::from_pointee(server),
            expires_at: AtomicI64::new(leaf.expires_at),
        })
    }

    /// Reads the files again. What cannot be used is logged, and the former certificate stays.
    pub fn reload(&self) {
        match load(&self.config) {
            Ok(Loaded { server, leaf }) => {
                self.current.store(Arc::new(server));
                self.expires_at.store(leaf.expires_at, Ordering::Release);
                say(&leaf, "new connections are served this certificate");
            }
            Err(problem) => {
                error!(%problem, "the certificate cannot be read again; the former one goes on");
            }
        }
    }

    /// The files that it is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        let TlsConfig { cert, key, client_ca, .. } = &self.config;
        [Some(cert), Some(key), client_ca.as_ref()].into_iter().flatten().cloned().collect()
    }

    /// For a connection that begins now.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// When the certificate expires, in seconds of Unix time.
    pub fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Acquire)
    }
}

fn load(config: &TlsConfig) -> Result<Loaded, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = pem::certificates(&config.cert)?;
    let key = pem::private_key(&config.key)?;
    let leaf = subjects::Leaf::read(&chain[0])
        .map_err(|what| TlsError::BadCertificate { file: config.cert.clone(), what })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = roots(file, pem::certificates(file)?)?;
            builder.with_client_cert_verifier(verifier(roots, config.client_auth, provider)?)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { cert: config.cert.clone(), key: config.key.clone() }
        }
        rustls::Error::General(_) => TlsError::BadKey { file: config.key.clone() },
        error => TlsError::Unusable(error),
    })?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    if config.client_ca.is_some() {
        // A session that is taken up again would not show the client's certificate again, which
        // may have expired, and may be of an authority that is trusted no more.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok(Loaded { server, leaf })
}

fn roots(
    file: &std::path::Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| TlsError::BadCertificate { file: file.to_owned(), what: error.to_string() })?;
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    client_auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match client_auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional | ClientAuth::None => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| TlsError::Unusable(rustls::Error::General(error.to_string())))
}

fn say(leaf: &subjects::Leaf, what: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let left = leaf.expires_at - now;
    let life = leaf.expires_at - leaf.valid_from;
    let (subject, names, expires) = (&leaf.subject, leaf.names.join(", "), &leaf.expires);
    info!(subject, names, expires, "{what}");
    if left <= 0 {
        warn!(subject, expires, "the certificate has expired: clients refuse it");
    } else if now < leaf.valid_from {
        warn!(subject, "the certificate is not valid yet: clients refuse it");
    } else if left < (SOON.as_secs() as i64).min(life / 3) {
        warn!(subject, expires, "the certificate expires soon");
    }
}

#[cfg(test)]
mod tests;
