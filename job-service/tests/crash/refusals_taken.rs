//! Databases that another program has open, and histories of migrations that
//! are not this program's: each has its own message, and nothing is changed.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use job_service::config::DATABASE_FILE;
use service_kit::exit::Exit;

use crate::{
    left_alone::{BACKUP, MIGRATE, SERVE, code, ended, refused},
    legacy::{SAMPLES, copy},
    program::command,
};

/// What the other program says when it has done what it was told.
const READY: &str = "the other program is ready";

/// Another program with the database open. A process of its own, because
/// reading the file here would let go of what this process has locked.
struct Other(Child);

impl Other {
    fn with(folder: &Path, sql: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "refusals_taken::child_has_it_open",
                "--ignored",
                "--nocapture",
            ])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{sql}").unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.contains(READY));
        assert!(ready, "it ended early");
        Self(child)
    }

    /// Lets it close the database.
    fn ends(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Reads what it does with the database here, does it, and waits to be let go.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn child_has_it_open() {
    let mut sql = String::new();
    if std::io::stdin().is_terminal() {
        return;
    }
    std::io::stdin().read_line(&mut sql).unwrap();
    if sql.trim().is_empty() {
        return;
    }
    let mut connection = SqliteConnection::establish(DATABASE_FILE).unwrap();
    connection.batch_execute(&sql).unwrap();
    println!("\n{READY}");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

/// Refused while the other program has it so, and migrated afterwards.
fn waits_for(sql: &str, all: &[&[&str]]) {
    let folder = copy(SAMPLES[4]);
    let other = Other::with(folder.path(), sql);
    let words = [
        "locked by another program",
        "close whatever else has it open",
    ];
    refused(folder.path(), all, Exit::Locked, &words);
    other.ends();
    let (exit, said) = ended(&mut command(MIGRATE, folder.path()));
    assert_eq!(exit, code(Exit::Clean), "{said}");
}

#[test]
fn a_database_that_the_earlier_application_writes_to() {
    waits_for(
        "PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE; UPDATE jobs SET retry_count = 9;",
        &[SERVE, MIGRATE],
    );
}

#[test]
fn one_that_it_writes_to_with_a_log() {
    waits_for(
        "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; UPDATE jobs SET retry_count = 9;",
        &[SERVE, MIGRATE],
    );
}

#[test]
fn one_that_it_has_for_itself() {
    waits_for(
        "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE; UPDATE jobs SET retry_count = 9;",
        &[MIGRATE, BACKUP],
    );
}

#[test]
fn one_that_it_goes_on_reading_keeps_its_secrets_until_that_ends() {
    let folder = copy(SAMPLES[4]);
    let other = Other::with(
        folder.path(),
        "PRAGMA journal_mode = WAL; BEGIN; SELECT count(*) FROM jobs;",
    );
    for _ in 0..2 {
        let (exit, said) = ended(&mut command(MIGRATE, folder.path()));
        assert_eq!(exit, code(Exit::Locked), "{said}");
        let said = said.lines().last().unwrap();
        assert!(
            said.contains("close whatever else has it open and start again"),
            "{said}"
        );
    }
    other.ends();
    let (exit, said) = ended(&mut command(MIGRATE, folder.path()));
    assert_eq!(exit, code(Exit::Clean), "{said}");
}

/// A database of ours after these statements.
fn changed(sql: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (exit, said) = ended(&mut command(MIGRATE, folder.path()));
    assert_eq!(exit, code(Exit::Clean), "{said}");
    let file = folder.path().join(DATABASE_FILE);
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
    folder
}

#[test]
fn a_migration_in_the_middle_that_the_program_lacks() {
    let folder = changed(
        "INSERT INTO stablequeue_migrations
         VALUES ('00035', '00035_between', 'x', '2026-11-22T11:08:00.123Z');
         INSERT INTO __diesel_schema_migrations (version) VALUES ('00035');",
    );
    let words = [
        "the migrations 00035, which this program lacks",
        "start the released program",
    ];
    refused(folder.path(), &[SERVE, MIGRATE], Exit::BadData, &words);
}

#[test]
fn a_migration_in_the_middle_that_the_database_lacks() {
    let folder = changed(
        "DELETE FROM stablequeue_migrations WHERE version = '0004';
         DELETE FROM __diesel_schema_migrations WHERE version = '0004';",
    );
    let words = [
        "migration 0004 is not applied although the later",
        "start the released program that migrated it last",
    ];
    refused(folder.path(), &[SERVE, MIGRATE], Exit::BadData, &words);
}

#[test]
fn a_migration_with_another_text() {
    let folder = changed("UPDATE stablequeue_migrations SET checksum = 'x' WHERE version = '0003'");
    let words = [
        "migration 0003 of this program is not the text",
        "use the released program",
    ];
    refused(folder.path(), &[SERVE, MIGRATE], Exit::BadData, &words);
}
