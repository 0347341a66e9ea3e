//! What an attempt that was given up may have left on its server: it is stopped
//! there before anything else of ours, and nobody else's work is hit.

use anyhow::Result;
use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _,
    sql_types::{Nullable, Text},
    sqlite::SqliteConnection,
};
use forge_sim::{Event, Outcome, Target, What};
use job_service::dispatch::forge::GenerateAnswer;
use service_kit::clock::Clock;
use stablequeue_proto::jobs::v1::{self as jobs, JobState};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img, wait};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_at_a_start_is_stopped_before_the_next_job() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("given up")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    sim.sim.freeze();
    pair.start_jobs().await?;
    pair.cancel(&id).await?;
    assert_eq!(pair.ended(&id).await?.state(), JobState::Cancelled);
    let next = pair.submit(txt2img("next")).await?;
    sim.sim.thaw();
    wait::until("what was given up is stopped", || async {
        let interrupts = sim.sim.interrupts();
        let hits = interrupts.iter().filter_map(|one| one.hit.as_ref());
        let prefix = format!("sq-{id}-");
        if hits.into_iter().any(|hit| hit.task_id.starts_with(&prefix)) {
            Ok(())
        } else {
            Err(format!("{interrupts:?}"))
        }
    })
    .await?;
    sim.sim.gate().open();
    pair.completed(&next).await?;
    let log = sim.log();
    let in_turn = log[0].ended.is_some_and(|ended| ended < log[1].started);
    assert!(log.len() == 2 && in_turn, "{log:#?}");
    Ok(())
}

/// Waits for another second of the wall clock: that is how exact servers are
/// about when a job began.
pub(crate) async fn next_second() -> Result<()> {
    let clock = Clock::system();
    let second = clock.now().timestamp();
    wait::until("the next second", || async {
        let now = clock.now().timestamp();
        if now > second + 1 {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ids_the_next_job_of_somebody_else_is_not_stopped() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::with(|config| {
        config.gated = true;
        config.ui = false;
    })
    .await?;
    pair.add("gpu", &sim).await?;
    let allowed = jobs::UpdateServerRequest {
        server: Some(jobs::Server {
            alias: "gpu".to_owned(),
            interrupts_allowed: Some(true),
            ..jobs::Server::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["interrupts_allowed".to_owned()],
        }),
    };
    pair.servers().await?.update_server(allowed).await?;
    let id = pair.submit(txt2img("given up")).await?;
    sim.sim.gate().load(1);
    pair.job_when(&id, "it generates", |job| {
        let attempt = job.current_attempt.clone().unwrap_or_default();
        attempt.phase() == jobs::AttemptPhase::Generating
    })
    .await?;
    let other = sim.foreign()?;
    let queued = |events: &[Event]| {
        let queued = events.iter();
        let queued = queued.filter(|one| matches!(one.what, What::Queued { .. }));
        queued.count() == 2
    };
    sim.sim.wait_for_events(queued, wait::BOUND).await?;
    sim.sim.refuse().await;
    pair.cancel(&id).await?;
    assert_eq!(pair.ended(&id).await?.state(), JobState::Cancelled);
    next_second().await?;
    sim.sim.gate().step(2);
    sim.until(|log| log.len() == 2 && log[0].ended.is_some())
        .await?;
    sim.sim.accept().await;
    // The server is ours again although somebody else works there.
    let next = pair.submit(txt2img("next")).await?;
    pair.job_when(&next, "it is sent", |job| job.current_attempt.is_some())
        .await?;
    sim.sim.gate().open();
    assert!(matches!(other.await?, GenerateAnswer::Answered { .. }));
    pair.completed(&next).await?;
    let outcomes: Vec<Outcome> = sim.log().iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed; 3]);
    let hits = sim.sim.interrupts();
    let hits = hits.iter().filter_map(|one| one.hit.as_ref());
    assert!(hits.into_iter().all(|hit| hit.generation == 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_what_was_cancelled_in_silence_is_marked() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (silent, healthy) = (Sim::gated().await?, Sim::instant().await?);
    pair.add("a", &silent).await?;
    let id = pair.submit(txt2img("owl")).await?;
    silent.until(|log| log.len() == 1).await?;
    pair.add("b", &healthy).await?;
    silent.sim.refuse().await;
    pair.cancel(&id).await?;
    assert_eq!(pair.ended(&id).await?.state(), JobState::Cancelled);
    let retry = jobs::RetryJobRequest {
        job_id: id.clone(),
        ..jobs::RetryJobRequest::default()
    };
    pair.jobs().await?.retry_job(retry).await?;
    let job = pair.completed(&id).await?;
    let marked: Vec<bool> = job.attempts.iter().map(|one| one.possible_repeat).collect();
    assert_eq!(marked, [false, true]);
    assert_eq!((silent.log().len(), healthy.log().len()), (1, 1));
    Ok(())
}

/// The process on file for the attempts of a job.
fn processes(pair: &Pair, id: &str) -> Result<Vec<Option<String>>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        server_process: Option<String>,
    }
    let path = pair.jobs_database();
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
    let rows: Vec<Row> =
        diesel::sql_query("SELECT server_process FROM job_attempts WHERE job_id = ?")
            .bind::<Text, _>(id)
            .load(&mut conn)?;
    Ok(rows.into_iter().map(|row| row.server_process).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_gets_an_attempt_is_on_file_though_it_is_never_seen_there() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.restart().await?;
    let now = sim.sim.app_id();
    // It does not say how far it is.
    sim.sim.hold(Target::Progress);
    let id = pair.submit(txt2img("never seen")).await?;
    sim.until(|log| log.len() == 1).await?;
    assert_eq!(processes(&pair, &id)?, [Some(now.to_string())]);
    sim.sim.release(&Target::Progress);
    sim.sim.gate().open();
    pair.completed(&id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_has_an_attempt_is_the_one_on_file() -> Result<()> {
    let pair = Pair::start(PairOptions::with_quiet_monitors()).await?;
    let mut sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let before = sim.sim.app_id();
    // No probe sees it.
    sim.sim.restart().await?;
    let now = sim.sim.app_id();
    assert_ne!(before, now);
    let id = pair.submit(txt2img("in a new process")).await?;
    wait::until("the new process is on file", || async {
        let found = processes(&pair, &id).map_err(|error| error.to_string())?;
        if found == [Some(now.to_string())] {
            Ok(())
        } else {
            Err(format!("{found:?}, not {now}"))
        }
    })
    .await?;
    sim.sim.gate().open();
    pair.completed(&id).await?;
    Ok(())
}
