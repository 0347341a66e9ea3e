//! Changes jobs that wait.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Jobs, Shown,
    admission::{check_growth, request_bytes},
    ownership, shown,
    submit::given_or_drawn,
};
use crate::{
    error::Error,
    policy::JobPolicy,
    request::GenerationRequest,
    store::{
        input_images,
        jobs::{self, NewInput, RowChange},
        queue,
    },
};

/// What to change of a job; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct JobChange {
    /// What to generate instead.
    pub request: Option<GenerationRequest>,
    /// -100 to 100.
    pub priority: Option<i32>,
    /// The alias asked for; empty for any.
    pub target_server: Option<String>,
    /// How many attempts it may spend.
    pub attempts_max: Option<i32>,
    /// The caller's labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// What happens when something goes wrong: the whole of it.
    pub policy: Option<JobPolicy>,
    /// Whether a job that waits for a decision since it was taken over runs.
    pub release_hold: bool,
}

impl Jobs {
    /// Changes a job that is pending; `revision` is the one that the caller
    /// knows, if any.
    pub async fn update(
        &self,
        id: &str,
        change: JobChange,
        revision: Option<i32>,
    ) -> Result<Shown, Error> {
        let JobChange {
            request,
            priority,
            target_server,
            attempts_max,
            labels,
            policy,
            release_hold,
        } = change;
        let (input, pictures) = request.map(apart).unzip();
        let row = RowChange {
            input,
            priority,
            target_server,
            attempts_max,
            labels,
            policy,
            release_hold,
        };
        let limits = self.core.limits.clone();
        let now = self.core.clock.now();
        let (viewer, job_id) = (Arc::clone(&self.viewer), id.to_owned());
        let mut shown = self
            .core
            .database
            .write("update_job", move |conn| {
                ownership::changed(conn, &viewer, &job_id)?;
                let before = queue::totals(conn)?;
                jobs::update(conn, &job_id, &row, revision, now)?;
                check_growth(conn, &limits, before)?;
                if let Some(pictures) = &pictures {
                    input_images::release(conn, &job_id)?;
                    input_images::insert(conn, &job_id, pictures, now)?;
                }
                shown(conn, &viewer, &job_id)
            })
            .await?;
        self.core.hints.job_changed(id);
        self.core.hints.wake_dispatcher();
        shown.job.hold = self.core.board.hold_of(&shown.job);
        Ok(shown)
    }
}

/// The columns of a new input, and its pictures.
fn apart(mut request: GenerationRequest) -> (NewInput, Vec<crate::request::InputImage>) {
    request.normalise();
    let pictures = request.take_pictures();
    let request_json = request.to_json();
    let input = NewInput {
        request_bytes: request_bytes(&request_json, &pictures),
        seed: given_or_drawn(request.seed()),
        subseed: given_or_drawn(request.subseed()),
        models: request.requirements(),
        pixels: request.pixels(),
        endpoint: request.endpoint,
        request_json,
    };
    (input, pictures)
}
