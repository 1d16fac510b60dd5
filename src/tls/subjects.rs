//! What certificates say: whose they are, and until when.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// What the log and the metrics say of a server's certificate.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Its subject, which may be empty.
    pub subject: String,
    /// What it proves.
    pub names: Vec<String>,
    /// Seconds of Unix time.
    pub valid_from: i64,
    /// The same.
    pub expires_at: i64,
    /// As people read it.
    pub expires: String,
}

impl Leaf {
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, read) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let validity = read.validity();
        Ok(Self {
            subject: read.subject().to_string(),
            names: names(&read),
            valid_from: validity.not_before.timestamp(),
            expires_at: validity.not_after.timestamp(),
            expires: validity.not_after.to_string(),
        })
    }
}

/// The names that a certificate proves: its subject alternative names that are DNS names, URIs,
/// mail addresses or IP addresses, as text. None of one that cannot be read.
pub fn subjects(certificate: &CertificateDer<'_>) -> Vec<String> {
    X509Certificate::from_der(certificate).map(|(_, read)| names(&read)).unwrap_or_default()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    }
}
