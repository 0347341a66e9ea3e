//! A process that ends by itself, as if killed, at a call of SQLite or behind a
//! statement of a migration, up or down.
//!
//! The process is this test program again, in the folder of the database: its connections have an
//! instrumentation that counts calls. A migration is one call of many statements; the state after
//! one of them is reached with a migration that is cut off there, which is never committed.
//! Which databases are migrated so, and what has to come of it, is not decided here.

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
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
    database::DatabaseLock,
    migrate::{MigrateOptions, Schema, migrate, migrate_to},
};

/// The signal of `std::process::abort`.
pub(crate) const SIGABRT: i32 = 6;
/// Far more calls than any migration makes.
pub(crate) const CALLS_MAX: usize = 10_000;

/// One of the two databases.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) schema: fn() -> Schema,
}

pub(crate) const JOBS: Kind = Kind {
    name: "jobs",
    file: job_service::config::DATABASE_FILE,
    schema: job_service::run::schema,
};
pub(crate) const MODELS: Kind = Kind {
    name: "models",
    file: model_service::config::DATABASE_FILE,
    schema: model_service::run::schema,
};

/// A little after the newest job of the samples.
pub(crate) fn time_of_samples() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_795_345_680_123).unwrap()
}

/// Migrates a database to the schema, or to a version of it.
pub(crate) fn run(database: &Path, schema: &Schema, to: Option<&str>) {
    let lock = DatabaseLock::acquire(database, "a test").unwrap();
    let (options, now) = (MigrateOptions::default(), time_of_samples());
    match to {
        None => migrate(database, &lock, schema, now, &options),
        Some(version) => migrate_to(database, &lock, schema, version, now, &options),
    }
    .unwrap();
}

/// Which of its two texts a migration is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// Where a child ends.
pub(crate) enum Stop {
    /// Before this call of SQLite, counted from 1.
    Call(usize),
    /// After so many statements of a migration.
    Within {
        way: Way,
        migration: String,
        statements: usize,
    },
}

/// A migration: the name of its folder and its texts.
#[derive(Clone)]
pub(crate) struct Texts {
    pub(crate) name: String,
    up: String,
    down: String,
}

impl Texts {
    pub(crate) fn version(&self) -> &str {
        self.name.split_once('_').unwrap().0
    }

    fn of(&mut self, way: Way) -> &mut String {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// The migrations of a database, oldest first.
pub(crate) fn migrations(kind: Kind) -> Vec<Texts> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../migrations")
        .join(kind.name);
    let folders = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    let texts = |folder: PathBuf| Texts {
        name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
        up: fs::read_to_string(folder.join("up.sql")).unwrap(),
        down: fs::read_to_string(folder.join("down.sql")).unwrap(),
    };
    folders.into_iter().map(texts).collect()
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

/// Every place between two statements of the migrations after a version.
pub(crate) fn within(kind: Kind, way: Way, after: &str) -> Vec<Stop> {
    let mut all = Vec::new();
    for mut texts in migrations(kind) {
        if texts.version() <= after {
            continue;
        }
        for statements in 1..ends(texts.of(way)).len() {
            all.push(Stop::Within {
                way,
                migration: texts.name.clone(),
                statements,
            });
        }
    }
    all
}

/// The schema that these migrations make.
fn schema_of(kind: Kind, migrations: Vec<Texts>) -> Schema {
    let newest = migrations.last().unwrap().version();
    let readable_from = (kind.schema)().readable_from.min(newest).to_owned().leak();
    let embedded: Vec<EmbeddedMigration> = migrations
        .into_iter()
        .map(|texts| {
            let name = EmbeddedName::new(texts.name.leak());
            let metadata = TomlMetadataWrapper::new(true);
            EmbeddedMigration::new(texts.up.leak(), Some(texts.down.leak()), name, metadata)
        })
        .collect();
    Schema {
        migrations: EmbeddedMigrations::new(embedded.leak()),
        readable_from,
        ..(kind.schema)()
    }
}

/// The schema as an earlier program had it, whose newest migration had this version.
pub(crate) fn schema_at(kind: Kind, version: &str) -> Schema {
    let mut kept = migrations(kind);
    kept.retain(|texts| texts.version() <= version);
    schema_of(kind, kept)
}

/// The schema with one migration that ends at a place in it, and the text of the part of it. On
/// the way up it is the last.
fn cut(kind: Kind, way: Way, migration: &str, statements: usize) -> (Schema, String) {
    let mut kept = migrations(kind);
    if way == Way::Up {
        kept.retain(|texts| texts.name.as_str() <= migration);
    }
    let part = kept.iter_mut().find(|texts| texts.name == migration);
    let part = part.unwrap().of(way);
    part.truncate(ends(part)[statements - 1]);
    let part = part.clone();
    (schema_of(kind, kept), part)
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

/// Reads which database it migrates, where to, and where it ends; without that it does nothing.
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
    let to = Some(words[1]).filter(|version| *version != NEWEST);
    let schema = match words[2..] {
        ["call", call] => {
            LAST_CALL.set(call.parse().unwrap()).unwrap();
            (kind.schema)()
        }
        [way, migration, statements, runs] => {
            let way = if way == "up" { Way::Up } else { Way::Down };
            let (schema, text) = cut(kind, way, migration, statements.parse().unwrap());
            LAST_TEXT.set((text, runs.parse().unwrap())).unwrap();
            schema
        }
        _ => panic!("{line}"),
    };
    set_default_instrumentation(stopping).unwrap();
    run(Path::new(kind.file), &schema, to);
    println!("\n{} calls", CALLS.load(Ordering::SeqCst));
}

/// How a child is told to take all the migrations there are.
const NEWEST: &str = "newest";

/// A child that migrates the database in a folder, to a version where one is given, and is to end
/// at a stop; with what it was asked. A text that is cut ends it at its run of that number.
pub(crate) fn child(
    kind: Kind,
    folder: &Path,
    to: Option<&str>,
    stop: &Stop,
    text_runs: usize,
) -> (Output, String) {
    let stop = match stop {
        Stop::Call(call) => format!("call {call}"),
        Stop::Within {
            way,
            migration,
            statements,
        } => {
            let way = if *way == Way::Up { "up" } else { "down" };
            format!("{way} {migration} {statements} {text_runs}")
        }
    };
    let asked = format!("{} {} {stop}", kind.name, to.unwrap_or(NEWEST));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "stepping::child_migrates",
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
    (child.wait_with_output().unwrap(), asked)
}
