//! The prost codec, with one difference from tonic's: a message that does not decode is
//! the sender's fault, so the status is `INVALID_ARGUMENT`, not `INTERNAL`.

use std::marker::PhantomData;

use prost::{DecodeError, Message};
use tonic::{
    Code, Status,
    codec::{BufferSettings, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// A call holds so much to be read into from its first byte on; most messages fit. tonic's own 8 KiB
/// are half of all that an open call takes.
const BUFFER: usize = 512;
/// As tonic has it; for encoders only.
const YIELD_AT: usize = 32 << 10;

/// Encodes `T` and decodes `U`.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder(PhantomData)
    }
}

/// Decodes `U`.
#[derive(Debug, Clone)]
pub struct ProstDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for ProstDecoder<U> {
    type Item = U;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_AT)
    }

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buf).map(Some).map_err(|error| {
            let violation = undecodable(&error);
            let message = format!("{} {}", violation.field, violation.description);
            let details = ErrorDetails::with_bad_request(vec![violation]);
            Status::with_error_details(Code::InvalidArgument, message.trim_start(), details)
        })
    }
}

/// Which field of a message does not decode, as far as the decoder says.
pub fn undecodable(error: &DecodeError) -> FieldViolation {
    let text = error.to_string();
    // `… message: Inner.field: Outer.field: reason`
    let path = text.split_once("message: ").map_or(text.as_str(), |(_, path)| path);
    let fields = path.split(": ").filter(|part| !part.contains(' '));
    let field = fields.filter_map(|part| part.split_once('.')).last().map(|(_, field)| field);
    let reason = path.rsplit(": ").next().unwrap_or_default();
    unreadable(field.unwrap_or_default(), reason)
}

/// A field that does not decode, for this reason.
pub fn unreadable(field: &str, reason: &str) -> FieldViolation {
    let text = format!(
        "does not decode: {reason}; is it built from leasehold's proto, and nested no deeper than 24 levels?"
    );
    FieldViolation::new(field, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::RegisterRequest;

    #[test]
    fn the_field_at_fault_is_named() {
        let check = |bytes: &[u8], field: &str| {
            let error = RegisterRequest::decode(bytes).unwrap_err();
            assert_eq!(undecodable(&error).field, field, "{error}");
        };
        // A url that is no UTF-8, an info cut short, a key of no field.
        check(&[0x12, 0x01, 0xff], "url");
        check(&[0x1a, 0x02, 0x0a, 0x05], "info");
        check(&[0x00], "");
    }
}
