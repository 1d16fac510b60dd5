//! What the JSON door adds to a call: `cargo bench --bench gateway`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, iter};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leasehold::{
    gateway::{Json, JsonOptions},
    proto::{FILE_DESCRIPTOR_SET, Instance, ListResponse},
};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};

fn json() -> Json {
    Json::new(&DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap(), JsonOptions::default())
}

/// As services register themselves, with some 200 bytes of `info`.
fn instance() -> Instance {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let number = |number| Value { kind: Some(Kind::NumberValue(number)) };
    let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
    let object = |fields: &[(&str, Value)]| Struct {
        fields: fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
    };
    let info = object(&[
        ("name", text("inventory-service")),
        ("version", text("2.14.3")),
        ("commit", text("9f2c1e7")),
        ("started", number(1_767_323_045.0)),
        ("load", number(0.37)),
        ("tags", list(vec![text("http"), text("grpc"), text("canary")])),
        (
            "limits",
            Value {
                kind: Some(Kind::StructValue(object(&[
                    ("connections", number(512.0)),
                    ("strict", Value { kind: Some(Kind::BoolValue(true)) }),
                ]))),
            },
        ),
    ]);
    let moment = |nanos| Some(Timestamp { seconds: 1_767_323_045, nanos });
    Instance {
        id: "01JGJ5T3M8Q6W1XZ4R7V9YB2CD".to_owned(),
        service: "inventory".to_owned(),
        url: "http://10.20.30.40:8080/api".to_owned(),
        info: Some(info),
        labels: [("app", "shop"), ("env", "production"), ("team", "logistics")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        zone: "eu-central-1a".to_owned(),
        weight: 100,
        status: "alive".to_owned(),
        registered_at: moment(123_000_000),
        last_updated: moment(123_456_000),
        last_ping_at: moment(123_456_789),
        expires_at: moment(0),
        ttl_seconds: 30,
        revision: 184_467,
    }
}

fn write(criterion: &mut Criterion) {
    let json = json();
    let list = ListResponse {
        count: 200,
        services: iter::repeat_n(instance(), 200).collect(),
        resume_token: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        ..ListResponse::default()
    };
    for (name, message, encoded) in [
        ("instance_to_json", "leasehold.v1.Instance", instance().encode_to_vec()),
        ("list_200_to_json", "leasehold.v1.ListResponse", list.encode_to_vec()),
    ] {
        let message = json.find(message).unwrap();
        let mut group = criterion.benchmark_group("write");
        group.throughput(Throughput::Bytes(encoded.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut out = String::new();
                json.write(message, black_box(&encoded), &mut out).unwrap();
                out
            });
        });
        group.finish();
    }
}

/// As servicekit registers a service.
const REGISTER: &str = r#"{
  "id": "inventory-service",
  "url": "http://10.20.30.40:8080",
  "info": {
    "id": "inventory-service",
    "display_name": "Inventory",
    "version": "2.14.3",
    "summary": "What is on the shelves",
    "description": "Counts, reserves and releases what the shops of a region have on their shelves.",
    "contact": {"name": "Logistics", "email": "logistics@shop.example", "url": null},
    "license_info": null,
    "author": "The team",
    "tags": ["http", "grpc", "canary"],
    "limits": {"connections": 512, "load": 0.75, "strict": true}
  },
  "ttl_seconds": 30
}"#;

fn read(criterion: &mut Criterion) {
    let json = json();
    let register = json.find("leasehold.v1.RegisterRequest").unwrap();
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Bytes(REGISTER.len() as u64));
    group.bench_function("register_from_json", |bencher| {
        bencher.iter(|| json.read(register, black_box(REGISTER.as_bytes())).unwrap());
    });
    group.finish();
}

criterion_group!(benches, write, read);
criterion_main!(benches);
