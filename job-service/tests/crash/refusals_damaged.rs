//! Files that are no database, or not a whole one: each has its own message
//! with the last good backup in it, and is left as it is.

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use job_service::config::DATABASE_FILE;
use service_kit::exit::Exit;
use tempfile::TempDir;

use crate::{
    left_alone::{BACKUP, MIGRATE, SERVE, code, ended, files, refused},
    legacy::{SAMPLES, beside, copy},
    program::command,
};

const ALL: &[&[&str]] = &[SERVE, MIGRATE, BACKUP];
const PAGE_BYTES: usize = 4096;
/// What is said where there is nothing to restore.
const NO_BACKUP: &str = "no good backup is beside it: put a good copy of the file in its place";

fn done(arguments: &[&str], folder: &Path) -> String {
    let output = command(arguments, folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A database of ours with a key in it, a good backup, and a later one that is
/// none; answers the name of the good one.
fn with_backups() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    done(&["api-key", "create", "--name=kept"], folder.path());
    let made = done(BACKUP, folder.path());
    let good = made.split_whitespace().next().unwrap().to_owned();
    let later = folder
        .path()
        .join("mobilesd_jobs_backup_2999-01-01T00-00-00-000Z.sqlite");
    fs::write(later, "no database").unwrap();
    let database = folder.path().join(DATABASE_FILE);
    (folder, database, good)
}

/// The words that name the backup and what to do with it.
fn advice(good: &str) -> String {
    format!("{good}: `backups restore {good}` makes it the database")
}

/// Overwrites a page, counted from 0.
fn break_page(database: &Path, page: usize) {
    let mut file = OpenOptions::new().write(true).open(database).unwrap();
    let at = u64::try_from(page * PAGE_BYTES).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[0xa5; PAGE_BYTES]).unwrap();
}

/// As a program leaves it that was killed: then the next one looks for damage.
fn killed_before(database: &Path) {
    fs::write(beside(database, ".lock"), "job-service (process 1)").unwrap();
}

/// Does what the message says and looks at what comes of it.
fn restored(folder: &Path, good: &str) {
    done(&["backups", "restore", good], folder);
    let keys = done(&["api-key", "list"], folder);
    assert!(keys.contains("kept"), "{keys}");
    let listed = done(&["backups", "list"], folder);
    assert_eq!(listed.matches("put aside by a restore").count(), 1);
    let pruned = done(&["backups", "prune", "--replaced"], folder);
    assert!(
        pruned.contains("removed mobilesd_jobs_replaced_"),
        "{pruned}"
    );
    let listed = done(&["backups", "list"], folder);
    assert!(
        listed.contains(good) && !listed.contains("_replaced_"),
        "{listed}"
    );
}

#[test]
fn a_file_that_is_no_database() {
    let text = "this is a letter and no database\n".repeat(200);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATABASE_FILE), &text).unwrap();
    let words = ["is not an SQLite database", NO_BACKUP];
    refused(folder.path(), ALL, Exit::BadData, &words);

    let (folder, database, good) = with_backups();
    fs::write(database, &text).unwrap();
    let words = ["is not an SQLite database", &advice(&good)];
    refused(folder.path(), ALL, Exit::BadData, &words);
    restored(folder.path(), &good);
}

#[test]
fn a_file_whose_end_is_missing() {
    for sample in SAMPLES {
        let folder = copy(sample);
        let database = folder.path().join(DATABASE_FILE);
        // Its log would complete it.
        let _ = fs::remove_file(beside(&database, "-wal"));
        let whole = fs::read(&database).unwrap();
        for bytes in [whole.len() / 2, whole.len() - 1] {
            fs::write(&database, &whole[..bytes]).unwrap();
            let sizes = format!("it has {bytes} bytes and was made of {}", whole.len());
            let words = ["is cut off", &sizes, NO_BACKUP];
            refused(folder.path(), &[SERVE, MIGRATE], Exit::BadData, &words);
        }
    }
    let (folder, database, good) = with_backups();
    let whole = fs::read(&database).unwrap();
    for bytes in [50, whole.len() / 2, whole.len() - 1] {
        fs::write(&database, &whole[..bytes]).unwrap();
        killed_before(&database);
        let words = ["is cut off", &advice(&good)];
        refused(folder.path(), ALL, Exit::BadData, &words);
    }
    restored(folder.path(), &good);
}

#[test]
fn a_page_that_is_no_page() {
    let folder = copy(SAMPLES[4]);
    break_page(&folder.path().join(DATABASE_FILE), 3);
    let words = ["the database is damaged: ", NO_BACKUP];
    refused(folder.path(), ALL, Exit::BadData, &words);

    let (folder, database, good) = with_backups();
    let pages = fs::read(&database).unwrap().len() / PAGE_BYTES;
    break_page(&database, pages / 2);
    killed_before(&database);
    let words = ["the database is damaged: ", &advice(&good)];
    refused(folder.path(), ALL, Exit::BadData, &words);
    restored(folder.path(), &good);
}

#[test]
fn a_backup_that_is_damaged_is_not_restored() {
    let (folder, _, good) = with_backups();
    let before = files(folder.path());
    let broken = "mobilesd_jobs_backup_2999-01-01T00-00-00-000Z.sqlite";
    let restore = ["backups", "restore", broken];
    let (exit, said) = ended(&mut command(&restore, folder.path()));
    assert_eq!(exit, code(Exit::BadData), "{said}");
    assert!(said.contains("`backups verify --all` shows"), "{said}");
    assert!(files(folder.path()) == before);
    let (exit, said) = ended(&mut command(&["backups", "verify", &good], folder.path()));
    assert_eq!(exit, code(Exit::Clean), "{said}");
}
