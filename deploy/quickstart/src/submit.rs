//! Submits the job, waits for its end, and says where its images are and what
//! they are. How the waiting looks is `follow`'s and `screen`'s.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use service_kit::clock::Clock;
use stablequeue_proto::jobs::v1::{self as jobs, JobState};

use crate::{
    arguments::Arguments,
    follow,
    pair::{Calls, refusal},
    screen::Screen,
    words,
};

/// What the job says of itself afterwards.
const SOURCE: &str = "quickstart";

/// A job that has its images.
pub(crate) struct Done {
    /// The job.
    pub(crate) job: jobs::Job,
    /// Its images, at least one.
    images: Vec<jobs::Image>,
}

/// Submits the job and follows it to its images.
///
/// # Errors
/// When it ends without them: what happened and what to do.
pub(crate) async fn run(
    arguments: &Arguments,
    server: &str,
    calls: &Calls,
    clock: &Clock,
    screen: &mut Screen,
) -> Result<Done> {
    let mut client = calls.jobs.clone();
    let answer = client
        .submit_job(request(arguments, server))
        .await
        .map_err(refusal)
        .context("the job was not taken")?
        .into_inner();
    let job_id = answer.job.context("no job in the answer")?.job_id;
    screen.phase(&format!("submitted job {job_id}"));
    let patience = arguments.once.then_some(follow::HELD_MAX);
    let following = follow::Following {
        clock,
        screen,
        patience,
    };
    following
        .run(&mut client, &job_id, answer.resume_token)
        .await?;
    let request = jobs::GetJobRequest {
        job_id: job_id.clone(),
        view: jobs::JobView::Full.into(),
    };
    let answer = client.get_job(request).await.map_err(refusal)?.into_inner();
    let job = answer.job.context("no job in the answer")?;
    check_state(&job)?;
    let answer = client
        .list_job_images(jobs::ListJobImagesRequest { job_id })
        .await
        .map_err(refusal)?;
    let images = answer.into_inner().images;
    ensure!(!images.is_empty(), "the completed job has no image");
    Ok(Done { job, images })
}

fn request(arguments: &Arguments, server: &str) -> jobs::SubmitJobRequest {
    let params = jobs::GenerationParams {
        prompt: arguments.prompt.clone(),
        steps: Some(arguments.steps),
        width: Some(arguments.width),
        height: Some(arguments.height),
        seed: arguments.seed,
        checkpoint: arguments.checkpoint.clone().unwrap_or_default(),
        ..jobs::GenerationParams::default()
    };
    jobs::SubmitJobRequest {
        input: Some(jobs::submit_job_request::Input::Params(params)),
        target_server: server.to_owned(),
        source_info: SOURCE.to_owned(),
        ..jobs::SubmitJobRequest::default()
    }
}

fn check_state(job: &jobs::Job) -> Result<()> {
    match job.state() {
        JobState::Completed => Ok(()),
        JobState::Failed => {
            let error = job.error.clone().unwrap_or_default();
            bail!("the job failed with {}: {}", error.code, error.message);
        }
        JobState::Cancelled => bail!("the job was cancelled"),
        JobState::Unspecified | JobState::Pending | JobState::Processing => {
            bail!("the job has not ended")
        }
    }
}

/// The images' paths and what is known of them.
///
/// # Errors
/// When an image is not where it must be.
pub(crate) fn facts(done: &Done, data_dir: &Path) -> Result<String> {
    let result = done.job.result.clone().unwrap_or_default();
    let mut text = String::new();
    for image in &done.images {
        let path = path_of(image, data_dir)?;
        writeln!(text, "image: {path}")?;
        writeln!(
            text,
            "  {} x {} pixels, {} bytes, seed {}",
            image.width, image.height, image.size_bytes, image.seed
        )?;
    }
    write!(
        text,
        "  made on {} with {}, {}",
        result.server,
        result.checkpoint,
        words::verification(result.verification())
    )?;
    Ok(text)
}

fn path_of(image: &jobs::Image, data_dir: &Path) -> Result<String> {
    let sha256 = &image.sha256;
    let folder = sha256.get(..2).context("an image without a sha256")?;
    let path = data_dir
        .join(job_service::config::IMAGES_FOLDER)
        .join(folder)
        .join(format!("{sha256}.png"));
    let path = std::fs::canonicalize(&path)
        .with_context(|| format!("the image is not at {}", path.display()))?;
    Ok(path.display().to_string())
}
