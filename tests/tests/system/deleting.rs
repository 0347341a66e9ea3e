//! A job is deleted with everything that is only its own.

use anyhow::{Context as _, Result};
use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, sql_types::Text, sqlite::SqliteConnection,
};
use service_kit::status::reason_of;
use stablequeue_proto::jobs::v1::{
    self as jobs, DeleteJobRequest, GenerationParams, JobEventType, JobState, ServerUsage,
    WatchJobRequest, watch_job_response::Update,
};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
    wait,
};
use tonic::{Code, Status};

async fn delete(pair: &Pair, id: &str, cancel_first: bool) -> Result<(), Status> {
    let request = DeleteJobRequest {
        job_id: id.to_owned(),
        cancel_first,
    };
    let mut client = pair.jobs().await.expect("job-service is there");
    client.delete_job(request).await?;
    Ok(())
}

/// Whether nothing knows the job any more.
async fn is_gone(pair: &Pair, id: &str) -> Result<()> {
    let job_id = id.to_owned();
    let mut client = pair.jobs().await?;
    let get = jobs::GetJobRequest {
        job_id: job_id.clone(),
        ..jobs::GetJobRequest::default()
    };
    let images = jobs::ListJobImagesRequest {
        job_id: job_id.clone(),
    };
    let watch = WatchJobRequest {
        job_id,
        ..WatchJobRequest::default()
    };
    let refusals = [
        client.get_job(get).await.map(|_| ()),
        client.list_job_images(images).await.map(|_| ()),
        client.watch_job(watch).await.map(|_| ()),
        delete(pair, id, false).await,
        delete(pair, id, true).await,
    ];
    for refusal in refusals {
        let status = refusal.expect_err("it was to be gone");
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(reason_of(&status).as_deref(), Some("JOB_NOT_FOUND"));
    }
    Ok(())
}

/// How many rows a table of the stopped service has.
fn rows(pair: &Pair, table: &str) -> Result<i64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        rows: i64,
    }
    let path = pair.jobs_database();
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
    let sql = format!("SELECT count(*) AS rows FROM {table}");
    let count: Count = diesel::sql_query(sql).get_result(&mut conn)?;
    Ok(count.rows)
}

fn twin() -> jobs::SubmitJobRequest {
    params(GenerationParams {
        prompt: "twins".to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        seed: Some(5),
        subseed: Some(5),
        ..GenerationParams::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_with_the_last_job_that_has_it() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add_as("gpu", &sim, ServerUsage::Shared).await?;
    let (one, two) = (pair.submit(twin()).await?, pair.submit(twin()).await?);
    pair.completed(&one).await?;
    pair.completed(&two).await?;
    let sha256 = pair.images(&one).await?.remove(0).sha256;
    assert_eq!(pair.images(&two).await?[0].sha256, sha256);
    let file = pair.image_path(&sha256);
    delete(&pair, &one, false).await?;
    is_gone(&pair, &one).await?;
    assert!(file.is_file(), "the other job has it");
    delete(&pair, &two, false).await?;
    is_gone(&pair, &two).await?;
    assert!(!file.exists());
    let listed = pair
        .jobs()
        .await?
        .list_jobs(jobs::ListJobsRequest::default())
        .await?;
    assert_eq!(listed.into_inner().jobs, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_never_takes_a_file_that_another_job_is_about_to_have() -> Result<()> {
    const ROUNDS: usize = 12;
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add_as("gpu", &sim, ServerUsage::Shared).await?;
    let mut before = pair.submit(twin()).await?;
    pair.completed(&before).await?;
    let file = pair.image_path(&pair.images(&before).await?[0].sha256);
    for round in 0..ROUNDS {
        let next = pair.submit(twin()).await?;
        // The deletion meets the attempt somewhere between its claim and its
        // end, later from round to round.
        let events = round % 6;
        pair.job_when(&next, "it is so far", |job| {
            let phase = job.current_attempt.as_ref().map_or(0, |one| one.phase);
            usize::try_from(phase).is_ok_and(|phase| phase >= events)
                || job.state() == JobState::Completed
        })
        .await?;
        let (deleted, done) = tokio::join!(delete(&pair, &before, false), pair.completed(&next));
        deleted?;
        done?;
        assert!(file.is_file(), "round {round}");
        before = next;
    }
    delete(&pair, &before, false).await?;
    assert!(!file.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_not_ended_is_deleted_only_when_it_may_be_cancelled() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let running = pair.submit(txt2img("running")).await?;
    let waiting = pair.submit(txt2img("waiting")).await?;
    let other = pair.submit(txt2img("other")).await?;
    sim.sim.gate().load(1);
    sim.sim.gate().step(1);
    sim.until(|log| log.first().is_some_and(|one| one.steps_done == 1))
        .await?;
    for id in [&running, &waiting] {
        let status = delete(&pair, id, false).await.expect_err("refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason_of(&status).as_deref(), Some("JOB_NOT_ENDED"));
    }
    let request = WatchJobRequest {
        job_id: waiting.clone(),
        ..WatchJobRequest::default()
    };
    let mut watch = pair.jobs().await?.watch_job(request).await?.into_inner();
    for id in [&waiting, &running] {
        delete(&pair, id, true).await?;
        is_gone(&pair, id).await?;
    }
    let mut last = None;
    while let Some(message) = watch.message().await? {
        last = message.update.or(last);
    }
    let Some(Update::Event(event)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(event.r#type(), JobEventType::Cancelled);
    sim.sim.gate().open();
    assert_eq!(pair.completed(&other).await?.state(), JobState::Completed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_job_is_left_but_its_history() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let first = pair.submit(twin()).await?;
    pair.completed(&first).await?;
    let sha256 = pair.images(&first).await?.remove(0).sha256;
    let picture = std::fs::read(pair.image_path(&sha256))?;
    let again = |picture: Vec<u8>| {
        params(GenerationParams {
            prompt: "again".to_owned(),
            steps: Some(1),
            width: Some(64),
            height: Some(64),
            denoising_strength: Some(0.5),
            init_images: vec![picture],
            ..GenerationParams::default()
        })
    };
    let second = pair.submit(again(picture.clone())).await?;
    let third = pair.submit(again(picture)).await?;
    pair.completed(&second).await?;
    pair.completed(&third).await?;
    delete(&pair, &second, false).await?;
    pair.stop_jobs().await?;
    assert_eq!(
        rows(&pair, "input_images")?,
        1,
        "another job begins from it"
    );
    pair.start_jobs().await?;
    delete(&pair, &third, false).await?;
    delete(&pair, &first, false).await?;
    pair.stop_jobs().await?;
    for table in [
        "jobs",
        "job_attempts",
        "job_images",
        "job_input_images",
        "input_images",
    ] {
        assert_eq!(rows(&pair, table)?, 0, "{table}");
    }
    assert_eq!(rows(&pair, "job_events WHERE type = 'deleted'")?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_deletion_goes_at_the_next_start_and_nothing_else() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    let id = pair.submit(twin()).await?;
    pair.completed(&id).await?;
    let used = pair.images(&id).await?[0].sha256.clone();
    pair.stop_jobs().await?;
    let [noted, unknown] = ["9a", "ff"].map(|start| start.repeat(32));
    for sha256 in [&noted, &unknown] {
        let file = pair.image_path(sha256);
        std::fs::create_dir_all(file.parent().context("no folder")?)?;
        std::fs::write(file, "left")?;
    }
    let mut conn = SqliteConnection::establish(&pair.jobs_database().to_string_lossy())?;
    for sha256 in [&noted, &used] {
        diesel::sql_query("INSERT INTO unneeded_files VALUES (?, 'image/png')")
            .bind::<Text, _>(sha256)
            .execute(&mut conn)?;
    }
    drop(conn);
    pair.start_jobs().await?;
    wait::until("the deletion is finished", || async {
        match rows(&pair, "unneeded_files").map_err(|error| error.to_string())? {
            0 => Ok(()),
            left => Err(format!("{left} files are noted")),
        }
    })
    .await?;
    assert!(!pair.image_path(&noted).exists());
    assert!(pair.image_path(&used).is_file(), "a job has it");
    assert!(
        pair.image_path(&unknown).is_file(),
        "a restored database may not know it"
    );
    Ok(())
}
