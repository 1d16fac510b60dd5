//! Unary answers: status and headers from the service's metadata, the body from its
//! message, trailers for who takes them.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, TE},
};
use tonic::{Code, body::Body};

use super::{
    Inner,
    binding::Binding,
    call::Answer,
    error::{self, Failure},
    metadata,
    wire::{Fields, Value},
};

/// The message type that is no JSON but a body of its own.
const HTTP_BODY: &str = "google.api.HttpBody";

impl Inner {
    /// Writes the answer of a unary call.
    pub(super) async fn unary(
        &self,
        binding: &Binding,
        answer: Answer,
        takes_trailers: bool,
    ) -> Result<Response<Body>, Failure> {
        let Answer { mut headers, extensions, messages } = answer;
        let (encoded, trailers) = match messages.only().await {
            Ok(only) => only,
            Err(failure) => return Err(Failure { headers, ..failure }),
        };
        let status = match self.status(&mut headers) {
            Ok(status) => status,
            Err(failure) => return Err(Failure { headers, trailers, ..failure }),
        };
        let written = self.body(binding, encoded).await;
        match written {
            Ok((content_type, body)) => {
                let mut response = error::whole(status, body);
                *response.extensions_mut() = extensions;
                if let Some(content_type) = content_type {
                    response.headers_mut().insert(CONTENT_TYPE, content_type);
                }
                metadata::outgoing(&headers, response.headers_mut());
                Ok(if takes_trailers { error::with_trailers(response, &trailers) } else { response })
            }
            Err(failure) => Err(Failure { headers, trailers, ..failure }),
        }
    }

    /// The HTTP status that metadata asks for; it is taken out of `headers`.
    pub(super) fn status(&self, headers: &mut HeaderMap) -> Result<StatusCode, Failure> {
        let Some(name) = &self.options.http_code_metadata else {
            return Ok(StatusCode::OK);
        };
        let Some(value) = headers.get(name) else {
            return Ok(StatusCode::OK);
        };
        let status =
            StatusCode::from_bytes(value.as_bytes()).ok().filter(|status| !status.is_informational());
        let status = status.ok_or_else(|| {
            Failure::new(Code::Unknown, format!("the service's {name} {value:?} is no HTTP status"))
        })?;
        headers.remove(name);
        Ok(status)
    }

    async fn body(&self, binding: &Binding, encoded: Bytes) -> Result<(Option<HeaderValue>, Bytes), Failure> {
        if self.is_http_body(binding) {
            return http_body(&encoded);
        }
        let (json, output) = (self.json.clone(), binding.output);
        let (field, size) = (binding.response_body, encoded.len());
        let write = move || {
            let mut out = String::with_capacity(size * 2 + 64);
            match field {
                Some(place) => json.write_field(output, place, &encoded, &mut out)?,
                None => json.write(output, &encoded, &mut out)?,
            }
            Ok(Bytes::from(out))
        };
        let body = self.apart.answers.work(size, write).await?;
        Ok((Some(HeaderValue::from_static("application/json")), body))
    }

    /// Whether the answer is no JSON.
    pub(super) fn is_http_body(&self, binding: &Binding) -> bool {
        binding.response_body.is_none() && self.json.schema().message(binding.output).full_name == HTTP_BODY
    }
}

/// The content type and the data of a `google.api.HttpBody`.
pub(super) fn http_body(encoded: &Bytes) -> Result<(Option<HeaderValue>, Bytes), Failure> {
    let (mut content_type, mut data) = (None, Bytes::new());
    let mut fields = Fields::new(encoded);
    loop {
        let field = fields
            .next_field()
            .map_err(|_| Failure::new(Code::Internal, "the service's answer does not decode"))?;
        match field.map(|field| (field.number, field.value)) {
            Some((1, Value::Bytes(bytes))) => content_type = HeaderValue::from_bytes(bytes).ok(),
            Some((2, Value::Bytes(bytes))) => data = encoded.slice_ref(bytes),
            Some(_) => {}
            None => return Ok((content_type.filter(|value| !value.is_empty()), data)),
        }
    }
}

/// Whether the client has said that it reads trailers.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let te = headers.get(TE).map(|value| value.as_bytes().to_ascii_lowercase());
    te.is_some_and(|te| te.windows(8).any(|word| word == b"trailers"))
}
