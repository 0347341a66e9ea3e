//! What made other queues stand still: here something goes wrong with one job,
//! server or caller, and the others go on.

use anyhow::Result;
use diesel::{Connection as _, RunQueryDsl as _, sql_types::Text, sqlite::SqliteConnection};
use forge_sim::Fault;
use stablequeue_proto::jobs::v1::{self as jobs, JobState, SubmitJobRequest, WatchJobRequest};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};

fn on(server: &str, prompt: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        target_server: server.to_owned(),
        ..txt2img(prompt)
    }
}

/// F13: Forge keeps the id of a failed call as the one at work.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_that_stays_active_at_the_server_blocks_nothing() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let error = |message: &str| Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: message.to_owned(),
    };
    sim.sim.script(error("one"));
    sim.sim.script(error("two"));
    let failing = pair.submit(txt2img("fails")).await?;
    let next = pair.submit(txt2img("is next")).await?;
    // One may fail twice, or each once.
    let (failing, next) = (
        pair.completed(&failing).await?,
        pair.completed(&next).await?,
    );
    assert_eq!(failing.attempts.len() + next.attempts.len(), 4);
    // The lost answer of a call that failed is not waited for either.
    sim.sim.script(Fault::Garbage);
    let lost = pair.submit(txt2img("its answer is lost")).await?;
    pair.completed(&lost).await?;
    Ok(())
}

/// F18: a server that takes connections and answers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_holds_up_no_other() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let (silent, well) = (Sim::instant().await?, Sim::instant().await?);
    pair.add("silent", &silent).await?;
    pair.add("well", &well).await?;
    silent.sim.freeze();
    let stuck = pair.submit(on("silent", "stuck")).await?;
    for number in 0..5 {
        let id = pair.submit(on("well", &format!("number {number}"))).await?;
        pair.completed(&id).await?;
    }
    let job = pair.job(&stuck).await?;
    assert!(matches!(
        job.state(),
        JobState::Pending | JobState::Processing
    ));
    silent.sim.thaw();
    pair.completed(&stuck).await?;
    assert_eq!(silent.log().len(), 1);
    Ok(())
}

/// F21: those who look on come and go.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_leave_take_no_job_with_them() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("watched")).await?;
    for _ in 0..10 {
        let request = WatchJobRequest {
            job_id: id.clone(),
            resume_token: String::new(),
        };
        let mut watch = pair.jobs().await?.watch_job(request).await?.into_inner();
        assert!(watch.message().await?.is_some());
    }
    sim.sim.gate().open();
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts.len(), 1);
    Ok(())
}

/// F23: many jobs are under way at a restart, most of them for long.
#[tokio::test(flavor = "multi_thread")]
async fn long_jobs_keep_no_lost_one_from_being_found_after_a_restart() -> Result<()> {
    const LONG: usize = 8;
    let mut pair = Pair::start(PairOptions::default()).await?;
    let mut long = Vec::new();
    for at in 0..LONG {
        let sim = Sim::gated().await?;
        pair.add(&format!("long-{at}"), &sim).await?;
        let id = pair.submit(on(&format!("long-{at}"), "long")).await?;
        sim.until(|log| log.len() == 1).await?;
        long.push((sim, id));
    }
    // Its name is the last in every order.
    let mut lost = Sim::gated().await?;
    pair.add("zz-lost", &lost).await?;
    let id = pair.submit(on("zz-lost", "lost")).await?;
    lost.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    lost.sim.kill().await;
    lost.sim.gate().open();
    lost.sim.restart().await?;
    pair.start_jobs().await?;
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts.len(), 2);
    for (sim, id) in &long {
        assert_eq!(pair.job(id).await?.state(), JobState::Processing);
        sim.sim.gate().open();
        pair.completed(id).await?;
        assert_eq!(sim.log().len(), 1);
    }
    Ok(())
}

/// F24: a job that has waited for longer than a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_waited_for_weeks_is_sent_first() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let old = pair.submit(txt2img("old")).await?;
    pair.stop_jobs().await?;
    let mut conn = SqliteConnection::establish(&pair.jobs_database().to_string_lossy())?;
    let changed = diesel::sql_query(
        "UPDATE jobs SET creation_timestamp = '2026-01-01T00:00:00.000Z', \
         last_updated_timestamp = '2026-01-01T00:00:00.000Z' WHERE mobilesd_job_id = ?",
    )
    .bind::<Text, _>(&old)
    .execute(&mut conn)?;
    assert_eq!(changed, 1);
    drop(conn);
    pair.start_jobs().await?;
    let new = pair.submit(txt2img("new")).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    pair.completed(&old).await?;
    pair.completed(&new).await?;
    let order: Vec<_> = sim
        .log()
        .iter()
        .map(|one| one.request["prompt"].clone())
        .collect();
    assert_eq!(order, ["old", "new"]);
    Ok(())
}

/// F1: no patience of ours ends a generation that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_outlasts_every_patience_is_sent_once() -> Result<()> {
    let options = PairOptions::default();
    let longest = [
        options.pace.unknown_grace,
        options.pace.answer_grace,
        options.pace.retry_most,
    ];
    let looks = longest.iter().max().map_or(0, |longest| {
        longest.as_millis() / options.pace.progress.as_millis()
    });
    let pair = Pair::start(options).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("slow")).await?;
    sim.until(|log| log.len() == 1).await?;
    // Looks are told apart by time: several patiences pass with these.
    let so_far = sim.asked("/sdapi/v1/progress");
    let enough = so_far + usize::try_from(looks)? * 3;
    sim.until_asked("/sdapi/v1/progress", enough).await?;
    assert_eq!(pair.job(&id).await?.state(), JobState::Processing);
    sim.sim.gate().open();
    let job: jobs::Job = pair.completed(&id).await?;
    assert_eq!(job.attempts.len(), 1);
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 1);
    Ok(())
}
