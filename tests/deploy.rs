//! What stands in deploy/ and in docs/monitoring.md against a real server and the real tools: the
//! rules are good and fire when they should, Prometheus takes what is served, and every metric
//! that is named anywhere exists.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use support::{START, Server, http::exchange, installed, process::Process, wait_for};

/// What is served only where there is a certificate.
const WITH_TLS: &str = "leasehold_certificate_expiry_timestamp_seconds";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn promtool(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(installed("LEASEHOLD_TEST_PROMTOOL"))
        .args(args)
        .current_dir(repository().join("deploy/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn promtool_agrees(args: &[&str], input: &str) {
    let Output { status, stdout, stderr } = promtool(args, input);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && stderr.trim().is_empty(), "promtool {args:?}:\n{stdout}\n{stderr}");
}

/// A server that was used a little in every way that counts.
fn used_server() -> Server {
    let server = Server::start(&[]);
    let registered = server.post_registration(&json!({"id": "a", "url": "http://a:1"}));
    server.post_registration(&json!({"id": "a", "url": "http://a:1"}));
    let id = registered["id"].as_str().unwrap();
    assert_eq!(server.http("PUT", &format!("/services/{id}/$ping"), &[], b"").status, 200);
    assert_eq!(server.get("/services/nobody").status, 404);
    server.post_registration(&json!({"id": "b", "url": "http://b:1"}));
    assert_eq!(server.http("DELETE", &format!("/services/{id}"), &[], b"").status, 200);
    server
}

/// The metrics that are described, by their names in the text format without what a
/// histogram's series add.
fn served(server: &Server) -> BTreeSet<String> {
    let text = server.get("/metrics").text();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// Every metric's name in a text, a histogram's series under the histogram's.
fn named(text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let word = |char: char| !(char.is_ascii_alphanumeric() || char == '_');
    let names = text.split(word).filter(|word| word.starts_with("leasehold_"));
    let whole = |name: &str| {
        let series = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        series.filter(|histogram| known.contains(*histogram)).unwrap_or(name).to_owned()
    };
    names.map(whole).collect()
}

#[test]
fn the_rules_are_good_and_fire_when_they_should() {
    promtool_agrees(&["check", "rules", "alerts.yml"], "");
    promtool_agrees(&["check", "config", "prometheus.yml"], "");
    promtool_agrees(&["test", "rules", "alerts_test.yml"], "");
}

#[test]
fn every_alert_is_tested() {
    let (rules, tests) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tests.contains(&fires), "nothing tests that {alert} fires");
        let silent = format!("alertname: {alert}}}");
        assert!(tests.contains(&silent), "nothing tests when {alert} does not fire");
        assert!(read("docs/monitoring.md").contains(alert), "docs/monitoring.md does not name {alert}");
    }
}

#[test]
fn what_is_served_follows_the_conventions() {
    let server = used_server();
    let answer = server.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    promtool_agrees(&["check", "metrics"], &answer.text());
    let open =
        server.http("GET", "/metrics", &[("Accept", "application/openmetrics-text;version=1.0.0")], b"");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.text().ends_with("# EOF\n"));
}

#[test]
fn metrics_that_are_named_exist_and_those_that_exist_are_described() {
    let mut served = served(&used_server());
    let documented = named(&read("docs/monitoring.md"), &served);
    served.insert(WITH_TLS.to_owned());
    for path in ["deploy/grafana/leasehold.json", "deploy/prometheus/alerts.yml", "docs/monitoring.md"] {
        let missing: Vec<_> = named(&read(path), &served).difference(&served).cloned().collect();
        assert!(missing.is_empty(), "{path} names what is not served: {missing:?}");
    }
    let missing: Vec<_> = served.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/monitoring.md does not describe {missing:?}");
}

#[test]
fn the_dashboard_asks_the_chosen_servers_of_the_chosen_source() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/leasehold.json")).unwrap();
    let mut asked = 0;
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{} has another's id", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().unwrap();
            assert!(expr.contains("instance=~\"$instance\""), "{expr}");
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            // What Grafana fills in, as it may fill it in.
            let rule = expr.replace("$__rate_interval", "5m").replace("$instance", ".*");
            let group = json!({"groups": [{"name": "g", "rules": [{"record": "r", "expr": rule}]}]});
            let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
            fs::write(file.path(), group.to_string()).unwrap();
            promtool_agrees(&["check", "rules", file.path().to_str().unwrap()], "");
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked} queries");
}

/// A Prometheus that scrapes one server.
struct Prometheus {
    _process: Process,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn of(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let example = read("deploy/prometheus/prometheus.yml");
        let config = example
            .replace("127.0.0.1:9000", &server.addr.to_string())
            .replace("interval: 15s", "interval: 1s")
            .replace("alerts.yml", repository().join("deploy/prometheus/alerts.yml").to_str().unwrap());
        let path: PathBuf = dir.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(installed("LEASEHOLD_TEST_PROMETHEUS"));
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let process = Process::start(&mut command);
        let addr = wait_for("Prometheus to listen", START, || {
            let stderr = process.stderr();
            let lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut listening = lines.filter(|line| line["msg"] == "Listening on");
            listening.next()?["address"].as_str()?.parse().ok()
        });
        Self { _process: process, addr, _dir: dir }
    }

    /// The value of the one series that this query gives, once it does.
    fn value(&self, query: &str) -> String {
        wait_for(query, START, || {
            let path = format!("/api/v1/query?query={}", query.replace('"', "%22"));
            let answer = exchange(self.addr, "GET", &path, &[], b"");
            if answer.status == 503 {
                // It still starts.
                return None;
            }
            let result = answer.json()["data"]["result"].clone();
            Some(result.as_array()?.first()?["value"][1].as_str()?.to_owned())
        })
    }
}

#[test]
fn prometheus_scrapes_it() {
    let server = used_server();
    let prometheus = Prometheus::of(&server);
    // First what a scrape brings: `up` is 0 before.
    assert_eq!(prometheus.value("leasehold_instances"), "1");
    assert_eq!(prometheus.value("up{job=\"leasehold\"}"), "1");
    assert_eq!(prometheus.value("leasehold_registrations_total{outcome=\"new\"}"), "2");
    assert_eq!(prometheus.value("leasehold_departures_total{reason=\"client\"}"), "1");
    assert_eq!(prometheus.value("leasehold_renewal_margin_seconds_count"), "1");
}
