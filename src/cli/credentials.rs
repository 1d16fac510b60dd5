//! What a client's command trusts, and what it shows: roots and a certificate for TLS, and the
//! key of a server that asks for one. A key is never a word of a command line: others can read
//! those.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{Failure, settings};
use crate::client::{Anyone, Client, ShowKey, cause::root_cause};

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

impl Credentials {
    /// A client of `server` that shows all this.
    pub fn client(&self, server: &str) -> Result<Client, Failure> {
        let mut builder = Client::builder(server);
        if let Some(file) = given(self.ca.as_ref()) {
            builder = builder.ca_pem(authorities(file)?);
        }
        if let Some((cert, key)) = self.identity()? {
            builder = builder.identity_pem(cert, key);
        }
        if let Some((key, whence)) = self.key_to_show()? {
            builder = builder.service_key(&key).map_err(|_| unsendable(whence))?;
        }
        builder.build().map_err(|error| Failure::usage(error.to_string()))
    }

    /// The key to show.
    pub fn service_key(&self) -> Result<ShowKey, Failure> {
        match self.key_to_show()? {
            Some((key, whence)) => ShowKey::new(&key).map_err(|_| unsendable(whence)),
            None => Ok(ShowKey::default()),
        }
    }

    fn key_to_show(&self) -> Result<Option<(String, &'static str)>, Failure> {
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
                None => return Ok(None),
            },
        };
        Ok(Some((key, whence)))
    }

    /// Sets up TLS: who the server must be, and what it is shown.
    pub fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        let mut tls = self.identified(&endpoint)?;
        tls = match given(self.ca.as_ref()) {
            Some(file) => tls.ca_certificate(Certificate::from_pem(authorities(file)?)),
            None => tls.with_native_roots(),
        };
        endpoint.tls_config(tls).map_err(|error| unusable(&error))
    }

    /// The same for a server whose address is all that is known of it.
    pub fn secure_unverified(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        let tls = self.identified(&endpoint)?;
        let verifier = Arc::new(Anyone::default());
        endpoint.tls_config_with_verifier(tls, verifier).map_err(|error| unusable(&error))
    }

    fn identified(&self, endpoint: &Endpoint) -> Result<ClientTlsConfig, Failure> {
        let host = endpoint.uri().host().unwrap_or_default();
        // The brackets of an IPv6 address are the URL's.
        let tls = ClientTlsConfig::new().domain_name(host.trim_matches(['[', ']']));
        Ok(match self.identity()? {
            Some((cert, key)) => tls.identity(Identity::from_pem(cert, key)),
            None => tls,
        })
    }

    /// Whether they go together; no file is read.
    #[cfg(unix)]
    pub fn check(&self) -> Result<(), Failure> {
        self.identity_files().map(drop)
    }

    /// A certificate and its key.
    fn identity(&self) -> Result<Option<Pem>, Failure> {
        let files = self.identity_files()?;
        files.map(|(cert, key)| Ok((read(cert, "--cert")?, read(key, "--key")?))).transpose()
    }

    fn identity_files(&self) -> Result<Option<(&PathBuf, &PathBuf)>, Failure> {
        match (given(self.cert.as_ref()), given(self.key.as_ref())) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err(Failure::usage("--cert (LEASEHOLD_CERT) needs --key (LEASEHOLD_KEY) beside it"))
            }
            (None, Some(_)) => {
                Err(Failure::usage("--key (LEASEHOLD_KEY) needs --cert (LEASEHOLD_CERT) beside it"))
            }
        }
    }
}

/// A certificate and its key, as their files hold them.
type Pem = (Vec<u8>, Vec<u8>);

/// An empty variable names no file.
fn given(file: Option<&PathBuf>) -> Option<&PathBuf> {
    file.filter(|file| !file.as_os_str().is_empty())
}

fn read(file: &Path, flag: &str) -> Result<Vec<u8>, Failure> {
    fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read {} ({flag}): {error}", file.display())))
}

fn authorities(file: &Path) -> Result<Vec<u8>, Failure> {
    let pem = read(file, "--ca")?;
    if String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE-----") {
        return Ok(pem);
    }
    Err(Failure::usage(format!("there is no certificate in {} (--ca)", file.display())))
}

fn unsendable(whence: &str) -> Failure {
    Failure::usage(format!("{whence} has characters that cannot be sent"))
}

fn unusable(error: &tonic::transport::Error) -> Failure {
    Failure::usage(format!(
        "TLS cannot be set up: {}; check the files of --ca, --cert and --key (without --ca, this system's \
         authorities have to be installed)",
        root_cause(error)
    ))
}

#[cfg(test)]
mod tests {
    use tonic::{Request, service::Interceptor as _};

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
