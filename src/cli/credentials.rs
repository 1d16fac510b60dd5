//! What a client's command trusts, and what it shows: roots and a certificate for TLS, and the
//! key of a server that asks for one. A key is never a word of a command line: others can read
//! those.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    failure::{Failure, root_cause},
    settings,
};

/// What is trusted, and what is shown.
#[derive(Args, Debug, Default)]
pub struct Credentials {
    /// A PEM file with the authorities that may vouch for an https server [default: the system's]
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CA")]
    ca: Option<PathBuf>,

    /// A PEM file with the certificate to show to an https server
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CERT")]
    cert: Option<PathBuf>,

    /// A PEM file with that certificate's private key
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_KEY")]
    key: Option<PathBuf>,

    /// A file with the key that the server asks for; else it is read from `LEASEHOLD_SERVICE_KEY` or
    /// `SERVICEKIT_REGISTRATION_KEY`
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_SERVICE_KEY_FILE")]
    service_key_file: Option<PathBuf>,
}

/// Shows a key with each call, if there is one.
#[derive(Clone, Debug)]
pub struct ShowKey(Option<MetadataValue<Ascii>>);

impl Interceptor for ShowKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("x-service-key", key.clone());
        }
        Ok(request)
    }
}

impl Credentials {
    /// The key to show.
    pub fn service_key(&self) -> Result<ShowKey, Failure> {
        let (key, whence) = match given(self.service_key_file.as_ref()) {
            Some(file) => {
                let bytes = read(file, "--service-key-file")?;
                let text = String::from_utf8(bytes).unwrap_or_default();
                let first = text.lines().map(str::trim).find(|line| !line.is_empty());
                let key = first.ok_or_else(|| {
                    Failure::usage(format!("{} (--service-key-file) holds no key", file.display()))
                })?;
                (key.to_owned(), "the key in --service-key-file")
            }
            None => match settings::shared_key(|name| env::var_os(name))? {
                Some(secret) => (secret.0.trim().to_owned(), "the key in the environment"),
                None => return Ok(ShowKey(None)),
            },
        };
        let mut value = MetadataValue::try_from(key)
            .map_err(|_| Failure::usage(format!("{whence} has characters that cannot be sent")))?;
        value.set_sensitive(true);
        Ok(ShowKey(Some(value)))
    }

    /// Sets up TLS: who the server must be, and what it is shown.
    pub fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        let mut tls = self.identified(&endpoint)?;
        tls = match given(self.ca.as_ref()) {
            Some(file) => {
                let pem = read(file, "--ca")?;
                if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE-----") {
                    let text = format!("there is no certificate in {} (--ca)", file.display());
                    return Err(Failure::usage(text));
                }
                tls.ca_certificate(Certificate::from_pem(pem))
            }
            None => tls.with_native_roots(),
        };
        endpoint.tls_config(tls).map_err(|error| unusable(&error))
    }

    /// The same for a server whose address is all that is known of it.
    pub fn secure_unverified(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        let tls = self.identified(&endpoint)?;
        let verifier = Arc::new(Anyone(aws_lc_rs::default_provider().signature_verification_algorithms));
        endpoint.tls_config_with_verifier(tls, verifier).map_err(|error| unusable(&error))
    }

    fn identified(&self, endpoint: &Endpoint) -> Result<ClientTlsConfig, Failure> {
        let host = endpoint.uri().host().unwrap_or_default();
        // The brackets of an IPv6 address are the URL's.
        let tls = ClientTlsConfig::new().domain_name(host.trim_matches(['[', ']']));
        match (given(self.cert.as_ref()), given(self.key.as_ref())) {
            (Some(cert), Some(key)) => {
                let identity = Identity::from_pem(read(cert, "--cert")?, read(key, "--key")?);
                Ok(tls.identity(identity))
            }
            (None, None) => Ok(tls),
            (Some(_), None) => {
                Err(Failure::usage("--cert (LEASEHOLD_CERT) needs --key (LEASEHOLD_KEY) beside it"))
            }
            (None, Some(_)) => {
                Err(Failure::usage("--key (LEASEHOLD_KEY) needs --cert (LEASEHOLD_CERT) beside it"))
            }
        }
    }
}

/// An empty variable names no file.
fn given(file: Option<&PathBuf>) -> Option<&PathBuf> {
    file.filter(|file| !file.as_os_str().is_empty())
}

fn read(file: &Path, flag: &str) -> Result<Vec<u8>, Failure> {
    fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read {} ({flag}): {error}", file.display())))
}

fn unusable(error: &tonic::transport::Error) -> Failure {
    Failure::usage(format!(
        "TLS cannot be set up: {}; check the files of --ca, --cert and --key (without --ca, this system's \
         authorities have to be installed)",
        root_cause(error)
    ))
}

/// Takes any certificate, if only its owner shows it.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &Path) -> Credentials {
        Credentials { service_key_file: Some(file.to_owned()), ..Credentials::default() }
    }

    #[test]
    fn the_key_in_a_file_is_shown_with_each_call_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("service.key");
        fs::write(&file, "\n  s3cret-of-ours\nan older one\n").expect("a file");
        let mut show = of(&file).service_key().expect("a key");
        let request = show.call(Request::new(())).expect("a request");
        let shown = request.metadata().get("x-service-key").expect("a key");
        assert_eq!(shown.to_str().expect("text"), "s3cret-of-ours");
        assert!(!format!("{show:?} {shown:?}").contains("s3cret"), "a key is not printed");
    }

    #[test]
    fn a_file_without_a_good_key_is_named_and_not_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("service.key");
        for (text, why) in [("\n \n", "holds no key"), ("s3cret\u{1}\n", "cannot be sent")] {
            fs::write(&file, text).expect("a file");
            let failure = of(&file).service_key().expect_err(why).to_string();
            assert!(failure.contains(why) && !failure.contains("s3cret"), "{failure}");
        }
        let failure = of(&dir.path().join("none")).service_key().expect_err("no file").to_string();
        assert!(failure.contains("cannot read") && failure.contains("--service-key-file"), "{failure}");
    }
}
