//! Programs to be killed: this test program again, in a process of its own.
//!
//! The tests named `child_` are run by other tests only, in the folder of their database.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use service_kit::database::{Database, DatabaseLock, DatabaseOptions};
use service_kit::migrate::{MigrateOptions, migrate};

use crate::adopting::adopting_for_ever;
use crate::migrating::{endless, noon};
use crate::support::{Place, note};

/// A child process and what it prints.
pub(crate) struct Child {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    pub(crate) fn start(place: &Place, test: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                test,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .current_dir(place.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line that the child's test prints; ends with the child.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.lines.read_line(&mut line).unwrap();
        (bytes > 0).then(|| line.trim().to_owned())
    }

    pub(crate) fn wait_for(&mut self, text: &str) {
        while let Some(line) = self.next_line() {
            if line.contains(text) {
                return;
            }
        }
        panic!("the child ended before it said '{text}'");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PATH: &str = "mobilesd_jobs.sqlite";

fn child_lock() -> DatabaseLock {
    DatabaseLock::acquire(Path::new(PATH), "the child").unwrap()
}

/// Ends when the parent does, whose end of the pipe is then closed.
fn wait_for_the_parent() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn child_holds_the_lock() {
    let _lock = child_lock();
    println!("\nlocked");
    wait_for_the_parent();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test in a process of its own"]
async fn child_writes_notes() {
    let database =
        Database::open(Path::new(PATH), child_lock(), DatabaseOptions::default()).unwrap();
    println!();
    for index in 0..1_000_000 {
        note(&database, &index.to_string()).await.unwrap();
        println!("noted {index}");
    }
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn child_migrates_for_ever() {
    let lock = child_lock();
    println!("\nmigrating");
    migrate(
        Path::new(PATH),
        &lock,
        &endless(),
        noon(),
        &MigrateOptions::default(),
    )
    .unwrap();
}

#[test]
fn every_acknowledged_command_survives_a_kill() {
    let place = Place::with_notes();
    let mut child = Child::start(&place, "children::child_writes_notes");
    child.wait_for("noted 50");
    child.kill();
    let mut last = 50;
    while let Some(line) = child.next_line() {
        if let Some(index) = line
            .strip_prefix("noted ")
            .and_then(|index| index.parse().ok())
        {
            last = index;
        }
    }
    let lock = place.lock();
    assert!(lock.unclean_before());
    let notes = place.notes();
    assert!(
        notes.len() > last,
        "{} notes, but {last} was acknowledged",
        notes.len()
    );
    assert!(
        notes
            .iter()
            .enumerate()
            .all(|(index, text)| *text == index.to_string())
    );
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn child_adopts_for_ever() {
    let lock = child_lock();
    println!("\nadopting");
    migrate(
        Path::new(PATH),
        &lock,
        &adopting_for_ever(),
        noon(),
        &MigrateOptions::default(),
    )
    .unwrap();
}
