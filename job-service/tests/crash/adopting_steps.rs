//! Processes that end by themselves, as if killed, at every call of SQLite and after every
//! statement of a migration: the next start ends well, and comes to what an undisturbed one
//! comes to.
//!
//! The process is this test program again, in the folder of the database: its connections have an
//! instrumentation that counts calls. A migration is one call of many statements; the state after
//! one of them is reached with a migration that is cut off there, which is never committed.

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, Utc};
use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use diesel_migrations::{EmbeddedMigration, EmbeddedMigrations, EmbeddedName, TomlMetadataWrapper};
use service_kit::{
    clock::Clock,
    database::DatabaseLock,
    migrate::{MigrateOptions, Schema, migrate},
};
use tempfile::TempDir;

use crate::legacy::{Content, Expected, backups, copy, secrets};

/// The sample with the most in it.
const NEWEST: &str = "2025-06-20-wal-not-checkpointed";
/// In the ordinary run, which of the stops are tried: every so many.
const EVERY: usize = 9;
/// The signal of `std::process::abort`.
const SIGABRT: i32 = 6;
/// Fewer calls than any migration makes.
const CALLS_MIN: usize = 30;
/// Far more calls than any migration makes.
const CALLS_MAX: usize = 10_000;

/// One of the two databases.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    file: &'static str,
    schema: fn() -> Schema,
}

const JOBS: Kind = Kind {
    name: "jobs",
    file: job_service::config::DATABASE_FILE,
    schema: job_service::run::schema,
};
const MODELS: Kind = Kind {
    name: "models",
    file: model_service::config::DATABASE_FILE,
    schema: model_service::run::schema,
};

/// A little after the newest job of the samples.
fn time_of_samples() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_795_345_680_123).unwrap()
}

fn run(database: &Path, schema: &Schema) {
    let lock = DatabaseLock::acquire(database, "a test").unwrap();
    let options = MigrateOptions::default();
    migrate(database, &lock, schema, time_of_samples(), &options).unwrap();
}

/// Where a child ends.
enum Stop {
    /// Before this call of SQLite, counted from 1.
    Call(usize),
    /// After so many statements of a migration.
    Within {
        migration: String,
        statements: usize,
    },
}

/// The folders of the migrations of a database with their texts, oldest first.
fn migrations(kind: Kind) -> Vec<(String, String)> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../migrations")
        .join(kind.name);
    let folders = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    let text = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(folder.join("up.sql")).unwrap())
    };
    folders.into_iter().map(text).collect()
}

/// Where the statements of a text end, in bytes. They end with their lines.
fn ends(sql: &str) -> Vec<usize> {
    let (mut at, mut in_trigger, mut ends) = (0, false, Vec::new());
    for line in sql.split_inclusive('\n') {
        at += line.len();
        let line = line.trim();
        in_trigger |= line.starts_with("CREATE TRIGGER");
        let ended = line.ends_with(';') && !line.starts_with("--");
        if ended && (!in_trigger || line == "END;") {
            in_trigger = false;
            ends.push(at);
        }
    }
    ends
}

/// Every place between two statements of a migration.
fn within(kind: Kind) -> Vec<Stop> {
    let mut all = Vec::new();
    for (migration, sql) in migrations(kind) {
        for statements in 1..ends(&sql).len() {
            let migration = migration.clone();
            all.push(Stop::Within {
                migration,
                statements,
            });
        }
    }
    all
}

/// The schema up to a place in a migration, and the text of the part of that migration.
fn cut(kind: Kind, migration: &str, statements: usize) -> (Schema, String) {
    let mut kept = migrations(kind);
    kept.retain(|(name, _)| name.as_str() <= migration);
    let (_, last) = kept.last_mut().unwrap();
    last.truncate(ends(last)[statements - 1]);
    let last = last.clone();
    let (version, _) = migration.split_once('_').unwrap();
    let readable_from = version.to_owned().leak();
    let embedded: Vec<EmbeddedMigration> = kept
        .into_iter()
        .map(|(name, sql)| {
            let name = EmbeddedName::new(name.leak());
            EmbeddedMigration::new(sql.leak(), None, name, TomlMetadataWrapper::new(true))
        })
        .collect();
    let migrations = EmbeddedMigrations::new(embedded.leak());
    let schema = Schema {
        migrations,
        readable_from,
        ..(kind.schema)()
    };
    (schema, last)
}

/// The calls of this process so far.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// The call before which it ends.
static LAST_CALL: OnceLock<usize> = OnceLock::new();
/// The text after which it ends, and at which of its runs.
static LAST_TEXT: OnceLock<(String, usize)> = OnceLock::new();
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// What every connection of a child has.
fn stopping() -> Option<Box<dyn Instrumentation>> {
    Some(Box::new(|event: InstrumentationEvent<'_>| match event {
        InstrumentationEvent::StartQuery { .. } => {
            let call = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
            if LAST_CALL.get() == Some(&call) {
                std::process::abort();
            }
        }
        InstrumentationEvent::FinishQuery { query, .. } => {
            if let Some((text, run)) = LAST_TEXT.get()
                && query.to_string() == *text
                && RUNS.fetch_add(1, Ordering::SeqCst) + 1 == *run
            {
                std::process::abort();
            }
        }
        _ => {}
    }))
}

/// Reads which database it migrates and where it ends; without that it does nothing.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn child_migrates() {
    let mut line = String::new();
    if std::io::stdin().is_terminal() {
        return;
    }
    std::io::stdin().read_line(&mut line).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind = match words.first() {
        Some(&"jobs") => JOBS,
        Some(&"models") => MODELS,
        _ => return,
    };
    let schema = match words[1..] {
        ["call", call] => {
            LAST_CALL.set(call.parse().unwrap()).unwrap();
            (kind.schema)()
        }
        ["within", migration, statements, runs] => {
            let (schema, text) = cut(kind, migration, statements.parse().unwrap());
            LAST_TEXT.set((text, runs.parse().unwrap())).unwrap();
            schema
        }
        _ => panic!("{line}"),
    };
    set_default_instrumentation(stopping).unwrap();
    run(Path::new(kind.file), &schema);
    println!("\n{} calls", CALLS.load(Ordering::SeqCst));
}

/// A database before it is migrated, and what becomes of it.
struct Case {
    kind: Kind,
    /// `None`: no database yet.
    sample: Option<&'static str>,
    /// What that is a backup of.
    older: Option<Content>,
    expected: Expected,
    secrets: Vec<String>,
}

impl Case {
    fn new(kind: Kind, sample: Option<&'static str>) -> Self {
        let clock = Clock::system();
        let content = || {
            let folder = before(sample);
            let database = folder.path().join(kind.file);
            run(&database, &(kind.schema)());
            Content::of(&database)
        };
        let expected = Expected::from(content(), content(), &clock);
        let copied = sample.map(copy);
        let older = copied.as_ref().map(|folder| folder.path().join(kind.file));
        Self {
            kind,
            sample,
            expected,
            secrets: older.as_deref().map_or_else(Vec::new, secrets),
            older: older.as_deref().map(Content::of),
        }
    }

    /// Whether a child that is to end at `stop` did; then the next start has been checked.
    fn stopped_at(&self, stop: &Stop) -> bool {
        let folder = before(self.sample);
        let database = folder.path().join(self.kind.file);
        let asked = match stop {
            Stop::Call(call) => format!("{} call {call}", self.kind.name),
            Stop::Within {
                migration,
                statements,
            } => {
                // An adoption first tries the migrations in memory, for their names.
                let runs = if self.sample.is_some() { 2 } else { 1 };
                format!("{} within {migration} {statements} {runs}", self.kind.name)
            }
        };
        let ended = child(folder.path(), &asked);
        if ended.status.success() {
            return false;
        }
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{asked}: {ended:?}");
        run(&database, &(self.kind.schema)());
        self.expected.is_held_by(&database, &self.secrets, &asked);
        let backups = backups(&database);
        let finished = |path: &PathBuf| path.extension().is_some_and(|it| it == "sqlite");
        assert!(backups.iter().all(finished), "{asked}: {backups:?}");
        assert_eq!(
            backups.is_empty(),
            self.sample.is_none(),
            "{asked}: {backups:?}"
        );
        for backup in backups {
            assert_eq!(Some(Content::of(&backup)), self.older, "{asked}");
        }
        true
    }

    /// Ends a child at every `every`th stop.
    fn play(&self, every: usize) {
        let calls = (1..CALLS_MAX).step_by(every);
        let calls = calls
            .take_while(|call| self.stopped_at(&Stop::Call(*call)))
            .count();
        let mut between = 0;
        for stop in within(self.kind).iter().step_by(every) {
            assert!(self.stopped_at(stop), "a cut migration is never committed");
            between += 1;
        }
        let (name, sample) = (self.kind.name, self.sample.unwrap_or("nothing"));
        println!(
            "{name} from {sample}: ended at {calls} calls and within migrations {between} times"
        );
        assert!(calls * every > CALLS_MIN && between > 0);
    }
}

/// A folder before the run.
fn before(sample: Option<&str>) -> TempDir {
    sample.map_or_else(|| tempfile::tempdir().unwrap(), copy)
}

fn child(folder: &Path, asked: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "adopting_steps::child_migrates",
            "--ignored",
            "--nocapture",
        ])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{asked}").unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn taking_over_jobs_can_end_before_any_statement() {
    Case::new(JOBS, Some(NEWEST)).play(EVERY);
}

#[test]
fn taking_over_models_can_end_before_any_statement() {
    Case::new(MODELS, Some(NEWEST)).play(EVERY);
}

#[test]
fn making_a_database_can_end_before_any_statement() {
    for kind in [JOBS, MODELS] {
        Case::new(kind, None).play(EVERY);
    }
}

/// `cargo test -p job-service --test crash -- --ignored --nocapture at_each_of_them`
#[test]
#[ignore = "takes minutes; its command is above it"]
fn the_same_at_each_of_them() {
    for kind in [JOBS, MODELS] {
        for sample in [None, Some(NEWEST)] {
            Case::new(kind, sample).play(1);
        }
    }
}
