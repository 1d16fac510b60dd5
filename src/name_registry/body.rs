//! Request bodies: JSON objects with a service and an address, and whatever else there is, which is
//! kept as metadata. They are read by the rules of the other JSON paths.

use std::{error::Error, sync::Arc, thread};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use prost_reflect::DescriptorPool;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tonic::{Code, Status, body::Body};

use crate::{
    api::MAX_MESSAGE,
    gateway::{Json, JsonOptions},
    wire::{Encoder, Fields, Malformed, Value},
};

use super::answer::Refusal;

/// What a client says of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) service: String,
    pub(super) address: String,
    /// The rest: a `google.protobuf.Struct`, encoded.
    pub(super) metadata: Vec<u8>,
}

/// What is larger is read on threads apart: a megabyte of small values takes its time.
const SMALL: usize = 16 << 10;

/// The original's words.
const MISSING: &str = "Missing required fields: service and address";
const NO_TEXT: &str = "service and address have to be strings";

/// Reads bodies.
pub(super) struct Reader {
    json: Arc<Json>,
    threads: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let json = Json::new(pool, JsonOptions { exact_numbers: true, ..JsonOptions::default() });
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { json: Arc::new(json), threads: Arc::new(Semaphore::new((cores / 2).max(1))) }
    }

    /// What a body says, if it says what it has to.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Sent, Refusal> {
        // To its end, so that the connection can be used further.
        let text = whole(body).await?;
        if !is_json(headers) {
            let text = "the body has to be JSON: send it with Content-Type: application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        if text.len() <= SMALL {
            return sent(&self.json, &text);
        }
        let (json, thread) = (Arc::clone(&self.json), Arc::clone(&self.threads).acquire_owned().await);
        let read = spawn_blocking(move || {
            let _thread = thread;
            sent(&json, &text)
        });
        read.await.unwrap_or_else(|error| {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the body was not read: {error}")))
        })
    }

    /// What writes metadata.
    pub(super) fn json(&self) -> &Arc<Json> {
        &self.json
    }
}

/// An instance's metadata as JSON; none if there are none.
pub(super) fn metadata(json: &Json, info: &[u8]) -> Option<String> {
    if info.is_empty() {
        return None;
    }
    let mut text = String::new();
    json.write(json.find("google.protobuf.Struct")?, info, &mut text).ok()?;
    Some(text)
}

async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {MAX_MESSAGE} bytes"))
    };
    if http_body::Body::size_hint(&body).lower() > MAX_MESSAGE as u64 {
        return Err(too_large());
    }
    let collected = Limited::new(body, MAX_MESSAGE).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error: Box<dyn Error + Send + Sync>| {
        if error.is::<LengthLimitError>() {
            return too_large();
        }
        match error.downcast_ref::<Status>() {
            Some(status) if status.code() == Code::DeadlineExceeded => {
                Refusal::new(StatusCode::REQUEST_TIMEOUT, status.message())
            }
            _ => Refusal::bad_request("the body broke off"),
        }
    })
}

/// `application/json`, or a type that says that it is JSON too (RFC 6839).
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn sent(json: &Json, text: &[u8]) -> Result<Sent, Refusal> {
    // Some clients mark UTF-8.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let value = json.find("google.protobuf.Value");
    let value = value.ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "JSON is not known"))?;
    let encoded = json.read_value(value, text).map_err(|error| Refusal::bad_request(error.message))?;
    taken_apart(&encoded).unwrap_or_else(|Malformed| Err(Refusal::bad_request("the body is no JSON object")))
}

/// What an encoded `google.protobuf.Value` says.
fn taken_apart(value: &[u8]) -> Result<Result<Sent, Refusal>, Malformed> {
    let (mut service, mut address, mut metadata) = (None, None, Encoder::new());
    // 5 is an object; anything else has no fields.
    if let Some((5, Value::Bytes(object))) = kind(value)? {
        let mut entries = Fields::new(object);
        while let Some(field) = entries.next_field()? {
            let Value::Bytes(entry) = field.value else { return Err(Malformed) };
            let (mut key, mut value) = (&b""[..], &b""[..]);
            let mut parts = Fields::new(entry);
            while let Some(part) = parts.next_field()? {
                match (part.number, part.value) {
                    (1, Value::Bytes(bytes)) => key = bytes,
                    (2, Value::Bytes(bytes)) => value = bytes,
                    _ => return Err(Malformed),
                }
            }
            match key {
                b"service" => service = Some(value),
                b"address" => address = Some(value),
                _ => metadata.bytes(1, entry),
            }
        }
    }
    let (Some(service), Some(address)) = (service, address) else {
        return Ok(Err(Refusal::bad_request(MISSING)));
    };
    Ok(match (text(service)?, text(address)?) {
        (Some(service), Some(address)) => Ok(Sent { service, address, metadata: metadata.finish() }),
        _ => Err(Refusal::bad_request(NO_TEXT)),
    })
}

/// Which kind of `google.protobuf.Value` it is.
fn kind(value: &[u8]) -> Result<Option<(u32, Value<'_>)>, Malformed> {
    Ok(Fields::new(value).next_field()?.map(|field| (field.number, field.value)))
}

/// A `google.protobuf.Value`'s text, if it is one.
fn text(value: &[u8]) -> Result<Option<String>, Malformed> {
    match kind(value)? {
        Some((3, Value::Bytes(text))) => {
            str::from_utf8(text).map(|text| Some(text.to_owned())).map_err(|_| Malformed)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader::new(&DescriptorPool::decode(crate::proto::FILE_DESCRIPTOR_SET).unwrap())
    }

    #[test]
    fn bodies() {
        let reader = reader();
        let check = |text: &str, expect: Result<(&str, &str, Option<&str>), &str>| {
            let read = sent(&reader.json, text.as_bytes()).map(|sent| {
                let metadata = metadata(&reader.json, &sent.metadata);
                (sent.service, sent.address, metadata)
            });
            let expect = expect
                .map(|(service, address, rest)| {
                    (service.to_owned(), address.to_owned(), rest.map(str::to_owned))
                })
                .map_err(Refusal::bad_request);
            assert_eq!(read, expect, "{text}");
        };
        check(r#"{"service":"a","address":"b"}"#, Ok(("a", "b", None)));
        check(r#"{"address":"","service":""}"#, Ok(("", "", None)));
        check("\u{feff}{\"service\":\"a\",\"address\":\"b\"}", Ok(("a", "b", None)));
        let rest = r#"{"service":"a","address":"b","v":[1,{"x":null}],"address2":"c"}"#;
        check(rest, Ok(("a", "b", Some(r#"{"address2":"c","v":[1,{"x":null}]}"#))));
        for text in
            [r#"{"service":"a"}"#, r#"{"address":"b"}"#, "{}", "[]", "null", "5", r#""service address""#]
        {
            check(text, Err(MISSING));
        }
        for text in [
            r#"{"service":5,"address":"b"}"#,
            r#"{"service":"a","address":null}"#,
            r#"{"service":["a"],"address":"b"}"#,
        ] {
            check(text, Err(NO_TEXT));
        }
        for text in ["", "{", "{'service':1}", r#"{"service":"a","address":"b"} x"#] {
            assert!(sent(&reader.json, text.as_bytes()).is_err(), "{text}");
        }
        let number = r#"{"service":"a","address":"b","n":9007199254740993}"#;
        assert!(sent(&reader.json, number.as_bytes()).is_err(), "it would come back as another number");
    }

    #[test]
    fn what_says_that_it_is_json() {
        let check = |value: &'static str, expect: bool| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), expect, "{value}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/vnd.x+json", true);
        check("text/json", false);
        check("text/plain", false);
        check("", false);
        assert!(!is_json(&HeaderMap::new()));
    }
}
