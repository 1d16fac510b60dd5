//! grpcurl, unmodified and without a proto file: it finds the schema through reflection
//! and can register, keep alive and watch with it. Both versions of reflection give out
//! every file with all it imports.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Output},
};

use leasehold::proto::{
    FILE_DESCRIPTOR_SET,
    event::{Reason, Type as Kind},
};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};
use support::{
    SOON, Server, installed,
    process::Process,
    wait_for,
    watch::{Watch, instance, what},
};
use tonic_reflection::pb::{v1, v1alpha};

/// `grpcurl -plaintext FLAGS… ADDRESS WORDS…`, not started yet.
fn grpcurl(server: &Server, flags: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(installed("LEASEHOLD_TEST_GRPCURL"));
    command.arg("-plaintext").args(flags).arg(server.addr.to_string()).args(words);
    command
}

fn run(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn list_and_describe_find_the_schema() {
    let server = Server::start(&[]);
    let listed = run(grpcurl(&server, &[], &["list"]));
    let services: BTreeSet<&str> = listed.lines().collect();
    assert!(
        services.contains("leasehold.v1.Registry") && services.contains("grpc.health.v1.Health"),
        "{listed}"
    );

    let methods = run(grpcurl(&server, &[], &["list", "leasehold.v1.Registry"]));
    let methods: Vec<&str> =
        methods.lines().map(|line| line.strip_prefix("leasehold.v1.Registry.").unwrap()).collect();
    assert_eq!(
        methods,
        ["BatchRegister", "Deregister", "Get", "KeepAlive", "List", "Ping", "Register", "Watch"]
    );

    let described = run(grpcurl(&server, &[], &["describe", "leasehold.v1.Registry"]));
    for part in [
        "// A registry of live service instances.",
        "rpc Register ( .leasehold.v1.RegisterRequest ) returns ( .leasehold.v1.RegisterResponse )",
        "rpc KeepAlive ( stream .leasehold.v1.KeepAliveRequest )",
        "post: \"/services/$register\"",
        "delete: \"/services/{id}\"",
    ] {
        assert!(described.contains(part), "{part} in\n{described}");
    }
    let message = run(grpcurl(&server, &[], &["describe", "leasehold.v1.RegisterRequest"]));
    assert!(message.contains("// At most 64; keys up to 63 bytes, values up to 256."), "{message}");
}

#[test]
fn health_is_checked() {
    let server = Server::start(&[]);
    for service in ["", "leasehold.v1.Registry"] {
        let data = json!({"service": service}).to_string();
        let answer = run(grpcurl(&server, &["-d", &data], &["grpc.health.v1.Health/Check"]));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer, json!({"status": "SERVING"}), "{service:?}");
    }
}

#[test]
fn a_registration_can_be_made_read_and_refused() {
    let server = Server::start(&[]);
    let data = json!({"service": "by-hand", "url": "tcp://by-hand:1", "labels": {"a": "b"}}).to_string();
    let answer = run(grpcurl(&server, &["-d", &data], &["leasehold.v1.Registry/Register"]));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"], "registered");
    let listed = run(grpcurl(&server, &[], &["leasehold.v1.Registry/List"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["services"][0]["id"], answer["id"]);
    assert_eq!(listed["services"][0]["labels"], json!({"a": "b"}));

    let mut bad = grpcurl(&server, &["-d", r#"{"url":"nowhere"}"#], &["leasehold.v1.Registry/Register"]);
    let bad = bad.output().unwrap();
    let stderr = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success());
    assert!(stderr.contains("InvalidArgument") && stderr.contains("google.rpc.BadRequest"), "{stderr}");
    assert!(stderr.contains("\"field\": \"url\""), "the violation names the field: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_reads_its_beats_from_stdin() {
    let server = Server::start(&[]);
    let mut watch = Watch::everything(&server).await;
    let id = server.register(support::replica("typed", "http://typed:1")).await.id;

    let mut stream = Process::spawn(grpcurl(&server, &["-d", "@"], &["leasehold.v1.Registry/KeepAlive"]));
    stream.write_line(&json!({"ids": [id]}).to_string());
    stream.expect_line("the first answer", SOON, |line| line.contains("\"ttlSeconds\": 30").then_some(()));
    stream.write_line("{}");
    stream.expect_line("the second answer", SOON, |line| line.contains("\"ttlSeconds\": 30").then_some(()));
    watch.catch_up(&server).await;
    assert_eq!(watch.seen_of(&id), [(Kind::Registered, Reason::New)]);

    stream.close_stdin();
    let gone = watch.event(SOON).await;
    assert_eq!(
        (instance(&gone).id.as_str(), what(&gone)),
        (id.as_str(), (Kind::Expired, Reason::StreamDropped))
    );
    assert!(stream.wait_exit(SOON).success(), "{}", stream.stderr());
}

#[test]
fn watch_shows_each_change_once_and_in_order() {
    let server = Server::start(&[]);
    let before = server.post_registration(&json!({"service": "before", "url": "http://before:1"}));
    let watch = Process::spawn(grpcurl(&server, &["-d", "{}"], &["leasehold.v1.Registry/Watch"]));
    let messages = || -> Vec<Value> {
        // What is printed last may not be whole yet.
        let text = watch.stdout();
        serde_json::Deserializer::from_str(&text).into_iter().map_while(Result::ok).collect()
    };
    wait_for("SYNCED", SOON, || messages().iter().any(|message| message["type"] == "SYNCED").then_some(()));

    let mut expect = Vec::new();
    for number in 0..5 {
        let body = json!({"service": format!("s{number}"), "url": "http://changing:1"});
        let id = server.post_registration(&body)["id"].as_str().unwrap().to_owned();
        let mut other = body.clone();
        other["zone"] = json!("z");
        server.post_registration(&other);
        server.post_registration(&other);
        assert_eq!(server.http("DELETE", &format!("/services/{id}"), &[], b"").status, 200);
        expect.extend(["REGISTERED", "UPDATED", "DEREGISTERED"].map(|kind| (kind.to_owned(), id.clone())));
    }
    let last = server.post_registration(&json!({"service": "last", "url": "http://last:1"}));
    let last = last["id"].as_str().unwrap();
    expect.push(("REGISTERED".to_owned(), last.to_owned()));

    let seen = wait_for("the last change", SOON, || {
        let messages = messages();
        let events = messages
            .iter()
            .filter(|message| message["type"] == "CHANGES")
            .flat_map(|message| message["events"].as_array().unwrap().clone());
        let seen: Vec<(String, String)> = events
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&event["type"]), text(&event["instance"]["id"]))
            })
            .collect();
        seen.iter().any(|(_, id)| id == last).then_some(seen)
    });
    assert_eq!(seen, expect);
    let listed: Vec<Value> = messages()
        .into_iter()
        .filter(|message| message["type"] == "SNAPSHOT")
        .map(|m| m["events"].clone())
        .collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0][0]["instance"]["id"], before["id"]);
}

/// The files that reflection must give for the registry, by name.
fn closure() -> BTreeMap<String, FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let all: BTreeMap<String, FileDescriptorProto> =
        set.file.into_iter().map(|file| (file.name().to_owned(), file)).collect();
    let mut wanted = vec!["leasehold/v1/registry.proto".to_owned()];
    let mut closure = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        let file = all[&name].clone();
        wanted.extend(file.dependency.iter().filter(|name| !closure.contains_key(*name)).cloned());
        closure.insert(name, file);
    }
    closure
}

/// Reads the whole closure through one version of reflection, starting at the service.
macro_rules! check_reflection {
    ($version:ident, $server:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($server.channel().await);
        let mut ask = async |question: MessageRequest| {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
            let mut answers =
                client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
            answers.message().await.unwrap().expect("an answer").message_response.expect("a response")
        };
        let MessageResponse::ListServicesResponse(listed) =
            ask(MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list of services");
        };
        let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
        for name in ["leasehold.v1.Registry", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }

        let mut read: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
        let mut questions = vec![MessageRequest::FileContainingSymbol("leasehold.v1.Registry".to_owned())];
        while let Some(question) = questions.pop() {
            let MessageResponse::FileDescriptorResponse(files) = ask(question.clone()).await else {
                panic!("no files for {question:?}");
            };
            for bytes in files.file_descriptor_proto {
                let file = FileDescriptorProto::decode(bytes.as_slice()).unwrap();
                questions.extend(
                    file.dependency
                        .iter()
                        .filter(|name| !read.contains_key(*name))
                        .map(|name| MessageRequest::FileByFilename(name.clone())),
                );
                read.insert(file.name().to_owned(), file);
            }
        }
        read
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_give_the_full_closure() {
    let server = Server::start(&[]);
    let expect = closure();
    for (version, read) in
        [("v1", check_reflection!(v1, server)), ("v1alpha", check_reflection!(v1alpha, server))]
    {
        assert!(read.keys().eq(expect.keys()), "{version}: {:?}", read.keys());
        let registry = &read["leasehold/v1/registry.proto"];
        assert_eq!(registry.service, expect["leasehold/v1/registry.proto"].service, "{version}");
        let comments = registry.source_code_info.as_ref().map_or(0, |info| info.location.len());
        assert!(comments > 100, "{version}: comments are in it");
    }
}
