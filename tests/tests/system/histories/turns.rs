//! What is done in a history, one thing at a turn, drawn from its dice.
//! Judges nothing.

use anyhow::{Context as _, Result};
use forge_sim::Fault;
use rand::RngExt as _;
use stablequeue_proto::jobs::v1 as jobs;
use system_tests::{pair::txt2img, wait};
use tonic::Code;

use super::world::{ALIASES, CHECKPOINTS, Known, NOWHERE, World, until_answered};

/// Looks at the stand-ins for something that ends; then the next turn begins.
const LOOKS_MAX: usize = 20;

impl World {
    /// Does one thing.
    pub(super) async fn turn(&mut self) -> Result<()> {
        match self.dice.random_range(0..40) {
            0..=11 => self.submit().await,
            12 => self.submit_again().await,
            13..=16 => self.cancel().await,
            17..=18 => self.retry().await,
            19..=25 => self.fault(),
            26..=27 => self.kill_forge().await,
            28..=29 => self.freeze_or_thaw(),
            30..=31 => self.cordon_or_not().await,
            32..=33 => self.kill_jobs().await,
            34 => self.restart_jobs().await,
            35 => self.restart_models().await,
            _ => self.let_something_end().await,
        }
    }

    async fn submit(&mut self) -> Result<()> {
        self.submissions += 1;
        let number = self.submissions;
        let prompt = format!("number {number}");
        let mut request = txt2img(&prompt);
        request.request_id = format!("submission-{number}");
        request.max_attempts = Some(10);
        request.priority = Some(self.dice.random_range(-2..3));
        if self.dice.random_bool(0.2) {
            ALIASES[self.dice.random_range(0..ALIASES.len())]
                .clone_into(&mut request.target_server);
        }
        let checkpoint = match self.dice.random_range(0..12) {
            0 => Some(NOWHERE),
            1..=5 => Some(CHECKPOINTS[self.dice.random_range(0..CHECKPOINTS.len())]),
            _ => None,
        };
        if let Some(jobs::submit_job_request::Input::Params(params)) = &mut request.input {
            params.steps = Some(self.dice.random_range(1..8));
            params.checkpoint = checkpoint.unwrap_or_default().to_owned();
        }
        let id = self.submitted(&request).await?;
        let (prompt_of, target) = (&prompt, &request.target_server);
        self.note(format!(
            "submit {id} {prompt_of:?} {checkpoint:?} to {target:?}"
        ));
        self.known.push(Known {
            id,
            prompt,
            request,
            checkpoint,
        });
        Ok(())
    }

    async fn submit_again(&mut self) -> Result<()> {
        let Some(at) = self.some_job() else {
            return Ok(());
        };
        let id = self.submitted(&self.known[at].request).await?;
        anyhow::ensure!(id == self.known[at].id, "a repetition made another job");
        Ok(())
    }

    fn some_job(&mut self) -> Option<usize> {
        let count = self.known.len();
        (count > 0).then(|| self.dice.random_range(0..count))
    }

    async fn cancel(&mut self) -> Result<()> {
        if let Some(at) = self.some_job() {
            let id = self.known[at].id.clone();
            self.cancel_job(&id).await?;
        }
        Ok(())
    }

    /// Runs a job again, which is refused unless it failed or was cancelled.
    async fn retry(&mut self) -> Result<()> {
        let Some(at) = self.some_job() else {
            return Ok(());
        };
        let id = self.known[at].id.clone();
        self.note(format!("retry {id}"));
        let client = self.client();
        let request = jobs::RetryJobRequest {
            job_id: id,
            as_new: false,
            request_id: String::new(),
        };
        let answer = until_answered(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.retry_job(request).await }
        })
        .await;
        match answer {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    fn fault(&mut self) -> Result<()> {
        let at = self.dice.random_range(0..self.forges.len());
        let turn = self.done.len();
        let mut doomed = false;
        let fault = match self.dice.random_range(0..10) {
            0 => Fault::CutBeforeAnswer,
            1 => Fault::CutMidBody,
            2 => Fault::Garbage,
            3 => Fault::BrokenImage,
            4 => Fault::EmptyImages,
            5 => Fault::WrongModel,
            6 => Fault::Hang,
            7 => {
                doomed = true;
                Fault::KillDuring { step: 1 }
            }
            8 => Fault::Status {
                code: 503,
                body: "busy".to_owned(),
            },
            _ => Fault::Error500 {
                error: "RuntimeError".to_owned(),
                message: format!("mishap {turn}"),
            },
        };
        self.note(format!("{}: {fault:?}", self.forges[at].alias));
        self.forges[at].doomed |= doomed;
        self.forges[at].sim.sim.script(fault);
        Ok(())
    }

    async fn kill_forge(&mut self) -> Result<()> {
        let at = self.dice.random_range(0..self.forges.len());
        self.note(format!("kill {}", self.forges[at].alias));
        self.restart_forge(at).await
    }

    fn freeze_or_thaw(&mut self) -> Result<()> {
        let at = self.dice.random_range(0..self.forges.len());
        let forge = &mut self.forges[at];
        forge.frozen = !forge.frozen;
        match forge.frozen {
            true => forge.sim.sim.freeze(),
            false => forge.sim.sim.thaw(),
        }
        let note = format!("{} frozen: {}", forge.alias, forge.frozen);
        self.note(note);
        Ok(())
    }

    async fn cordon_or_not(&mut self) -> Result<()> {
        let at = self.dice.random_range(0..self.forges.len());
        let wanted = !self.forges[at].cordoned;
        self.cordon(at, wanted).await
    }

    async fn kill_jobs(&mut self) -> Result<()> {
        self.note("kill job-service".to_owned());
        self.jobs.take().context("job-service runs")?.kill();
        self.start_jobs().await
    }

    async fn restart_jobs(&mut self) -> Result<()> {
        self.note("restart job-service".to_owned());
        self.stop_jobs().await?;
        self.start_jobs().await
    }

    async fn restart_models(&mut self) -> Result<()> {
        let kill = self.dice.random_bool(0.5);
        self.note(format!("restart model-service, killed: {kill}"));
        let models = self.models.take().context("model-service runs")?;
        if kill {
            models.kill();
        } else {
            models
                .stop(|running| async move { Ok(running.stop().await?) })
                .await?;
        }
        self.start_models().await
    }

    /// Lets the stand-ins finish something, unless there is nothing to finish.
    async fn let_something_end(&mut self) -> Result<()> {
        let ended = || -> usize {
            let logs = self.forges.iter().map(|forge| forge.sim.log());
            logs.map(|log| log.iter().filter(|one| one.ended.is_some()).count())
                .sum()
        };
        let before = ended();
        for _ in 0..LOOKS_MAX {
            if ended() > before {
                break;
            }
            wait::a_moment().await;
        }
        Ok(())
    }
}
