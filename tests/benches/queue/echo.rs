//! The bound of submission: a bare tonic server of the same RPC, which decodes
//! the same request and answers the same job, and does nothing else.

use std::net::SocketAddr;

use anyhow::Result;
use futures_util::stream::Empty;
use stablequeue_proto::jobs::v1::{
    self as jobs,
    job_service_server::{JobService, JobServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

/// Answers every submission with this.
struct Echo(jobs::SubmitJobResponse);

/// Serves until the process ends; answers where.
pub(crate) async fn serve(answer: jobs::SubmitJobResponse) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |stream| {
        stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    let server = tonic::transport::Server::builder()
        .add_service(JobServiceServer::new(Echo(answer)))
        .serve_with_incoming(incoming);
    TaskTracker::new().spawn(server);
    Ok(address)
}

fn nothing<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the echo only echoes"))
}

#[tonic::async_trait]
impl JobService for Echo {
    type WatchJobStream = Empty<Result<jobs::WatchJobResponse, Status>>;
    type DownloadImageStream = Empty<Result<jobs::DownloadImageResponse, Status>>;

    async fn submit_job(
        &self,
        request: Request<jobs::SubmitJobRequest>,
    ) -> Result<Response<jobs::SubmitJobResponse>, Status> {
        std::hint::black_box(request.into_inner());
        Ok(Response::new(self.0.clone()))
    }

    async fn batch_submit_jobs(
        &self,
        _: Request<jobs::BatchSubmitJobsRequest>,
    ) -> Result<Response<jobs::BatchSubmitJobsResponse>, Status> {
        nothing()
    }

    async fn update_job(
        &self,
        _: Request<jobs::UpdateJobRequest>,
    ) -> Result<Response<jobs::UpdateJobResponse>, Status> {
        nothing()
    }

    async fn retry_job(
        &self,
        _: Request<jobs::RetryJobRequest>,
    ) -> Result<Response<jobs::RetryJobResponse>, Status> {
        nothing()
    }

    async fn batch_retry_jobs(
        &self,
        _: Request<jobs::BatchRetryJobsRequest>,
    ) -> Result<Response<jobs::BatchRetryJobsResponse>, Status> {
        nothing()
    }

    async fn delete_job(
        &self,
        _: Request<jobs::DeleteJobRequest>,
    ) -> Result<Response<jobs::DeleteJobResponse>, Status> {
        nothing()
    }

    async fn get_job(
        &self,
        _: Request<jobs::GetJobRequest>,
    ) -> Result<Response<jobs::GetJobResponse>, Status> {
        nothing()
    }

    async fn list_jobs(
        &self,
        _: Request<jobs::ListJobsRequest>,
    ) -> Result<Response<jobs::ListJobsResponse>, Status> {
        nothing()
    }

    async fn wait_job(
        &self,
        _: Request<jobs::WaitJobRequest>,
    ) -> Result<Response<jobs::WaitJobResponse>, Status> {
        nothing()
    }

    async fn watch_job(
        &self,
        _: Request<jobs::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        nothing()
    }

    async fn cancel_job(
        &self,
        _: Request<jobs::CancelJobRequest>,
    ) -> Result<Response<jobs::CancelJobResponse>, Status> {
        nothing()
    }

    async fn list_job_images(
        &self,
        _: Request<jobs::ListJobImagesRequest>,
    ) -> Result<Response<jobs::ListJobImagesResponse>, Status> {
        nothing()
    }

    async fn download_image(
        &self,
        _: Request<jobs::DownloadImageRequest>,
    ) -> Result<Response<Self::DownloadImageStream>, Status> {
        nothing()
    }
}
