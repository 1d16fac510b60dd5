//! The echo service: each method answers with what it was asked, so that a caller sees
//! what arrived.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    codegen::BoxStream,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    metadata,
    proto::{
        AnnotateRequest, DeregisterRequest, GetRequest, ListRequest, ListResponse, PingRequest,
        RegisterRequest, Service, WatchEvent, WatchRequest, registry_server::Registry, watch_event::Kind,
    },
    trailers::trailer,
    verbatim::Struct,
};

/// The echo service.
#[derive(Debug)]
pub struct Echo;

/// A stream for a reader, not a flood.
const MOST_EVENTS: i32 = 1_000;

#[tonic::async_trait]
impl Registry for Echo {
    type WatchStream = BoxStream<WatchEvent>;

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Service>, Status> {
        let request = request.into_inner();
        check_depth(request.info.as_ref(), 1)?;
        let mut answer = registered(request);
        let metadata = match &mut answer {
            Ok(response) => response.metadata_mut(),
            Err(status) => status.metadata_mut(),
        };
        metadata.insert("x-reg", MetadataValue::from_static("yes"));
        metadata.insert(trailer!("x-trail"), MetadataValue::from_static("t1"));
        answer
    }

    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<Service>, Status> {
        let PingRequest { id, message, status } = request.into_inner();
        Ok(Response::new(Service { id, message, status, ..Service::default() }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let left = metadata::time_left(&request);
        match request.get_ref().page_token.as_str() {
            "md" => {
                let mut parts = metadata::listing(&request);
                parts.extend(left.map(|left| format!("deadline<={}s", left.as_secs_f64().ceil()).into()));
                let next_page_token = String::from_utf8(parts.join(&b"; "[..])).map_err(|_| {
                    Status::internal("grpc: error while marshaling: string field contains invalid UTF-8")
                })?;
                return Ok(Response::new(ListResponse { next_page_token, ..ListResponse::default() }));
            }
            "sleep" => {
                let sleep = tokio::time::sleep(Duration::from_secs(2));
                timeout(left.unwrap_or(Duration::MAX), sleep)
                    .await
                    .map_err(|_| Status::deadline_exceeded("context deadline exceeded"))?;
            }
            _ => {}
        }
        let request = request.into_inner();
        check_depth(request.extra.as_ref(), 1)?;
        Ok(Response::new(ListResponse { echo: Some(request), ..ListResponse::default() }))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest { id, fail_after, events, .. } = request.into_inner();
        let mut metadata = MetadataMap::new();
        metadata.insert(trailer!("x-wt"), MetadataValue::from_static("end"));
        if events < 0 {
            // No header and no message: the status alone.
            return Err(Status::with_metadata(Code::Ok, "", metadata));
        }
        metadata.insert("x-watch", MetadataValue::from_static("1"));
        let last = if events == 0 { 2 } else { events.min(MOST_EVENTS) };
        let events = (1..=last).map(move |number| {
            if number == fail_after {
                return Err(Status::aborted("compacted"));
            }
            let service = Service { id: id.clone(), ..Service::default() };
            Ok(WatchEvent { kind: Kind::Put.into(), service: Some(service), revision: number.into() })
        });
        let stream: BoxStream<WatchEvent> = Box::pin(tokio_stream::iter(events));
        let mut response = Response::new(stream);
        *response.metadata_mut() = metadata;
        Ok(response)
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Service>, Status> {
        let GetRequest { id, read_mask } = request.into_inner();
        check_known(&id)?;
        let message = read_mask.unwrap_or_default().paths.join(",");
        Ok(Response::new(Service { id, message, ..Service::default() }))
    }

    async fn deregister(&self, request: Request<DeregisterRequest>) -> Result<Response<()>, Status> {
        check_known(&request.into_inner().id)?;
        Ok(Response::new(()))
    }

    async fn annotate(&self, request: Request<AnnotateRequest>) -> Result<Response<Service>, Status> {
        let AnnotateRequest { id, service, update_mask, validate_only } = request.into_inner();
        let service = service.unwrap_or_default();
        check_depth(service.info.as_ref(), 2)?;
        let mask = update_mask.unwrap_or_default().paths.join(",");
        let message = format!("mask={mask} msg={} vo={validate_only}", service.message);
        Ok(Response::new(Service { id, message, ..Service::default() }))
    }
}

fn registered(request: RegisterRequest) -> Result<Response<Service>, Status> {
    if request.url == "err" {
        let details = ErrorDetails::with_bad_request_violation("url", "nope");
        return Err(Status::with_error_details(Code::InvalidArgument, "bad <url> & 'quote'", details));
    }
    let code = request.url.strip_prefix("code").and_then(|code| code.parse::<u32>().ok());
    match code {
        Some(0) => return Ok(Response::new(Service::default())),
        Some(code) => return Err(forced(code)),
        None => {}
    }
    let created = request.url == "created";
    let mut response = Response::new(Service {
        id: "a1".to_owned(),
        status: request.status,
        service_url: request.url,
        ttl_seconds: request.ttl_seconds,
        info: request.info,
        registered_at: request.registered_at,
        lease: request.lease,
        labels: request.labels,
        tags: request.tags,
        fingerprint: request.fingerprint,
        weight: request.weight,
        note: request.note,
        ..Service::default()
    });
    if created {
        response.metadata_mut().insert("x-http-code", MetadataValue::from_static("201"));
    }
    Ok(response)
}

/// A status of any number: tonic's own knows but seventeen.
fn forced(code: u32) -> Status {
    let mut status = Status::unknown("forced");
    status.metadata_mut().insert(trailer!("grpc-status"), code.into());
    status
}

fn check_known(id: &str) -> Result<(), Status> {
    if id == "missing" { Err(Status::not_found("no such service")) } else { Ok(()) }
}

/// What Go's protobuf takes: 10,000 messages inside each other, `above` of them around this one.
fn check_depth(value: Option<&Struct>, above: usize) -> Result<(), Status> {
    match value {
        Some(value) if value.is_deeper_than(10_000 - above) => Err(Status::internal(
            "grpc: failed to unmarshal the received message: proto: exceeded maximum recursion depth",
        )),
        _ => Ok(()),
    }
}

/// The health of the server (fine) and of a service named `down`.
#[derive(Debug)]
pub struct Health;

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = match request.into_inner().service.as_str() {
            "" => ServingStatus::Serving,
            "down" => ServingStatus::NotServing,
            _ => return Err(Status::not_found("unknown service")),
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("the echo's health never changes"))
    }
}
