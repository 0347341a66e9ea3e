//! An adoption ends whole, or the older database is what it was; and secrets leave the file.

use std::path::Path;

use diesel::connection::SimpleConnection;
use service_kit::database::DatabaseError;
use service_kit::migrate::{
    Adoption, MigrateError, MigrateOptions, Schema, dry_run, migrate_to, status,
};

use crate::adopting::{
    ADOPTION, DOCUMENTED, LATER, adopt, adopt_with, adopted, adopting, fails, older, rows,
};
use crate::children::Child;
use crate::migrating::{Source, noon};
use crate::support::{PATIENCE, Place, number, raw};

/// Longer than a page, so that it is also where rows do not fit into one.
fn secret() -> String {
    "SECRET-c0ffee-".repeat(400)
}

fn with_secrets() -> Place {
    let place = older(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text); \
         CREATE TABLE owners (id TEXT PRIMARY KEY, name, token); \
         CREATE INDEX idx_owners_token ON owners (token); \
         INSERT INTO notes VALUES (1, 'a'), (2, 'b');",
    );
    let secret = secret();
    for id in 0..20 {
        place
            .raw()
            .batch_execute(&format!(
                "INSERT INTO owners VALUES ('o{id}', 'n', '{secret}{id}')"
            ))
            .unwrap();
    }
    // Deleted before: in free pages only.
    place
        .raw()
        .batch_execute("DELETE FROM owners WHERE id > 'o5'")
        .unwrap();
    place
}

fn holds_secret(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(13).any(|window| window == b"SECRET-c0ffee")
}

fn beside(place: &Place) -> impl Iterator<Item = std::path::PathBuf> {
    ["", "-wal", "-shm", "-journal"]
        .into_iter()
        .map(|end| place.sibling(end))
}

#[test]
fn secrets_are_gone_from_the_files_and_the_one_exception_is_named() {
    for mode in ["DELETE", "WAL"] {
        let place = with_secrets();
        place
            .raw()
            .batch_execute(&format!("PRAGMA journal_mode = {mode}"))
            .unwrap();
        assert!(beside(&place).any(|path| holds_secret(&path)));
        let report = adopt(&place).unwrap();
        for path in beside(&place) {
            assert!(!holds_secret(&path), "{mode}: {}", path.display());
        }
        let hashes = "SELECT count(*) FROM owners WHERE length(token_hash) = 64";
        let owners = number(&mut place.raw(), "SELECT count(*) FROM owners");
        assert_eq!(number(&mut place.raw(), hashes), owners);

        let backup = report.backup.unwrap();
        assert!(holds_secret(&backup));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let adoption = report.adoption.unwrap();
        assert!(adoption.held_secrets);
        let name = backup.file_name().unwrap().to_str().unwrap();
        assert!(adoption.notes.iter().any(|note| note.contains(name)));
        let lost = adoption.statements_lost.iter();
        assert!(lost.clone().any(|lost| lost.contains("idx_owners_token")));
        let marks = "SELECT count(*) FROM stablequeue_meta WHERE key = 'scrub_pending'";
        assert_eq!(number(&mut place.raw(), marks), 0);
    }
}

#[test]
fn a_scrub_that_was_cut_off_is_done_by_the_next_start() {
    let place = with_secrets();
    adopted(&place);
    let secret = secret();
    // As after a kill between the commit and the scrub: the mark, and what was deleted.
    place
        .raw()
        .batch_execute(&format!(
            "PRAGMA secure_delete = OFF; CREATE TABLE gone (a); \
             INSERT INTO gone VALUES ('{secret}'); DROP TABLE gone; \
             INSERT INTO stablequeue_meta VALUES ('scrub_pending', '1');"
        ))
        .unwrap();
    assert!(beside(&place).any(|path| holds_secret(&path)));
    assert!(
        status(&place.path, &adopting(&[DOCUMENTED, LATER]))
            .unwrap()
            .scrub_pending
    );
    let again = adopt(&place).unwrap();
    assert!(again.applied.is_empty() && again.adoption.is_none() && again.backup.is_none());
    assert!(!beside(&place).any(|path| holds_secret(&path)));
    assert!(
        !status(&place.path, &adopting(&[DOCUMENTED, LATER]))
            .unwrap()
            .scrub_pending
    );
}

#[test]
fn a_reader_that_stands_in_the_way_of_the_scrub_is_told_and_the_next_start_scrubs() {
    let place = with_secrets();
    let mut reader = place.raw();
    reader
        .batch_execute("PRAGMA journal_mode = WAL; BEGIN; SELECT count(*) FROM owners;")
        .unwrap();
    let error = adopt(&place).unwrap_err();
    assert!(matches!(error, MigrateError::ScrubWaits), "{error}");
    assert!(error.to_string().contains("close whatever else"), "{error}");
    drop(reader);
    assert!(adopt(&place).unwrap().applied.is_empty());
    assert!(!beside(&place).any(|path| holds_secret(&path)));
}

#[test]
fn adopting_twice_changes_nothing() {
    let place = with_secrets();
    adopted(&place);
    let before = std::fs::read(&place.path).unwrap();
    let again = adopt(&place).unwrap();
    assert!(again.adoption.is_none() && again.applied.is_empty() && again.backup.is_none());
    assert!(std::fs::read(&place.path).unwrap() == before);
}

#[test]
fn a_failure_at_any_point_leaves_the_file_byte_for_byte() {
    // Each of them works on an empty database, and fails on this one.
    let conflict: Source = (
        "0003_conflict",
        "INSERT INTO notes (id, text, state) VALUES (1, 'x', 'open');",
        None,
    );
    let full: Source = (
        "0003_full",
        "PRAGMA max_page_count = 60; CREATE TABLE big AS SELECT zeroblob(1000000) FROM notes;",
        None,
    );
    let lossy: Source = ("0003_lossy", "DELETE FROM notes;", None);
    let orphan: Source = (
        "0003_orphan",
        "INSERT INTO tags (note_id, label) SELECT 99, text FROM notes;",
        None,
    );
    let other: Source = (
        "0001_other",
        "CREATE TABLE notes (id INTEGER PRIMARY KEY); CREATE TABLE owners (id TEXT);",
        None,
    );
    let no_finish = Adoption {
        finish: fails,
        ..ADOPTION
    };
    for (what, sources, adoption) in [
        ("conflict", vec![DOCUMENTED, LATER, conflict], ADOPTION),
        ("full disk", vec![DOCUMENTED, LATER, full], ADOPTION),
        ("lost rows", vec![DOCUMENTED, LATER, lossy], ADOPTION),
        ("references", vec![DOCUMENTED, LATER, orphan], ADOPTION),
        ("the fill", vec![other], ADOPTION),
        ("the end", vec![DOCUMENTED, LATER], no_finish),
    ] {
        let place = with_secrets();
        let before = std::fs::read(&place.path).unwrap();
        let schema = Schema {
            adoption: Some(adoption),
            ..adopting(&sources)
        };
        let error = adopt_with(&place, &schema).unwrap_err();
        assert!(
            std::fs::read(&place.path).unwrap() == before,
            "{what}: {error}"
        );
        assert!(!place.sibling("-wal").exists() && !place.sibling("-journal").exists());
        assert_eq!(adopted(&place).tables.len(), 2, "{what}");
    }
}

#[test]
fn a_database_that_is_nobodys_is_refused_untouched() {
    for statements in [
        "CREATE TABLE other (a)",
        // A table of that name, but without what makes it one of ours.
        "CREATE TABLE notes (a); CREATE TABLE owners (id, name)",
        "CREATE TABLE notes (id, text); CREATE TABLE __diesel_schema_migrations (version)",
        "CREATE VIEW notes AS SELECT 1 AS id, 2 AS text; CREATE TABLE a (b)",
    ] {
        let place = older(statements);
        let before = std::fs::read(&place.path).unwrap();
        let error = adopt(&place).unwrap_err();
        assert!(matches!(error, MigrateError::NotOurs { .. }), "{error}");
        assert!(error.is_bad_data());
        assert!(std::fs::read(&place.path).unwrap() == before);
        assert!(!place.files().iter().any(|name| name.contains("_backup_")));
    }
}

#[test]
fn a_database_that_the_older_application_writes_to_is_refused_untouched() {
    for mode in ["DELETE", "WAL"] {
        let place = with_secrets();
        let mut writer = place.raw();
        let set = format!("PRAGMA journal_mode = {mode}");
        writer.batch_execute(&set).unwrap();
        // Reading the file within this process later would give up the lock on it.
        let before = std::fs::read(&place.path).unwrap();
        writer
            .batch_execute("BEGIN IMMEDIATE; INSERT INTO notes VALUES (3, 'being written')")
            .unwrap();
        let error = adopt(&place).unwrap_err();
        assert!(
            matches!(error, MigrateError::Database(DatabaseError::Busy)),
            "{error}"
        );
        assert!(error.to_string().contains("close whatever else"), "{error}");
        assert!(std::fs::read(&place.path).unwrap() == before);
        assert!(!place.files().iter().any(|name| name.contains("_backup_")));
        writer.batch_execute("COMMIT").unwrap();
        drop(writer);
        assert_eq!(adopted(&place).tables[1].rows_before, 3);
    }
}

#[test]
fn what_only_the_write_ahead_log_holds_is_adopted() {
    let source = with_secrets();
    let mut writer = source.raw();
    writer
        .batch_execute(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; \
             INSERT INTO notes VALUES (3, 'in the log')",
        )
        .unwrap();
    let place = Place::new();
    for end in ["", "-wal"] {
        std::fs::copy(source.sibling(end), place.sibling(end)).unwrap();
    }
    drop(writer);
    let backup = adopt(&place).unwrap().backup.unwrap();
    assert_eq!(
        rows(&place, "SELECT text FROM notes ORDER BY id"),
        ["a", "b", "in the log"]
    );
    assert_eq!(number(&mut raw(&backup), "SELECT count(*) FROM notes"), 3);
}

#[test]
fn a_transaction_that_was_cut_off_is_undone_first() {
    let source = with_secrets();
    let mut writer = source.raw();
    // More than the cache holds, so that unfinished pages are in the file and the journal is hot.
    writer
        .batch_execute(
            "PRAGMA cache_size = 5; BEGIN; UPDATE notes SET text = 'half'; \
             INSERT INTO notes (text) SELECT hex(randomblob(3000)) FROM \
             (WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n LIMIT 50) \
              SELECT v FROM n)",
        )
        .unwrap();
    let place = Place::new();
    for end in ["", "-journal"] {
        std::fs::copy(source.sibling(end), place.sibling(end)).unwrap();
    }
    drop(writer);
    let before = std::fs::read(&place.path).unwrap();
    let looked = status(&place.path, &adopting(&[DOCUMENTED, LATER])).unwrap_err();
    assert!(
        matches!(looked, MigrateError::Interrupted { .. }),
        "{looked}"
    );
    assert!(
        std::fs::read(&place.path).unwrap() == before,
        "a look changes nothing"
    );
    adopted(&place);
    assert_eq!(
        rows(&place, "SELECT text FROM notes ORDER BY id"),
        ["a", "b"]
    );
}

#[test]
fn after_a_kill_the_older_database_is_adopted_by_the_next_start() {
    for (mode, grows) in [("DELETE", ""), ("WAL", "-wal")] {
        let place = with_secrets();
        let set = format!("PRAGMA journal_mode = {mode}");
        place.raw().batch_execute(&set).unwrap();
        let before = std::fs::metadata(&place.path).unwrap().len();
        let mut child = Child::start(&place, "children::child_adopts_for_ever");
        child.wait_for("adopting");
        // Past the page cache of the connection, so that unfinished pages are in a file.
        let started = std::time::Instant::now();
        let file = place.sibling(grows);
        while std::fs::metadata(&file).map_or(0, |found| found.len()) < before + 1_000_000 {
            assert!(started.elapsed() < PATIENCE && child.is_running());
            std::thread::yield_now();
        }
        child.kill();
        let report = adopt(&place).unwrap();
        assert_eq!(report.applied, ["0001", "0002"], "{mode}");
        let texts = "SELECT text FROM notes ORDER BY id";
        assert_eq!(rows(&place, texts), ["a", "b"], "{mode}");
        assert!(!beside(&place).any(|path| holds_secret(&path)), "{mode}");
    }
}

/// More than SQLite may use here, and less than the database is large.
const MEMORY_BYTES: u32 = 64 * 1024 * 1024;

#[test]
fn a_database_that_is_larger_than_memory_is_adopted() {
    let place = older("CREATE TABLE notes (text, extra, id)");
    let mut connection = place.raw();
    connection
        .batch_execute(
            "PRAGMA synchronous = OFF; INSERT INTO notes SELECT hex(zeroblob(1000)) || v, \
             hex(zeroblob(500)), nullif(v % 30000, 7) FROM (WITH RECURSIVE n (v) AS \
             (SELECT 1 UNION ALL SELECT v + 1 FROM n LIMIT 32000) SELECT v FROM n);",
        )
        .unwrap();
    // For the whole process; the other tests need little.
    connection
        .batch_execute(&format!("PRAGMA hard_heap_limit = {MEMORY_BYTES}"))
        .unwrap();
    drop(connection);
    assert!(std::fs::metadata(&place.path).unwrap().len() > u64::from(MEMORY_BYTES));
    let report = adopted(&place);
    // Ids 1 to 2000 are there twice.
    assert_eq!(report.tables[0].rows_set_aside(), 1_999);
    let kept = "SELECT count(*) FROM adoption_values WHERE column_name = 'extra'";
    assert_eq!(number(&mut place.raw(), kept), 32_000);
}

#[test]
fn it_is_taken_over_whole_or_not_at_all() {
    let place = with_secrets();
    let before = std::fs::read(&place.path).unwrap();
    let schema = adopting(&[DOCUMENTED, LATER]);
    let options = MigrateOptions::default();
    let error = migrate_to(
        &place.path,
        &place.lock(),
        &schema,
        "0001",
        noon(),
        &options,
    )
    .unwrap_err();
    assert!(matches!(error, MigrateError::AdoptsWhole), "{error}");
    let tried = dry_run(&place.path, &place.lock(), &schema, Some("0001"), noon()).unwrap_err();
    assert!(matches!(tried, MigrateError::AdoptsWhole), "{tried}");
    assert!(std::fs::read(&place.path).unwrap() == before);
}
