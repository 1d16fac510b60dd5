//! `BatchRegisterRequest` with its entries still encoded: one that does not decode, for
//! being nested too deep say, is refused by itself and stops no other.

use bytes::Bytes;
use prost::{DecodeError, Message as _};

use super::RegisterRequest;

/// Many registrations in one call; on the wire what the proto says.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchRegisterRequest {
    /// At most 1,000, each an encoded `RegisterRequest`.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub requests: Vec<Bytes>,
}

impl BatchRegisterRequest {
    /// The entries, in order, each decoded or not.
    pub fn entries(self) -> impl Iterator<Item = Result<RegisterRequest, DecodeError>> {
        self.requests.into_iter().map(RegisterRequest::decode)
    }
}

impl FromIterator<RegisterRequest> for BatchRegisterRequest {
    fn from_iter<T: IntoIterator<Item = RegisterRequest>>(requests: T) -> Self {
        Self { requests: requests.into_iter().map(|request| request.encode_to_vec().into()).collect() }
    }
}
