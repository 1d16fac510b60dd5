//! A stream in both directions that answers each message with one, and looks into none.

use futures_util::StreamExt as _;
use prost_types::Duration;
use tonic::{Request, Response, Status, Streaming, async_trait, codegen::BoxStream};

use crate::{
    bench::proto::Registry,
    proto::{KeepAliveRequest, KeepAliveResponse},
};

/// `KeepAlive`.
pub struct Bidi;

#[async_trait]
impl Registry for Bidi {
    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<BoxStream<KeepAliveResponse>>, Status> {
        let answers = request.into_inner().map(|beat| beat.map(|_| answer()));
        Ok(Response::new(Box::pin(answers)))
    }
}

/// As long as leasehold's.
fn answer() -> KeepAliveResponse {
    KeepAliveResponse {
        ttl_seconds: 30,
        next_beat_in: Some(Duration { seconds: 9, nanos: 876_543_210 }),
        ..Default::default()
    }
}
