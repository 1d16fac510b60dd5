//! What has to hold whatever is sent. The fuzz targets look for an input of which it does
//! not hold; `tests/fuzz_seeds.rs` tries those that are kept in `seeds/`.

#![allow(dead_code, clippy::unwrap_used)]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use leasehold::{
    gateway::{
        EventStreams, Gateway, Options,
        json::{Json, JsonOptions},
    },
    proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME},
};
use prost_reflect::{DescriptorPool, DynamicMessage};
use tokio::runtime::{Builder, Runtime};

/// The messages that a text is read as. The first byte of an input chooses: `A` the first.
const MESSAGES: [&str; 14] = [
    "kinds.v1.Kinds",
    "leasehold.v1.RegisterRequest",
    "leasehold.v1.BatchRegisterRequest",
    "leasehold.v1.WatchResponse",
    "google.protobuf.Value",
    "google.protobuf.Struct",
    "google.protobuf.ListValue",
    "google.protobuf.Any",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.Int64Value",
    "google.protobuf.DoubleValue",
    "google.protobuf.BytesValue",
];

/// The methods of a request: `A` the first.
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

/// How long a message of an error may be.
const MAX_TEXT: usize = 520;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    // `cargo fuzz` builds another package than `cargo test` does.
    let root = env!("CARGO_MANIFEST_DIR").trim_end_matches("/fuzz");
    let folders = [format!("{root}/tests/proto"), format!("{root}/proto")];
    let files = protox::compile(["kinds.proto", "leasehold/v1/registry.proto"], folders).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
});

/// Two readers, the second as strict as there is.
static READERS: LazyLock<[Json; 2]> = LazyLock::new(|| {
    let strict = JsonOptions { discard_unknown: false, exact_numbers: true, ..JsonOptions::default() };
    [Json::new(&POOL, JsonOptions::default()), Json::new(&POOL, strict)]
});

/// Takes all that a gateway can be asked to take. No service answers behind it.
static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| {
    let options = Options {
        event_streams: Some(EventStreams { id_field: "resume_token".to_owned() }),
        method_override: true,
        form_fallback: true,
        http_code_metadata: Some(http::HeaderName::from_static("x-http-code")),
        healthz: Some("/healthz".to_owned()),
        unbound_methods: true,
        explain_bad_text: true,
        ..Options::default()
    };
    Gateway::new(FILE_DESCRIPTOR_SET, &[SERVICE_NAME], tonic::service::Routes::default(), options).unwrap()
});

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

/// A text is read as a message, or refused in a few words, and so each time; what was read
/// is an encoded message. Input: a letter for the message, one for the way (`A` a body, `B`
/// a value, `C` a field; from `D` on strictly), one for the field, and the text.
pub fn json(input: &[u8]) {
    let [message, way, place, text @ ..] = input else { return };
    let name = choice(&MESSAGES, *message);
    let descriptor = POOL.get_message_by_name(name).unwrap();
    let ways = [(0, 'b'), (0, 'v'), (0, 'f'), (1, 'b'), (1, 'v'), (1, 'f')];
    let (reader, way) = choice(&ways, *way);
    let json = &READERS[*reader];
    let id = json.find(name).unwrap();
    let read = || match way {
        'b' => json.read(id, text),
        'v' => json.read_value(id, text),
        _ => json.read_field(id, usize::from(place.wrapping_sub(b'A')), text),
    };
    let result = read();
    assert_eq!(result, read(), "not the same each time");
    match result {
        Ok(encoded) => {
            if let Err(error) = DynamicMessage::decode(descriptor, encoded.as_slice()) {
                // JSON may nest deeper than prost follows.
                assert!(error.to_string().contains("recursion limit"), "{name}: {error}");
            }
        }
        Err(error) => {
            assert!(error.message.starts_with("JSON, line "), "{error}");
            assert!(error.message.len() < MAX_TEXT && error.path.len() < MAX_TEXT, "{error}");
        }
    }
}

/// A request is answered, and never with a failure of our own. Input: a letter for the
/// method, one for the headers, the target of the request, a line feed, and the body.
pub fn request(input: &[u8]) {
    let [method, headers, rest @ ..] = input else { return };
    let (target, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (rest, &[][..]),
    };
    let Ok(uri) = Uri::try_from(target) else { return };
    let mut request = Request::new(Full::new(bytes::Bytes::copy_from_slice(body)));
    *request.method_mut() = choice(&METHODS, *method).clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = header_map(headers.wrapping_sub(b'A'));
    let answer = RUNTIME.block_on(GATEWAY.handle(request));
    assert_ne!(answer.status(), 500);
}

/// Each bit stands for a header.
fn header_map(bits: u8) -> HeaderMap {
    const HEADERS: [(&str, &str); 7] = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-http-method-override", "PUT"),
        ("accept", "text/event-stream"),
        ("last-event-id", "\"é\""),
        ("grpc-timeout", "1S"),
        ("grpc-metadata-a-bin", "AA"),
        ("content-length", "99999999"),
    ];
    let set = HEADERS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    set.map(|(_, (name, value))| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    })
    .collect()
}

fn choice<T>(values: &[T], letter: u8) -> &T {
    &values[usize::from(letter.wrapping_sub(b'A')) % values.len()]
}
