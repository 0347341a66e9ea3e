//! What must hold of a history that is over, told from the service's answers,
//! its database and the stand-ins' own logs. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_types::Text,
};
use forge_sim::Generation;
use sha2::{Digest as _, Sha256};
use stablequeue_proto::jobs::v1::{self as jobs, JobState};

use super::world::{Known, World};

/// What came of histories.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) jobs: u32,
    pub(super) completed: u32,
    pub(super) failed: u32,
    pub(super) cancelled: u32,
    pub(super) generations: u32,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            jobs: self.jobs + other.jobs,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
            generations: self.generations + other.generations,
        }
    }
}

#[derive(QueryableByName)]
struct Happened {
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

/// Checks everything.
pub(super) async fn check(world: &mut World) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut ended = Vec::new();
    for known in &world.known {
        let job = world.job(&known.id).await?;
        tally.jobs += 1;
        match job.state() {
            JobState::Completed => {
                tally.completed += 1;
                completed(world, known, &job).await?;
            }
            JobState::Failed => {
                tally.failed += 1;
                let error = job.error.clone().unwrap_or_default();
                ensure!(
                    !error.code.is_empty() && !error.message.is_empty(),
                    "a failure that says nothing: {job:#?}"
                );
            }
            JobState::Cancelled => {
                tally.cancelled += 1;
                ensure!(
                    world.cancelled.contains(&known.id),
                    "nobody cancelled it: {job:#?}"
                );
            }
            _ => anyhow::bail!("it has not ended: {job:#?}"),
        }
        ended.push(job);
    }
    world.stop_jobs().await?;
    one_end_each(world)?;
    let generations: Vec<Generation> = world
        .forges
        .iter()
        .flat_map(|forge| forge.sim.log())
        .filter(|generation| !generation.task_id.contains("-heal-"))
        .collect();
    tally.generations = u32::try_from(generations.len())?;
    never_twice(&ended, &generations)?;
    no_foreign_interrupts(world)?;
    Ok(tally)
}

/// Its images are on disk, whole, and of the model and prompt asked for.
async fn completed(world: &World, known: &Known, job: &jobs::Job) -> Result<()> {
    let result = job.result.clone().context("a completed job has a result")?;
    ensure!(
        result.verification() != jobs::Verification::Unspecified && !result.partial,
        "{job:#?}"
    );
    let images = world.images(&known.id).await?;
    ensure!(images.len() == 1, "{} images of {job:#?}", images.len());
    for image in images {
        let digest = &image.sha256;
        let folder = world.folder.path().join("images").join(&digest[..2]);
        let bytes = std::fs::read(folder.join(format!("{digest}.png")))?;
        ensure!(
            hex::encode(Sha256::digest(&bytes)) == *digest,
            "another content"
        );
        let prompt = image.infotext.lines().next();
        ensure!(
            prompt == Some(known.prompt.as_str()),
            "another prompt: {prompt:?}"
        );
        if let Some(checkpoint) = known.checkpoint {
            let stem = checkpoint.trim_end_matches(".safetensors");
            let named = image.infotext.contains(&format!("Model: {stem},"));
            ensure!(named, "not {stem}: {}", image.infotext);
        }
    }
    Ok(())
}

/// The history of each job has one end, and one more for each retry.
fn one_end_each(world: &World) -> Result<()> {
    let path = world.folder.path().join(job_service::config::DATABASE_FILE);
    let path = path.to_str().context("a path of UTF-8")?;
    let mut connection = SqliteConnection::establish(path)?;
    let events = "SELECT job_id, type AS kind FROM job_events ORDER BY sequence";
    let events: Vec<Happened> = diesel::sql_query(events).load(&mut connection)?;
    let mut by_job: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Happened { job_id, kind } in events {
        by_job.entry(job_id).or_default().push(kind);
    }
    let known: BTreeSet<&String> = world.known.iter().map(|known| &known.id).collect();
    ensure!(
        by_job.keys().collect::<BTreeSet<_>>() == known,
        "a job that was never acknowledged, or one that is gone"
    );
    for (id, kinds) in by_job {
        let mut over = false;
        for kind in &kinds {
            match kind.as_str() {
                "completed" | "failed" | "cancelled" => {
                    ensure!(!over, "two ends of {id}: {kinds:?}");
                    over = true;
                }
                "retried" => {
                    ensure!(over, "retried before its end, {id}: {kinds:?}");
                    over = false;
                }
                _ => ensure!(!over, "something after the end of {id}: {kinds:?}"),
            }
        }
        ensure!(over, "no end of {id}: {kinds:?}");
    }
    Ok(())
}

/// Every generation is of an attempt that is on record, an attempt has one at
/// most, and those of one job follow each other.
fn never_twice(ended: &[jobs::Job], generations: &[Generation]) -> Result<()> {
    let mut by_token: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    for job in ended {
        for attempt in &job.attempts {
            let of = (job.job_id.as_str(), attempt.possible_repeat);
            by_token.insert(&attempt.token, of);
        }
    }
    let mut by_job: BTreeMap<&str, Vec<(&Generation, bool)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for generation in generations {
        let token = generation.task_id.as_str();
        let (job, may_repeat) = by_token
            .get(token)
            .with_context(|| format!("no attempt on record made {generation:#?}"))?;
        ensure!(seen.insert(token), "two generations of one attempt {token}");
        by_job
            .entry(job)
            .or_default()
            .push((generation, *may_repeat));
    }
    for (job, mut of_job) in by_job {
        of_job.sort_by_key(|(generation, _)| generation.started);
        for two in of_job.windows(2) {
            let (earlier, (later, may_repeat)) = (two[0].0, two[1]);
            let in_turn = earlier.ended.is_some_and(|ended| ended < later.started);
            ensure!(
                in_turn || may_repeat,
                "two at once of {job}: {earlier:#?} and {later:#?}"
            );
        }
    }
    Ok(())
}

/// What was interrupted was a job whose end had been asked for.
fn no_foreign_interrupts(world: &World) -> Result<()> {
    for forge in &world.forges {
        for interruption in forge.sim.sim.interrupts() {
            let Some(hit) = &interruption.hit else {
                continue;
            };
            let asked = world
                .cancelled
                .iter()
                .any(|id| hit.task_id.starts_with(&format!("sq-{id}-")));
            ensure!(asked, "{} was interrupted on {}", hit.task_id, forge.alias);
        }
    }
    Ok(())
}
