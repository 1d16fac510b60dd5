//! Each source, its place among the others, and what each value may be.

use std::{collections::HashMap, fs, os::unix::net::UnixListener};

use tempfile::TempDir;

use super::*;

/// What was given: variables, files, flags.
#[derive(Default)]
struct Given {
    variables: HashMap<String, String>,
    flags: Flags,
    dir: Option<TempDir>,
}

impl Given {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn file(&mut self, name: &str, text: &str) -> PathBuf {
        let dir = self.dir.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        let file = dir.path().join(name);
        fs::write(&file, text).expect("a file");
        file
    }

    fn yaml(mut self, text: &str) -> Self {
        self.flags.config = Some(self.file("config.yml", text));
        self
    }

    fn environment(mut self, text: &str) -> Self {
        self.flags.environment = Some(self.file("environment", text));
        self
    }

    fn flags(mut self, set: impl FnOnce(&mut Flags)) -> Self {
        set(&mut self.flags);
        self
    }

    fn try_load(&self) -> Result<Settings, SettingsError> {
        Settings::load(&self.flags, |name| self.variables.get(name).map(OsString::from))
    }

    #[track_caller]
    fn load(&self) -> Settings {
        self.try_load().expect("settings")
    }

    #[track_caller]
    fn refused(&self) -> String {
        self.try_load().expect_err("a refusal").to_string()
    }
}

fn given() -> Given {
    Given::default()
}

#[test]
fn by_default_it_is_as_the_pages_say() {
    let settings = given().load();
    assert_eq!(settings.docker, PathBuf::from("/var/run/docker.sock"));
    assert_eq!((settings.interval, settings.ttl), (Duration::from_secs(3), Duration::from_secs(12)));
    assert_eq!((settings.log, settings.debug, settings.mode), (None, false, Mode::Prune));
    assert_eq!(settings.backend, BackendUri::Leasehold("http://localhost:9000".into()));
    assert_eq!(settings.statsd, None);
    let rules = settings.rules;
    assert!(!rules.hostname.is_empty() && !rules.ipaddress.is_empty());
    assert_eq!((rules.prefix_services.as_str(), rules.prefix_path.len()), ("/services", DEFAULT_PATH.len()));
    assert!(rules.publish_env.is_empty());
}

#[test]
fn every_variable_is_a_default() {
    let all = [
        ("DOCKER_SOCKET", "unix:///nowhere/docker.sock"),
        ("INTERVAL", "250"),
        ("TTL", "2500"),
        ("LOGFILE", "/var/log/registrar.log"),
        ("LOGLEVEL", "debug"),
        ("HOST", "host1"),
        ("IPADDRESS", "[2001:db8::7]"),
        ("PREFIX_STATSD", "stats."),
        ("PREFIX_SERVICES", "a//b/"),
        ("PREFIX_HOSTS", "/hosts"),
        ("SERVICE_METHOD", "ttl"),
        ("BACKEND", "consul://consul.example"),
        ("PUBLISH_ENV", "LANG, DB_*"),
    ];
    let given = all.iter().fold(given(), |given, (name, value)| given.variable(name, value));
    let settings = given.yaml("statsd: {host: 127.0.0.1}\n").load();
    assert_eq!(settings.docker, PathBuf::from("/nowhere/docker.sock"));
    assert_eq!((settings.interval, settings.ttl), (Duration::from_millis(250), Duration::from_secs(3)));
    assert_eq!(settings.log, Some("/var/log/registrar.log".into()));
    assert_eq!((settings.debug, settings.mode), (true, Mode::Ttl));
    assert_eq!(settings.backend, BackendUri::Consul("consul.example:8500".into()));
    assert_eq!(
        settings.statsd,
        Some(Statsd { host: "127.0.0.1".into(), port: 8125, prefix: "stats".into() })
    );
    let rules = settings.rules;
    assert_eq!((rules.hostname.as_str(), rules.ipaddress.as_str()), ("host1", "2001:db8::7"));
    assert_eq!(rules.prefix_services, "/a/b");
    assert!(rules.publish_env[1].matches("DB_HOST"));
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn each_source_overrides_those_before() {
    let interval = |given: &Given| given.load().interval.as_millis();
    let mut all = given().variable("INTERVAL", "100");
    assert_eq!(interval(&all), 100);
    all = all.yaml("interval: 200\n");
    assert_eq!(interval(&all), 200);
    all = all.environment("INTERVAL=300\n");
    assert_eq!(interval(&all), 300);
    all = all.flags(|flags| flags.interval = Some("400".into()));
    assert_eq!(interval(&all), 400);
}

#[test]
fn an_empty_value_counts_as_absent() {
    let given = given().variable("INTERVAL", "100").variable("TTL", "").yaml("interval:\nttl: ''\n");
    let given = given.environment("INTERVAL=\nTTL=\"\"\n").flags(|flags| flags.backend = Some(String::new()));
    let settings = given.load();
    assert_eq!((settings.interval.as_millis(), settings.ttl.as_secs()), (100, 12));
}

#[test]
fn a_yaml_file_has_every_key_and_warns_of_others() {
    let settings = given()
        .yaml(
            "docker: /nowhere/docker.sock\ninterval: '5000'\nttl: 10000\nlog: stdout\nlog_level: debug\n\
             hostname: host1\nipaddress: 10.0.0.7\nprefix_stats: a\nprefix_statsd: b\nprefix_services: /s\n\
             prefix_hosts: /h\nprefix_path:\n- environment:NAME\n- service:nonsense\n- string:x\nservice_ttl: ttl\n\
             backend: etcd://a,b:4001\nstatsd:\n  host: stats.example\n  port: 8126\n  user: x\npublish_env: LANG\n\
             backends:\n  etcd: {host: localhost}\nrunning_only: true\n",
        )
        .load();
    assert_eq!((settings.interval.as_secs(), settings.ttl.as_secs()), (5, 10));
    assert_eq!((settings.log, settings.debug, settings.mode), (None, true, Mode::Ttl));
    assert_eq!(settings.backend, BackendUri::Etcd(vec!["a:2379".into(), "b:4001".into()]));
    assert_eq!(
        settings.statsd,
        Some(Statsd { host: "stats.example".into(), port: 8126, prefix: "b".into() })
    );
    assert_eq!(
        settings.rules.prefix_path,
        [Element::Environment("NAME".into()), Element::String("x".into())]
    );
    assert_eq!(settings.rules.publish_env.len(), 1);
    let warnings = settings.warnings.join("\n");
    for named in ["backends", "running_only", "statsd.user", "service:nonsense"] {
        assert!(warnings.contains(named), "{named}: {warnings}");
    }
    assert_eq!(settings.warnings.len(), 4, "{warnings}");
}

#[test]
fn the_samples_path_is_the_whole_path() {
    let sample = "path:\n- string:services\n- environment:ENVIRONMENT\n- container:HOSTNAME\n";
    let path = |given: Given| given.load().rules.prefix_path.len();
    assert_eq!(path(given().yaml(sample)), 2, "/services is said already");
    assert_eq!(path(given().yaml(sample).variable("PREFIX_SERVICES", "/other")), 3);
    assert_eq!(path(given().yaml(&format!("{sample}prefix_path: ['string:services']\n"))), 1);
}

#[test]
fn a_file_that_is_empty_says_nothing() {
    assert_eq!(given().yaml("").environment("").load().interval.as_secs(), 3);
    assert_eq!(given().yaml("# nothing\n").load().interval.as_secs(), 3);
}

#[test]
fn an_environment_file_may_be_anybodys() {
    let text = "# a comment with INTERVAL=1\nPATH=/usr/bin\nLANG=C\nno line\nDOCKER_SOCKET=/nowhere/docker.sock\n\
                export HOST='host1'\nTTL=\"9000\"\nservice_ttl=ttl\nbackend=etcd://a\nPUBLISH_ENV=A,B\n=x\n";
    let settings = given().environment(text).load();
    assert_eq!(settings.docker, PathBuf::from("/nowhere/docker.sock"));
    assert_eq!((settings.rules.hostname.as_str(), settings.ttl.as_secs()), ("host1", 9));
    assert_eq!((settings.mode, settings.interval.as_secs()), (Mode::Ttl, 3));
    assert_eq!(settings.backend, BackendUri::Etcd(vec!["a:2379".into()]));
    assert_eq!(settings.rules.publish_env.len(), 2);
    assert_eq!(settings.warnings, Vec::<String>::new());
    let missing = given().flags(|flags| flags.environment = Some("/nowhere/environment".into())).load();
    assert!(missing.warnings[0].contains("/nowhere/environment"), "{:?}", missing.warnings);
}

#[test]
fn flags_say_the_last_word() {
    let given = given().yaml("log_level: info\npublish_env: [A]\n").flags(|flags| {
        flags.debug = true;
        flags.hostname = Some("host2".into());
        flags.addr = Some("10.0.0.8".into());
        flags.backend = Some("leasehold+https://[::1]/".into());
        flags.ttl = Some("1000".into());
        flags.log = Some("registrar.log".into());
        flags.publish_env = vec!["B".into(), "C*".into()];
    });
    let settings = given.load();
    assert!(settings.debug);
    assert_eq!((settings.rules.hostname.as_str(), settings.rules.ipaddress.as_str()), ("host2", "10.0.0.8"));
    assert_eq!(settings.backend, BackendUri::Leasehold("https://[::1]:9000".into()));
    assert_eq!((settings.ttl.as_secs(), settings.log), (1, Some("registrar.log".into())));
    assert_eq!(settings.rules.publish_env.iter().map(ToString::to_string).collect::<Vec<_>>(), ["B", "C*"]);
}

#[test]
fn a_refusal_names_the_source_the_value_and_what_to_do() {
    #[track_caller]
    fn check(given: &Given, expect: &[&str]) {
        let refusal = given.refused();
        for part in expect {
            assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
        }
    }
    check(&given().variable("INTERVAL", "5s"), &["INTERVAL is \"5s\"", "for 5 s write 5000"]);
    check(&given().variable("TTL", "500"), &["TTL is \"500\"", "between 1000 and 86400000"]);
    check(&given().yaml("interval: 1\n"), &["interval in ", "config.yml", "between 10 and"]);
    check(&given().yaml("interval: [1]\n"), &["interval in ", "write one value"]);
    check(&given().yaml("statsd: here\n"), &["statsd in ", "host: and port:"]);
    check(&given().yaml("statsd: {host: h, port: 0}\n"), &["statsd.port in", "65535"]);
    check(&given().yaml("statsd: {host: h}\nprefix_statsd: 'a:b'\n"), &["prefix_statsd in", "letters"]);
    check(&given().yaml("prefix_path: [nonsense]\n"), &["prefix_path in ", "nonsense", "the default is"]);
    check(&given().yaml("- a\n"), &["config.yml is not as it should be"]);
    check(&given().yaml("a: [\n"), &["config.yml is not as it should be"]);
    check(&given().environment("SERVICE_METHOD=lapse\n"), &["SERVICE_METHOD in ", "it is ttl or prune"]);
    check(&given().variable("PREFIX_SERVICES", "//"), &["PREFIX_SERVICES", "/services"]);
    check(&given().variable("HOST", "a b"), &["HOST is \"a b\""]);
    let flag = |addr: &str| given().flags(|flags| flags.addr = Some(addr.into()));
    check(&flag("10.0.0.7 172.17.0.1"), &["--addr is \"10.0.0.7 172.17.0.1\"", "one IP address"]);
    check(&flag("10.0.0.999"), &["--addr is", "one IP address"]);
    check(&flag("0.0.0.0"), &["nobody can connect to it"]);
    let missing = given().flags(|flags| flags.config = Some("/nowhere/config.yml".into()));
    check(&missing, &["cannot read the configuration file /nowhere/config.yml"]);
}

#[test]
fn a_backend_is_a_uri_without_secrets() {
    for (uri, why) in [
        ("etcd", "no URI"),
        ("zookeeper://a", "no backend \"zookeeper\""),
        ("etcd://", "no host"),
        ("etcd://a,,b", "no host"),
        ("consul://a:0", "65535"),
        ("leasehold://a:b", "65535"),
        ("leasehold://a/path", "no host"),
        ("leasehold://[a]", "no IPv6 address"),
        ("leasehold://[::1]x", "no port"),
        ("leasehold://999.1.1.1", "no host"),
    ] {
        let refusal = given().variable("BACKEND", uri).refused();
        assert!(refusal.contains(why) && refusal.contains(uri), "{refusal}");
    }
    let refusal = given().variable("BACKEND", "etcd://root:s3cret@a").refused();
    assert!(refusal.contains("etcd://…@a") && !refusal.contains("s3cret"), "{refusal}");
}

#[test]
fn a_socket_may_be_missing_but_is_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |path: &std::path::Path| given().variable("DOCKER_SOCKET", path.to_str().expect("text"));
    assert!(at(dir.path()).refused().contains("it is a directory, not Docker's socket"));
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    assert!(at(&file).refused().contains("it is a file, not Docker's socket"));
    let socket = dir.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    assert_eq!(at(&socket).load().docker, socket);
    assert_eq!(at(&dir.path().join("later.sock")).load().docker, dir.path().join("later.sock"));
    assert!(given().variable("DOCKER_SOCKET", "tcp://a:2375").refused().contains("only a socket"));
}

#[test]
fn an_unknown_log_level_is_info() {
    let settings = given().variable("LOGLEVEL", "warn").load();
    assert!(
        !settings.debug && settings.warnings[0].contains("LOGLEVEL is \"warn\""),
        "{:?}",
        settings.warnings
    );
}
