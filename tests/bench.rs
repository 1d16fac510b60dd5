//! `leasehold bench`, small: that it measures, and what it writes; never how fast.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    let output = command.arg("bench").args(args).arg("--dir").arg(dir.path()).output().unwrap();
    let left: Vec<_> = dir.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn measured(rows: &str) -> Value {
    let output = bench(&["--tiny", "--only", rows, "--in-flight", "8", "--connections", "2", "--json", "-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("round 1 of 1: "), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every subject of every row did something, took its time, and was compared.
#[track_caller]
fn check(report: &Value, names: &[&str]) {
    check_done(report, names);
    for row in report["rows"].as_array().unwrap() {
        for subject in row["subjects"].as_array().unwrap() {
            assert!(subject["samples"][0]["latency"]["count"].as_u64().unwrap() > 0, "{subject}");
        }
    }
}

/// Every subject of every row did something, and was compared.
#[track_caller]
fn check_done(report: &Value, names: &[&str]) {
    let rows = report["rows"].as_array().unwrap();
    let found: Vec<_> = rows.iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(found, names);
    for row in rows {
        for subject in row["subjects"].as_array().unwrap() {
            assert_eq!(subject["failure"], Value::Null, "{subject}");
            let samples = subject["samples"].as_array().unwrap();
            assert_eq!(samples.len(), 1, "{subject}");
            assert!(samples[0]["operations"].as_u64().unwrap() > 0, "{subject}");
        }
        let compared = row["compared"].as_array().unwrap();
        assert!(compared.iter().any(|ratio| ratio["spread"]["median"].is_f64()), "{row}");
    }
}

#[test]
fn calls_are_measured() {
    check(&measured("register,register-batch"), &["register", "register-batch"]);
}

#[test]
fn http_is_measured() {
    check(&measured("register-json,ping,ping-anew"), &["register-json", "ping", "ping-anew"]);
}

#[test]
fn streams_are_measured() {
    check(&measured("renew,renew-many,renew-stream"), &["renew", "renew-many", "renew-stream"]);
}

#[test]
fn watchers_are_measured() {
    let rows = "fan-out,fan-out-16,fan-out-full,fan-out-watchers";
    check_done(&measured(rows), &rows.split(',').collect::<Vec<_>>());
}

#[test]
fn what_watchers_wait_for_is_measured() {
    let report = measured("bystanders,stream-drop,lateness");
    check(&report, &["bystanders", "stream-drop", "lateness"]);
    for subject in report["rows"][2]["subjects"].as_array().unwrap() {
        assert_eq!(subject["samples"][0]["values"]["early"], 0.0, "{subject}");
    }
}

#[test]
fn many_leases_are_measured() {
    check_done(&measured("memory,restart"), &["memory", "restart"]);
}

#[test]
fn an_abused_server_is_measured() {
    check_done(&measured("abuse"), &["abuse"]);
}

#[test]
fn charts_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("charts");
    let output = bench(&["--tiny", "--only", "growth", "--plots", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let svg = std::fs::read_to_string(path.join("growth.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("KeepAlive"), "{svg}");
    assert!(!path.join("fan-out.svg").exists(), "nothing was measured for it");
}

#[test]
fn an_open_loop_is_measured() {
    let output = bench(&[
        "--tiny",
        "--only",
        "register",
        "--subjects",
        "null,memory",
        "--rate",
        "200",
        "--seconds",
        "0.2",
        "--json",
        "-",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["settings"]["loop"], "open");
    assert_eq!(report["rows"][0]["subjects"].as_array().unwrap().len(), 2);
}

#[test]
fn the_table_is_for_people_and_the_json_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let only = ["--tiny", "--only", "register", "--subjects", "null,memory", "--json"];
    let output = bench(&[&only[..], &[file.to_str().unwrap()]].concat());
    let table = text(&output.stdout);
    assert!(table.starts_with("ROW"), "{table}");
    assert!(table.contains(" of null tonic"), "{table}");
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(report["rows"][0]["row"], "register");
}

#[test]
fn what_is_typed_wrong_is_explained() {
    #[track_caller]
    fn check(args: &[&str], expect: &str) {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(expect), "{}", text(&output.stderr));
    }
    check(&["--only", "regsiter"], "there is no row regsiter; there are: register,");
    check(&["--seconds", "0"], "seconds, 0.01 to 3600");
    check(&["--rounds", "0"], "1..=1000");
    check(&["--peer", "etcd=/no/such/etcd"], "there is no /no/such/etcd");
    check(&["--peer", "consul=/bin/true"], "etcd=BINARY, python=DIR or leasehold=BINARY");
}

#[test]
fn rows_are_listed() {
    let output = bench(&["--list"]);
    let list = text(&output.stdout);
    for row in ["register ", "register-batch", "register-json", "ping-anew", "renew-stream"] {
        assert!(list.contains(row), "{row} is not in\n{list}");
    }
}
