//! The bound of a check: a bare tonic server of the same RPC, which decodes the
//! same request and answers the same answer, and does nothing else.

use std::net::SocketAddr;

use anyhow::Result;
use futures_util::stream::Empty;
use stablequeue_proto::models::v1::{
    self as models,
    availability_service_server::{AvailabilityService, AvailabilityServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

/// Answers every check with this.
struct Echo(models::CheckAvailabilityResponse);

/// Serves until the process ends; answers where.
pub(crate) async fn serve(answer: models::CheckAvailabilityResponse) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |stream| {
        stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    let server = tonic::transport::Server::builder()
        .add_service(AvailabilityServiceServer::new(Echo(answer)))
        .serve_with_incoming(incoming);
    TaskTracker::new().spawn(server);
    Ok(address)
}

fn nothing<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the echo only echoes"))
}

#[tonic::async_trait]
impl AvailabilityService for Echo {
    type WatchAvailabilityStream = Empty<Result<models::WatchAvailabilityResponse, Status>>;

    async fn check_availability(
        &self,
        request: Request<models::CheckAvailabilityRequest>,
    ) -> Result<Response<models::CheckAvailabilityResponse>, Status> {
        std::hint::black_box(request.into_inner());
        Ok(Response::new(self.0.clone()))
    }

    async fn sync_server_inventory(
        &self,
        _: Request<Streaming<models::SyncServerInventoryRequest>>,
    ) -> Result<Response<models::SyncServerInventoryResponse>, Status> {
        nothing()
    }

    async fn set_model_availability(
        &self,
        _: Request<models::SetModelAvailabilityRequest>,
    ) -> Result<Response<models::SetModelAvailabilityResponse>, Status> {
        nothing()
    }

    async fn delete_model_availability(
        &self,
        _: Request<models::DeleteModelAvailabilityRequest>,
    ) -> Result<Response<models::DeleteModelAvailabilityResponse>, Status> {
        nothing()
    }

    async fn list_availability(
        &self,
        _: Request<models::ListAvailabilityRequest>,
    ) -> Result<Response<models::ListAvailabilityResponse>, Status> {
        nothing()
    }

    async fn watch_availability(
        &self,
        _: Request<models::WatchAvailabilityRequest>,
    ) -> Result<Response<Self::WatchAvailabilityStream>, Status> {
        nothing()
    }

    async fn list_inventories(
        &self,
        _: Request<models::ListInventoriesRequest>,
    ) -> Result<Response<models::ListInventoriesResponse>, Status> {
        nothing()
    }
}
