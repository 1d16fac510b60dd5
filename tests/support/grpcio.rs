//! A client in plain grpcio, with stubs generated from `proto/`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use super::{SOON, Server, installed, process::Process, python};

/// Where the generated stubs are; made once per run of this binary.
fn stubs() -> &'static Path {
    static STUBS: OnceLock<PathBuf> = OnceLock::new();
    STUBS.get_or_init(|| {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpcio-stubs");
        std::fs::create_dir_all(&out).expect("a folder");
        let status = Command::new(installed("LEASEHOLD_TEST_PYTHON"))
            .args(["-m", "grpc_tools.protoc"])
            .arg(format!("-I{}", proto.display()))
            .arg(format!("--python_out={}", out.display()))
            .arg(format!("--grpc_python_out={}", out.display()))
            .args(["google/api/http.proto", "google/api/annotations.proto", "google/rpc/status.proto"])
            .arg("leasehold/v1/registry.proto")
            .status()
            .expect("Python starts");
        assert!(status.success(), "grpcio-tools compiles proto/");
        out
    })
}

/// A Python process with a channel to the server.
pub struct Client(pub Process);

impl Client {
    pub fn start(server: &Server) -> Self {
        Self::start_with(server, &[])
    }

    /// Over TLS: the authority's certificate, and the client's own with its key, if any.
    pub fn start_with(server: &Server, files: &[&str]) -> Self {
        let stubs = stubs().to_str().expect("a path in Unicode");
        let address = server.addr.to_string();
        let mut process =
            Process::spawn(python("keepalive_client.py", &[&[stubs, &*address], files].concat()));
        assert_eq!(process.next_line("the client's start", SOON * 3), r#"{"ready": true}"#);
        Self(process)
    }

    pub fn tell(&mut self, command: &str) {
        self.0.write_line(command);
    }

    /// What the client prints next.
    pub fn heard(&mut self) -> Value {
        serde_json::from_str(&self.0.next_line("an answer", SOON)).expect("a line of JSON")
    }

    pub fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        self.heard()
    }

    /// Opens a stream and attaches these ids to it.
    pub fn attach(&mut self, ids: &[&str]) {
        assert_eq!(self.ask("open"), json!({"opened": true}));
        let answer = self.ask(&format!("beat {}", ids.join(" ")));
        assert_eq!(answer["answer"].get("lost"), None, "{answer}");
        assert!(answer["answer"]["ttl_seconds"].as_u64().is_some_and(|ttl| ttl > 0), "{answer}");
    }
}
