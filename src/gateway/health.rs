//! `GET /healthz`: the gRPC health service in JSON, as gRPC-gateway's health endpoint
//! answers.

use http::{Response, StatusCode, request::Parts};
use prost::Message as _;
use tonic::{Code, body::Body};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

use super::{
    Inner,
    call::{Answer, Call},
    error::{self, Failure},
    form, metadata,
};

impl Inner {
    /// A check of the service that the query names; none is the server as a whole.
    pub(super) fn health_call(&self, head: Parts) -> Result<Call, Failure> {
        let metadata = metadata::incoming(&head, &self.options.header_allow_list)?;
        let deadline = metadata::deadline(&head.headers)?;
        let values = form::parse(head.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
        let service = values.iter().find(|(key, _)| *key == b"service").and_then(|(_, names)| names.first());
        // No name but UTF-8's is known.
        let service = service.map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(Call {
            path: "/grpc.health.v1.Health/Check".to_owned(),
            messages: vec![HealthCheckRequest { service: service.unwrap_or_default() }.encode_to_vec()],
            metadata,
            extensions: head.extensions,
            deadline,
        })
    }

    pub(super) async fn health(&self, call: Call) -> Result<Response<Body>, Failure> {
        let Answer { headers, messages, .. } = call.start(self.routes.clone()).await?;
        let (encoded, _) = match messages.only().await {
            Ok(only) => only,
            Err(failure) => return Err(Failure { headers, ..failure }),
        };
        let answer = HealthCheckResponse::decode(encoded).map_err(|error| {
            Failure::new(Code::Internal, format!("the health service's answer does not decode: {error}"))
        })?;
        let code = match answer.status() {
            ServingStatus::Serving => {
                return Ok(error::json_response(StatusCode::OK, "{\"status\":\"SERVING\"}\n".to_owned()));
            }
            ServingStatus::ServiceUnknown => Code::NotFound,
            ServingStatus::NotServing | ServingStatus::Unknown => Code::Unavailable,
        };
        // The gateway sends the answer in protobuf's text form.
        let name = answer.status().as_str_name();
        let text = if answer.status == 0 { String::new() } else { format!("status:{name}") };
        Err(Failure { headers, ..Failure::new(code, text) })
    }
}
