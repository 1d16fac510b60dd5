//! A service that gives back what it is given, for every kind of field.

use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::proto::{Kind, PatchRequest, kinds_server};

/// The service.
#[derive(Debug)]
pub struct Kinds;

#[tonic::async_trait]
impl kinds_server::Kinds for Kinds {
    type StreamStream = BoxStream<Kind>;

    async fn echo(&self, request: Request<Kind>) -> Result<Response<Kind>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn segments(&self, request: Request<Kind>) -> Result<Response<Kind>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn field(&self, request: Request<Kind>) -> Result<Response<Kind>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn patch(&self, request: Request<PatchRequest>) -> Result<Response<PatchRequest>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn part(&self, request: Request<Kind>) -> Result<Response<Kind>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn stream(&self, request: Request<Kind>) -> Result<Response<Self::StreamStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(request.into_inner())))))
    }
}
