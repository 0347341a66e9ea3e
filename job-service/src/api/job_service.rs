//! JobService: each handler parses, asks one use case, converts.

use std::sync::Arc;

use service_kit::{auth::Caller, page::PageToken, resume::ResumeToken, status::Failure};
use stablequeue_proto::jobs::v1::{self as proto, job_service_server::JobService};
use tonic::{Request, Response, Status};

use super::{
    batch, convert,
    download::ImageStream,
    page::Page,
    parse::{
        Batch, BatchRetry, Retry, Update, invalid, job_id, parse_batch, parse_batch_retry,
        parse_list, parse_retry, parse_submission, parse_update, view, wait_time,
    },
    status,
    viewer::viewer,
    watch::WatchStream,
};
use crate::{
    core::Core,
    error::Error,
    jobs::{Jobs, Shown},
    store::jobs::{Cursor, cursor_of},
};

/// The handlers.
pub(super) struct JobApi {
    core: Arc<Core>,
}

impl JobApi {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The use cases, for whoever sent this.
    fn jobs<T>(&self, request: &Request<T>) -> Result<Jobs, Status> {
        let caller = Caller::of(request.extensions()).map_err(Failure::into_status)?;
        Ok(Jobs::new(Arc::clone(&self.core), viewer(caller)))
    }

    fn token(&self, sequence: i64) -> String {
        ResumeToken::new(self.core.epoch.clone(), sequence).to_string()
    }

    /// A job as it is shown in the view BASIC.
    fn basic(&self, shown: Shown) -> proto::Job {
        convert::job(shown, None, self.core.pace.backoff())
    }

    async fn in_view(
        &self,
        jobs: &Jobs,
        shown: Shown,
        view: proto::JobView,
    ) -> Result<proto::Job, Status> {
        let details = match view {
            proto::JobView::Full => Some(jobs.details(&shown.job.id).await.map_err(status)?),
            proto::JobView::Basic | proto::JobView::Unspecified => None,
        };
        Ok(convert::job(shown, details, self.core.pace.backoff()))
    }

    /// The place that a resume token names; `None` for none.
    fn place(&self, token: &str) -> Result<Option<i64>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let token: ResumeToken = token
            .parse()
            .map_err(|_| invalid("resume_token", "is not a token of this service"))?;
        if token.epoch != self.core.epoch {
            return Err(status(Error::HistoryGone));
        }
        Ok(Some(token.sequence))
    }
}

#[tonic::async_trait]
impl JobService for JobApi {
    async fn submit_job(
        &self,
        request: Request<proto::SubmitJobRequest>,
    ) -> Result<Response<proto::SubmitJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let (submission, id) = parse_submission(request.into_inner(), jobs.viewer().key_id())?;
        let shown = jobs.submit(submission, id).await.map_err(status)?;
        Ok(Response::new(proto::SubmitJobResponse {
            resume_token: self.token(shown.sequence),
            job: Some(self.basic(shown)),
        }))
    }

    async fn batch_submit_jobs(
        &self,
        request: Request<proto::BatchSubmitJobsRequest>,
    ) -> Result<Response<proto::BatchSubmitJobsResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let Batch { items, request_id } =
            parse_batch(request.into_inner(), jobs.viewer().key_id())?;
        let mut good = Vec::new();
        let mut places = Vec::new();
        let mut results = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Ok(item) => {
                    good.push(item);
                    places.push(at);
                }
                Err(found) => results.push(batch::refused(at, found)),
            }
        }
        let mut answer = proto::BatchSubmitJobsResponse::default();
        if !good.is_empty() {
            let taken = jobs.submit_batch(good, request_id).await;
            let (taken, sequence) = taken.map_err(status)?;
            for (at, jobs) in places.into_iter().zip(taken.items) {
                results.extend(jobs.into_iter().map(|job| batch::taken(at, job)));
            }
            answer.batch_id = taken.id;
            answer.resume_token = self.token(sequence);
        }
        // Stable, so that variations keep their order.
        results.sort_by_key(|result| result.item);
        answer.results = results;
        Ok(Response::new(answer))
    }

    async fn get_job(
        &self,
        request: Request<proto::GetJobRequest>,
    ) -> Result<Response<proto::GetJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let request = request.into_inner();
        let view = view(request.view)?;
        let id = job_id(request.job_id)?;
        let shown = jobs.get(&id).await.map_err(status)?;
        Ok(Response::new(proto::GetJobResponse {
            resume_token: self.token(shown.sequence),
            job: Some(self.in_view(&jobs, shown, view).await?),
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<proto::ListJobsRequest>,
    ) -> Result<Response<proto::ListJobsResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let list = parse_list(request.into_inner(), jobs.viewer())?;
        let order = list.filter.order;
        let (found, sequence) = jobs
            .list(list.filter, list.cursor, list.size + 1)
            .await
            .map_err(status)?;
        let mut page = Page::new(list.size);
        let more = found.len() > list.size;
        let mut last = None;
        for shown in found.into_iter().take(list.size) {
            let cursor = cursor_of(&shown.job, order);
            let job = self.in_view(&jobs, shown, list.view).await?;
            if !page.takes(&job) {
                // The page is full by its bytes before it is by its number.
                return Ok(Response::new(page.answer(
                    last.map(|cursor: Cursor| PageToken::encode(&list.fingerprint, &cursor)),
                    self.token(sequence),
                )));
            }
            last = Some(cursor);
        }
        let next = last
            .filter(|_| more)
            .map(|cursor| PageToken::encode(&list.fingerprint, &cursor));
        Ok(Response::new(page.answer(next, self.token(sequence))))
    }

    async fn wait_job(
        &self,
        request: Request<proto::WaitJobRequest>,
    ) -> Result<Response<proto::WaitJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let request = request.into_inner();
        let id = job_id(request.job_id)?;
        let timeout = wait_time(request.timeout)?;
        let shown = jobs.wait(&id, timeout).await.map_err(status)?;
        Ok(Response::new(proto::WaitJobResponse {
            done: shown.job.state.is_terminal(),
            job: Some(self.basic(shown)),
        }))
    }

    type WatchJobStream = WatchStream;

    async fn watch_job(
        &self,
        request: Request<proto::WatchJobRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        let jobs = self.jobs(&request)?;
        let request = request.into_inner();
        let id = job_id(request.job_id)?;
        let after = self.place(&request.resume_token)?;
        let watch = jobs.watch(&id, after).await.map_err(status)?;
        Ok(Response::new(super::watch::stream(
            watch,
            self.core.epoch.clone(),
            self.core.clock.clone(),
            self.core.pace.backoff(),
        )))
    }

    async fn update_job(
        &self,
        request: Request<proto::UpdateJobRequest>,
    ) -> Result<Response<proto::UpdateJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let Update {
            id,
            change,
            revision,
        } = parse_update(request.into_inner())?;
        let shown = jobs.update(&id, change, revision).await;
        Ok(Response::new(proto::UpdateJobResponse {
            job: Some(self.basic(shown.map_err(status)?)),
        }))
    }

    async fn retry_job(
        &self,
        request: Request<proto::RetryJobRequest>,
    ) -> Result<Response<proto::RetryJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let Retry {
            id,
            as_new,
            request_id,
        } = parse_retry(request.into_inner(), jobs.viewer().key_id())?;
        let shown = jobs.retry(&id, as_new, request_id).await.map_err(status)?;
        Ok(Response::new(proto::RetryJobResponse {
            resume_token: self.token(shown.sequence),
            job: Some(self.basic(shown)),
        }))
    }

    async fn batch_retry_jobs(
        &self,
        request: Request<proto::BatchRetryJobsRequest>,
    ) -> Result<Response<proto::BatchRetryJobsResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let BatchRetry {
            choice,
            request_id,
            made_for,
        } = parse_batch_retry(request.into_inner(), jobs.viewer().key_id())?;
        let retried = jobs.retry_batch(choice, request_id).await;
        let (retried, sequence) = retried.map_err(status)?;
        let next = retried.next.as_ref();
        Ok(Response::new(proto::BatchRetryJobsResponse {
            results: retried.results.into_iter().map(batch::retried).collect(),
            more: next.is_some(),
            next_page_token: next
                .map(|place| PageToken::encode(&made_for, place))
                .unwrap_or_default(),
            resume_token: self.token(sequence),
        }))
    }

    async fn delete_job(
        &self,
        request: Request<proto::DeleteJobRequest>,
    ) -> Result<Response<proto::DeleteJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let proto::DeleteJobRequest {
            job_id: id,
            cancel_first,
        } = request.into_inner();
        let id = job_id(id)?;
        jobs.delete(&id, cancel_first).await.map_err(status)?;
        Ok(Response::new(proto::DeleteJobResponse {}))
    }

    async fn cancel_job(
        &self,
        request: Request<proto::CancelJobRequest>,
    ) -> Result<Response<proto::CancelJobResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let id = job_id(request.into_inner().job_id)?;
        let shown = jobs.cancel(&id).await.map_err(status)?;
        Ok(Response::new(proto::CancelJobResponse {
            job: Some(self.basic(shown)),
        }))
    }

    async fn list_job_images(
        &self,
        request: Request<proto::ListJobImagesRequest>,
    ) -> Result<Response<proto::ListJobImagesResponse>, Status> {
        let jobs = self.jobs(&request)?;
        let id = job_id(request.into_inner().job_id)?;
        let images = jobs.images(&id).await.map_err(status)?;
        Ok(Response::new(proto::ListJobImagesResponse {
            images: images.into_iter().map(convert::image).collect(),
        }))
    }

    type DownloadImageStream = ImageStream;

    async fn download_image(
        &self,
        request: Request<proto::DownloadImageRequest>,
    ) -> Result<Response<ImageStream>, Status> {
        let jobs = self.jobs(&request)?;
        let proto::DownloadImageRequest {
            job_id: id,
            position,
            offset_bytes,
        } = request.into_inner();
        let id = job_id(id)?;
        let image = jobs.image(&id, position).await.map_err(status)?;
        let offset = u64::try_from(offset_bytes)
            .ok()
            .filter(|_| offset_bytes <= image.size_bytes)
            .ok_or_else(|| {
                let words = format!("must be 0 to {}, the size of the image", image.size_bytes);
                invalid("offset_bytes", &words)
            })?;
        Ok(Response::new(super::download::stream(
            Arc::clone(&self.core),
            image,
            offset,
        )))
    }
}
