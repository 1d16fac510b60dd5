//! What a document is in a leasehold: labels, `info`, and the calls that list and remove.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost_types::{Struct, Value, value::Kind};
use tonic::{Code, Request, Status};

use crate::{
    client::{Client, cause::reason},
    proto::{DeregisterRequest, Instance, ListRequest, RegisterRequest},
    registrar::{
        backend::{CALL_TIMEOUT, CONCURRENT, Failure, MARKER},
        document::Document,
    },
};

/// A registry's bounds on labels.
const LABELS: usize = 64;
const LABEL_KEY: usize = 63;
const LABEL_VALUE: usize = 256;
/// How many instances are asked for at a time; fewer where they are large.
const PAGE: u32 = 250;

/// The registration of a document.
pub fn request(document: &Document, ttl: Duration, drop_grace: Option<Duration>) -> RegisterRequest {
    RegisterRequest {
        service: document.service.clone(),
        url: document.url.clone(),
        info: info(document),
        labels: labels(document),
        ttl_seconds: whole_seconds(ttl),
        drop_grace: drop_grace.and_then(|grace| prost_types::Duration::try_from(grace).ok()),
        ..RegisterRequest::default()
    }
}

/// What this host registered.
pub async fn listed(client: &Client, host: &str) -> Result<Vec<Instance>, Failure> {
    let labels = BTreeMap::from([(MARKER.0.to_owned(), MARKER.1.to_owned()), ("host".to_owned(), cut(host))]);
    let mut found = list(client, ListRequest { labels, ..ListRequest::default() }).await?;
    // A host's name may have been cut to fit into its label.
    found.retain(|instance| text(instance, "host") == host);
    Ok(found)
}

/// Who has the service and url of each of these, if anybody has; in any order.
pub async fn holders(
    client: &Client,
    documents: Vec<Document>,
) -> Result<Vec<(Document, Option<Instance>)>, Failure> {
    let asked = documents.into_iter().map(|document| async move {
        let of_service = ListRequest { service: vec![document.service.clone()], ..ListRequest::default() };
        let found = list(client, of_service).await?;
        let holder = found.into_iter().find(|instance| instance.url == document.url);
        Ok((document, holder))
    });
    stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(CONCURRENT).try_collect().await
}

/// All pages of an answer.
async fn list(client: &Client, filter: ListRequest) -> Result<Vec<Instance>, Failure> {
    let mut registry = client.registry();
    let (mut page_size, mut page_token, mut found) = (PAGE, String::new(), Vec::new());
    loop {
        let request = ListRequest { page_size, page_token: page_token.clone(), ..filter.clone() };
        let page = match registry.list(timed(request)).await {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == Code::ResourceExhausted && page_size > 1 => {
                page_size /= 2;
                continue;
            }
            Err(status) => return Err(failure(client, "list what is registered", &status)),
        };
        found.extend(page.services);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

/// Deregisters these, each with its token; how many were there. One whose token is wrong by now has been taken
/// over by somebody else, and is theirs.
pub async fn deregister(client: &Client, ids: Vec<(String, String)>) -> Result<usize, Failure> {
    let registry = client.registry();
    let calls = ids.into_iter().map(|(id, lease_token)| {
        let mut registry = registry.clone();
        async move {
            let had_token = !lease_token.is_empty();
            match registry.deregister(timed(DeregisterRequest { id, lease_token })).await {
                Ok(_) => Ok(1),
                Err(status) if status.code() == Code::NotFound => Ok(0),
                Err(status) if status.code() == Code::PermissionDenied && had_token => Ok(0),
                Err(status) => Err(status),
            }
        }
    });
    let outcomes: Vec<Result<usize, Status>> =
        stream::iter(calls).buffer_unordered(CONCURRENT).collect().await;
    let mut removed = 0;
    for outcome in outcomes {
        removed += outcome.map_err(|status| failure(client, "deregister what ended", &status))?;
    }
    Ok(removed)
}

/// A text of an instance's document; empty if it has none.
pub fn text<'a>(instance: &'a Instance, field: &str) -> &'a str {
    let value = instance.info.as_ref().and_then(|info| info.fields.get(field));
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text,
        _ => "",
    }
}

/// A call that gives up after a while, on this side too.
pub fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// Why a document is not advertised that somebody else holds.
pub fn held_by(instance: &Instance) -> String {
    let host = instance.labels.get("host").map_or("somebody else", String::as_str);
    format!("{host} registered the same service at the same url, {}", instance.url)
}

/// What a failed call means.
pub fn failure(client: &Client, tried: &str, status: &Status) -> Failure {
    Failure(format!("cannot {tried} at {client}: {}", reason(status)))
}

/// `registrar`, `host` and `path`, and `tag.NAME` = `true` of each tag that fits.
fn labels(document: &Document) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (MARKER.0.to_owned(), MARKER.1.to_owned()),
        ("host".to_owned(), cut(&document.host)),
    ]);
    if document.path.len() <= LABEL_VALUE {
        labels.insert("path".to_owned(), document.path.clone());
    }
    for tag in document.tags.iter().filter(|tag| !tag.is_empty()) {
        let key = format!("tag.{tag}");
        if labels.len() < LABELS && key.len() <= LABEL_KEY {
            labels.insert(key, "true".to_owned());
        }
    }
    labels
}

/// As much of a text as fits into a label.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LABEL_VALUE)].to_owned()
}

fn info(document: &Document) -> Option<Struct> {
    match serde_json::to_value(document) {
        Ok(serde_json::Value::Object(fields)) => Some(structure(fields)),
        _ => None,
    }
}

fn structure(fields: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, json)| (name, value(json))).collect() }
}

/// Documents hold texts, lists and objects of texts; a number would become a double.
fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(value).collect() })
        }
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}

/// Rounded up: a lease is never shorter than what was asked for.
fn whole_seconds(ttl: Duration) -> u32 {
    let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_path_are_labels_as_far_as_they_fit() {
        let mut document = Document {
            host: "h1".to_owned(),
            path: "/services/prod/web".to_owned(),
            tags: vec!["blue".to_owned(), String::new(), "x".repeat(60)],
            ..Document::default()
        };
        let labels_of = |document: &Document| {
            labels(document).into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            labels_of(&document),
            ["host=h1", "path=/services/prod/web", "registrar=docker", "tag.blue=true"]
        );
        document.path = "/".repeat(257);
        document.host = format!("{}é", "h".repeat(255));
        document.tags = (0..100).map(|tag| tag.to_string()).collect();
        let labels = labels(&document);
        assert_eq!(labels.len(), LABELS);
        assert_eq!(labels["host"].len(), 255);
        assert!(!labels.contains_key("path"));
    }

    #[test]
    fn the_document_is_the_info() {
        let document = Document {
            host: "h1".to_owned(),
            port: Some("80".to_owned()),
            tags: vec!["blue".to_owned()],
            env: BTreeMap::from([("ENVIRONMENT".to_owned(), "prod".to_owned())]),
            ..Document::default()
        };
        let request = request(&document, Duration::from_millis(1_500), Some(Duration::from_secs(2)));
        assert_eq!(request.ttl_seconds, 2);
        let instance = Instance { info: request.info, ..Instance::default() };
        assert_eq!(
            (text(&instance, "host"), text(&instance, "port"), text(&instance, "none")),
            ("h1", "80", "")
        );
        assert_eq!(text(&instance, "tags"), "", "a list is no text");
    }
}
