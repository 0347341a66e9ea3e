//! What callers can ask about jobs: one method each. What runs them is in
//! `dispatch`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    core::Core,
    error::Error,
    job::{AppType, Attempt, Event, Image, Job, JobState},
    request::{GenerationRequest, SEED_MAX},
    store::{
        attempts, events, images, input_images,
        jobs::{self, Cursor, JobFilter, NewJob},
    },
};

pub mod watch;

/// How many attempts a job may spend when it does not say.
pub const ATTEMPTS_DEFAULT: i32 = 3;
/// Attempts that a full view shows, the newest.
pub const ATTEMPTS_SHOWN: i64 = 100;
/// Events that are read together.
pub const EVENTS_PAGE: i64 = 256;

/// A job to take, checked already.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What to generate.
    pub request: GenerationRequest,
    /// The alias asked for; empty for any.
    pub target_server: String,
    /// -100 to 100.
    pub priority: i32,
    /// How many attempts it may spend.
    pub attempts_max: i32,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Where it came from.
    pub app_type: AppType,
    /// More about where it came from.
    pub source_info: String,
}

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

/// The use cases of jobs.
#[derive(Clone)]
pub struct Jobs {
    core: Arc<Core>,
}

impl Jobs {
    /// Use cases on this core.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Takes a job; when this answers, it is on disk.
    pub async fn submit(&self, submission: Submission) -> Result<Shown, Error> {
        let Submission {
            mut request,
            target_server,
            priority,
            attempts_max,
            labels,
            app_type,
            source_info,
        } = submission;
        request.normalise();
        let pictures = request.take_pictures();
        let drawn = |asked: Option<i64>| match asked {
            Some(seed) if seed >= 0 => seed,
            _ => rand::random_range(0..=SEED_MAX),
        };
        let new = NewJob {
            id: new_job_id(),
            seed: drawn(request.seed()),
            subseed: drawn(request.subseed()),
            models: request.requirements(),
            endpoint: request.endpoint,
            request_json: request.to_json(),
            target_server,
            priority,
            attempts_max,
            labels,
            app_type,
            source_info,
        };
        let now = self.core.clock.now();
        let (mut job, sequence) = self
            .core
            .database
            .write("submit_job", move |conn| {
                let inserted = jobs::insert(conn, &new, now)?;
                input_images::insert(conn, &new.id, &pictures, now)?;
                Ok::<_, Error>(inserted)
            })
            .await?;
        self.core.metrics.submitted.inc();
        self.core.hints.job_changed(&job.id);
        self.core.hints.wake_dispatcher();
        job.hold = self.core.board.hold_of(&job);
        Ok(Shown {
            job,
            attempt: None,
            sequence,
        })
    }

    /// One job.
    pub async fn get(&self, id: &str) -> Result<Shown, Error> {
        let id = id.to_owned();
        let mut shown = self
            .core
            .database
            .read("get_job", move |conn| {
                // The place first: what happens meanwhile comes again, and
                // nothing is missed.
                let sequence = events::last_sequence(conn)?;
                let job = jobs::get(conn, &id)?;
                let attempt = attempts::newest(conn, &id)?;
                Ok::<_, Error>(Shown {
                    job,
                    attempt,
                    sequence,
                })
            })
            .await?;
        shown.job.hold = self.core.board.hold_of(&shown.job);
        Ok(shown)
    }

    /// The rest of a full view.
    pub async fn details(&self, id: &str) -> Result<Details, Error> {
        let id = id.to_owned();
        self.core
            .database
            .read("job_details", move |conn| {
                Ok(Details {
                    request_json: jobs::request_json(conn, &id)?,
                    attempts: attempts::of_job(conn, &id, ATTEMPTS_SHOWN)?,
                })
            })
            .await
    }

    /// Jobs by filter after a cursor, at most `limit`, and the place in the
    /// history up to which they are current.
    pub async fn list(
        &self,
        filter: JobFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<Shown>, i64), Error> {
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
        let job_id = id.to_owned();
        self.core
            .database
            .write("cancel_job", move |conn| {
                let job = jobs::get(conn, &job_id)?;
                match job.state {
                    JobState::Pending => jobs::cancel_pending(conn, &job_id, now)?,
                    JobState::Processing => jobs::mark_cancel(conn, &job_id, now)?,
                    JobState::Completed | JobState::Failed | JobState::Cancelled => false,
                };
                Ok::<_, Error>(())
            })
            .await?;
        self.core.hints.job_changed(id);
        self.core.hints.wish_to_cancel(id);
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
        let id = id.to_owned();
        self.core
            .database
            .read("list_job_images", move |conn| {
                jobs::get(conn, &id)?;
                images::of_job(conn, &id)
            })
            .await
    }

    /// One image of a job.
    pub async fn image(&self, id: &str, position: i32) -> Result<Image, Error> {
        let id = id.to_owned();
        self.core
            .database
            .read("get_job_image", move |conn| {
                jobs::get(conn, &id)?;
                images::get(conn, &id, position)
            })
            .await
    }

    /// The events of a job after a place in the history.
    pub async fn events_after(&self, id: &str, after: i64) -> Result<Vec<Event>, Error> {
        let id = id.to_owned();
        self.core
            .database
            .read("job_events", move |conn| {
                events::of_job_after(conn, &id, after, EVENTS_PAGE)
            })
            .await
    }

    /// What everything here stands on.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

/// A new job id: a UUID of version 7, which grows with time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one door through which job ids come"
)]
fn new_job_id() -> String {
    Uuid::now_v7().to_string()
}
