//! A kill between any two moves of a restore, and what the next start finds.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_migrations::{EmbeddedMigration, EmbeddedMigrations, EmbeddedName, TomlMetadataWrapper};
use std::ops::ControlFlow;
use tempfile::TempDir;

use super::*;
use crate::migrate::{MigrateOptions, back_up_stopped, epoch, migrate};

fn schema() -> Schema {
    let metadata = TomlMetadataWrapper::new(true);
    let up = "CREATE TABLE notes (text TEXT)";
    let migration = EmbeddedMigration::new(up, None, EmbeddedName::new("0001"), metadata);
    Schema {
        database: "notes",
        migrations: EmbeddedMigrations::new(vec![migration].leak()),
        readable_from: "0001",
        program: "the test",
        adoption: None,
    }
}

fn opened(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

fn notes(path: &Path) -> Vec<String> {
    let query = "SELECT text FROM notes ORDER BY rowid";
    sql::<Text>(query).load(&mut opened(path)).unwrap()
}

fn start(path: &Path) {
    let lock = DatabaseLock::acquire(path, "the test").unwrap();
    let options = MigrateOptions::default();
    let now = DateTime::UNIX_EPOCH;
    let report = migrate(path, &lock, &schema(), now, &options).unwrap();
    assert!(!report.created, "a restore never leaves an empty database");
}

/// A database whose newest note is in its log only, as after a kill, and a backup that lacks it.
fn database() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.sqlite");
    let lock = DatabaseLock::acquire(&path, "the test").unwrap();
    let now = DateTime::UNIX_EPOCH;
    migrate(&path, &lock, &schema(), now, &MigrateOptions::default()).unwrap();
    let insert = "INSERT INTO notes VALUES ('old')";
    opened(&path).batch_execute(insert).unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    let backup = back_up_stopped(&path, &lock, &schema(), now, &mut go_on).unwrap();
    let mut writer = opened(&path);
    writer
        .batch_execute("INSERT INTO notes VALUES ('in the log')")
        .unwrap();
    let killed = tempfile::tempdir().unwrap();
    for end in ["", "-wal", "-shm"] {
        let copy = killed.path().join(format!("notes.sqlite{end}"));
        fs::copy(sibling(&path, end), copy).unwrap();
    }
    drop((writer, lock));
    let left = killed.path().join("notes.sqlite");
    let name = backup.name;
    fs::copy(path.with_file_name(&name), left.with_file_name(&name)).unwrap();
    (killed, left, name)
}

fn prepared(path: &Path, name: &str) -> Move {
    let from = verify_backup(path, name, &schema()).unwrap();
    let (backup, _) = file_of(path, name, &schema()).unwrap();
    let move_over = Move::at_a_free_time(path, "notes", DateTime::UNIX_EPOCH).unwrap();
    prepare(&backup, &move_over.decided, &from).unwrap();
    move_over
}

#[test]
fn after_a_kill_between_any_two_moves_the_next_start_finds_the_restored_database_whole() {
    for done in 0..=MOVES.len() {
        let (_folder, path, name) = database();
        let move_over = prepared(&path, &name);
        for step in &MOVES[..done] {
            step(&move_over).unwrap();
            assert!(path.exists(), "the database is never missing");
        }
        start(&path);
        assert_eq!(notes(&path), ["old"], "after {done} moves");
        assert_eq!(notes(&move_over.replaced), ["old", "in the log"]);
        assert!(!move_over.decided.exists());
        let (now, before) = (&mut opened(&path), &mut opened(&move_over.replaced));
        assert_ne!(epoch(now).unwrap(), epoch(before).unwrap());
        // And once more, as nothing is left to finish.
        start(&path);
        assert_eq!(notes(&path), ["old"]);
    }
}

#[test]
fn each_move_can_be_cut_off_and_done_again() {
    let (_folder, path, name) = database();
    let move_over = prepared(&path, &name);
    for step in &MOVES[..2] {
        step(&move_over).unwrap();
        step(&move_over).unwrap();
    }
    move_over.finish().unwrap();
    assert_eq!(notes(&path), ["old"]);
    assert_eq!(notes(&move_over.replaced), ["old", "in the log"]);
}

#[test]
fn a_kill_before_the_copy_is_finished_leaves_the_database_as_it_was() {
    let (folder, path, name) = database();
    let move_over = Move::at_a_free_time(&path, "notes", DateTime::UNIX_EPOCH).unwrap();
    let unfinished = sibling(&move_over.decided, UNFINISHED);
    let whole = fs::read(path.with_file_name(&name)).unwrap();
    fs::write(&unfinished, &whole[..whole.len() / 2]).unwrap();
    fs::write(sibling(&unfinished, "-wal"), "half a log").unwrap();
    start(&path);
    assert_eq!(notes(&path), ["old", "in the log"]);
    let left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(UNFINISHED))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_restore_keeps_what_it_replaces_aside_and_begins_an_epoch() {
    let (_folder, path, name) = database();
    let lock = DatabaseLock::acquire(&path, "the test").unwrap();
    let before = epoch(&mut opened(&path)).unwrap();
    let restored = restore(&path, &lock, &schema(), &name, DateTime::UNIX_EPOCH).unwrap();
    assert_eq!(restored.from.backup.name, name);
    assert_eq!(notes(&path), ["old"]);
    assert_eq!(notes(&restored.replaced.unwrap()), ["old", "in the log"]);
    assert_ne!(epoch(&mut opened(&path)).unwrap(), before);
}

#[test]
fn a_damaged_database_is_replaced_and_a_damaged_backup_replaces_nothing() {
    let (_folder, path, name) = database();
    fs::write(&path, "no database ".repeat(500)).unwrap();
    fs::write(sibling(&path, "-wal"), "no log").unwrap();
    let lock = DatabaseLock::acquire(&path, "the test").unwrap();
    let now = DateTime::UNIX_EPOCH;
    restore(&path, &lock, &schema(), &name, now).unwrap();
    assert_eq!(notes(&path), ["old"]);
    let backup = path.with_file_name(&name);
    let mut bytes = fs::read(&backup).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    fs::write(&backup, bytes).unwrap();
    let error = restore(&path, &lock, &schema(), &name, now).unwrap_err();
    assert!(error.is_bad_data(), "{error}");
    assert_eq!(notes(&path), ["old"]);
    for other in ["../notes.sqlite", "notes.sqlite", ""] {
        let error = restore(&path, &lock, &schema(), other, now).unwrap_err();
        assert!(matches!(error, MigrateError::NoBackup { .. }), "{error}");
    }
}
