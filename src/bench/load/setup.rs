//! What has to be there before a load begins.

use std::net::SocketAddr;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use prost::Message as _;

use super::{http1::Exchange, record::Template};
use crate::{
    bench::Result,
    proto::{
        BatchRegisterRequest, RegisterRequest, batch_register_response::result::Result as One,
        registry_client::RegistryClient,
    },
};

/// So many in a call: the answer has to stay below 1 MiB.
const BATCH: u64 = 500;
/// Longer than any run: nothing expires for want of a renewal.
const TTL: u32 = 3_600;

/// Registers records `from..from + count`; their ids, in order.
pub async fn register(address: SocketAddr, from: u64, count: u64) -> Result<Vec<String>> {
    let mut client = RegistryClient::connect(format!("http://{address}"))
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let template = Template::protobuf();
    // Fields of a message may follow each other in any order.
    let ttl = RegisterRequest { ttl_seconds: TTL, ..Default::default() }.encode_to_vec();
    let mut ids = Vec::new();
    for start in (from..from + count).step_by(BATCH as usize) {
        let entry = |number| {
            let mut bytes = Vec::new();
            template.write(number, &mut bytes);
            bytes.extend_from_slice(&ttl);
            Bytes::from(bytes)
        };
        let requests = (start..(start + BATCH).min(from + count)).map(entry).collect();
        let answer = client.batch_register(BatchRegisterRequest { requests }).await;
        for result in answer.context("cannot register what is to be renewed")?.into_inner().results {
            match result.result {
                Some(One::Response(response)) => ids.push(response.id),
                Some(One::Error(error)) => {
                    return Err(anyhow!("a registration was refused: {}", error.message));
                }
                None => return Err(anyhow!("a registration was not answered")),
            }
        }
    }
    Ok(ids)
}

/// Ids for a server that knows none anyway, as long as those of leasehold.
pub fn invented(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("01JD6V3Z5Q8X4N7M2{number:09}")).collect()
}

/// Registers `count` records as JSON, for servers without gRPC; their ids.
pub async fn register_json(address: SocketAddr, count: u64) -> Result<Vec<String>> {
    let (template, mut body, mut ids) = (Template::json(), Vec::new(), Vec::new());
    let mut exchange = Exchange::open(address).await?;
    for number in 0..count {
        body.clear();
        body.extend_from_slice(
            format!(
                "POST /services/$register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n",
                template.len()
            )
            .as_bytes(),
        );
        template.write(number, &mut body);
        let answer: serde_json::Value =
            serde_json::from_slice(exchange.send(&body).await?).context("an answer that is no JSON")?;
        let id = answer["id"].as_str().context("an answer without an id")?;
        ids.push(id.to_owned());
    }
    Ok(ids)
}
