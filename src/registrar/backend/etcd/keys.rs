//! Keys under a prefix: read page by page, written and removed only as they were read.

use std::collections::BTreeMap;

use serde_json::Value;
use tonic::{Status, transport::Channel};

use crate::{
    proto::etcd::{
        Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        kv_client::KvClient,
        request_op,
    },
    registrar::document::Document,
};

/// How many keys are read at a time.
const PAGE: i64 = 500;
/// What a page may hold: values of 8 KiB on average.
const PAGE_BYTES: usize = 64 << 20;

/// A key under the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose document it is, if it is one.
    pub host: Option<String>,
    /// Of its last change.
    pub revision: i64,
    /// That it goes with; 0: none.
    pub lease: i64,
    document: Option<Value>,
}

/// What came of a change.
#[derive(Debug)]
pub enum Changed {
    /// It is there.
    Written(String, Key),
    /// It is gone.
    Deleted(String),
    /// Somebody else changed it since it was read; it is left as it is.
    Overtaken(String),
}

impl Key {
    /// Whether this is what it holds.
    pub fn holds(&self, document: &Document) -> bool {
        let wanted = serde_json::to_value(document).ok();
        wanted.is_some() && self.document == wanted
    }

    fn of(value: &[u8], revision: i64, lease: i64) -> Self {
        let document: Option<Value> = serde_json::from_slice(value).ok();
        let host = document.as_ref().and_then(|document| document.get("host")?.as_str().map(str::to_owned));
        Self { host, revision, lease, document }
    }
}

/// All keys that begin with `prefix`, as they were at one revision. Keys that are no text are no paths of
/// anybody's.
pub async fn list(channel: &Channel, prefix: &str) -> Result<BTreeMap<String, Key>, Status> {
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(PAGE_BYTES);
    let (mut from, end) = (prefix.as_bytes().to_vec(), range_end(prefix));
    let (mut found, mut revision) = (BTreeMap::new(), 0);
    loop {
        let range = RangeRequest { key: from, range_end: end.clone(), limit: PAGE, revision };
        let page = kv.range(range).await?.into_inner();
        let last = page.kvs.last().map(|last| last.key.clone());
        for KeyValue { key, mod_revision, value, lease } in page.kvs {
            if let Ok(path) = String::from_utf8(key) {
                found.insert(path, Key::of(&value, mod_revision, lease));
            }
        }
        let Some(last) = last.filter(|_| page.more) else { return Ok(found) };
        // The key that comes next after the last one.
        from = last;
        from.push(0);
        revision = page.header.map_or(0, |header| header.revision);
    }
}

/// Writes a document under its path, if the path's last change was at `revision`; 0: if nothing is there.
pub fn put(
    channel: &Channel,
    document: &Document,
    revision: i64,
    lease: i64,
) -> impl Future<Output = Result<Changed, Status>> + Send + use<> {
    let (channel, path) = (channel.clone(), document.path.clone());
    let json = serde_json::to_vec(document);
    async move {
        let value = json.map_err(|error| Status::internal(error.to_string()))?;
        let put = PutRequest { key: path.clone().into_bytes(), value: value.clone(), lease };
        let written = change(channel, &path, revision, request_op::Request::Put(put)).await?;
        Ok(match written {
            Some(revision) => Changed::Written(path, Key::of(&value, revision, lease)),
            None => Changed::Overtaken(path),
        })
    }
}

/// Removes a key, if its last change was at `revision`.
pub fn delete(
    channel: &Channel,
    path: String,
    revision: i64,
) -> impl Future<Output = Result<Changed, Status>> + Send + use<> {
    let channel = channel.clone();
    async move {
        let delete = DeleteRangeRequest { key: path.clone().into_bytes() };
        let deleted = change(channel, &path, revision, request_op::Request::DeleteRange(delete)).await?;
        Ok(if deleted.is_some() { Changed::Deleted(path) } else { Changed::Overtaken(path) })
    }
}

/// The revision at which it was done; none if the key was changed after `revision`.
async fn change(
    channel: Channel,
    path: &str,
    revision: i64,
    request: request_op::Request,
) -> Result<Option<i64>, Status> {
    let unchanged = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: path.as_bytes().to_vec(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    };
    let txn = TxnRequest { compare: vec![unchanged], success: vec![RequestOp { request: Some(request) }] };
    let answer = KvClient::new(channel).txn(txn).await?.into_inner();
    Ok(answer.succeeded.then(|| answer.header.map_or(0, |header| header.revision)))
}

/// The first key that does not begin with `prefix` any more; it ends in a slash.
fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_documents_hosts() {
        let document = Document { host: "h1".to_owned(), ..Document::default() };
        let json = serde_json::to_vec(&document).expect("a document is JSON");
        let key = Key::of(&json, 7, 0);
        assert_eq!(key.host.as_deref(), Some("h1"));
        assert!(key.holds(&document));
        assert!(!key.holds(&Document { name: "other".to_owned(), ..document }));
        for foreign in [&b"not JSON"[..], b"[1]", b"{\"host\":1}", b"\"h1\""] {
            assert_eq!(Key::of(foreign, 7, 0).host, None);
        }
    }

    #[test]
    fn the_range_of_a_prefix_is_what_begins_with_it() {
        assert_eq!(range_end("/services/"), b"/services0");
    }
}
