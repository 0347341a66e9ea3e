//! Takes jobs, in one write with the request id that makes a submission
//! repeatable: a repetition finds the job, or is the first itself.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Jobs, Shown,
    admission::{admit, request_bytes},
    shown,
};
use crate::{
    error::Error,
    job::AppType,
    policy::JobPolicy,
    request::{GenerationRequest, InputImage, SEED_MAX},
    request_id::{Once, RequestId, fingerprint},
    store::{
        input_images,
        jobs::{self, NewJob},
        request_ids,
    },
};

/// The call by its name among request ids.
const METHOD: &str = "SubmitJob";

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
    /// What happens when something goes wrong.
    pub policy: JobPolicy,
}

/// What became of a submission.
enum Taken {
    /// A job of its own.
    Now(Box<Shown>),
    /// The job of the same submission before.
    Before(Box<Shown>),
}

impl Jobs {
    /// Takes a job; when this answers, it is on disk. With a request id that
    /// came with the same submission before, answers that one's job as it is
    /// now.
    pub async fn submit(
        &self,
        mut submission: Submission,
        request_id: Option<RequestId>,
    ) -> Result<Shown, Error> {
        let pictures = submission.take_pictures();
        let once = request_id.map(|request_id| Once {
            request_id,
            method: METHOD,
            fingerprint: fingerprint(&submission.asked()),
        });
        let new = submission.into_job(&pictures, self.viewer.key_id());
        let (viewer, quota) = (Arc::clone(&self.viewer), self.quota());
        let limits = self.core.limits.clone();
        let now = self.core.clock.now();
        let taken = self
            .core
            .database
            .write("submit_job", move |conn| {
                if let Some(once) = &once
                    && let Some(id) = request_ids::find(conn, once)?
                {
                    return Ok(Taken::Before(Box::new(shown(conn, &viewer, &id)?)));
                }
                admit(conn, &limits, quota.as_ref(), 1, new.request_bytes)?;
                let (job, sequence) = jobs::insert(conn, &new, now)?;
                input_images::insert(conn, &new.id, &pictures, now)?;
                if let Some(once) = &once {
                    request_ids::insert(conn, once, &new.id, now)?;
                }
                Ok::<_, Error>(Taken::Now(Box::new(Shown {
                    job,
                    attempt: None,
                    sequence,
                })))
            })
            .await?;
        let mut shown = match taken {
            Taken::Before(shown) => shown,
            Taken::Now(shown) => {
                self.core.metrics.submitted.inc();
                self.core.hints.job_changed(&shown.job.id);
                self.core.hints.wake_dispatcher();
                shown
            }
        };
        shown.job.hold = self.core.board.hold_of(&shown.job);
        Ok(*shown)
    }
}

impl Submission {
    /// Brings the request into its stored form and takes its pictures apart.
    pub(super) fn take_pictures(&mut self) -> Vec<InputImage> {
        self.request.normalise();
        self.request.take_pictures()
    }

    /// Everything that it asks for, its pictures by their digests. A seed that
    /// is to be drawn is no part of it, however that was said.
    pub(super) fn asked(&self) -> Value {
        let Self {
            request,
            target_server,
            priority,
            attempts_max,
            labels,
            app_type,
            source_info,
            policy,
        } = self;
        let mut body = request.body.clone();
        if request.seed().is_none() {
            body.remove("seed");
        }
        if request.subseed().is_none() {
            body.remove("subseed");
        }
        let mut asked = json!({
            "endpoint": request.endpoint.as_str(),
            "body": body,
            "target_server": target_server,
            "priority": priority,
            "attempts_max": attempts_max,
            "labels": labels,
            "app_type": app_type.as_str(),
            "source_info": source_info,
        });
        // A call of before policies has the fingerprint that it had.
        if *policy != JobPolicy::default() {
            asked["policy"] = json!(policy);
        }
        asked
    }

    /// The row of its job, with seeds drawn where none are given. Its pictures
    /// are taken already.
    pub(super) fn into_job(self, pictures: &[InputImage], key_id: Option<&str>) -> NewJob {
        let Self {
            request,
            target_server,
            priority,
            attempts_max,
            labels,
            app_type,
            source_info,
            policy,
        } = self;
        let request_json = request.to_json();
        NewJob {
            id: new_id(),
            request_bytes: request_bytes(&request_json, pictures),
            seed: given_or_drawn(request.seed()),
            subseed: given_or_drawn(request.subseed()),
            models: request.requirements(),
            pixels: request.pixels(),
            endpoint: request.endpoint,
            request_json,
            target_server,
            priority,
            attempts_max,
            labels,
            app_type,
            source_info,
            batch_id: None,
            key_id: key_id.map(str::to_owned),
            policy,
        }
    }
}

/// The seed that was given, or one that is drawn.
pub(super) fn given_or_drawn(seed: Option<i64>) -> i64 {
    seed.unwrap_or_else(|| rand::random_range(0..=SEED_MAX))
}

/// A new id of a job or batch: a UUID of version 7, which grows with time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one door through which these ids come"
)]
pub(super) fn new_id() -> String {
    Uuid::now_v7().to_string()
}
