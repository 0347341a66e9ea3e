//! Files that the program refuses by exit code and in words, and leaves as they are.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use model_service::config::DATABASE_FILE;
use service_kit::exit::Exit;

/// What the other program says when it has done what it does.
const READY: &str = "the other program is ready";

fn migrate(folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-service"));
    command.arg("migrate").arg("--data-dir").arg(folder);
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn refused(folder: &Path, exit: Exit, words: &str) {
    let database = folder.join(DATABASE_FILE);
    let before = std::fs::read(&database).unwrap();
    let (ended, said) = migrate(folder);
    assert_eq!(ended, Some(exit.code().into()), "{said}");
    assert!(said.contains(words), "{said}");
    assert!(std::fs::read(&database).unwrap() == before);
}

#[test]
fn a_file_that_is_no_database_or_not_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(migrate(folder.path()).0, Some(0));
    let database = folder.path().join(DATABASE_FILE);
    let whole = std::fs::read(&database).unwrap();
    std::fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    refused(folder.path(), Exit::BadData, "is cut off");
    std::fs::write(&database, "this is a letter\n".repeat(100)).unwrap();
    refused(folder.path(), Exit::BadData, "is not an SQLite database");
}

#[test]
fn a_database_that_another_program_writes_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(DATABASE_FILE);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/legacy-databases/2025-06-20-jobs-14-models-33")
        .join(DATABASE_FILE);
    std::fs::write(&file, std::fs::read(sample).unwrap()).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "refusals::child_writes"])
        .args(["--ignored", "--nocapture"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.as_mut().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains(READY)), "it ended early");
    refused(folder.path(), Exit::Locked, "locked by another program");
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    assert_eq!(migrate(folder.path()).0, Some(0));
}

/// The other program: a process of its own, because reading the file here would let go of what
/// this process has locked.
#[test]
#[ignore = "run by another test in a process of its own"]
fn child_writes() {
    if std::io::stdin().is_terminal() || !Path::new(DATABASE_FILE).exists() {
        return;
    }
    let mut connection = SqliteConnection::establish(DATABASE_FILE).unwrap();
    connection
        .batch_execute("BEGIN IMMEDIATE; UPDATE models SET name = name || 'x';")
        .unwrap();
    println!("\n{READY}");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}
