//! Programs older than the database: one version back opens it, two are refused.

use diesel::connection::SimpleConnection;
use service_kit::exit::Exit;
use service_kit::migrate::{
    MigrateError, MigrateOptions, MigrationReport, NOTHING, Schema, back_up_stopped, dry_run,
    migrate, migrate_to, restore, status,
};

use crate::administering::Desk;
use crate::migrating::{FIRST, SECOND, Source, noon, schema};
use crate::support::{Place, note, number};

/// All that a migration may add for an older program to go on.
const THIRD: Source = (
    "0003_sizes",
    "ALTER TABLE notes ADD COLUMN size INTEGER NOT NULL DEFAULT 7;\n\
     CREATE TABLE noted (text TEXT NOT NULL);\n\
     CREATE INDEX idx_notes_size ON notes (size);\n\
     CREATE TRIGGER notes_noted AFTER INSERT ON notes BEGIN\n\
     INSERT INTO noted (text) VALUES (NEW.text);\nEND;",
    Some(
        "DROP TRIGGER notes_noted;\nDROP INDEX idx_notes_size;\nDROP TABLE noted;\n\
         ALTER TABLE notes DROP COLUMN size;",
    ),
);

/// The program that knows these, and says from which version on its databases may be opened.
fn release(sources: &[Source], readable_from: &'static str) -> Schema {
    Schema {
        readable_from,
        ..schema(sources)
    }
}

fn one() -> Schema {
    release(&[FIRST], "0001")
}

fn two() -> Schema {
    release(&[FIRST, SECOND], "0001")
}

fn three() -> Schema {
    release(&[FIRST, SECOND, THIRD], "0002")
}

fn start(place: &Place, program: &Schema) -> Result<MigrationReport, MigrateError> {
    let options = MigrateOptions::default();
    migrate(&place.path, &place.lock(), program, noon(), &options)
}

fn go_to(place: &Place, program: &Schema, version: &str) -> Result<MigrationReport, MigrateError> {
    let (lock, options) = (place.lock(), MigrateOptions::default());
    migrate_to(&place.path, &lock, program, version, noon(), &options)
}

/// A database of the third program, with a note of it.
fn at_third() -> Place {
    let place = Place::new();
    start(&place, &three()).unwrap();
    place
        .raw()
        .batch_execute("INSERT INTO notes (text, size) VALUES ('newer', 1)")
        .unwrap();
    place
}

fn oldest(place: &Place) -> Option<String> {
    status(&place.path, &three()).unwrap().oldest_schema_version
}

/// Fails unless the program refuses the database as bad data, by a start and by a trial, and
/// leaves the file byte for byte.
fn refused(place: &Place, program: &Schema) -> MigrateError {
    let before = std::fs::read(&place.path).unwrap();
    let tried = dry_run(&place.path, &place.lock(), program, None, noon()).unwrap_err();
    let error = start(place, program).unwrap_err();
    assert_eq!(error.to_string(), tried.to_string());
    assert!(error.is_bad_data(), "{error}");
    assert!(!status(&place.path, program).unwrap().is_ahead());
    assert!(
        std::fs::read(&place.path).unwrap() == before,
        "the file was changed"
    );
    error
}

#[tokio::test]
async fn a_program_rolled_back_by_one_version_reads_and_writes_the_database() {
    let place = at_third();
    let before = std::fs::read(&place.path).unwrap();
    let report = start(&place, &two()).unwrap();
    assert!(report.applied.is_empty() && report.reverted.is_empty());
    assert_eq!((report.backup, report.created), (None, false));
    assert_eq!(report.schema_version, "0003");
    assert!(std::fs::read(&place.path).unwrap() == before);

    let database = place.open();
    note(&database, "older").await.unwrap();
    let seen = database.read("notes", |connection| {
        Ok::<_, service_kit::database::DatabaseError>(crate::support::notes(connection))
    });
    assert_eq!(seen.await.unwrap(), ["newer", "older"]);
    drop(database);

    let found = status(&place.path, &two()).unwrap();
    assert!(found.is_ahead() && found.refusal().is_ok());
    assert_eq!(found.newer, ["0003"]);
    assert_eq!(found.schema_version(), "0003");
    assert_eq!(found.program_schema_version, "0002");
    assert_eq!(found.oldest_schema_version.as_deref(), Some("0002"));

    // The newer program goes on with what the older one wrote.
    assert!(start(&place, &three()).unwrap().applied.is_empty());
    let mut raw = place.raw();
    let sized = "SELECT count(*) FROM notes WHERE text = 'older' AND size = 7";
    assert_eq!(number(&mut raw, sized), 1);
    let noted = "SELECT count(*) FROM noted WHERE text = 'older'";
    assert_eq!(number(&mut raw, noted), 1);
}

#[test]
fn a_program_rolled_back_by_two_versions_is_refused_with_the_versions_named() {
    let place = at_third();
    let error = refused(&place, &one());
    let text = error.to_string();
    for part in [
        "its schema version is 0003",
        "the program's is 0001",
        "0002, 0003",
        "only programs from schema version 0002 on",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let MigrateError::Newer {
        versions,
        database,
        program,
        oldest,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(versions, ["0002", "0003"]);
    assert_eq!((&*database, &*program), ("0003", "0001"));
    assert_eq!(oldest.as_deref(), Some("0002"));
}

#[test]
fn who_may_open_it_moves_forward_with_the_upgrades() {
    let place = Place::new();
    start(&place, &one()).unwrap();
    assert_eq!(oldest(&place).as_deref(), Some("0001"));
    start(&place, &two()).unwrap();
    assert_eq!(oldest(&place).as_deref(), Some("0001"));
    assert_eq!(start(&place, &one()).unwrap().schema_version, "0002");
    // An upgrade that fails leaves it where it was.
    let broken = ("0003_broken", "INSERT INTO missing VALUES (1);", None);
    assert!(start(&place, &release(&[FIRST, SECOND, broken], "0003")).is_err());
    assert_eq!(oldest(&place).as_deref(), Some("0001"));
    start(&place, &three()).unwrap();
    assert_eq!(oldest(&place).as_deref(), Some("0002"));
    refused(&place, &one());
    // One that no older program can read.
    let words = (
        "0004_words",
        "ALTER TABLE notes ADD COLUMN word TEXT;",
        None,
    );
    start(&place, &release(&[FIRST, SECOND, THIRD, words], "0004")).unwrap();
    for older in [one(), two(), three()] {
        let error = refused(&place, &older);
        assert!(error.to_string().contains("0004"), "{error}");
    }
}

#[test]
fn a_database_that_was_taken_back_is_for_programs_of_its_version() {
    let place = at_third();
    let down = go_to(&place, &three(), "0002").unwrap();
    assert_eq!(down.reverted, ["0003"]);
    assert_eq!(oldest(&place).as_deref(), Some("0002"));
    assert!(!status(&place.path, &two()).unwrap().is_ahead());
    assert!(start(&place, &two()).unwrap().applied.is_empty());
    refused(&place, &one());
    go_to(&place, &three(), "0001").unwrap();
    assert_eq!(oldest(&place).as_deref(), Some("0001"));
    start(&place, &one()).unwrap();
    // Part of the way forward, too.
    assert_eq!(go_to(&place, &three(), "0002").unwrap().applied, ["0002"]);
    assert_eq!(oldest(&place).as_deref(), Some("0002"));
    refused(&place, &one());
    assert_eq!(start(&place, &three()).unwrap().applied, ["0003"]);
    assert_eq!(oldest(&place).as_deref(), Some("0002"));
}

#[test]
fn an_older_program_takes_the_database_to_no_version() {
    let place = at_third();
    let before = std::fs::read(&place.path).unwrap();
    for version in [NOTHING, "0001", "0002"] {
        let tried = dry_run(&place.path, &place.lock(), &two(), Some(version), noon());
        for error in [
            go_to(&place, &two(), version).unwrap_err(),
            tried.unwrap_err(),
        ] {
            assert!(
                matches!(&error, MigrateError::Ahead { versions } if *versions == ["0003"]),
                "{error}"
            );
            assert!(error.is_bad_data());
        }
    }
    let unknown = go_to(&place, &two(), "0003").unwrap_err();
    assert!(matches!(unknown, MigrateError::UnknownVersion { .. }));
    assert!(std::fs::read(&place.path).unwrap() == before);
}

#[test]
fn a_database_that_does_not_say_who_may_open_it_is_for_programs_that_know_all_of_it() {
    let place = at_third();
    let says = |sql: &str| place.raw().batch_execute(sql).unwrap();
    says("DELETE FROM stablequeue_meta WHERE key = 'oldest_schema_version'");
    let error = refused(&place, &two());
    assert!(
        matches!(&error, MigrateError::Newer { oldest: None, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("does not say"), "{error}");
    start(&place, &three()).unwrap();
    // Neither does one that names what it does not have, or what only newer programs know.
    for nonsense in ["", "0", "0000", "0003", "0009", "rubbish"] {
        says(&format!(
            "REPLACE INTO stablequeue_meta VALUES ('oldest_schema_version', '{nonsense}')"
        ));
        refused(&place, &two());
    }
    says("REPLACE INTO stablequeue_meta VALUES ('oldest_schema_version', '0002')");
    start(&place, &two()).unwrap();
}

#[test]
fn a_database_of_another_line_of_versions_is_refused_although_it_could_be_older() {
    let place = at_third();
    let changed = (FIRST.0, "CREATE TABLE notes (text TEXT);", FIRST.2);
    let error = refused(&place, &release(&[changed, SECOND], "0001"));
    assert!(matches!(error, MigrateError::Changed { .. }), "{error}");
    // It would migrate what it does not know.
    let later = ("0004_later", "CREATE TABLE later (a);", None);
    refused(&place, &release(&[FIRST, SECOND, later], "0001"));
    // What it does not know is older than what it knows.
    let place_of_two = Place::new();
    start(&place_of_two, &release(&[FIRST, SECOND, later], "0001")).unwrap();
    refused(&place_of_two, &release(&[FIRST, later], "0001"));
    // A migration that no program of ours recorded says nothing.
    place
        .raw()
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('0009')")
        .unwrap();
    let error = refused(&place, &two());
    assert!(error.to_string().contains("0009"), "{error}");
}

#[test]
fn a_backup_keeps_who_may_open_it() {
    let place = at_third();
    let made = back_up_stopped(&place.path, &place.lock(), &two(), noon(), &mut |_| {
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    place.raw().batch_execute("DELETE FROM notes").unwrap();
    let put_back = |program: &Schema| {
        restore(&place.path, &place.lock(), program, &made.name, noon()).map(|_| ())
    };
    let error = put_back(&one()).unwrap_err();
    assert!(matches!(error, MigrateError::Newer { .. }), "{error}");
    assert!(place.notes().is_empty(), "nothing was restored");
    put_back(&two()).unwrap();
    assert_eq!(place.notes(), ["newer"]);
    assert_eq!(oldest(&place).as_deref(), Some("0002"));
    assert_eq!(start(&place, &two()).unwrap().schema_version, "0003");
    refused(&place, &one());
}

#[test]
fn the_command_tells_that_it_leaves_a_newer_database_as_it_is() {
    let mut desk = Desk::new(&[FIRST]);
    start(&desk.place, &three()).unwrap();
    desk.schema = two();
    let told = desk.migrate(&["--status"]).unwrap();
    assert_eq!(told.exit, Exit::Clean);
    for part in [
        "schema version 0003",
        "programs from schema version 0002 on may open it",
        "opened as it is by this program, whose schema version is 0002",
        "applied 0003_sizes",
    ] {
        assert!(told.text.contains(part), "{part}: {}", told.text);
    }
    assert_eq!(desk.migrate(&[]).unwrap().text, "schema version 0003");
    let tried = desk.migrate(&["--dry-run"]).unwrap();
    assert!(tried.text.contains("schema version 0003"), "{}", tried.text);
    let error = desk.migrate(&["--to=0001"]).unwrap_err();
    assert_eq!(error.exit(), Exit::BadData, "{error}");
    desk.schema = one();
    let told = desk.migrate(&["--status"]).unwrap();
    assert_eq!(told.exit, Exit::BadData);
    assert!(
        told.text.contains("refused: the database is newer"),
        "{}",
        told.text
    );
}

#[test]
fn a_program_that_names_an_oldest_version_it_does_not_have_migrates_nothing() {
    let place = Place::new();
    let error = start(&place, &release(&[FIRST, SECOND], "0009")).unwrap_err();
    assert!(matches!(error, MigrateError::Embedded(_)), "{error}");
    assert!(!place.path.exists());
}
