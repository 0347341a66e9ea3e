//! What callers can ask about jobs: one method each. What runs them is in
//! `dispatch`.

use std::{sync::Arc, time::Duration};

use crate::{
    core::Core,
    error::Error,
    job::{Attempt, Event, Image, Job, JobState},
    store::{
        Connection, attempts, events, images,
        jobs::{self, Cursor, JobFilter},
    },
    viewer::Viewer,
};

mod admission;
mod batch;
mod change;
mod delete;
mod ownership;
mod retry;
mod submit;
pub mod watch;

use admission::KeyQuota;
pub use batch::{BATCH_JOBS_MAX, BatchItem, TakenBatch, TakenJob};
pub use change::JobChange;
pub use delete::remove_unneeded;
pub use retry::{RETRIES_MAX, Refusal, RetriedJob, RetriedJobs, RetryChoice};
pub use submit::Submission;

/// How many attempts a job may spend when it does not say.
pub const ATTEMPTS_DEFAULT: i32 = 3;
/// Attempts that a full view shows, the newest.
pub const ATTEMPTS_SHOWN: i64 = 100;
/// Events that are read together.
pub const EVENTS_PAGE: i64 = 256;

/// A job and the place in the history up to which it is current.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The job, its hold as it is now.
    pub job: Job,
    /// Its newest attempt.
    pub attempt: Option<Attempt>,
    /// The place.
    pub sequence: i64,
}

/// The rest of a full view.
#[derive(Clone, Debug)]
pub struct Details {
    /// The request, as the caller sent it.
    pub request_json: String,
    /// The newest attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// The use cases of jobs, for one caller: what it may not see is not there for
/// it.
#[derive(Clone)]
pub struct Jobs {
    core: Arc<Core>,
    viewer: Arc<Viewer>,
}

impl Jobs {
    /// Use cases on this core, for this caller.
    #[must_use]
    pub fn new(core: Arc<Core>, viewer: Viewer) -> Self {
        Self {
            core,
            viewer: Arc::new(viewer),
        }
    }

    /// One job.
    pub async fn get(&self, id: &str) -> Result<Shown, Error> {
        let (viewer, id) = (Arc::clone(&self.viewer), id.to_owned());
        let mut shown = self
            .core
            .database
            .read("get_job", move |conn| shown(conn, &viewer, &id))
            .await?;
        shown.job.hold = self.core.board.hold_of(&shown.job);
        Ok(shown)
    }

    /// The rest of a full view.
    pub async fn details(&self, id: &str) -> Result<Details, Error> {
        let (viewer, id) = (Arc::clone(&self.viewer), id.to_owned());
        self.core
            .database
            .read("job_details", move |conn| {
                ownership::seen(conn, &viewer, &id)?;
                Ok(Details {
                    request_json: jobs::request_json(conn, &id)?,
                    attempts: attempts::of_job(conn, &id, ATTEMPTS_SHOWN)?,
                })
            })
            .await
    }

    /// Jobs by filter after a cursor, at most `limit`, and the place in the
    /// history up to which they are current. The caller's own only, unless it
    /// sees everybody's.
    pub async fn list(
        &self,
        mut filter: JobFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<Shown>, i64), Error> {
        filter.whose = self.viewer.narrow(filter.whose);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (mut shown, sequence) = self
            .core
            .database
            .read("list_jobs", move |conn| {
                let sequence = events::last_sequence(conn)?;
                let mut shown = Vec::new();
                for job in jobs::list(conn, &filter, cursor.as_ref(), limit)? {
                    let attempt = match job.attempt_number {
                        0 => None,
                        _ => attempts::newest(conn, &job.id)?,
                    };
                    shown.push(Shown {
                        job,
                        attempt,
                        sequence,
                    });
                }
                Ok::<_, Error>((shown, sequence))
            })
            .await?;
        for one in &mut shown {
            one.job.hold = self.core.board.hold_of(&one.job);
        }
        Ok((shown, sequence))
    }

    /// Cancels a job: a pending one at once; for a processing one the wish is
    /// written and its attempt told. One that has ended stays as it is.
    pub async fn cancel(&self, id: &str) -> Result<Shown, Error> {
        let now = self.core.clock.now();
        let (viewer, job_id) = (Arc::clone(&self.viewer), id.to_owned());
        let attempt = self
            .core
            .database
            .write("cancel_job", move |conn| {
                let job = ownership::changed(conn, &viewer, &job_id)?;
                match job.state {
                    JobState::Pending => jobs::cancel_pending(conn, &job_id, now)?,
                    JobState::Processing => jobs::mark_cancel(conn, &job_id, now)?,
                    JobState::Completed | JobState::Failed | JobState::Cancelled => false,
                };
                Ok::<_, Error>(job.attempt_number)
            })
            .await?;
        self.core.hints.job_changed(id);
        // Of the attempt that the write found: it may be over by now, and the
        // job in its next run.
        self.core.hints.wish_to_cancel(id, attempt);
        self.get(id).await
    }

    /// The job once it has ended, or as it is when the time is up.
    pub async fn wait(&self, id: &str, timeout: Duration) -> Result<Shown, Error> {
        let clock = self.core.clock.clone();
        let until_ended = async {
            let mut watch = self.watch(id, None).await?;
            while watch.next().await?.is_some() {}
            Ok::<_, Error>(())
        };
        if let Ok(ended) = clock.timeout(timeout, until_ended).await {
            ended?;
        }
        self.get(id).await
    }

    /// The images of a job.
    pub async fn images(&self, id: &str) -> Result<Vec<Image>, Error> {
        let (viewer, id) = (Arc::clone(&self.viewer), id.to_owned());
        self.core
            .database
            .read("list_job_images", move |conn| {
                ownership::seen(conn, &viewer, &id)?;
                images::of_job(conn, &id)
            })
            .await
    }

    /// One image of a job.
    pub async fn image(&self, id: &str, position: i32) -> Result<Image, Error> {
        let (viewer, id) = (Arc::clone(&self.viewer), id.to_owned());
        self.core
            .database
            .read("get_job_image", move |conn| {
                ownership::seen(conn, &viewer, &id)?;
                images::get(conn, &id, position)
            })
            .await
    }

    /// The events of a job after a place in the history. Whether the caller may
    /// see it was asked before.
    async fn events_after(&self, id: &str, after: i64) -> Result<Vec<Event>, Error> {
        let id = id.to_owned();
        self.core
            .database
            .read("job_events", move |conn| {
                events::of_job_after(conn, &id, after, EVENTS_PAGE)
            })
            .await
    }

    /// What the caller's key may have waiting; `None` where only all together
    /// are bounded.
    fn quota(&self) -> Option<KeyQuota> {
        KeyQuota::of(&self.core, self.viewer.key_id())
    }

    /// The caller's key and how many watches it may have open.
    fn watches_of_key(&self) -> Option<(&str, usize)> {
        let key_id = self.viewer.key_id()?;
        let own = self.core.keys.limits_of(key_id).watches_max;
        let most = own.unwrap_or(self.core.limits.watches_per_key);
        Some((key_id, usize::try_from(most).unwrap_or(usize::MAX)))
    }

    /// The caller.
    #[must_use]
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }
}

/// A job, its hold as it was last written.
fn shown(conn: &mut Connection, viewer: &Viewer, id: &str) -> Result<Shown, Error> {
    // The place first: what happens meanwhile comes again, and nothing is
    // missed.
    let sequence = events::last_sequence(conn)?;
    let job = ownership::seen(conn, viewer, id)?;
    let attempt = attempts::newest(conn, id)?;
    Ok(Shown {
        job,
        attempt,
        sequence,
    })
}
