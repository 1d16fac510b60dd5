//! Certificates, made when they are needed, and the files they are in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// Names by which the loopback is called.
pub const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// Where such a pair was written.
#[derive(Clone, Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// One of this name.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes its certificate; where.
    pub fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let file = dir.join(name);
        fs::write(&file, &self.pem).expect("a file");
        file
    }

    /// A certificate of a server or client that has these names: DNS names, addresses, or URIs.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, 2040)
    }

    /// One that has expired.
    pub fn issue_expired(&self, names: &[&str]) -> Pair {
        self.issue_until(names, 2020)
    }

    fn issue_until(&self, names: &[&str], year: i32) -> Pair {
        let (uris, plain): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let plain: Vec<String> = plain.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(plain).expect("good names");
        params
            .subject_alt_names
            .extend(uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("a URI in ASCII"))));
        params.distinguished_name.push(DnType::CommonName, names[0]);
        // Python from 3.13 on insists on it.
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2010, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, dir: &Path, name: &str) -> Files {
        let files = Files { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        self.replace(&files);
        files
    }

    /// Writes it where another one is.
    pub fn replace(&self, files: &Files) {
        fs::write(&files.cert, &self.cert).expect("a file");
        fs::write(&files.key, &self.key).expect("a file");
    }
}
