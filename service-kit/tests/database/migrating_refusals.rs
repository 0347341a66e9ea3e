//! Databases that are refused, untouched.

use diesel::connection::SimpleConnection;
use service_kit::migrate::{MigrateError, MigrateOptions, back_up_stopped, migrate, status};

use crate::classifying::break_a_page;
use crate::migrating::{FIRST, SECOND, Source, at_first, noon, run, schema};
use crate::support::Place;

/// Fails unless the database is refused as bad data and its file stays byte for byte.
fn refused(place: &Place, sources: &[Source]) -> MigrateError {
    let before = std::fs::read(&place.path).unwrap();
    let error = run(place, sources).unwrap_err();
    assert!(error.is_bad_data(), "{error}");
    assert!(
        std::fs::read(&place.path).unwrap() == before,
        "the file was changed"
    );
    assert!(!place.files().iter().any(|name| name.contains("_backup_")));
    error
}

#[test]
fn a_newer_database() {
    let place = Place::new();
    run(&place, &[FIRST, SECOND]).unwrap();
    let error = refused(&place, &[FIRST]);
    assert!(
        matches!(&error, MigrateError::Newer { versions, .. } if *versions == ["0002"]),
        "{error}"
    );
    assert_eq!(
        status(&place.path, &schema(&[FIRST])).unwrap().newer,
        ["0002"]
    );
}

#[test]
fn a_changed_migration() {
    let place = at_first();
    let changed = (FIRST.0, "CREATE TABLE notes (text TEXT);", FIRST.2);
    let error = refused(&place, &[changed, SECOND]);
    assert!(
        matches!(&error, MigrateError::Changed { version } if version == "0001"),
        "{error}"
    );
}

#[test]
fn but_not_one_whose_line_ends_changed() {
    let place = Place::new();
    run(&place, &[FIRST, SECOND]).unwrap();
    let crlf = SECOND.1.replace('\n', "\r\n").leak();
    assert!(
        run(&place, &[FIRST, (SECOND.0, crlf, SECOND.2)])
            .unwrap()
            .applied
            .is_empty()
    );
}

#[test]
fn a_migration_before_an_applied_one() {
    let place = Place::new();
    let third: Source = ("0003_third", "CREATE TABLE third (a);", None);
    run(&place, &[FIRST, third]).unwrap();
    let error = refused(&place, &[FIRST, SECOND, third]);
    assert!(matches!(&error, MigrateError::OutOfOrder { version, .. } if version == "0002"));
}

#[test]
fn a_database_of_another_program() {
    let place = Place::new();
    place
        .raw()
        .batch_execute("CREATE TABLE jobs (id); INSERT INTO jobs VALUES (1)")
        .unwrap();
    let error = refused(&place, &[FIRST]);
    assert!(
        matches!(&error, MigrateError::NotOurs { tables } if *tables == ["jobs"]),
        "{error}"
    );
    assert!(error.to_string().contains("untouched"), "{error}");
}

#[test]
fn a_database_of_another_program_with_a_log() {
    let place = Place::with_notes();
    let mut writer = place.raw();
    writer
        .batch_execute("PRAGMA wal_autocheckpoint = 0; INSERT INTO notes VALUES ('in the log')")
        .unwrap();
    let log = std::fs::read(place.sibling("-wal")).unwrap();
    assert!(!log.is_empty());
    assert!(matches!(
        refused(&place, &[FIRST]),
        MigrateError::NotOurs { .. }
    ));
    assert!(
        std::fs::read(place.sibling("-wal")).unwrap() == log,
        "the log was changed"
    );
}

#[test]
fn a_database_that_only_diesel_has_migrated() {
    let place = at_first();
    place
        .raw()
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('0002')")
        .unwrap();
    let error = refused(&place, &[FIRST, SECOND]);
    assert!(matches!(error, MigrateError::Newer { .. }), "{error}");
}

#[test]
fn a_damaged_database_with_the_name_of_the_last_good_backup() {
    let place = at_first();
    let good = back_up_stopped(
        &place.path,
        &place.lock(),
        &schema(&[FIRST]),
        noon(),
        &mut |_| std::ops::ControlFlow::Continue(()),
    )
    .unwrap();
    break_a_page(&place);
    let later = "mobilesd_jobs_backup_2999-03-01T00-00-00-000Z.sqlite";
    std::fs::write(place.folder.path().join(later), "not whole").unwrap();
    let before = std::fs::read(&place.path).unwrap();
    let error = run(&place, &[FIRST, SECOND]).unwrap_err();
    assert!(error.is_bad_data());
    let text = error.to_string();
    assert!(
        text.contains(&format!("`backups restore {}`", good.name)) && !text.contains(later),
        "{text}"
    );
    assert!(std::fs::read(&place.path).unwrap() == before);
}

#[test]
fn a_file_whose_end_is_missing() {
    let place = at_first();
    break_a_page(&place);
    let whole = std::fs::read(&place.path).unwrap();
    for bytes in [60, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&place.path, &whole[..bytes]).unwrap();
        let error = refused(&place, &[FIRST, SECOND]);
        assert!(matches!(error, MigrateError::CutOff { .. }), "{error}");
    }
}

#[test]
fn a_migration_that_another_line_of_versions_has_in_the_middle() {
    let place = Place::new();
    let third: Source = ("0003_third", "CREATE TABLE third (a);", None);
    run(&place, &[FIRST, SECOND, third]).unwrap();
    let error = refused(&place, &[FIRST, third]);
    assert!(
        matches!(&error, MigrateError::Gap { versions, .. } if *versions == ["0002"]),
        "{error}"
    );
}

#[test]
fn a_migration_that_failed_leaves_no_further_backup() {
    let place = at_first();
    let broken: Source = ("0002_broken", "INSERT INTO missing VALUES (1);", None);
    let names = place.files();
    for _ in 0..2 {
        let error = run(&place, &[FIRST, broken]).unwrap_err();
        assert!(matches!(error, MigrateError::Failed { .. }), "{error}");
        assert_eq!(place.files(), names);
    }
}

#[test]
fn damage_is_looked_for_after_a_stop_that_was_not_in_order() {
    let place = at_first();
    break_a_page(&place);
    assert!(
        run(&place, &[FIRST]).is_ok(),
        "a fast start looks at nothing"
    );
    std::fs::write(place.sibling(".lock"), "job-service (process 1)").unwrap();
    for _ in 0..2 {
        let error = refused(&place, &[FIRST]);
        assert!(
            matches!(error, MigrateError::Damaged { .. }),
            "on every start: {error}"
        );
    }
}

#[test]
fn a_check_that_finds_nothing_ends_the_suspicion() {
    let place = at_first();
    std::fs::write(place.sibling(".lock"), "job-service (process 1)").unwrap();
    assert!(place.lock().unclean_before());
    run(&place, &[FIRST]).unwrap();
    assert!(!place.lock().unclean_before());
}

#[test]
fn a_file_that_is_no_database() {
    let place = Place::new();
    std::fs::write(&place.path, "a text of some length\n".repeat(100)).unwrap();
    let error = refused(&place, &[FIRST]);
    assert!(
        matches!(error, MigrateError::NotADatabase { .. }),
        "{error}"
    );
}

#[test]
fn a_log_whose_database_is_gone() {
    let place = Place::new();
    std::fs::write(place.sibling("-wal"), "committed rows").unwrap();
    let error = run(&place, &[FIRST]).unwrap_err();
    assert!(matches!(error, MigrateError::StrayLog { .. }) && error.is_bad_data());
    assert!(!place.path.exists());
    assert_eq!(
        std::fs::read_to_string(place.sibling("-wal")).unwrap(),
        "committed rows"
    );
}

#[test]
fn the_lock_of_another_database() {
    let (place, other) = (at_first(), Place::new());
    let sources = schema(&[FIRST, SECOND]);
    let options = MigrateOptions::default();
    let error = migrate(&place.path, &other.lock(), &sources, noon(), &options).unwrap_err();
    assert!(matches!(error, MigrateError::WrongLock { .. }));
    assert!(!error.is_bad_data());
}

#[test]
fn migrations_that_share_a_version() {
    let place = Place::new();
    let again: Source = ("0001_again", "CREATE TABLE again (a);", None);
    let error = run(&place, &[FIRST, again]).unwrap_err();
    assert!(matches!(error, MigrateError::Embedded(_)), "{error}");
    assert!(!place.path.exists());
}
