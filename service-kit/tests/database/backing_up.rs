//! Backups of a database that is being written.

use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::Text;
use service_kit::migrate::{back_up_running, backups};

use crate::migrating::{FIRST, at_first, noon, run};
use crate::support::{Place, note, notes, raw};

const NAME: &str = "mobilesd_jobs_backup_2026-11-22T11-08-00-123Z.sqlite";

/// Rows that make a copy take some time.
const ROWS: &str = "INSERT INTO notes (text) WITH RECURSIVE n (value) AS \
     (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 4000) \
     SELECT 'before ' || value || hex(zeroblob(1000)) FROM n;";

#[tokio::test]
async fn it_is_one_moment_of_a_database_that_goes_on() {
    let place = at_first();
    place.raw().batch_execute(ROWS).unwrap();
    let before = place.notes();
    let database = place.open();
    note(&database, "acknowledged before").await.unwrap();
    let path = place.path.clone();
    let backing_up =
        tokio::task::spawn_blocking(move || back_up_running(&path, "mobilesd_jobs", noon()));
    let mut written = 0;
    while !backing_up.is_finished() {
        note(&database, &format!("during {written}")).await.unwrap();
        written += 1;
    }
    let backup = backing_up.await.unwrap().unwrap();
    assert!(written > 0, "nothing was written meanwhile");
    assert_eq!((&*backup.name, backup.created_at), (NAME, noon()));
    let file = place.folder.path().join(&backup.name);
    assert_eq!(backup.size_bytes, std::fs::metadata(&file).unwrap().len());

    let mut copy = raw(&file);
    let check: String = sql::<Text>("PRAGMA integrity_check")
        .get_result(&mut copy)
        .unwrap();
    assert_eq!(check, "ok");
    let kept = notes(&mut copy);
    let all = place.notes();
    assert!(kept.len() > before.len());
    assert_eq!(
        kept,
        all[..kept.len()],
        "it is a prefix of what was written"
    );
    assert!(kept.contains(&"acknowledged before".to_owned()));
    drop(copy);
    database.close().await.unwrap();
    // And it is a database of this program.
    std::fs::copy(&file, &place.path).unwrap();
    assert_eq!(run(&place, &[FIRST]).unwrap().schema_version, "0001");
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_it_and_nothing_unfinished_stays() {
    use std::os::unix::fs::PermissionsExt;
    let place = at_first();
    let left = place.folder.path().join(format!("{NAME}.partial"));
    std::fs::write(&left, "half").unwrap();
    let _database = place.open();
    let backup = back_up_running(&place.path, "mobilesd_jobs", noon()).unwrap();
    let file = place.folder.path().join(&backup.name);
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!left.exists());
    assert_eq!(backups(&place.path, "mobilesd_jobs").unwrap(), [backup]);
}

#[test]
fn a_database_with_broken_references_is_no_backup() {
    let place = Place::new();
    run(&place, &[FIRST, crate::migrating::SECOND]).unwrap();
    place
        .raw()
        .batch_execute("PRAGMA foreign_keys = OFF; INSERT INTO tags VALUES ('a', 'nowhere')")
        .unwrap();
    let _database = place.open();
    let before = place.files();
    let failed = back_up_running(&place.path, "mobilesd_jobs", noon()).unwrap_err();
    assert!(failed.reason.contains("missing ones"), "{failed}");
    assert_eq!(place.files(), before);
}
