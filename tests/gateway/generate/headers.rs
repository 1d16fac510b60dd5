//! Headers: what becomes metadata and what does not, timeouts, and those that change how
//! an answer is framed.

use super::Rng;
use crate::request::Request;

/// Adds none, or a few.
pub fn add(rng: &mut Rng, request: &mut Request) {
    if request.body.is_some() && !request.headers.iter().any(|(name, _)| name == "Content-Type") {
        let content_type = rng.pick(&CONTENT_TYPES);
        if !content_type.is_empty() {
            request.headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        }
    }
    let few = if rng.chance(1, 3) { rng.below(4) } else { 0 };
    for _ in 0..few {
        let (name, value) = rng.pick(&HEADERS);
        // What two of one name do is tried with names that stand here twice.
        if !request.headers.iter().any(|(key, _)| key == name) || name == "Grpc-Metadata-Twice" {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    if let Some(body) = &request.body
        && rng.chance(1, 20)
    {
        let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
        if body.is_empty() {
            chunked.clear();
        } else {
            chunked.extend_from_slice(body);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        request.body = Some(chunked);
        request.headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
    }
}

const CONTENT_TYPES: [&str; 10] = [
    "application/json",
    "application/json",
    "application/json",
    "application/json; charset=utf-8",
    "",
    "",
    "text/plain",
    "application/x-protobuf",
    "multipart/form-data",
    "*/*",
];

const HEADERS: [(&str, &str); 64] = [
    ("TE", "trailers"),
    ("TE", "trailers"),
    ("TE", "trailers, deflate"),
    ("TE", "Trailers"),
    ("TE", "gzip"),
    ("Accept", "text/html"),
    ("Accept", "application/xml, */*;q=0.1"),
    ("Accept-Language", "nb"),
    ("Accept-Encoding", "gzip"),
    ("Accept-Charset", "utf-8"),
    ("Accept-Ranges", "bytes"),
    ("Authorization", "Bearer t"),
    ("Cache-Control", "no-store"),
    ("Cookie", "a=b"),
    ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ("From", "me@example.org"),
    ("If-Match", "\"x\""),
    ("If-None-Match", "*"),
    ("If-Modified-Since", "yesterday"),
    ("If-Unmodified-Since", "today"),
    ("If-Schedule-Tag-Match", "1"),
    ("Max-Forwards", "3"),
    ("Origin", "http://o.example"),
    ("Pragma", "x"),
    ("Referer", "http://r.example/p?q"),
    ("User-Agent", "ua/1.0 (x)"),
    ("Via", "1.1 v"),
    ("Warning", "199 - w"),
    ("Expect", "100-continue"),
    ("X-Custom", "no"),
    ("X-Request-Id", "9"),
    ("Traceparent", "00-1"),
    ("X-Service-Key", "k"),
    ("Forwarded", "for=1.2.3.4"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-For", "1.2.3.4, 5.6.7.8"),
    ("X-Forwarded-For", ""),
    ("X-Forwarded-Host", "h.example"),
    ("X-Forwarded-Host", ""),
    ("X-Forwarded-Proto", "https"),
    ("Grpc-Metadata-Foo", "bar"),
    ("grpc-metadata-x-req", "r"),
    ("Grpc-Metadata-Twice", "1"),
    ("Grpc-Metadata-Twice", "2"),
    ("Grpc-Metadata-X.y_z", "dots"),
    ("Grpc-Metadata-Data-Bin", "AQI="),
    ("Grpc-Metadata-Data-Bin", "AQI"),
    ("Grpc-Metadata-Data-Bin", "-_8="),
    ("Grpc-Metadata-Data-Bin", "***"),
    ("Grpc-Metadata-Data-Bin", ""),
    ("Grpc-Metadata-Te", "trailers"),
    ("Grpc-Metadata-Content-Type", "text/html"),
    ("Grpc-Metadata-User-Agent", "mine"),
    ("Grpc-Metadata-Host", "h"),
    ("Grpc-Metadata-Grpcgateway-Cookie", "c"),
    ("Grpc-Timeout", "5S"),
    ("Grpc-Timeout", "1H"),
    ("Grpc-Timeout", "99999999H"),
    ("Grpc-Timeout", "30000m"),
    ("Grpc-Timeout", "abc"),
    ("Grpc-Timeout", "-1S"),
    ("Grpc-Timeout", "5"),
    ("Grpc-Timeout", ""),
    ("Grpc-Timeout", "0S"),
];
