//! `leasehold key new`, from what it prints to a server that takes it.

use std::fs;

use leasehold::proto::RegisterRequest;
use tonic::Code;

use super::{
    rig::{Keyed, fresh_url, with_key},
    support::{SOON, leasehold, replica, wait_for},
};

/// The secret, and the entry: all that follows it.
fn parts(stdout: &str) -> (String, String) {
    let lines: Vec<&str> = stdout.lines().collect();
    let secret: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("lh_")).collect();
    let [secret] = secret[..] else { panic!("one line is the secret:\n{stdout}") };
    assert_eq!(stdout.matches(secret).count(), 1, "it is shown once");
    assert_eq!(secret.len(), 46);
    let entry = &lines[lines.iter().position(|line| *line == "[[key]]").expect("an entry")..];
    (secret.to_owned(), entry.join("\n") + "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_works() {
    let keyed = Keyed::start(&[&super::rig::Key::new("old", "allow = [\"read\"]")], &[]);
    let made = leasehold([
        "key",
        "new",
        "--name",
        "billing",
        "--allow",
        "register",
        "--service",
        "billing-*",
        "--service",
        "cards",
    ]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    let (secret, entry) = parts(&made.stdout);
    let other = leasehold(["key", "new"]);
    let (other_secret, other_entry) = parts(&other.stdout);
    assert_ne!(secret, other_secret);
    assert!(
        other_entry.contains("name = \"key-") && other_entry.contains("allow = [\"register\", \"read\"]"),
        "{other_entry}"
    );
    assert!(!other_entry.contains("services"), "{other_entry}");

    let before = keyed.said("the keys in use");
    fs::write(keyed.keys_file(), format!("{entry}\n{other_entry}")).unwrap();
    wait_for("the keys to be read", SOON, || (keyed.said("the keys in use") > before).then_some(()));
    let mut client = keyed.server.registry().await;
    let mut register = async |secret: &str, service: &str| {
        let request: RegisterRequest = replica(service, &fresh_url());
        client.register(with_key(secret, request)).await.map(|_| ()).map_err(|status| status.code())
    };
    assert_eq!(register(&secret, "billing-api").await, Ok(()));
    assert_eq!(register(&secret, "cards").await, Ok(()));
    assert_eq!(register(&secret, "other").await, Err(Code::PermissionDenied));
    assert_eq!(register(&other_secret, "other").await, Ok(()));
    let said = keyed.server.stdout() + &keyed.server.stderr();
    assert!(!said.contains(&secret) && !said.contains(&other_secret));
}

#[test]
fn its_whole_output_is_no_file_of_keys() {
    let made = leasehold(["key", "new", "--name", "x"]);
    let (secret, _) = parts(&made.stdout);
    let dir = super::support::data_dir::DataDir::new("whole-output");
    let file = dir.path().join("keys.toml");
    fs::write(&file, &made.stdout).unwrap();
    let keys = ["--store".as_ref(), "memory".as_ref(), "--keys".as_ref(), file.as_os_str()];
    let ended = super::support::Serve::new().args(keys).refused();
    assert!(
        ended.stderr.contains("line 3 is no TOML") && !ended.stderr.contains(&secret),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_cannot_be_a_key_is_refused() {
    let check = |args: &[&str], expect: &str| {
        let ended = leasehold(["key", "new"].iter().chain(args));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(expect), "{}", ended.stderr);
    };
    check(&["--name", "a b"], "has no good name");
    check(&["--name", "service-key"], "service-key");
    check(&["--allow", "write"], "\"write\"");
    check(&["--allow", ""], "is none of register, read, admin");
    check(&["--service", "Billing-*"], "'B'");
    check(&["--allow", "admin", "--service", "x"], "a backup holds all of them");
    // The help says where each part goes.
    let help = leasehold(["key", "new", "--help"]).stdout;
    for part in ["LEASEHOLD_SERVICE_KEY", "SERVICEKIT_REGISTRATION_KEY", "--keys", "Do not append"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
