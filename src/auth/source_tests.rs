//! What a file of keys may hold, and what is said of one that holds something else.

use std::fs;

use super::*;

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[track_caller]
fn refused(file: &str, expect: &str) {
    let wrong = entries(file).unwrap_err().to_string();
    assert!(wrong.contains(expect), "{wrong}\nnot: {expect}");
    assert!(!wrong.contains("lh_"), "a secret is shown: {wrong}");
    assert!(!wrong.contains(&HASH[20..]), "a whole hash is shown: {wrong}");
}

fn entry(lines: &str) -> String {
    format!("[[key]]\n{lines}\n")
}

#[test]
fn entries_are_read() {
    let file = format!(
        "# Those of billing.\n[[key]]\nname = \"a\"\nhash = \"{HASH}\"\nallow = [\"read\", \"register\", \"read\"]\n\
         services = [\"billing-*\"]\n[[key]]\nname = \"b\"\nsubject = \"B.example\"\nallow = [\"admin\"]\n"
    );
    let keys = entries(&file).unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].credential, Credential::Secret(SecretHash::of(b"abc")));
    assert!(keys[0].grant.is_limited() && keys[0].grant.allows(Scope::Read));
    assert!(keys[0].grant.is_same(&Grant::new(
        "a",
        vec![Scope::Register, Scope::Read],
        Some(Globs::parse(&["billing-*"]).unwrap())
    )));
    assert_eq!(keys[1].credential, Credential::Subject("b.example".to_owned()));
    assert!(!keys[1].grant.is_limited() && !keys[1].grant.allows(Scope::Read));
}

#[test]
fn the_entry_and_the_value_at_fault_are_named() {
    let good = format!("name = \"a\"\nhash = \"{HASH}\"\nallow = [\"read\"]");
    refused("", "no [[key]] entries");
    refused("key = []", "no [[key]] entries");
    refused("key = 5", "no [[key]] entries");
    refused("key = [5]", "no [[key]] entries");
    refused("keys = []", "unknown field \"keys\"");
    refused(&(entry(&good) + "[other]\n"), "unknown field \"other\"");
    refused(&entry("hash = \"x\""), "entry 1 has no name");
    refused(&entry("name = 5"), "entry 1 has no name");
    refused(&entry(&good.replace("\"a\"", "\"a b\"")), "\"a b\" (entry 1) has no good name");
    refused(&entry(&good.replace("\"a\"", "\"\"")), "has no good name");
    refused(&entry(&good.replace("\"a\"", "\"service-key\"")), "has the name of the shared key");
    refused(&entry(&(good.clone() + "\nhsah = 1")), "\"a\" (entry 1) has an unknown field \"hsah\"");
    refused(&(entry(&good) + &entry(&good)), "the name \"a\" is given twice");
    refused(&entry("name = \"a\"\nallow = [\"read\"]"), "neither a hash nor a subject");
    refused(&entry(&(good.clone() + "\nsubject = \"x\"")), "both a hash and a subject");
    refused(
        &entry("name = \"a\"\nsubject = \"\"\nallow = [\"read\"]"),
        "a subject that is no text, or empty",
    );
    refused(&entry("name = \"a\"\nhash = 5\nallow = [\"read\"]"), "a hash that is no text");
    refused(
        &entry("name = \"a\"\nhash = \"lh_oops\"\nallow = [\"read\"]"),
        "sha256: and 64 hexadecimal digits",
    );
    refused(&entry(&good.replace("[\"read\"]", "[]")), "allows nothing");
    refused(&entry(&format!("name = \"a\"\nhash = \"{HASH}\"")), "allows nothing");
    refused(
        &entry(&good.replace("[\"read\"]", "[\"write\"]")),
        "allows \"write\", which is none of register, read, admin",
    );
    refused(&entry(&good.replace("[\"read\"]", "\"read\"")), "`allow` that is no list of texts");
    refused(&entry(&(good.clone() + "\nservices = []")), "no services");
    refused(&entry(&(good.clone() + "\nservices = [\"Billing\"]")), "a service \"Billing\" that holds 'B'");
    refused(&entry(&(good.clone() + "\nservices = [5]")), "`services` that is no list of texts");
    let admin = good.replace("[\"read\"]", "[\"admin\"]") + "\nservices = [\"x\"]";
    refused(&entry(&admin), "admin for some services only");
}

#[test]
fn what_is_no_toml_is_not_shown() {
    let good = entry(&format!("name = \"a\"\nhash = \"{HASH}\"\nallow = [\"read\"]"));
    refused("lh_secret", "line 1 is no TOML");
    refused(&format!("{good}lh_secret\n"), "line 5 is no TOML");
    refused(&format!("{good}lh_secret = \n"), "line 5 is no TOML");
    refused(&format!("{good}\n\"lh_secret\n"), "is no TOML");
    refused(&format!("{good}name = \"lh_secret\"\n"), "line 5 is no TOML");
}

#[test]
fn files_at_fault_are_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let (shared, keys) = (dir.path().join("shared"), dir.path().join("keys.toml"));
    let check = |shared_text: &str, keys_text: &str, file: &str, expect: &str| {
        fs::write(&shared, shared_text).unwrap();
        fs::write(&keys, keys_text).unwrap();
        let config = AccessConfig {
            service_key: Some(SharedKey::File(shared.clone())),
            keys: Some(keys.clone()),
            protect_reads: false,
        };
        let error = read(&config).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(expect), "{error}");
    };
    let good = entry(&format!("name = \"a\"\nhash = \"{HASH}\"\nallow = [\"read\"]"));
    check("", &good, "shared", "holds no key");
    check("# nothing\n\n", &good, "shared", "holds no key");
    check("a\n\nb\tc", &good, "shared", "line 3 holds characters");
    check("x", "", "keys.toml", "no [[key]] entries");
    // "abc" has that hash.
    check("abc", &good, "keys.toml", "\"service-key\" and \"a\" have the same hash sha256:ba7816bf…");
    let twice = good.clone() + &good.replace("\"a\"", "\"b\"");
    check("x", &twice, "keys.toml", "\"a\" and \"b\" have the same hash sha256:ba7816bf…");
    let certificate =
        |name| entry(&format!("name = \"{name}\"\nsubject = \"x.example\"\nallow = [\"read\"]"));
    check("x", &(certificate("a") + &certificate("b")), "keys.toml", "the same subject \"x.example\"");
    fs::write(&shared, [0xff]).unwrap();
    let config =
        AccessConfig { service_key: Some(SharedKey::File(shared.clone())), ..AccessConfig::default() };
    assert!(read(&config).unwrap_err().to_string().contains("it is no text"));
    fs::remove_file(&shared).unwrap();
    assert!(read(&config).unwrap_err().to_string().contains("cannot be read"));
}
