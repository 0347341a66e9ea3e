//! A row that cannot be understood holds up nobody but itself.

use anyhow::Result;
use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, sql_types::Text, sqlite::SqliteConnection,
};
use stablequeue_proto::jobs::v1::{self as jobs, AttemptOutcome, JobState};
use system_tests::{Pair, PairOptions, Sim, pair::txt2img};
use tonic::Code;

/// Writes nonsense into a column of a job, as no service does.
fn spoil(pair: &Pair, id: &str, column: &str) -> Result<()> {
    write(pair, id, column, "{nonsense")
}

fn write(pair: &Pair, id: &str, column: &str, text: &str) -> Result<()> {
    let path = pair.jobs_database();
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
    let changed = diesel::sql_query(format!(
        "UPDATE jobs SET {column} = ? WHERE mobilesd_job_id = ?"
    ))
    .bind::<Text, _>(text)
    .bind::<Text, _>(id)
    .execute(&mut conn)?;
    anyhow::ensure!(changed == 1, "{column} was not changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_behind_a_broken_row_run() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let spoiled = [
        "generation_params_json",
        "labels_json",
        "models_json",
        "endpoint",
    ];
    let mut ids = Vec::new();
    for column in spoiled {
        ids.push(pair.submit(txt2img(column)).await?);
    }
    let whole = [
        pair.submit(txt2img("one")).await?,
        pair.submit(txt2img("two")).await?,
    ];
    pair.stop_jobs().await?;
    for (id, column) in ids.iter().zip(spoiled) {
        spoil(&pair, id, column)?;
    }
    pair.start_jobs().await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for id in &whole {
        pair.completed(id).await?;
    }
    assert_eq!(sim.log().len(), 2);
    let job = pair.ended(&ids[0]).await?;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(job.error.unwrap_or_default().code, "REQUEST_UNREADABLE");
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::PermanentError);
    // The others cannot be shown; that is told without details.
    for id in &ids[1..] {
        let get = jobs::GetJobRequest {
            job_id: id.clone(),
            view: 0,
        };
        let status = pair.jobs().await?.get_job(get).await;
        let status = status.expect_err("its row is nonsense");
        assert_eq!(status.code(), Code::Internal);
        assert!(
            !status.message().contains("nonsense"),
            "{}",
            status.message()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_row_under_way_does_not_keep_the_service_from_starting() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(txt2img("spoiled on the way")).await?;
    sim.until(|log| log.len() == 1).await?;
    pair.stop_jobs().await?;
    spoil(&pair, &id, "labels_json")?;
    pair.start_jobs().await?;
    sim.sim.gate().open();
    let next = pair.submit(txt2img("next")).await?;
    pair.completed(&next).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_model_service_cannot_read_holds_up_nobody_else() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let bad = [
        pair.submit(txt2img("a blank name")).await?,
        pair.submit(txt2img("a long name")).await?,
    ];
    let good = [
        pair.submit(txt2img("one")).await?,
        pair.submit(txt2img("two")).await?,
    ];
    pair.stop_jobs().await?;
    // As an older version let pass.
    write(&pair, &bad[0], "models_json", r#"[["lora"," "]]"#)?;
    let long = format!(r#"[["lora","{}"]]"#, "n".repeat(1025));
    write(&pair, &bad[1], "models_json", &long)?;
    pair.start_jobs().await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    for id in &good {
        pair.completed(id).await?;
    }
    for id in &bad {
        pair.held(id, jobs::HoldReason::ModelMissing).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_attempt_holds_up_only_its_own_job() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let broken = pair.submit(txt2img("tried before")).await?;
    pair.completed(&broken).await?;
    pair.stop_jobs().await?;
    write(&pair, &broken, "status", "pending")?;
    let path = pair.jobs_database();
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
    let changed = diesel::sql_query("UPDATE job_attempts SET outcome = 'nonsense', run = 1")
        .execute(&mut conn)?;
    assert_eq!(changed, 1);
    drop(conn);
    pair.start_jobs().await?;
    let next = pair.submit(txt2img("behind it")).await?;
    pair.completed(&next).await?;
    assert_eq!(sim.log().len(), 2);
    Ok(())
}

#[derive(QueryableByName)]
struct Ended {
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Text)]
    error_code: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_attempt_under_way_is_ended_and_its_server_goes_on() -> Result<()> {
    for (column, nonsense) in [
        ("models_json", "{nonsense"),
        ("phase", "nonsense"),
        ("claimed_at", "nonsense"),
    ] {
        let mut pair = Pair::start(PairOptions::default()).await?;
        let sim = Sim::gated().await?;
        pair.add("gpu", &sim).await?;
        let id = pair.submit(txt2img("spoiled on the way")).await?;
        sim.until(|log| log.len() == 1).await?;
        pair.stop_jobs().await?;
        let path = pair.jobs_database();
        let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
        let changed = diesel::sql_query(format!("UPDATE job_attempts SET {column} = ?"))
            .bind::<Text, _>(nonsense)
            .execute(&mut conn)?;
        assert_eq!(changed, 1);
        pair.start_jobs().await?;
        let next = pair.submit(txt2img("next")).await?;
        sim.sim.gate().open();
        pair.completed(&next).await?;
        let ended: Ended =
            diesel::sql_query("SELECT status, error_code FROM jobs WHERE mobilesd_job_id = ?")
                .bind::<Text, _>(&id)
                .get_result(&mut conn)?;
        let (status, code) = (ended.status.as_str(), ended.error_code.as_str());
        assert_eq!((status, code), ("failed", "JOB_UNREADABLE"), "{column}");
        let log = sim.log();
        let in_turn = log[0].ended.is_some_and(|ended| ended < log[1].started);
        assert!(log.len() == 2 && in_turn, "{column}: {log:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_row_in_a_full_page_does_not_hide_the_next_page() -> Result<()> {
    // As many as the dispatcher looks at together.
    const PAGE: usize = 200;
    let mut pair = Pair::start(PairOptions::default()).await?;
    let held = jobs::SubmitJobRequest {
        target_server: "nowhere".to_owned(),
        ..txt2img("waits for its server")
    };
    let submissions = (0..PAGE).map(|_| pair.submit(held.clone()));
    let ids = futures_util::future::try_join_all(submissions).await?;
    let behind = pair.submit(txt2img("behind them")).await?;
    pair.stop_jobs().await?;
    spoil(&pair, &ids[0], "models_json")?;
    pair.start_jobs().await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    pair.completed(&behind).await?;
    Ok(())
}
