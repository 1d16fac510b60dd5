//! A server with keys, and the secrets that must never be seen.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use leasehold::{
    auth::SecretHash,
    proto::{RegisterRequest, RegisterResponse, registry_client::RegistryClient},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::support::{SOON, Serve, Server, data_dir::DataDir, replica, secret, wait_for};

/// A key of the file, with its secret.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: &'static str,
    pub secret: String,
    /// The lines of its entry after name and hash.
    pub rest: &'static str,
}

impl Key {
    pub fn new(name: &'static str, rest: &'static str) -> Self {
        Self { name, secret: secret(name), rest }
    }

    pub fn entry(&self) -> String {
        let hash = SecretHash::of(self.secret.as_bytes());
        format!("[[key]]\nname = \"{}\"\nhash = \"{hash}\"\n{}\n", self.name, self.rest)
    }
}

/// A server with a shared key and a file of keys.
pub struct Keyed {
    pub server: Server,
    pub dir: DataDir,
    /// The first key of the shared ones.
    pub shared: String,
    secrets: Vec<String>,
}

impl Keyed {
    /// With these keys, on a store that can be backed up.
    pub fn start(keys: &[&Key], args: &[&str]) -> Self {
        Self::start_in(Serve::new(), keys, args)
    }

    pub fn start_in(serve: Serve, keys: &[&Key], args: &[&str]) -> Self {
        let dir = DataDir::new("access");
        let shared = secret("shared");
        let (shared_file, keys_file) = (dir.path().join("shared.key"), dir.path().join("keys.toml"));
        fs::write(&shared_file, format!("# of all services\n{shared}\n")).unwrap();
        write(&keys_file, keys);
        let serve = serve.on(dir.path().join("data")).args(args);
        let serve = serve.args(["--name-registry-listen", "127.0.0.1:0"]);
        let serve = serve.args(["--service-key-file".as_ref(), shared_file.as_os_str()]);
        let serve = serve.args(["--keys".as_ref(), keys_file.as_os_str()]);
        let secrets = keys.iter().map(|key| key.secret.clone()).chain([shared.clone()]).collect();
        Self { server: serve.start(), dir, shared, secrets }
    }

    /// Has the file hold these keys, and waits for the server to say so.
    pub fn write_keys(&mut self, keys: &[&Key]) {
        self.secrets.extend(keys.iter().map(|key| key.secret.clone()));
        let before = self.said("the keys in use");
        write(&self.keys_file(), keys);
        wait_for("the keys to be read", SOON, || (self.said("the keys in use") > before).then_some(()));
    }

    /// Where the name registry's paths are.
    pub fn names(&self) -> SocketAddr {
        let said = self.server.stdout();
        let address = said.lines().find_map(|line| line.strip_prefix("name registry on http://"));
        address.expect("a line that says so").parse().unwrap()
    }

    pub fn keys_file(&self) -> PathBuf {
        self.dir.path().join("keys.toml")
    }

    pub fn shared_file(&self) -> PathBuf {
        self.dir.path().join("shared.key")
    }

    /// How often the log says this.
    pub fn said(&self, text: &str) -> usize {
        self.server.stderr().matches(text).count()
    }

    /// A registration with a key, which must succeed.
    pub async fn register(&self, key: &str, request: RegisterRequest) -> RegisterResponse {
        let mut client = self.server.registry().await;
        client.register(with_key(key, request)).await.expect("a good registration").into_inner()
    }

    /// A replica of a service at an url of its own.
    pub async fn replica(&self, key: &str, service: &str) -> RegisterResponse {
        self.register(key, replica(service, &fresh_url())).await
    }

    /// The services that live, as who may see them all is told.
    pub async fn listed(&self, client: &mut RegistryClient<Channel>) -> Result<Vec<String>, Status> {
        let request = with_key(&self.shared, leasehold::proto::ListRequest::default());
        let listed = client.list(request).await?.into_inner();
        Ok(listed.services.into_iter().map(|one| format!("{} {}", one.service, one.id)).collect())
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let said = self.server.stdout() + &self.server.stderr();
        for secret in &self.secrets {
            assert!(!said.contains(secret.as_str()), "a secret was printed:\n{said}");
        }
    }
}

/// By renaming, so that no half of it is ever read.
fn write(file: &PathBuf, keys: &[&Key]) {
    let mut text = String::from("# Keys of a test.\n");
    for key in keys {
        writeln!(text, "{}", key.entry()).unwrap();
    }
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, file).unwrap();
}

/// A message that shows a key.
pub fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: MetadataValue<Ascii> = key.parse().unwrap();
    request.metadata_mut().insert("x-service-key", value);
    request
}

/// One that nobody else registers.
pub fn fresh_url() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("http://replica-{}:80", COUNT.fetch_add(1, Ordering::Relaxed))
}
