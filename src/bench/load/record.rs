//! What is registered: records of one size, each with a url of its own, among a thousand
//! services. Encoded once; only digits change.

use std::ops::Range;

use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};

use crate::proto::RegisterRequest;

/// Bytes of an encoded `RegisterRequest`.
pub const SIZE: usize = 200;
/// Services that the records are spread over.
pub const SERVICES: u64 = 1_000;

/// What stands where the url's number will be: as many digits, and found once only.
const NUMBER: &str = "#########";
const SERVICE: &str = "@@@";

/// Bytes with two numbers to fill in: the record's, and its service's.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    number: Range<usize>,
    service: Range<usize>,
}

impl Template {
    /// Of bytes that hold both placeholders.
    fn new(bytes: Vec<u8>) -> Self {
        let find = |mark: &str| {
            let start = bytes.windows(mark.len()).position(|window| window == mark.as_bytes());
            start.map_or(0..0, |start| start..start + mark.len())
        };
        let (number, service) = (find(NUMBER), find(SERVICE));
        Self { bytes, number, service }
    }

    /// An encoded `RegisterRequest` of [`SIZE`] bytes: service, url, info and a label.
    pub fn protobuf() -> Self {
        let text = |text: &str| Some(Value { kind: Some(Kind::StringValue(text.to_owned())) });
        let with = |padding: usize| {
            let mut info = Struct::default();
            for (key, value) in [("version", "1.4.2"), ("build", &*"f".repeat(padding))] {
                info.fields.insert(key.to_owned(), text(value).unwrap_or_default());
            }
            RegisterRequest {
                url: format!("http://host-{NUMBER}.bench.internal:8080/api"),
                service: format!("bench-service-{SERVICE}"),
                info: Some(info),
                labels: [("zone".to_owned(), "eu-central-1a".to_owned())].into(),
                ..Default::default()
            }
        };
        let padding = SIZE.saturating_sub(with(0).encoded_len());
        Self::new(with(padding).encode_to_vec())
    }

    /// What servicekit sends, as JSON.
    pub fn json() -> Self {
        let body = format!(
            r#"{{"url":"http://host-{NUMBER}.bench.internal:8080","info":{{"id":"bench-service-{SERVICE}","display_name":"A service of the benchmark","version":"1.4.2","summary":"Registers and is renewed","tags":["bench"]}}}}"#
        );
        Self::new(body.into_bytes())
    }

    /// The length of each record.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the record of this number.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        digits(&mut out[start..][self.number.clone()], number);
        digits(&mut out[start..][self.service.clone()], number % SERVICES);
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_of_one_size_and_differ_in_their_urls() {
        let template = Template::protobuf();
        let mut bytes = Vec::new();
        template.write(123_456_789, &mut bytes);
        assert_eq!(bytes.len(), SIZE);
        let request = RegisterRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(request.url, "http://host-123456789.bench.internal:8080/api");
        assert_eq!(request.service, "bench-service-789");
        assert_eq!(request.info.unwrap().fields.len(), 2);
        assert_eq!(request.labels.len(), 1);
    }

    #[test]
    fn the_json_is_what_servicekit_sends() {
        let mut bytes = b"before".to_vec();
        Template::json().write(1_042, &mut bytes);
        let json: serde_json::Value = serde_json::from_slice(&bytes[6..]).unwrap();
        assert_eq!(json["url"], "http://host-000001042.bench.internal:8080");
        assert_eq!(json["info"]["id"], "bench-service-042");
    }
}
