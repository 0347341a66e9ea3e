//! A folder of the earlier application becomes one of the pair: its jobs run in
//! their order, and those that were forgotten run once somebody says so.

use std::{fs, path::Path};

use anyhow::Result;
use diesel::{Connection as _, RunQueryDsl as _, sql_types::Text, sqlite::SqliteConnection};
use forge_sim::SimModel;
use service_kit::{
    auth::ApiKey,
    clock::{Clock, to_text},
};
use stablequeue_proto::jobs::v1::{
    AttemptOutcome, AttemptPhase, HoldReason, JobState, UpdateJobRequest,
};
use system_tests::{Pair, PairOptions, Sim};
use tempfile::TempDir;

/// The last version, with jobs in every state.
const SAMPLE: &str = "2025-06-20-jobs-14-models-33";
/// When it was left.
const LEFT: &str = "2026-11-22T12:30:00.000Z";

/// A copy of the sample as if it was left just now, its servers at these
/// addresses.
fn copy(servers: &[(&str, &Sim)]) -> Result<TempDir> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/legacy-databases");
    let folder = tempfile::tempdir()?;
    for entry in fs::read_dir(samples.join(SAMPLE))? {
        let entry = entry?;
        // Not fs::copy: the samples cannot be written, and a copy must.
        fs::write(
            folder.path().join(entry.file_name()),
            fs::read(entry.path())?,
        )?;
    }
    let list: Vec<_> = servers
        .iter()
        .map(|(alias, sim)| {
            serde_json::json!({"alias": alias, "apiUrl": sim.sim.url(), "auth": null})
        })
        .collect();
    let list = serde_json::to_string(&list)?;
    fs::write(folder.path().join("servers.json"), list)?;
    let mut conn = connection(folder.path())?;
    diesel::sql_query(
        "UPDATE jobs SET creation_timestamp = strftime('%Y-%m-%dT%H:%M:%fZ', \
             julianday(creation_timestamp) + julianday(?) - julianday(?))",
    )
    .bind::<Text, _>(to_text(Clock::system().now()))
    .bind::<Text, _>(LEFT)
    .execute(&mut conn)?;
    // The last one was under way.
    let last = "UPDATE jobs SET status = 'processing' WHERE mobilesd_job_id = \
                (SELECT mobilesd_job_id FROM jobs WHERE status = 'pending' \
                 ORDER BY creation_timestamp DESC LIMIT 1)";
    diesel::sql_query(last).execute(&mut conn)?;
    Ok(folder)
}

fn connection(folder: &Path) -> Result<SqliteConnection> {
    let path = folder.join(job_service::config::DATABASE_FILE);
    Ok(SqliteConnection::establish(&path.to_string_lossy())?)
}

#[derive(diesel::QueryableByName)]
struct Waiting {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    server: String,
}

/// Those that wait, in the order of the earlier application.
fn waiting(folder: &Path) -> Result<Vec<Waiting>> {
    let sql = "SELECT mobilesd_job_id AS id, target_server_alias AS server FROM jobs \
               WHERE status IN ('pending', 'processing') ORDER BY creation_timestamp";
    Ok(diesel::sql_query(sql).load(&mut connection(folder)?)?)
}

async fn sim() -> Result<Sim> {
    Sim::with(|config| {
        config.checkpoints = vec![
            SimModel::named("base.safetensors"),
            SimModel::named("Pony/x.safetensors"),
            SimModel::named("same.safetensors"),
        ];
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_the_earlier_application_run_in_their_order_and_stale_ones_when_released()
-> Result<()> {
    let (fake, second) = (sim().await?, sim().await?);
    let folder = copy(&[("fake", &fake), ("fake2", &second)])?;
    let waiting = waiting(folder.path())?;
    let [stale, young @ .., under_way] = &waiting[..] else {
        anyhow::bail!("too few jobs wait");
    };
    assert_eq!(young.len(), 4);
    let options = PairOptions {
        key: Some(ApiKey::generate()?.token()),
        ..PairOptions::default()
    };
    let pair = Pair::start_in(folder, options).await?;

    // The earlier application was paused, so its servers are cordoned.
    for job in [stale, under_way] {
        let hold = pair.held(&job.id, HoldReason::AdoptedStale).await?;
        assert!(hold.message.contains("release_hold"), "{hold:?}");
    }
    for job in young {
        pair.held(&job.id, HoldReason::ServerCordoned).await?;
    }
    assert!(fake.log().is_empty() && second.log().is_empty());

    for alias in ["fake", "fake2"] {
        pair.uncordon(alias).await?;
    }
    for job in young {
        let job = pair.completed(&job.id).await?;
        assert_eq!(pair.images(&job.job_id).await?.len(), 1, "{job:?}");
    }
    let ran = |sim: &Sim| -> Vec<String> {
        let log = sim.log();
        let ids = log.iter().map(|generation| generation.task_id.clone());
        ids.collect()
    };
    for (alias, sim) in [("fake", &fake), ("fake2", &second)] {
        let wanted = young.iter().filter(|job| job.server == alias);
        let (ran, wanted): (_, Vec<_>) = (ran(sim), wanted.collect());
        assert_eq!(ran.len(), wanted.len(), "{alias}");
        for (token, job) in ran.iter().zip(wanted) {
            assert!(
                token.contains(&job.id),
                "{alias}: {token} is not of {}",
                job.id
            );
        }
    }

    for job in [stale, under_way] {
        assert_eq!(pair.job(&job.id).await?.state(), JobState::Pending);
        let release = UpdateJobRequest {
            job_id: job.id.clone(),
            release_hold: true,
            ..UpdateJobRequest::default()
        };
        pair.jobs().await?.update_job(release).await?;
        pair.completed(&job.id).await?;
        let last = ran(&fake).pop().unwrap_or_default();
        assert!(last.contains(&job.id), "{last}");
    }
    let attempts = pair.job(&under_way.id).await?.attempts;
    let numbers: Vec<i32> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(attempts[0].phase(), AttemptPhase::OutcomeUnknown);
    assert_eq!(attempts[1].outcome(), AttemptOutcome::Completed);
    Ok(())
}
