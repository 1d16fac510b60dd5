//! Precedence, one step at a time; bounds; and what an error names.

use std::{env, fs, num::NonZeroU32, path::PathBuf, process, time::Duration};

use clap::{CommandFactory as _, Parser};

use super::*;
use crate::config::{Durability, StoreKind};

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    flags: Flags,
}

/// A file that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("leasehold-settings-{}-{name}.toml", process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn settle(typed: &[&str], variables: &[(&str, &str)], file: Option<&File>) -> Result<Settings, SettingError> {
    let typed =
        Typed::try_parse_from([&["leasehold"], typed].concat()).unwrap_or_else(|error| panic!("{error}"));
    resolve(&typed.flags, file.map(|file| file.0.as_path()), |name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })
}

fn error(typed: &[&str], variables: &[(&str, &str)], file: Option<&File>) -> String {
    settle(typed, variables, file).unwrap_err().to_string()
}

#[test]
fn each_layer_wins_over_the_next() {
    let file = File::new("precedence", "default_ttl = \"20s\"");
    let variables = [("LEASEHOLD_DEFAULT_TTL", "40s")];
    let ttl = |typed: &[&str], variables: &[(&str, &str)], file| {
        settle(typed, variables, file).unwrap().config.leases.default_ttl.as_secs()
    };
    assert_eq!(ttl(&[], &[], None), 30, "the default");
    assert_eq!(ttl(&[], &[], Some(&file)), 20, "the file over the default");
    assert_eq!(ttl(&[], &variables, Some(&file)), 40, "the variable over the file");
    assert_eq!(ttl(&["--default-ttl", "50s"], &variables, Some(&file)), 50, "the flag over the variable");
    assert_eq!(ttl(&["--default-ttl", "50s"], &[], Some(&file)), 50, "the flag over the file");
    assert_eq!(ttl(&[], &[("LEASEHOLD_DEFAULT_TTL", "")], Some(&file)), 20, "an empty variable is none");
}

#[test]
fn lists_are_replaced_as_a_whole() {
    let file = File::new("lists", "allowed_host = [\"a.example\", \"b.example\"]");
    let hosts = |typed: &[&str], variables: &[(&str, &str)], file| {
        settle(typed, variables, file).unwrap().config.http.allowed_hosts
    };
    let variables = [("LEASEHOLD_ALLOWED_HOST", "c.example, D.example")];
    assert!(hosts(&[], &[], None).is_empty());
    assert_eq!(hosts(&[], &[], Some(&file)), ["a.example", "b.example"]);
    assert_eq!(hosts(&[], &variables, Some(&file)), ["c.example", "d.example"]);
    let typed = ["--allowed-host", "e.example", "--allowed-host", "::1"];
    assert_eq!(hosts(&typed, &variables, Some(&file)), ["e.example", "[::1]"]);
}

/// Every setting can be given in every place, and means the same there.
#[test]
#[expect(clippy::too_many_lines, reason = "there are many settings")]
fn every_setting_has_three_names() {
    let other = [
        ("listen", "0.0.0.0:7000"),
        ("store", "memory"),
        ("data_dir", "/srv/registry"),
        ("durability", "os"),
        ("accept_loss", "true"),
        ("default_ttl", "1m30s"),
        ("min_ttl", "5s"),
        ("max_ttl", "1h"),
        ("drop_grace", "1500ms"),
        ("revive_window", "1m"),
        ("duplicate_id", "replace"),
        ("require_lease_token", "true"),
        ("mass_expiry_brake", "off"),
        ("public_url", "https://registry.example"),
        ("allowed_host", "registry.example"),
        ("trusted_proxy", "10.0.0.0/8"),
        ("cors_origin", "https://console.example"),
        ("service_key_file", "/etc/service.key"),
        ("keys", "/etc/keys.toml"),
        ("protect_reads", "on"),
        ("tls_cert", "/etc/cert.pem"),
        ("tls_key", "/etc/key.pem"),
        ("tls_client_ca", "/etc/ca.pem"),
        ("tls_client_auth", "optional"),
        ("name_registry_listen", "127.0.0.1:5001"),
        ("max_connection_bytes", "4MiB"),
        ("max_registrations", "off"),
        ("max_registrations_per_service", "1"),
        ("max_registrations_per_key", "2"),
        ("max_registrations_per_peer", "3"),
        ("max_registration_bytes", "off"),
        ("max_registration_bytes_per_service", "64KiB"),
        ("max_registration_bytes_per_key", "128KiB"),
        ("max_registration_bytes_per_peer", "1MiB"),
        ("max_requests_per_peer", "4"),
        ("max_requests_per_key", "off"),
        ("max_watchers_per_peer", "5"),
        ("max_keepalives_per_peer", "6"),
        ("audit_log", "/var/log/audit.jsonl"),
        ("otlp_endpoint", "http://127.0.0.1:4317"),
        ("http_prefix", "/v2"),
        ("max_connections", "20"),
        ("max_streams", "30"),
        ("handshake_timeout", "1s"),
        ("header_timeout", "2s"),
        ("body_timeout", "3s"),
        ("keepalive_interval", "5s"),
        ("keepalive_timeout", "6s"),
        ("drain_timeout", "7s"),
        ("history_bytes", "2MiB"),
        ("log_format", "json"),
        ("log_level", "debug"),
    ];
    let expect = Settings {
        config: Config {
            listen: "0.0.0.0:7000".parse().unwrap(),
            store: StoreConfig {
                kind: StoreKind::Memory,
                data_dir: Some("/srv/registry".into()),
                durability: Durability::Os,
                accept_loss: true,
            },
            leases: LeaseConfig {
                default_ttl: Duration::from_secs(90),
                min_ttl: Duration::from_secs(5),
                max_ttl: Duration::from_hours(1),
                drop_grace: Duration::from_millis(1500),
                revive_window: Duration::from_mins(1),
                duplicate_id: DuplicateId::Replace,
                require_lease_token: true,
                mass_expiry_brake: false,
            },
            http: HttpConfig {
                public_url: Some("https://registry.example".to_owned()),
                allowed_hosts: vec!["registry.example".to_owned()],
                trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
                cors_origins: vec!["https://console.example".to_owned()],
                prefix: "/v2".to_owned(),
            },
            limits: ConnectionLimits {
                max_connections: 20,
                handshake_timeout: Duration::from_secs(1),
                header_timeout: Duration::from_secs(2),
                body_timeout: Duration::from_secs(3),
                max_streams: 30,
                max_bytes: 4 << 20,
                keepalive_interval: Duration::from_secs(5),
                keepalive_timeout: Duration::from_secs(6),
            },
            access: AccessConfig {
                service_key: Some(SharedKey::File("/etc/service.key".into())),
                keys: Some("/etc/keys.toml".into()),
                protect_reads: true,
            },
            tls: Some(TlsConfig {
                cert: "/etc/cert.pem".into(),
                key: "/etc/key.pem".into(),
                client_ca: Some("/etc/ca.pem".into()),
                client_auth: ClientAuth::Optional,
            }),
            quotas: Quotas {
                all: Quota { count: None, bytes: None },
                service: Quota { count: Some(1), bytes: Some(64 << 10) },
                key: Quota { count: Some(2), bytes: Some(128 << 10) },
                peer: Quota { count: Some(3), bytes: Some(1 << 20) },
            },
            rates: Rates {
                peer_requests: NonZeroU32::new(4),
                key_requests: None,
                peer_watchers: NonZeroU32::new(5),
                peer_keepalives: NonZeroU32::new(6),
            },
            name_registry_listen: Some("127.0.0.1:5001".parse().unwrap()),
            audit_log: Some("/var/log/audit.jsonl".into()),
            otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
            drain_timeout: Duration::from_secs(7),
            history_bytes: 2 << 20,
        },
        log: LogConfig { format: "json".parse().unwrap(), filter: "debug".parse().unwrap() },
    };

    let known: Vec<String> =
        Typed::command().get_arguments().map(|argument| argument.get_id().to_string()).collect();
    assert_eq!(known.len(), other.len(), "a setting is missing here: {known:?}");

    let typed: Vec<String> =
        other.iter().map(|(key, value)| format!("--{}={value}", key.replace('_', "-"))).collect();
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    assert_eq!(settle(&typed, &[], None).unwrap(), expect);

    let names: Vec<String> =
        other.iter().map(|(key, _)| format!("LEASEHOLD_{}", key.to_uppercase())).collect();
    let variables: Vec<(&str, &str)> =
        names.iter().zip(other).map(|(name, (_, value))| (name.as_str(), value)).collect();
    assert_eq!(settle(&[], &variables, None).unwrap(), expect);

    let lines: Vec<String> = other.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
    assert_eq!(settle(&[], &[], Some(&File::new("names", &lines.join("\n")))).unwrap(), expect);
}

/// The defaults that `--help` shows are those of `Config`.
#[test]
fn help_shows_the_real_defaults() {
    let command = Typed::command();
    let mut typed = Vec::new();
    for argument in command.get_arguments() {
        let help = argument.get_help().unwrap().to_string();
        if let Some((_, default)) = help.split_once("[default: ") {
            typed.push(format!("--{}={}", argument.get_long().unwrap(), default.trim_end_matches(']')));
        }
    }
    assert!(typed.len() > 15, "{typed:?}");
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    assert_eq!(settle(&typed, &[], None).unwrap(), Settings::default());
}

#[test]
fn toml_numbers_and_booleans_are_taken() {
    let file = File::new(
        "types",
        "max_connections = 5\nrequire_lease_token = true\nmass_expiry_brake = false\nhistory_bytes = 1048576",
    );
    let config = settle(&[], &[], Some(&file)).unwrap().config;
    assert_eq!(config.limits.max_connections, 5);
    assert!(config.leases.require_lease_token);
    assert!(!config.leases.mass_expiry_brake);
    assert_eq!(config.history_bytes, 1 << 20);
}

#[test]
fn a_flag_can_switch_off_what_the_environment_switched_on() {
    let variables = [("LEASEHOLD_REQUIRE_LEASE_TOKEN", "1")];
    let required =
        |typed: &[&str]| settle(typed, &variables, None).unwrap().config.leases.require_lease_token;
    assert!(required(&[]));
    assert!(!required(&["--require-lease-token=false"]));
    assert!(settle(&["--require-lease-token"], &[], None).unwrap().config.leases.require_lease_token);
}

#[test]
fn values_have_bounds() {
    #[track_caller]
    fn check(typed: &[&str], good: bool) {
        assert_eq!(settle(typed, &[], None).is_ok(), good, "{typed:?}");
    }
    check(&["--min-ttl", "1s"], true);
    check(&["--min-ttl", "0s"], false);
    check(&["--min-ttl", "1500ms"], false);
    check(&["--default-ttl", "30"], false);
    check(&["--max-ttl", "24h"], true);
    check(&["--max-ttl", "24h 1s"], false);
    check(&["--max-ttl", "86400s 1ns"], false);
    check(&["--max-ttl", "99999999999999999999s"], false);
    check(&["--max-ttl", "30s"], true);
    check(&["--max-ttl", "29s"], false);
    check(&["--min-ttl", "31s"], false);
    check(&["--min-ttl", "30s", "--max-ttl", "30s"], true);
    check(&["--drop-grace", "0s"], true);
    check(&["--drop-grace", "1m", "--max-ttl", "30s"], false);
    check(&["--revive-window", "7days"], true);
    check(&["--revive-window", "8days"], false);
    check(&["--drain-timeout", "0s"], true);
    check(&["--drain-timeout", "2h"], false);
    check(&["--handshake-timeout", "0s"], false);
    check(&["--keepalive-interval", "100ms"], true);
    check(&["--max-connections", "0"], false);
    check(&["--max-connections", "1000001"], false);
    check(&["--max-streams=-1"], false);
    check(&["--history-bytes", "1MiB"], true);
    check(&["--history-bytes", "1mb"], false);
    check(&["--history-bytes", "16777216TiB"], false);
    check(&["--history-bytes", "64 MiB"], true);
    check(&["--history-bytes", "MiB"], false);
    check(&["--store", "memory"], true);
    check(&["--store", "redb"], false);
    check(&["--listen", "[::]:0"], true);
    check(&["--listen", "localhost:9000"], false);
    check(&["--duplicate-id", "both"], false);
    check(&["--mass-expiry-brake", "maybe"], false);
    check(&["--log-format", "xml"], false);
    check(&["--log-level", "inof"], false);
}

#[test]
fn urls_hosts_and_prefixes_are_what_they_say() {
    #[track_caller]
    fn check(flag: &str, value: &str, good: bool) {
        assert_eq!(settle(&[&format!("{flag}={value}")], &[], None).is_ok(), good, "{flag}={value}");
    }
    check("--public-url", "https://registry.example", true);
    check("--public-url", "http://registry.example:8080", true);
    check("--public-url", "http://[::1]:8080", true);
    check("--public-url", "https://registry.example/", false);
    check("--public-url", "https://registry.example/v2", false);
    check("--public-url", "https://registry.example?x=1", false);
    check("--public-url", "https://registry.example#x", false);
    check("--public-url", "https://user@registry.example", false);
    check("--public-url", "https://registry.example:x", false);
    check("--public-url", "https://registry.example:99999", false);
    check("--public-url", "ftp://registry.example", false);
    check("--public-url", "registry.example", false);
    check("--public-url", "https://", false);
    check("--allowed-host", "registry.example", true);
    check("--allowed-host", "10.0.0.1", true);
    check("--allowed-host", "[::1]", true);
    check("--allowed-host", "registry.example:80", false);
    check("--allowed-host", "http://registry.example", false);
    check("--allowed-host", "a/b", false);
    check("--allowed-host", "u@h", false);
    check("--allowed-host", "", false);
    check("--http-prefix", "/v2", true);
    check("--http-prefix", "/a/b-1", true);
    check("--http-prefix", "", true);
    check("--http-prefix", "/", false);
    check("--http-prefix", "v2", false);
    check("--http-prefix", "/v2/", false);
    check("--http-prefix", "//v2", false);
    check("--http-prefix", "/../v2", false);
    check("--http-prefix", "/v 2", false);
    check("--http-prefix", "/v2?x", false);
}

#[test]
fn errors_name_the_place_the_value_and_what_is_allowed() {
    assert_eq!(
        error(&["--store", "etcd"], &[], None),
        "--store: \"etcd\" is not allowed; allowed: embedded or memory"
    );
    let variable = error(&[], &[("LEASEHOLD_MIN_TTL", "0s")], None);
    assert!(
        variable.starts_with("LEASEHOLD_MIN_TTL: \"0s\"") && variable.contains("1s to 24h"),
        "{variable}"
    );

    let file = File::new("bad-value", "drain_timeout = 5");
    let key = error(&[], &[], Some(&file));
    assert!(key.starts_with("drain_timeout in ") && key.contains("\"5\""), "{key}");

    assert_eq!(
        error(&["--max-ttl", "10s"], &[], None),
        "the default of --default-ttl (30s) is longer than --max-ttl (10s); shorten the one or lengthen the other"
    );
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    #[track_caller]
    fn check(name: &str, text: &str, expect: &str) {
        let message = error(&[], &[], Some(&File::new(name, text)));
        assert!(message.contains(expect), "{message}");
    }
    check("unknown", "colour = \"red\"", "unknown key `colour`");
    check(
        "dashes",
        "default-ttl = \"30s\"",
        "unknown key `default-ttl`; keys are written with underscores: `default_ttl`",
    );
    check("nested", "[leases]\ndefault_ttl = \"30s\"", "unknown key `leases`");
    check("syntax", "listen = ", "line 1");
    check("array", "listen = [\"127.0.0.1:1\"]", "one string, whole number or boolean");
    check("list-of-numbers", "allowed_host = [1]", "strings");
    let gone = resolve(&Flags::default(), Some(Path::new("/nonexistent/leasehold.toml")), |_| None);
    assert!(gone.unwrap_err().to_string().contains("/nonexistent/leasehold.toml"));
}

#[test]
fn a_health_check_needs_only_the_address() {
    let file = File::new("listen", "listen = \"0.0.0.0:7001\"\nmin_ttl = \"1h\"");
    assert_eq!(resolve_listen(Some(&file.0), |_| None).unwrap().0.port(), 7001);
    let variable = |name: &str| (name == "LEASEHOLD_LISTEN").then(|| "127.0.0.1:7002".into());
    assert_eq!(resolve_listen(Some(&file.0), variable).unwrap().0.port(), 7002);
    assert_eq!(resolve_listen(None, |_| None).unwrap().0.port(), 9000);
}
