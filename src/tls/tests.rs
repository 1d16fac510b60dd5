#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType, date_time_ymd, string::Ia5String,
};

use super::*;

fn config(dir: &Path) -> TlsConfig {
    TlsConfig {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        client_ca: None,
        client_auth: ClientAuth::None,
    }
}

/// Writes a self-signed certificate for `name` and its key.
fn write(dir: &Path, name: &str) -> KeyPair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = date_time_ymd(2040, 1, 1);
    fs::write(dir.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    key
}

#[track_caller]
fn refused(config: &TlsConfig, expect: &[&str]) {
    let text = Tls::open(config).unwrap_err().to_string();
    for part in expect {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("MII"), "no part of a file is shown: {text}");
}

#[test]
fn a_certificate_with_its_key_is_served_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "registry.example");
    let tls = Tls::open(&config(dir.path())).unwrap();
    assert_eq!(tls.expires_at(), 2_208_988_800);
    assert_eq!(tls.current().alpn_protocols, PROTOCOLS);
    assert_eq!(tls.files(), [dir.path().join("cert.pem"), dir.path().join("key.pem")]);
}

#[test]
fn keys_may_be_written_as_they_ever_were() {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let done = Command::new("openssl").args(args).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    write(dir.path(), "registry.example");
    openssl(&["ec", "-in", "key.pem", "-out", "sec1.pem"]);
    let with = |key: &str| TlsConfig { key: dir.path().join(key), ..config(dir.path()) };
    Tls::open(&with("sec1.pem")).unwrap();
    openssl(&["pkey", "-in", "key.pem", "-aes256", "-passout", "pass:secret", "-out", "locked.pem"]);
    refused(&with("locked.pem"), &["locked.pem", "encrypted"]);

    openssl(&[
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=r", "-keyout", "key.pem", "-out",
        "cert.pem",
    ]);
    openssl(&["rsa", "-in", "key.pem", "-traditional", "-out", "pkcs1.pem"]);
    Tls::open(&with("key.pem")).unwrap();
    Tls::open(&with("pkcs1.pem")).unwrap();
}

#[test]
fn what_is_wrong_is_said_with_the_files_name() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "registry.example");
    let good = config(dir.path());
    refused(&TlsConfig { cert: dir.path().join("none.pem"), ..good.clone() }, &["cannot read", "none.pem"]);
    refused(
        &TlsConfig { cert: good.key.clone(), ..good.clone() },
        &["key.pem", "no certificate", "private key"],
    );
    refused(
        &TlsConfig { key: good.cert.clone(), ..good.clone() },
        &["cert.pem", "no private key", "a certificate"],
    );
    fs::write(dir.path().join("empty.pem"), "").unwrap();
    refused(
        &TlsConfig { cert: dir.path().join("empty.pem"), ..good.clone() },
        &["empty.pem", "no certificate"],
    );
    let whole = fs::read_to_string(&good.cert).unwrap();
    fs::write(dir.path().join("half.pem"), &whole[..whole.len() / 2]).unwrap();
    refused(&TlsConfig { cert: dir.path().join("half.pem"), ..good.clone() }, &["half.pem", "not whole PEM"]);
    fs::write(dir.path().join("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    refused(
        &TlsConfig { key: dir.path().join("other.pem"), ..good.clone() },
        &["other.pem", "does not fit", "cert.pem"],
    );
    let client_ca = Some(dir.path().join("none.pem"));
    refused(
        &TlsConfig { client_ca, client_auth: ClientAuth::Required, ..good },
        &["cannot read", "none.pem"],
    );
}

#[test]
fn what_cannot_be_used_leaves_the_former_one() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "registry.example");
    let tls = Tls::open(&config(dir.path())).unwrap();
    let former = tls.current();
    fs::write(dir.path().join("cert.pem"), "nonsense").unwrap();
    tls.reload();
    assert!(Arc::ptr_eq(&former, &tls.current()));
    write(dir.path(), "registry.example");
    tls.reload();
    assert!(!Arc::ptr_eq(&former, &tls.current()));
}

#[test]
fn a_certificate_proves_all_its_names() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let text = |text: &str| Ia5String::try_from(text).unwrap();
    params.subject_alt_names = vec![
        SanType::DnsName(text("orders.example")),
        SanType::URI(text("spiffe://example/orders")),
        SanType::Rfc822Name(text("ops@example")),
        SanType::IpAddress("192.0.2.7".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let certificate = params.self_signed(&key).unwrap();
    assert_eq!(
        subjects(certificate.der()),
        ["orders.example", "spiffe://example/orders", "ops@example", "192.0.2.7", "2001:db8::1"]
    );
    assert!(subjects(&CertificateDer::from(vec![1, 2, 3])).is_empty());
}
