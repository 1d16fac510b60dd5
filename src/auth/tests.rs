//! Who is let in, and what becomes of those who are when keys change.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{config::Secret, types::ServiceName};

fn headers(sent: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn entry(name: &str, secret: &str, more: &str) -> String {
    let hash = SecretHash::of(secret.as_bytes());
    format!("[[key]]\nname = \"{name}\"\nhash = \"{hash}\"\nallow = [\"register\"]\n{more}\n")
}

/// A folder with a file of keys and one of the shared key.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new(keys: &str, shared: &str) -> Self {
        let files = Self { dir: TempDir::new().unwrap() };
        files.write(keys, shared);
        files
    }

    fn write(&self, keys: &str, shared: &str) {
        fs::write(self.dir.path().join("keys.toml"), keys).unwrap();
        fs::write(self.dir.path().join("shared"), shared).unwrap();
    }

    fn config(&self) -> AccessConfig {
        AccessConfig {
            service_key: Some(SharedKey::File(self.dir.path().join("shared"))),
            keys: Some(self.dir.path().join("keys.toml")),
            protect_reads: false,
        }
    }
}

/// The name of the key that a caller is known by.
fn name(keys: &Keys, sent: &[(&'static str, &str)], subjects: &[&str]) -> Result<Option<String>, WrongKey> {
    let subjects: Vec<String> = subjects.iter().map(|&name| name.to_owned()).collect();
    let grant = keys.identify(&headers(sent), &subjects)?;
    Ok(grant.map(|grant| grant.name().to_string()))
}

#[test]
fn without_keys_nobody_is_asked() {
    let keys = Keys::open(&AccessConfig::default()).unwrap();
    assert!(!keys.are_used() && !keys.has_admin() && keys.files().is_empty());
    assert_eq!(name(&keys, &[("x-service-key", "anything")], &["a.example"]), Ok(None));
}

#[test]
fn a_secret_is_shown_in_one_of_two_headers() {
    let files =
        Files::new(&(entry("a", "secret-a", "") + &entry("b", "secret-b", "")), "# shared\n\n one \ntwo\n");
    let keys = Keys::open(&files.config()).unwrap();
    let check = |sent: &[(&'static str, &str)], expect: Result<Option<&str>, WrongKey>| {
        assert_eq!(name(&keys, sent, &[]), expect.map(|name| name.map(str::to_owned)), "{sent:?}");
    };
    check(&[], Ok(None));
    check(&[("x-service-key", "secret-a")], Ok(Some("a")));
    check(&[("x-service-key", " secret-b ")], Ok(Some("b")));
    check(&[("x-service-key", "one")], Ok(Some("service-key")));
    check(&[("x-service-key", "two")], Ok(Some("service-key")));
    check(&[("authorization", "Bearer secret-a")], Ok(Some("a")));
    check(&[("authorization", "bEARER   secret-a")], Ok(Some("a")));
    for wrong in ["# shared", "secret", "secret-aa", "SECRET-A", "one two", "sha256:0"] {
        check(&[("x-service-key", wrong)], Err(WrongKey));
        check(&[("authorization", &format!("Bearer {wrong}"))], Err(WrongKey));
    }
    // The same one twice is one; two are none, even good ones.
    check(&[("x-service-key", "secret-a"), ("x-service-key", "secret-a")], Ok(Some("a")));
    check(&[("x-service-key", "secret-a"), ("x-service-key", "secret-b")], Err(WrongKey));
    check(&[("authorization", "Bearer secret-a"), ("authorization", "Bearer secret-b")], Err(WrongKey));
    // The header of our own goes before the other, which may be a proxy's.
    check(&[("x-service-key", "secret-a"), ("authorization", "Bearer else")], Ok(Some("a")));
    check(&[("x-service-key", "else"), ("authorization", "Bearer secret-a")], Err(WrongKey));
    // What shows no secret.
    check(&[("authorization", "Basic secret-a")], Ok(None));
    check(&[("authorization", "Bearersecret-a")], Ok(None));
    check(&[("authorization", "Bearer ")], Ok(None));
    check(&[("x-service-key", "")], Ok(None));
    check(&[("x-service-key", ""), ("authorization", "Bearer secret-b")], Ok(Some("b")));
}

#[test]
fn a_certificate_stands_in_where_no_secret_is_shown() {
    let file = "[[key]]\nname = \"host\"\nsubject = \"Billing.Example\"\nallow = [\"read\"]\n\
                [[key]]\nname = \"spiffe\"\nsubject = \"spiffe://example/Billing\"\nallow = [\"admin\"]\n";
    let keys = Keys::open(&Files::new(file, "shared").config()).unwrap();
    let check = |sent: &[(&'static str, &str)], subjects: &[&str], expect: Result<Option<&str>, WrongKey>| {
        assert_eq!(name(&keys, sent, subjects), expect.map(|name| name.map(str::to_owned)), "{subjects:?}");
    };
    check(&[], &["billing.example"], Ok(Some("host")));
    check(&[], &["other.example", "BILLING.example"], Ok(Some("host")));
    check(&[], &["spiffe://example/Billing"], Ok(Some("spiffe")));
    check(&[], &["spiffe://example/billing"], Ok(None));
    check(&[], &["x.billing.example"], Ok(None));
    check(&[], &[], Ok(None));
    check(&[("x-service-key", "shared")], &["billing.example"], Ok(Some("service-key")));
    check(&[("x-service-key", "wrong")], &["billing.example"], Err(WrongKey));
    assert!(keys.has_admin());
}

#[test]
fn a_key_allows_what_its_entry_says() {
    let file = entry("a", "secret", "services = [\"billing-*\", \"x\"]");
    let keys = Keys::open(&Files::new(&file, "shared").config()).unwrap();
    let grant = keys.identify(&headers(&[("x-service-key", "secret")]), &[]).unwrap().unwrap();
    let covers = |service| grant.covers(&ServiceName::fold(service).unwrap());
    assert!(grant.is_limited() && covers("billing-api") && covers("x") && !covers("y"));
    assert_eq!(Scope::ALL.map(|scope| grant.allows(scope)), [true, false, false]);
    let shared = keys.identify(&headers(&[("x-service-key", "shared")]), &[]).unwrap().unwrap();
    assert!(!shared.is_limited());
    assert_eq!(Scope::ALL.map(|scope| shared.allows(scope)), [true, true, false]);
    assert!(!keys.has_admin());
}

#[test]
fn an_entry_that_stays_keeps_its_grant_and_others_are_revoked() {
    let (a, b) = (entry("a", "secret-a", ""), entry("b", "secret-b", ""));
    let files = Files::new(&(a.clone() + &b), "one\ntwo");
    let keys = Keys::open(&files.config()).unwrap();
    let of = |secret| keys.identify(&headers(&[("x-service-key", secret)]), &[]).ok().flatten();
    let (old_a, old_b, one, two) =
        (of("secret-a").unwrap(), of("secret-b").unwrap(), of("one").unwrap(), of("two").unwrap());

    // a stays, b may do more, c is new; of the shared ones, the second stays.
    let changed_b = b.replace("[\"register\"]", "[\"register\", \"read\"]");
    files.write(&(entry("c", "secret-c", "") + &changed_b + &a), "two\nthree");
    let difference = keys.read().unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| Arc::from(name)).collect::<BTreeSet<Arc<str>>>();
    assert_eq!(difference.added, names(&["b", "c", "service-key"]));
    assert_eq!(difference.removed, names(&["b", "service-key"]));
    assert!(Arc::ptr_eq(&old_a, &of("secret-a").unwrap()) && !old_a.is_revoked());
    assert!(Arc::ptr_eq(&two, &of("two").unwrap()) && !two.is_revoked());
    assert!(old_b.is_revoked() && one.is_revoked());
    assert!(of("secret-b").unwrap().allows(Scope::Read) && of("one").is_none() && of("three").is_some());

    // A broken file, or one that is gone, changes nothing.
    let now = of("secret-b").unwrap();
    for broken in ["", "[[key]]\nname = \"a\"", "lh_secret"] {
        files.write(broken, "two");
        keys.read().unwrap_err();
        keys.reload();
        assert!(Arc::ptr_eq(&now, &of("secret-b").unwrap()) && !now.is_revoked(), "{broken:?}");
    }
    files.write(&a, "");
    keys.read().unwrap_err();
    fs::remove_file(files.dir.path().join("keys.toml")).unwrap();
    keys.read().unwrap_err();
    assert!(!now.is_revoked() && of("three").is_some());
    files.write(&a, "two");
    keys.read().unwrap();
    assert!(now.is_revoked() && of("secret-b").is_none());
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_key_is_told() {
    let files = Files::new(&entry("a", "secret", ""), "shared");
    let keys = Keys::open(&files.config()).unwrap();
    let grant = keys.identify(&headers(&[("x-service-key", "secret")]), &[]).unwrap().unwrap();
    let waiting = tokio::spawn({
        let grant = Arc::clone(&grant);
        async move { grant.revoked().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    files.write(&entry("b", "secret", ""), "shared");
    keys.read().unwrap();
    waiting.await.unwrap();
}

#[test]
fn the_environments_key_is_read_once() {
    let config = |secret: &str| AccessConfig {
        service_key: Some(SharedKey::Value(Secret(secret.to_owned()))),
        ..AccessConfig::default()
    };
    let keys = Keys::open(&config("from-env\n")).unwrap();
    assert!(keys.are_used() && keys.files().is_empty());
    assert_eq!(name(&keys, &[("x-service-key", "from-env")], &[]), Ok(Some("service-key".to_owned())));
    for bad in [" ", "\n", "grün", "a\tb"] {
        let error = Keys::open(&config(bad)).unwrap_err().to_string();
        assert!(
            error.contains("LEASEHOLD_SERVICE_KEY") && (bad.trim().is_empty() || !error.contains(bad)),
            "{error}"
        );
    }
}

#[test]
fn nothing_shows_a_secret() {
    let files = Files::new(&entry("a", "hush-hush-a", ""), "hush-hush-shared");
    let keys = Keys::open(&files.config()).unwrap();
    let grant = keys.identify(&headers(&[("x-service-key", "hush-hush-a")]), &[]).unwrap().unwrap();
    let shown = format!("{keys:?} {grant:?} {:?}", files.config());
    assert!(!shown.contains("hush") && shown.contains("\"a\""), "{shown}");
    let whole = SecretHash::of(b"hush-hush-a").to_string();
    assert!(!shown.contains(&whole[7..]), "{shown}");
}
