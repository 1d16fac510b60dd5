//! Keys and certificates together: a certificate's name in place of a secret, and what the commands
//! show.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    Secure,
    support::{BINARY, Ended, Server, installed, process::Process, secrets::secret, without_settings},
};

/// A key for `billing-*` that is a certificate's name.
const BY_SUBJECT: &str = r#"
[[key]]
name = "billing"
subject = "billing.example"
allow = ["register"]
services = ["billing-*"]
"#;

fn register(secure: &Secure, service: &str, more: &[&Path]) -> Output {
    let mut command = Command::new(installed("LEASEHOLD_TEST_GRPCURL"));
    command.args(["-max-time", "20", "-cacert"]).arg(&secure.ca).args(more);
    command.args(["-d", &format!(r#"{{"service": "{service}", "url": "http://{service}:80"}}"#)]);
    command.arg(secure.server.addr.to_string()).arg("leasehold.v1.Registry/Register").output().unwrap()
}

#[test]
fn a_certificates_name_stands_in_for_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    fs::write(&keys, BY_SUBJECT).unwrap();
    let secure = Secure::asking_with("optional", &["--keys", keys.to_str().unwrap()]);
    let (own, other) = (secure.client("billing.example"), secure.client("orders.example"));
    let showing = |files: &crate::Files| -> [PathBuf; 4] {
        ["-cert".into(), files.cert.clone(), "-key".into(), files.key.clone()]
    };
    let said = |service: &str, files: Option<&crate::Files>| {
        let shown = files.map(showing).map(Vec::from).unwrap_or_default();
        let shown: Vec<&Path> = shown.iter().map(PathBuf::as_path).collect();
        let output = register(&secure, service, &shown);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(said("billing-api", Some(&own)).contains("\"registered\""));
    assert!(said("orders-api", Some(&own)).contains("PermissionDenied"));
    assert!(said("billing-api", Some(&other)).contains("Unauthenticated"));
    assert!(said("billing-api", None).contains("Unauthenticated"));
    assert!(secure.server.stderr().contains("\"key\":\"billing\""), "{}", secure.server.stderr());
}

/// Runs the binary to its end.
fn leasehold(args: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(BINARY);
    command.args(args);
    without_settings(&mut command);
    command.envs(variables.iter().copied());
    Ended::wait(Process::spawn(command))
}

#[test]
fn commands_show_the_key_that_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let (key, wrong) = (secret("commands"), secret("wrong"));
    let [file, of_wrong] = [("service.key", &key), ("wrong.key", &wrong)].map(|(name, key)| {
        let file = dir.path().join(name);
        fs::write(&file, format!("{key}\n")).unwrap();
        file.to_str().unwrap().to_owned()
    });
    let server = Server::start(&["--protect-reads", "--service-key-file", &file]);
    let url = server.url();
    let ls = ["ls", "--server", &url];
    let by_file = |file: &str| leasehold(&[&ls[..], &["--service-key-file", file]].concat(), &[]);
    assert_eq!(by_file(&file).code, Some(0), "{}", by_file(&file).stderr);
    for name in ["LEASEHOLD_SERVICE_KEY", "SERVICEKIT_REGISTRATION_KEY"] {
        let ended = leasehold(&ls, &[(name, &key)]);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
    }
    for refused in
        [by_file(&of_wrong), leasehold(&ls, &[]), leasehold(&ls, &[("LEASEHOLD_SERVICE_KEY", &wrong)])]
    {
        assert_eq!(refused.code, Some(4), "{}", refused.stderr);
        assert!(!refused.stderr.contains(&wrong), "{}", refused.stderr);
    }
}
