//! Why a call was refused, asked by a complete client: [`http2`](super::http2) reads no headers.

use std::{net::SocketAddr, result::Result};

use anyhow::{Error, anyhow};
use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Makes the same call once more; what came of it.
pub async fn refusal(address: SocketAddr, path: &'static str, message: Vec<u8>) -> Error {
    match call(address, path, message).await {
        Ok(()) => anyhow!("{path} was refused under load, though not when it was called alone"),
        Err(error) => error.context(format!("{path} was refused")),
    }
}

async fn call(address: SocketAddr, path: &'static str, message: Vec<u8>) -> Result<(), Error> {
    let mut client = Grpc::new(Channel::from_shared(format!("http://{address}"))?.connect().await?);
    client.ready().await?;
    let answer = client.unary(Request::new(message), PathAndQuery::from_static(path), Encoded).await;
    answer.map(drop).map_err(|status| anyhow!("{}: {}", status.code(), status.message()))
}

/// Requests that are encoded already; answers that nobody reads.
struct Encoded;

impl Codec for Encoded {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, answer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        answer.advance(answer.remaining());
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::bench::load::{
        http2::{Connection, What, prefixed},
        record::Template,
    };

    /// A server of tonic that knows one method, and this load generator.
    #[tokio::test]
    async fn a_refusal_is_heard_and_explained() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(crate::bench::null::unary(listener));
        let mut message = Vec::new();
        prefixed(&mut message, |out| Template::protobuf().write(7, out));

        let mut connection = Connection::open(address).await.unwrap();
        let now = std::time::Instant::now();
        let mut ends = Vec::new();
        for path in ["/leasehold.v1.Registry/Register", "/leasehold.v1.Registry/Deregister"] {
            let stream = connection.call(path, now);
            connection.send(stream, &message, true);
            let mut heard = Vec::new();
            while !heard.iter().any(|one: &super::super::http2::Heard| matches!(one.what, What::End { .. })) {
                connection.exchange(&mut heard).await.unwrap();
            }
            ends.extend(heard.into_iter().filter_map(|one| match one.what {
                What::End { in_order, messages } => Some((in_order, messages)),
                What::Message(_) => None,
            }));
        }
        assert_eq!(ends, [(true, 1), (true, 0)]);

        let error = refusal(address, "/leasehold.v1.Registry/Deregister", Vec::new()).await;
        assert!(format!("{error:#}").contains("Deregister was refused: "), "{error:#}");
        assert!(format!("{error:#}").contains("Not yet implemented"), "{error:#}");
    }
}
