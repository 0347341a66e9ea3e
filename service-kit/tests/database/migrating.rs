//! Applying and reverting migrations.

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_migrations::{EmbeddedMigration, EmbeddedMigrations, EmbeddedName, TomlMetadataWrapper};
use service_kit::migrate::{
    MigrateError, MigrateOptions, MigrationReport, NOTHING, Schema, epoch, migrate, migrate_to,
    status,
};

use crate::children::Child;
use crate::support::{PATIENCE, Place, notes, number};

pub(crate) type Source = (&'static str, &'static str, Option<&'static str>);

pub(crate) const FIRST: Source = (
    "0001_notes",
    "CREATE TABLE notes (text TEXT UNIQUE);",
    Some("DROP TABLE notes;"),
);
pub(crate) const SECOND: Source = (
    "0002_colour",
    "ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT 'white';\n\
     CREATE TABLE tags (name TEXT PRIMARY KEY, note TEXT REFERENCES notes (text));",
    Some("DROP TABLE tags;\nALTER TABLE notes DROP COLUMN colour;"),
);

/// The version in the name of a migration's folder.
fn version(source: &Source) -> &'static str {
    source.0.split('_').next().unwrap()
}

/// A schema that no older program may open, as `embed_migrations!` makes it from folders of these names and texts.
pub(crate) fn schema(sources: &[Source]) -> Schema {
    let migrations: Vec<EmbeddedMigration> = sources
        .iter()
        .map(|(name, up, down)| {
            let metadata = TomlMetadataWrapper::new(true);
            EmbeddedMigration::new(up, *down, EmbeddedName::new(name), metadata)
        })
        .collect();
    Schema {
        database: "mobilesd_jobs",
        migrations: EmbeddedMigrations::new(migrations.leak()),
        readable_from: sources.iter().map(version).max().unwrap(),
        program: "job-service 0.1.0",
        adoption: None,
    }
}

/// A last migration that never ends.
pub(crate) fn endless() -> Schema {
    let up = "INSERT INTO notes (text) WITH RECURSIVE n (value) AS \
              (SELECT 1 UNION ALL SELECT value + 1 FROM n) \
              SELECT value || hex(zeroblob(500)) FROM n;";
    schema(&[FIRST, ("0002_endless", up, None)])
}

pub(crate) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_795_345_680_123).unwrap()
}

pub(crate) fn run(place: &Place, sources: &[Source]) -> Result<MigrationReport, MigrateError> {
    let options = MigrateOptions::default();
    migrate(
        &place.path,
        &place.lock(),
        &schema(sources),
        noon(),
        &options,
    )
}

fn run_to(place: &Place, sources: &[Source], to: &str) -> Result<MigrationReport, MigrateError> {
    let options = MigrateOptions::default();
    migrate_to(
        &place.path,
        &place.lock(),
        &schema(sources),
        to,
        noon(),
        &options,
    )
}

/// Everything that `sqlite_master` says.
pub(crate) fn schema_text(connection: &mut SqliteConnection) -> Vec<String> {
    sql::<Text>("SELECT coalesce(sql, name) FROM sqlite_master ORDER BY name")
        .load(connection)
        .unwrap()
}

/// A database at version 1 with two notes.
pub(crate) fn at_first() -> Place {
    let place = Place::new();
    run(&place, &[FIRST]).unwrap();
    place
        .raw()
        .batch_execute("INSERT INTO notes VALUES ('a'), ('b')")
        .unwrap();
    place
}

#[test]
fn a_missing_database_is_created_without_a_backup() {
    let place = Place::new();
    let report = run(&place, &[FIRST, SECOND]).unwrap();
    assert!(report.created);
    assert_eq!(report.applied, ["0001", "0002"]);
    assert_eq!(report.schema_version, "0002");
    assert_eq!(report.backup, None);
    assert_eq!(
        place.files(),
        ["mobilesd_jobs.sqlite", "mobilesd_jobs.sqlite.lock"]
    );
}

#[test]
fn the_database_knows_what_was_applied_and_who_made_it() {
    let place = Place::new();
    run(&place, &[FIRST]).unwrap();
    let found = status(&place.path, &schema(&[FIRST, SECOND])).unwrap();
    assert!(found.exists && !found.is_empty());
    assert_eq!(found.pending, ["0002"]);
    let [first] = &found.applied[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (first.version.as_str(), first.name.as_str()),
        ("0001", "0001_notes")
    );
    assert_eq!(first.applied_at, "2026-11-22T11:08:00.123Z");

    let mut connection = place.raw();
    let first_epoch = epoch(&mut connection).unwrap();
    assert_eq!(first_epoch.len(), 32);
    drop(connection);
    run(&place, &[FIRST, SECOND]).unwrap();
    assert_eq!(
        epoch(&mut place.raw()).unwrap(),
        first_epoch,
        "it stays for good"
    );
    let other = at_first();
    assert_ne!(epoch(&mut other.raw()).unwrap(), first_epoch);
    let maker = "SELECT count(*) FROM stablequeue_meta \
                 WHERE key = 'oldest_program' AND value = 'job-service 0.1.0'";
    assert_eq!(number(&mut place.raw(), maker), 1);
}

#[test]
fn nothing_to_do_leaves_the_file_as_it_is() {
    let place = at_first();
    let before = std::fs::read(&place.path).unwrap();
    let report = run(&place, &[FIRST]).unwrap();
    assert!(!report.created && report.applied.is_empty() && report.backup.is_none());
    assert_eq!(report.schema_version, "0001");
    assert!(std::fs::read(&place.path).unwrap() == before);
}

#[test]
fn a_pending_migration_keeps_every_row() {
    let place = at_first();
    let report = run(&place, &[FIRST, SECOND]).unwrap();
    assert!(!report.created);
    assert_eq!(report.applied, ["0002"]);
    assert_eq!(place.notes(), ["a", "b"]);
    let white = "SELECT count(*) FROM notes WHERE colour = 'white'";
    assert_eq!(number(&mut place.raw(), white), 2);
}

#[test]
fn rebuilding_a_table_does_not_empty_its_children() {
    let place = Place::new();
    let parent: Source = (
        "0001_parent",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);\n\
         CREATE TABLE child (parent INTEGER NOT NULL REFERENCES parent (id) ON DELETE CASCADE);",
        None,
    );
    run(&place, &[parent]).unwrap();
    place
        .raw()
        .batch_execute("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)")
        .unwrap();
    let rebuild: Source = (
        "0002_rebuild",
        "CREATE TABLE new_parent (id INTEGER PRIMARY KEY, name TEXT);\n\
         INSERT INTO new_parent (id) SELECT id FROM parent;\n\
         DROP TABLE parent;\nALTER TABLE new_parent RENAME TO parent;",
        None,
    );
    run(&place, &[parent, rebuild]).unwrap();
    assert_eq!(number(&mut place.raw(), "SELECT count(*) FROM child"), 1);
}

#[test]
fn a_failing_migration_leaves_the_database_as_it_was() {
    let place = at_first();
    let schema_before = schema_text(&mut place.raw());
    let broken: Source = (
        "0003_broken",
        "DELETE FROM notes;\nCREATE TABLE half (a);\nINSERT INTO missing VALUES (1);",
        None,
    );
    let error = run(&place, &[FIRST, SECOND, broken]).unwrap_err();
    assert!(matches!(&error, MigrateError::Failed { version, .. } if version == "0003"));
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(
        schema_text(&mut place.raw()),
        schema_before,
        "not even 0002 stays"
    );
    assert_eq!(place.notes(), ["a", "b"]);
    assert_eq!(run(&place, &[FIRST, SECOND]).unwrap().applied, ["0002"]);
}

#[test]
fn a_failing_creation_leaves_an_empty_database_that_can_be_created() {
    let place = Place::new();
    let broken: Source = ("0002_broken", "INSERT INTO missing VALUES (1);", None);
    assert!(run(&place, &[FIRST, broken]).is_err());
    assert!(run(&place, &[FIRST, SECOND]).unwrap().created);
}

#[test]
fn the_first_error_is_told_when_sqlite_ends_the_transaction_itself() {
    let place = at_first();
    let full: Source = (
        "0002_full",
        "PRAGMA max_page_count = 20;\n\
         CREATE TABLE big (a);\n\
         INSERT INTO big VALUES (zeroblob(1000000));",
        None,
    );
    let error = run(&place, &[FIRST, full]).unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!(place.notes(), ["a", "b"]);
}

#[test]
fn a_migration_that_breaks_references_is_undone() {
    let place = at_first();
    let orphan: Source = (
        "0003_orphan",
        "INSERT INTO tags VALUES ('red', 'nobody');",
        None,
    );
    let error = run(&place, &[FIRST, SECOND, orphan]).unwrap_err();
    assert!(matches!(error, MigrateError::ForeignKeys { .. }), "{error}");
    assert!(error.to_string().contains("tags to notes (1)"), "{error}");
    assert_eq!(
        status(&place.path, &schema(&[FIRST]))
            .unwrap()
            .applied
            .len(),
        1
    );
}

#[test]
fn a_migration_that_loses_rows_is_undone() {
    let place = at_first();
    let lossy: Source = ("0002_lossy", "DELETE FROM notes WHERE text = 'a';", None);
    let error = run(&place, &[FIRST, lossy]).unwrap_err();
    assert!(
        matches!(&error, MigrateError::RowsLost { table, before: 2, after: 1 } if table == "notes"),
        "{error}"
    );
    assert_eq!(place.notes(), ["a", "b"]);
}

#[test]
fn going_down_and_up_again_ends_where_it_was() {
    let place = at_first();
    let both = [FIRST, SECOND];
    run(&place, &both).unwrap();
    let full_schema = schema_text(&mut place.raw());

    let down = run_to(&place, &both, "0001").unwrap();
    assert_eq!(down.reverted, ["0002"]);
    assert_eq!(down.schema_version, "0001");
    assert!(down.backup.is_some_and(|path| path.exists()));
    assert_eq!(place.notes(), ["a", "b"]);
    assert_eq!(
        number(
            &mut place.raw(),
            "SELECT count(*) FROM pragma_table_info('notes')"
        ),
        1
    );

    assert_eq!(run_to(&place, &both, NOTHING).unwrap().reverted, ["0001"]);
    let left = status(&place.path, &schema(&both)).unwrap();
    assert_eq!(left.pending, ["0001", "0002"]);
    assert_eq!(run(&place, &both).unwrap().applied, ["0001", "0002"]);
    assert_eq!(schema_text(&mut place.raw()), full_schema);
}

#[test]
fn going_down_needs_every_text_before_anything_is_done() {
    let place = Place::new();
    let third: Source = (
        "0003_last",
        "CREATE TABLE last (a);",
        Some("DROP TABLE last;"),
    );
    let one_way = ("0002_one_way", "CREATE TABLE second (a);", None);
    let all = [FIRST, one_way, third];
    run(&place, &all).unwrap();
    let error = run_to(&place, &all, "0001").unwrap_err();
    assert!(
        matches!(&error, MigrateError::NoDown { version } if version == "0002"),
        "{error}"
    );
    assert!(
        status(&place.path, &schema(&all))
            .unwrap()
            .pending
            .is_empty()
    );
    let unknown = run_to(&place, &all, "0009").unwrap_err();
    assert!(matches!(unknown, MigrateError::UnknownVersion { .. }));
}

#[test]
fn a_killed_migration_leaves_the_old_database_and_a_backup() {
    let place = at_first();
    let mut child = Child::start(&place, "children::child_migrates_for_ever");
    child.wait_for("migrating");
    // Past the page cache of the connection, so that unfinished pages are in the log.
    let started = std::time::Instant::now();
    let log = place.sibling("-wal");
    while std::fs::metadata(&log).map_or(0, |metadata| metadata.len()) < 1_000_000 {
        assert!(started.elapsed() < PATIENCE && child.is_running());
        std::thread::yield_now();
    }
    child.kill();
    let backup = place
        .files()
        .into_iter()
        .find(|name| name.contains("_backup_"))
        .unwrap();
    assert_eq!(
        notes(&mut crate::support::raw(&place.folder.path().join(backup))),
        ["a", "b"]
    );

    assert_eq!(
        status(&place.path, &schema(&[FIRST]))
            .unwrap()
            .applied
            .len(),
        1
    );
    let report = run(&place, &[FIRST, SECOND]).unwrap();
    assert_eq!(report.applied, ["0002"]);
    assert_eq!(place.notes(), ["a", "b"]);
}
