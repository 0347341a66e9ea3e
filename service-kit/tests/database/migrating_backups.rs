//! The backup that comes before a migration.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use service_kit::migrate::{MigrateError, MigrateOptions, migrate};

use crate::migrating::{FIRST, SECOND, at_first, noon, run, schema, schema_text};
use crate::support::{notes, raw};

const NAME: &str = "mobilesd_jobs_backup_2026-11-22T11-08-00-123Z.sqlite";

#[test]
fn it_holds_the_old_schema_and_every_row_also_of_the_log() {
    let place = at_first();
    let old_schema = schema_text(&mut place.raw());
    // Another connection stays open, so that its row is in the write-ahead log only.
    let mut writer = place.raw();
    writer
        .batch_execute("PRAGMA wal_autocheckpoint = 0; INSERT INTO notes VALUES ('in the log')")
        .unwrap();
    assert!(std::fs::metadata(place.sibling("-wal")).unwrap().len() > 0);

    let backup = run(&place, &[FIRST, SECOND]).unwrap().backup.unwrap();
    assert_eq!(backup.file_name().unwrap(), NAME);
    assert_eq!(backup.parent(), place.path.parent());
    let mut copy = raw(&backup);
    assert_eq!(notes(&mut copy), ["a", "b", "in the log"]);
    assert_eq!(schema_text(&mut copy), old_schema);
    let check: String = sql::<Text>("PRAGMA integrity_check")
        .get_result(&mut copy)
        .unwrap();
    assert_eq!(check, "ok");
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = at_first();
    let backup = run(&place, &[FIRST, SECOND]).unwrap().backup.unwrap();
    assert_eq!(
        std::fs::metadata(backup).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn it_is_one_file_and_never_replaces_another() {
    let place = at_first();
    let taken = place.folder.path().join(NAME);
    std::fs::write(&taken, "an older backup").unwrap();
    let backup = run(&place, &[FIRST, SECOND]).unwrap().backup.unwrap();
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "an older backup");
    let name = backup.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, "mobilesd_jobs_backup_2026-11-22T11-08-00-124Z.sqlite");
    assert_eq!(
        place.files(),
        [
            "mobilesd_jobs.sqlite",
            "mobilesd_jobs.sqlite.lock",
            NAME,
            name
        ]
    );
}

#[test]
fn what_a_killed_backup_left_is_removed() {
    // With a backup to be made, and with nothing to be done.
    for migrations in [&[FIRST, SECOND][..], &[FIRST]] {
        what_was_left_is_removed(migrations);
    }
}

fn what_was_left_is_removed(migrations: &[crate::migrating::Source]) {
    let place = at_first();
    // Of other names than the next one has.
    let begin = "mobilesd_jobs_backup_2026-11-21T11-08-00-123Z.sqlite";
    let left = ["partial", "partial-journal", "partial-wal"]
        .map(|end| place.folder.path().join(format!("{begin}.{end}")));
    for left in &left {
        std::fs::write(left, "half").unwrap();
    }
    run(&place, migrations).unwrap();
    assert!(!left.iter().any(|left| left.exists()));
}

#[test]
fn no_migration_runs_when_it_fails() {
    let place = at_first();
    // A folder where the unfinished backup would be can neither be removed nor written.
    let in_the_way = place.folder.path().join(format!("{NAME}.partial"));
    std::fs::create_dir(&in_the_way).unwrap();
    let error = run(&place, &[FIRST, SECOND]).unwrap_err();
    assert!(matches!(error, MigrateError::Backup { .. }), "{error}");
    assert_eq!(run(&place, &[FIRST]).unwrap().schema_version, "0001");
    assert_eq!(place.notes(), ["a", "b"]);
}

#[test]
fn it_can_be_left_out() {
    let place = at_first();
    let options = MigrateOptions { backup: false };
    let sources = schema(&[FIRST, SECOND]);
    let report = migrate(&place.path, &place.lock(), &sources, noon(), &options).unwrap();
    assert_eq!(report.applied, ["0002"]);
    assert_eq!(report.backup, None);
    assert_eq!(
        place.files(),
        ["mobilesd_jobs.sqlite", "mobilesd_jobs.sqlite.lock"]
    );
}
