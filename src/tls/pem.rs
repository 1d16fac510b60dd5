//! PEM files, and what is wrong with them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Why certificates cannot be used. What a file holds is never shown: it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no PEM, or damaged.
    #[error("{}: not whole PEM, which has BEGIN and END lines and base64 between them", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
    },
    /// It holds no certificate.
    #[error(
        "{}: there is no certificate in it (-----BEGIN CERTIFICATE-----){}",
        file.display(),
        if *is_key { "; it holds a private key" } else { "" }
    )]
    NoCertificate {
        /// Which.
        file: PathBuf,
        /// Whether it holds a key.
        is_key: bool,
    },
    /// It holds no private key.
    #[error(
        "{}: there is no private key in it (-----BEGIN PRIVATE KEY-----){}",
        file.display(),
        if *is_certificate { "; it holds a certificate" } else { "" }
    )]
    NoKey {
        /// Which.
        file: PathBuf,
        /// Whether it holds a certificate.
        is_certificate: bool,
    },
    /// The key needs a password.
    #[error(
        "{}: the private key is encrypted; decrypt it with `openssl pkey -in {} -out FILE` and protect the \
         file by its permissions",
        file.display(),
        file.display()
    )]
    Encrypted {
        /// Which.
        file: PathBuf,
    },
    /// A certificate in it makes no sense.
    #[error("{}: a certificate in it cannot be used: {what}", file.display())]
    BadCertificate {
        /// Which.
        file: PathBuf,
        /// Why.
        what: String,
    },
    /// The key is of a kind that is not known.
    #[error("{}: the private key is damaged, or neither RSA, ECDSA nor Ed25519", file.display())]
    BadKey {
        /// Which.
        file: PathBuf,
    },
    /// The two do not belong together.
    #[error(
        "the private key in {} does not fit the first certificate in {}",
        key.display(),
        cert.display()
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// Anything else.
    #[error("the certificate cannot be used: {0}")]
    Unusable(rustls::Error),
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
}

fn holds(pem: &[u8], what: &str) -> bool {
    String::from_utf8_lossy(pem).contains(what)
}

/// All certificates in a file, in their order; at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| TlsError::Damaged { file: file.to_owned() })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            file: file.to_owned(),
            is_key: holds(&pem, "PRIVATE KEY-----"),
        });
    }
    Ok(found)
}

/// The first private key in a file: PKCS #8, or as RSA and EC keys were written before.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(file)?;
    if holds(&pem, "BEGIN ENCRYPTED PRIVATE KEY") || holds(&pem, "Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::Encrypted { file: file.to_owned() });
    }
    match PrivateKeyDer::pem_slice_iter(&pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) => Err(TlsError::Damaged { file: file.to_owned() }),
        None => Err(TlsError::NoKey {
            file: file.to_owned(),
            is_certificate: holds(&pem, "BEGIN CERTIFICATE-----"),
        }),
    }
}
