//! Pages of a list of jobs, as they are answered. Which jobs and in which order
//! is the store's.

use stablequeue_proto::jobs::v1 as proto;

/// A page that also ends by its bytes.
pub(super) struct Page {
    jobs: Vec<proto::Job>,
    bytes: usize,
}

impl Page {
    /// An empty page for so many jobs.
    pub(super) fn new(size: usize) -> Self {
        Self {
            jobs: Vec::with_capacity(size.min(64)),
            bytes: 0,
        }
    }

    /// Takes a job if there is room; the first one always.
    pub(super) fn takes(&mut self, job: &proto::Job) -> bool {
        let bytes = prost::Message::encoded_len(job);
        let fits = self.bytes + bytes <= service_kit::page::PAGE_BYTES_MAX;
        if fits || self.jobs.is_empty() {
            self.bytes += bytes;
            self.jobs.push(job.clone());
            return true;
        }
        false
    }

    /// The answer with what was taken.
    pub(super) fn answer(
        self,
        next: Option<String>,
        resume_token: String,
    ) -> proto::ListJobsResponse {
        proto::ListJobsResponse {
            jobs: self.jobs,
            next_page_token: next.unwrap_or_default(),
            resume_token,
        }
    }
}
