//! The commands for the database, against the program that serves it and
//! without it.

use std::{ops::Range, path::Path, process::Output, time::Duration};

use job_service::config::DATABASE_FILE;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use service_kit::{exit::Exit, status::reason_of};
use stablequeue_proto::jobs::v1::{WatchJobRequest, job_service_client::JobServiceClient};

use crate::{
    program::{Program, command},
    world::{Client, World},
};

const SEED: u64 = 20_261_122;
const KILLS: usize = 40;
/// How long a restore goes on before it is killed, in microseconds; on an idle
/// machine it takes about 20,000.
const RUN_US: Range<u64> = 1_000..45_000;

/// What the command said, and how it ended.
fn ended(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(arguments, data_dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// What a command said that ended well.
fn said(arguments: &[&str], data_dir: &Path) -> String {
    let (code, said, errors) = ended(arguments, data_dir);
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    said
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_service_backed_up_is_restored_once_it_is_stopped_and_begins_an_epoch() {
    let world = World::new().await;
    let data_dir = world.data_dir();
    let mut program = world.start(&[]);
    let mut client = Client::of(&program).await;
    let (kept, token) = client.submit_to_watch("kept").await;
    client.completed(&kept).await;
    let backup = first_word(&said(&["backup"], &data_dir));
    assert!(said(&["backups", "list"], &data_dir).starts_with(&backup));
    let lost = client.submit("lost").await;
    client.completed(&lost).await;
    let status = said(&["migrate", "--status"], &data_dir);
    assert!(status.contains("applied 0001"), "{status}");
    let (code, _, errors) = ended(&["backups", "restore", &backup], &data_dir);
    assert_eq!(code, Some(Exit::Locked.code().into()), "{errors}");
    program.terminate();
    assert!(program.ends().await.success());

    let restored = said(&["backups", "restore", &backup], &data_dir);
    let (_, aside) = restored.split_once("the database from before is ").unwrap();
    assert!(Path::new(aside.trim()).is_file(), "{restored}");
    let mut program = world.start(&[]);
    let mut client = Client::of(&program).await;
    let ids: Vec<String> = client
        .list()
        .await
        .into_iter()
        .map(|job| job.job_id)
        .collect();
    assert_eq!(ids, std::slice::from_ref(&kept));
    // The token is of a life of the database that is over.
    let address = format!("http://{}", program.serves().await);
    let mut jobs = JobServiceClient::connect(address).await.unwrap();
    let request = WatchJobRequest {
        job_id: kept,
        resume_token: token,
    };
    let refused = match jobs.watch_job(request).await {
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        Err(refused) => refused,
    };
    assert_eq!(reason_of(&refused).as_deref(), Some("WATCH_HISTORY_GONE"));
    program.terminate();
    assert!(program.ends().await.success());
}

#[test]
fn without_a_service_the_commands_use_the_database_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path();
    let (code, _, errors) = ended(&["backup"], data_dir);
    assert_eq!(code, Some(Exit::Failure.code().into()));
    assert!(errors.contains("no database"), "{errors}");
    let tried = said(&["migrate", "--dry-run"], data_dir);
    assert!(tried.contains("rows of jobs: no table, then 0"), "{tried}");
    assert!(!data_dir.join(DATABASE_FILE).exists());
    let report = data_dir.join("report.json");
    let flag = format!("--report={}", report.display());
    let migrated = said(&["migrate", "--verbose", &flag], data_dir);
    assert!(migrated.contains("applied 0001"), "{migrated}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["created"], true);
    let first = first_word(&said(&["backup"], data_dir));
    let second = first_word(&said(&["backup"], data_dir));
    let good = said(&["backups", "verify", "--all"], data_dir);
    assert_eq!(good.matches(": good, ").count(), 2, "{good}");
    let pruned = said(&["backups", "prune", "--keep=1"], data_dir);
    assert_eq!(pruned.trim(), format!("removed {first}"));
    let restored = said(&["backups", "restore", &second], data_dir);
    assert!(
        restored.starts_with(&format!("restored {second}")),
        "{restored}"
    );
    for wrong in [
        &["migrate", "--to=9999"][..],
        &["migrate", "--status", "--dry-run"],
        &["backups", "prune"],
        &["backups"],
    ] {
        let (code, _, errors) = ended(wrong, data_dir);
        assert_eq!(code, Some(Exit::BadConfiguration.code().into()), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_makes_backups_on_its_schedule() {
    let world = World::new().await;
    let mut program = world.start(&["--backup-every-hours=1"]);
    // One is due at once where there is none.
    program.says("the database was backed up").await;
    program.terminate();
    assert!(program.ends().await.success());
    let good = said(&["backups", "verify"], &world.data_dir());
    assert!(good.contains(": good, "), "{good}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_at_any_instant_leaves_one_of_the_databases_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path();
    said(&["api-key", "create", "--name=kept"], data_dir);
    let backup = first_word(&said(&["backup"], data_dir));
    let mut moments = StdRng::seed_from_u64(SEED);
    let mut later = 0;
    for kill in 0..KILLS {
        if later == 0 {
            said(&["api-key", "create", "--name=later"], data_dir);
        }
        let arguments = ["backups", "restore", &backup];
        let mut restoring = Program::start(&mut command(&arguments, data_dir));
        let moment = Duration::from_micros(moments.random_range(RUN_US));
        if let Ok(status) = tokio::time::timeout(moment, restoring.ends()).await {
            assert!(status.success(), "{}", restoring.said());
        }
        restoring.kill();
        // The next program takes the database as a start does.
        let keys = said(&["api-key", "list"], data_dir);
        let count = |name: &str| keys.lines().filter(|line| line.ends_with(name)).count();
        assert_eq!(count("kept"), 1, "kill {kill}: {keys}");
        later = count("later");
        assert!(later <= 1, "kill {kill}: {keys}");
    }
    let good = said(&["backups", "verify", &backup], data_dir);
    assert!(good.contains(": good, "), "{good}");
    let left = std::fs::read_dir(data_dir).unwrap();
    let unfinished = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("_restored_"))
        .count();
    assert_eq!(unfinished, 0, "the last start has finished or removed it");
}
