//! The command `migrate`: look, try, do, report.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use clap::{Args, Parser};
use diesel::connection::SimpleConnection;
use service_kit::clock::{Clock, ManualClock};
use service_kit::commands::{
    self, BackupsCommand, CommandError, MigrationArgs, Outcome, Subject, back_up,
};
use service_kit::exit::Exit;
use service_kit::migrate::{MigrateError, Schema, epoch};

use crate::migrating::{FIRST, SECOND, Source, noon, run, schema};
use crate::support::{Place, number, raw};

/// A day and a little.
const DAY: Duration = Duration::from_secs(25 * 3600);

#[derive(Debug, Clone, Args)]
pub(crate) struct Nowhere {}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    migration: MigrationArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct BackupsLine {
    #[command(subcommand)]
    command: BackupsCommand<Nowhere>,
}

/// A database, its program and the time.
pub(crate) struct Desk {
    pub(crate) place: Place,
    pub(crate) schema: Schema,
    clock: Clock,
    hand: ManualClock,
}

impl Desk {
    /// A database with two notes at the first migration, and a program with these.
    pub(crate) fn new(sources: &[Source]) -> Self {
        let place = Place::new();
        run(&place, &[FIRST]).unwrap();
        place
            .raw()
            .batch_execute("INSERT INTO notes VALUES ('a'), ('b')")
            .unwrap();
        let (clock, hand) = Clock::manual(noon());
        Self {
            place,
            schema: schema(sources),
            clock,
            hand,
        }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            path: &self.place.path,
            schema: &self.schema,
            service: "note-service",
            clock: &self.clock,
        }
    }

    pub(crate) fn migrate(&self, flags: &[&str]) -> Result<Outcome, CommandError> {
        let line = Line::try_parse_from([&["migrate"], flags].concat()).unwrap();
        commands::migrate(&line.migration, &self.subject())
    }

    pub(crate) fn backups(&self, words: &[&str]) -> Result<Outcome, CommandError> {
        let line = BackupsLine::try_parse_from([&["backups"], words].concat()).unwrap();
        commands::backups(&line.command, &self.subject())
    }

    /// Makes a backup and lets a day go by.
    pub(crate) fn back_up(&self) -> String {
        let made = back_up(&self.subject()).unwrap();
        self.hand.advance(DAY);
        made.text.split(' ').next().unwrap().to_owned()
    }

    /// The files without what SQLite makes beside a database that is read.
    fn files(&self) -> Vec<String> {
        let mut files = self.place.files();
        files.retain(|name| !["-wal", "-shm"].iter().any(|end| name.ends_with(end)));
        files
    }

    pub(crate) fn epoch(&self) -> String {
        epoch(&mut self.place.raw()).unwrap()
    }
}

#[test]
fn the_status_is_told_beside_a_running_service_and_changes_nothing() {
    let desk = Desk::new(&[FIRST, SECOND]);
    let _running = desk.place.lock();
    let files = desk.files();
    let told = desk.migrate(&["--status"]).unwrap();
    assert_eq!(told.exit, Exit::Clean);
    for part in ["schema version 0001", "applied 0001_notes", "pending 0002"] {
        assert!(told.text.contains(part), "{part}: {}", told.text);
    }
    assert_eq!(desk.files(), files);
    // Everything else needs the database for itself.
    let held = desk.migrate(&["--dry-run"]).unwrap_err();
    assert_eq!(held.exit(), Exit::Locked);
}

#[test]
fn the_status_of_a_refused_database_tells_the_refusal_and_its_exit_code() {
    let desk = Desk::new(&[SECOND]);
    let told = desk.migrate(&["--status"]).unwrap();
    assert_eq!(told.exit, Exit::BadData);
    assert!(
        told.text
            .contains("refused: the database has the migrations 0001, which this program lacks"),
        "{}",
        told.text
    );
}

#[test]
fn a_dry_run_tells_what_would_change_and_leaves_everything_as_it_was() {
    let desk = Desk::new(&[FIRST, SECOND]);
    let (files, bytes) = (desk.files(), std::fs::read(&desk.place.path).unwrap());
    // What a killed one left is no obstacle and does not stay.
    std::fs::write(desk.place.sibling(".dry-run"), "left over").unwrap();
    let report = desk.place.folder.path().join("report.json");
    let flag = format!("--report={}", report.display());
    let told = desk.migrate(&["--dry-run", "--verbose", &flag]).unwrap();
    for part in [
        "schema version 0002",
        "applied 0002",
        "rows of tags: no table, then 0",
        "rows of notes: 2, then 2",
    ] {
        assert!(told.text.contains(part), "{part}: {}", told.text);
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(json["report"]["applied"], serde_json::json!(["0002"]));
    std::fs::remove_file(report).unwrap();
    assert_eq!(desk.files(), files);
    assert!(std::fs::read(&desk.place.path).unwrap() == bytes);
}

#[test]
fn a_dry_run_that_fails_says_so_and_leaves_no_copy() {
    let broken = ("0002_broken", "INSERT INTO nowhere VALUES (1);", None);
    let desk = Desk::new(&[FIRST, broken]);
    let files = desk.files();
    let error = desk.migrate(&["--dry-run"]).unwrap_err();
    assert!(error.to_string().contains("0002"), "{error}");
    assert_eq!(desk.files(), files);
    assert_eq!(desk.place.notes(), ["a", "b"]);
}

#[test]
fn a_dry_run_of_a_missing_database_makes_none() {
    let mut desk = Desk::new(&[FIRST, SECOND]);
    desk.place = Place::new();
    let told = desk.migrate(&["--dry-run"]).unwrap();
    assert!(
        told.text.contains("rows of notes: no table, then 0"),
        "{}",
        told.text
    );
    assert_eq!(desk.files(), ["mobilesd_jobs.sqlite.lock"]);
}

#[test]
fn the_report_is_whole_and_for_its_owner_only() {
    let desk = Desk::new(&[FIRST, SECOND]);
    let report = desk.place.folder.path().join("report.json");
    std::fs::write(&report, "an older report").unwrap();
    let flag = format!("--report={}", report.display());
    let told = desk.migrate(&[&flag]).unwrap();
    assert!(
        told.text.starts_with("schema version 0002\n"),
        "{}",
        told.text
    );
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(json["schema_version"], "0002");
    assert_eq!(json["adoption"], serde_json::Value::Null);
    let backup = json["backup"].as_str().unwrap();
    assert!(std::path::Path::new(backup).exists(), "{backup}");
    let mode = std::fs::metadata(&report).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!report.with_extension("json.partial").exists());
}

#[test]
fn a_version_to_end_with_goes_both_ways_and_back_only_with_a_backup() {
    let desk = Desk::new(&[FIRST, SECOND]);
    desk.migrate(&["--to=0002", "--verbose"]).unwrap();
    desk.place
        .raw()
        .batch_execute("UPDATE notes SET colour = 'red'")
        .unwrap();
    let told = desk.migrate(&["--to=0001", "--verbose"]).unwrap();
    for part in ["schema version 0001", "taken back 0002", "backup "] {
        assert!(told.text.contains(part), "{part}: {}", told.text);
    }
    assert_eq!(desk.place.notes(), ["a", "b"]);
    let newest = desk.backups(&["list"]).unwrap().text;
    let newest = newest.split(' ').next().unwrap();
    let mut kept = raw(&desk.place.folder.path().join(newest));
    assert_eq!(
        number(&mut kept, "SELECT count(*) FROM notes WHERE colour = 'red'"),
        2
    );
    let unknown = desk.migrate(&["--to=0009"]).unwrap_err();
    assert_eq!(unknown.exit(), Exit::BadConfiguration);
    assert!(Line::try_parse_from(["migrate", "--to=0001", "--no-backup"]).is_err());
}

#[test]
fn a_migration_that_does_not_fit_on_the_volume_is_not_begun() {
    let desk = Desk::new(&[FIRST, SECOND]);
    // No volume of these machines has room for twice that; the file has holes only.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&desk.place.path)
        .unwrap();
    let whole = file.metadata().unwrap().len();
    let huge: u64 = 8 << 40;
    file.set_len(huge).unwrap();
    let files = desk.files();
    for flags in [&[][..], &["--dry-run"], &["--no-backup"]] {
        let error = desk.migrate(flags).unwrap_err();
        assert_eq!(error.exit(), Exit::Failure);
        let CommandError::Migrate(MigrateError::NoSpace {
            needed_bytes,
            free_bytes,
            ..
        }) = &error
        else {
            panic!("{error}");
        };
        assert!(*needed_bytes > 2 * huge && free_bytes < needed_bytes);
        let words = error.to_string();
        for bytes in [needed_bytes, free_bytes] {
            assert!(words.contains(&bytes.to_string()), "{words}");
        }
    }
    let error = back_up(&desk.subject()).unwrap_err();
    assert!(error.to_string().contains("free space"), "{error}");
    assert_eq!(desk.files(), files);
    file.set_len(whole).unwrap();
    desk.migrate(&[]).unwrap();
}
