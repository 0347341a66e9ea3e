//! Follows a job from its submission to its end and shows what happens on the
//! way. What came of the job is read by `submit` afterwards.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use service_kit::clock::Clock;
use stablequeue_proto::jobs::v1::{
    self as jobs, JobEventType, JobState, job_service_client::JobServiceClient,
    watch_job_response::Update,
};
use tonic::transport::Channel;

use crate::{pair::refusal, screen::Screen, words};

/// How long a job may be held for a reason that does not pass by itself.
pub(crate) const HELD_MAX: Duration = Duration::from_secs(60);
/// How long the watch is silent before the job is asked why it waits: what
/// holds every job alike is no event of one job.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// What following needs.
pub(crate) struct Following<'a> {
    /// Time.
    pub(crate) clock: &'a Clock,
    /// Where it is shown.
    pub(crate) screen: &'a mut Screen,
    /// How long a hold may last that does not pass by itself; `None` waits.
    pub(crate) patience: Option<Duration>,
}

impl Following<'_> {
    /// Returns after the job's terminal event.
    ///
    /// # Errors
    /// When the stream breaks, or a hold lasts longer than the patience.
    pub(crate) async fn run(
        mut self,
        client: &mut JobServiceClient<Channel>,
        job_id: &str,
        resume_token: String,
    ) -> Result<()> {
        let request = jobs::WatchJobRequest {
            job_id: job_id.to_owned(),
            resume_token,
        };
        let watch = client.watch_job(request).await.map_err(refusal);
        let mut watch = watch.context("the job cannot be watched")?.into_inner();
        let mut held_since = None;
        loop {
            let Ok(next) = self.clock.timeout(LOOK_AFTER, watch.message()).await else {
                self.look(client, job_id, &mut held_since).await?;
                continue;
            };
            let next = next.map_err(refusal);
            let Some(message) = next.context("the watch of the job broke off")? else {
                return Ok(());
            };
            match message.update {
                Some(Update::Event(event)) => self.event(&event),
                Some(Update::Progress(progress)) => self.progress(&progress),
                Some(Update::Snapshot(_) | Update::Heartbeat(_)) | None => {}
            }
        }
    }

    /// Asks why the job waits, and whether that was put up with long enough.
    async fn look(
        &mut self,
        client: &mut JobServiceClient<Channel>,
        job_id: &str,
        held_since: &mut Option<Duration>,
    ) -> Result<()> {
        let request = jobs::GetJobRequest {
            job_id: job_id.to_owned(),
            view: jobs::JobView::Basic.into(),
        };
        let answer = client.get_job(request).await.map_err(refusal)?.into_inner();
        let job = answer.job.context("no job in the answer")?;
        let hold = match job.hold {
            Some(hold) if job.state == i32::from(JobState::Pending) => hold,
            _ => {
                *held_since = None;
                return Ok(());
            }
        };
        let why = words::hold(hold.reason(), &hold.message);
        self.screen.phase(&format!("waiting: {why}"));
        if words::passes_by_itself(hold.reason()) {
            *held_since = None;
            return Ok(());
        }
        let now = self.clock.monotonic();
        let since = *held_since.get_or_insert(now);
        if self
            .patience
            .is_some_and(|patience| now.saturating_sub(since) >= patience)
        {
            bail!("the job still waits and stays in the queue: {why}");
        }
        Ok(())
    }

    fn event(&mut self, event: &jobs::JobEvent) {
        match event.r#type() {
            JobEventType::Held | JobEventType::AttemptEnded => {
                let why = words::hold(event.hold_reason(), &event.message);
                self.screen.phase(&format!("waiting: {why}"));
            }
            JobEventType::Claimed | JobEventType::PhaseChanged => {
                let phase = words::phase(event.phase());
                self.screen.phase(&format!("{phase} on {}", event.server));
            }
            JobEventType::CancelRequested => self.screen.phase("cancelling"),
            JobEventType::Completed
            | JobEventType::Failed
            | JobEventType::Cancelled
            | JobEventType::Updated
            | JobEventType::Deleted
            | JobEventType::Retried
            | JobEventType::Submitted
            | JobEventType::Unspecified => {}
        }
    }

    fn progress(&mut self, progress: &jobs::JobProgress) {
        // Between two images, and at the end, there is no step.
        let step = match (progress.step, progress.steps) {
            (0, _) | (_, 0) => String::new(),
            (step, steps) => format!("step {step} of {steps}"),
        };
        self.screen.progress(progress.fraction, &step);
    }
}
