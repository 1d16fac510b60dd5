//! TLS with real clients, and what else a connection goes through before its first request: the
//! PROXY protocol, the cap on connections, and the bytes that may be held for one.

#![allow(clippy::unwrap_used)]

#[path = "../support/tls.rs"]
mod certificates;
mod clients;
mod commands;
mod connections;
mod keys;
mod plain;
mod proxy;
mod rotation;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use certificates::{Authority, Files, LOOPBACK};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::pem::PemObject};
use support::{Serve, Server, data_dir::DataDir};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A server that speaks TLS, and the files of those who talk to it.
struct Secure {
    server: Server,
    authority: Authority,
    dir: DataDir,
    /// The authority's certificate.
    ca: PathBuf,
    /// The server's own.
    files: Files,
}

impl Secure {
    /// A server whose certificate is for the loopback.
    fn start(args: &[&str]) -> Self {
        Self::with(args, |authority| authority.issue(&LOOPBACK))
    }

    /// One that asks its clients for certificates of the same authority.
    fn asking(whether: &str) -> Self {
        Self::asking_with(whether, &[])
    }

    /// The same with these arguments besides.
    fn asking_with(whether: &str, more: &[&str]) -> Self {
        let dir = DataDir::new("tls");
        let ca = dir.path().join("ca.pem");
        let args = ["--tls-client-ca", ca.to_str().unwrap(), "--tls-client-auth", whether];
        Self::start_in(dir, &[&args, more].concat(), |authority| authority.issue(&LOOPBACK))
    }

    /// One with a certificate that is made so.
    fn with(args: &[&str], issue: impl FnOnce(&Authority) -> certificates::Pair) -> Self {
        Self::start_in(DataDir::new("tls"), args, issue)
    }

    fn start_in(dir: DataDir, args: &[&str], issue: impl FnOnce(&Authority) -> certificates::Pair) -> Self {
        let authority = Authority::new("Our Authority");
        let ca = authority.write(dir.path(), "ca.pem");
        let files = issue(&authority).write(dir.path(), "server");
        let server = Serve::new()
            .args(["--store", "memory"])
            .args(args)
            .args([Path::new("--tls-cert"), &files.cert])
            .args([Path::new("--tls-key"), &files.key])
            .start();
        assert_eq!(server.scheme, "https");
        Self { server, authority, dir, ca, files }
    }

    /// A certificate for a client, in files.
    fn client(&self, name: &str) -> Files {
        self.authority.issue(&[name]).write(self.dir.path(), name)
    }

    /// A gRPC connection of its own.
    async fn channel(&self, client: Option<&Files>) -> Channel {
        let mut tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(&self.ca).unwrap()));
        if let Some(Files { cert, key }) = client {
            tls = tls.identity(Identity::from_pem(fs::read(cert).unwrap(), fs::read(key).unwrap()));
        }
        let endpoint = Endpoint::from_shared(self.server.url()).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.expect("the server shakes hands")
    }

    /// A connection that speaks HTTP/1, over this socket.
    fn over(&self, socket: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(client, socket)
    }
}

/// A connection that gives up reading after a while.
fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends these bytes, and reads to the connection's end, by whatever.
fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    stream.write_all(bytes).expect("the server reads");
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open, having said {said:?}");
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// An HTTP/1 request after which the connection ends.
fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\
         \r\n{body}"
    )
}
