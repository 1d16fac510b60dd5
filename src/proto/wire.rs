//! The messages that the server sees most, in forms of their own: read from the wire and
//! written to it without a tree of values between. On the wire they are what the proto
//! says; clients use the generated types.

mod keepalive;

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, skip_field},
};

pub use keepalive::{KeepAliveRequest, Unusual};

/// Messages that are held as they are encoded.
macro_rules! encoded {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub Bytes);

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                buf.put_slice(&self.0);
            }

            // A whole message is taken by `merge`; as a part of another one it is only written.
            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                skip_field(wire_type, tag, buf, ctx)
            }

            fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
                self.0 = buf.copy_to_bytes(buf.remaining());
                Ok(())
            }

            fn encoded_len(&self) -> usize {
                self.0.len()
            }

            fn clear(&mut self) {
                self.0.clear();
            }
        }
    )*};
}

encoded! {
    /// A registration, unread.
    RegisterRequest
    /// What came of one.
    RegisterResponse
    /// An instance.
    Instance
    /// A page of instances.
    ListResponse
    /// A step of a watch: encoded once for all who are sent the same.
    WatchResponse
}

/// What was ended.
#[derive(Clone, PartialEq, Message)]
pub struct DeregisterResponse {
    /// `deregistered`.
    #[prost(string, tag = "1")]
    pub status: String,
    /// The instance as it was.
    #[prost(message, optional, tag = "2")]
    pub service: Option<Instance>,
}

/// What came of each, in order.
#[derive(Clone, PartialEq, Message)]
pub struct BatchRegisterResponse {
    /// As many as there were requests.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<BatchResult>,
}

/// What came of one.
#[derive(Clone, PartialEq, Message)]
pub struct BatchResult {
    /// Either the one or the other.
    #[prost(oneof = "Outcome", tags = "1, 2")]
    pub result: Option<Outcome>,
}

/// What came of one.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Outcome {
    /// It was registered.
    #[prost(message, tag = "1")]
    Response(RegisterResponse),
    /// It was refused.
    #[prost(message, tag = "2")]
    Error(tonic_types::Status),
}
