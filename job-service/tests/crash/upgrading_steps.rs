//! Databases of every earlier version of ours with rows in all their tables, migrated up to the
//! newest, and back down to each, by processes that end by themselves, as if killed, before every
//! call of SQLite and after every statement: the next start, or the same command again, ends well,
//! and no row is lost that the schema can hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
};

use diesel::{Connection as _, SqliteConnection, prelude::*, sql_query, sql_types::Text};
use service_kit::clock::Clock;
use tempfile::TempDir;

use crate::{
    legacy::{Content, Expected, backups},
    stepping::{
        CALLS_MAX, JOBS, Kind, MODELS, SIGABRT, Stop, Way, child, migrations, run, schema_at,
        within,
    },
    upgrading_rows::fill,
};

/// In the ordinary run, which of the stops are tried: every so many, from another one on for each
/// version.
const EVERY: usize = 41;
/// Fewer stops than any of the ways has.
const STOPS_MIN: usize = 20;
/// What a migration itself writes.
const BOOKKEEPING: [&str; 3] = [
    "__diesel_schema_migrations",
    "stablequeue_migrations",
    "stablequeue_meta",
];

/// The values of each column of each table, but for bookkeeping: sorted rows of (column, value).
type Rows = BTreeMap<String, Vec<BTreeMap<String, String>>>;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    text: String,
}

fn lines(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let found: Vec<Line> = sql_query(sql).load(connection).unwrap();
    found.into_iter().map(|line| line.text).collect()
}

fn rows(database: &Path) -> Rows {
    let connection = &mut SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    let tables = "SELECT name AS text FROM sqlite_master WHERE type = 'table' \
                  AND name NOT LIKE 'sqlite~_%' ESCAPE '~'";
    let mut all = Rows::new();
    for table in lines(connection, tables) {
        if BOOKKEEPING.contains(&table.as_str()) {
            continue;
        }
        let columns = format!("SELECT name AS text FROM pragma_table_info('{table}')");
        let pairs: Vec<String> = lines(connection, &columns)
            .iter()
            .map(|column| format!("'{column}', quote(\"{column}\")"))
            .collect();
        let sql = format!(
            "SELECT json_object({}) AS text FROM \"{table}\"",
            pairs.join(", ")
        );
        let found = lines(connection, &sql);
        let found = found.iter().map(|row| serde_json::from_str(row).unwrap());
        all.insert(table, found.collect());
    }
    all
}

/// What both have of the columns and tables that both have.
fn in_common(rows: &Rows, other: &Rows) -> BTreeMap<String, BTreeSet<Vec<(String, String)>>> {
    let mut all = BTreeMap::new();
    for (table, rows) in rows {
        let Some(first) = other.get(table).and_then(|rows| rows.first()) else {
            continue;
        };
        let known = |row: &BTreeMap<String, String>| {
            let row = row.iter().filter(|(column, _)| first.contains_key(*column));
            row.map(|(column, value)| (column.clone(), value.clone()))
                .collect()
        };
        all.insert(table.clone(), rows.iter().map(known).collect());
    }
    all
}

/// A way from one version to another.
struct Case {
    kind: Kind,
    /// `None` for the newest.
    to: Option<String>,
    from: String,
    /// The database before, which is copied for every run.
    folder: TempDir,
    older: Content,
    expected: Expected,
}

impl Case {
    fn new(kind: Kind, from: &str, to: Option<&str>) -> Self {
        let clock = Clock::system();
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(kind.file);
        run(&database, &schema_at(kind, from), None);
        let path = database.to_str().unwrap();
        fill(kind, from, &mut SqliteConnection::establish(path).unwrap());
        let before = rows(&database);
        for (table, rows) in &before {
            assert!(!rows.is_empty(), "{table} of {from} needs rows in `fill`");
        }
        let older = Content::of(&database);
        let content = || {
            let folder = copied(&folder, kind);
            let database = folder.path().join(kind.file);
            run(&database, &(kind.schema)(), to);
            let after = rows(&database);
            let gone = before.keys().filter(|table| !after.contains_key(*table));
            assert!(to.is_some() || gone.count() == 0, "{from}");
            let (kept, wanted) = (in_common(&after, &before), in_common(&before, &after));
            assert_eq!(kept, wanted, "{} from {from} to {to:?}", kind.name);
            Content::of(&database)
        };
        let expected = Expected::from(content(), content(), &clock);
        Self {
            kind,
            to: to.map(str::to_owned),
            from: from.to_owned(),
            folder,
            older,
            expected,
        }
    }

    /// Whether a child that is to end at `stop` did; then what comes after has been checked.
    fn stopped_at(&self, stop: &Stop) -> bool {
        let to = self.to.as_deref();
        let folder = copied(&self.folder, self.kind);
        let database = folder.path().join(self.kind.file);
        let (ended, asked) = child(self.kind, folder.path(), to, stop, 1);
        if ended.status.success() {
            return false;
        }
        let asked = format!("{asked} from {}", self.from);
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{asked}: {ended:?}");
        run(&database, &(self.kind.schema)(), to);
        self.expected.is_held_by(&database, &[], &asked);
        let backups = backups(&database);
        assert!(!backups.is_empty(), "{asked}");
        for backup in backups {
            let finished = backup.extension().is_some_and(|it| it == "sqlite");
            assert!(finished, "{asked}: {backup:?}");
            assert_eq!(Content::of(&backup), self.older, "{asked}");
        }
        // A start takes what is there to the newest.
        run(&database, &(self.kind.schema)(), None);
        true
    }

    /// Ends a child at every `every`th stop, from the `first` on; answers at how many.
    fn play(&self, every: usize, first: usize) -> usize {
        let calls = (1 + first % every..CALLS_MAX).step_by(every);
        let calls = calls
            .take_while(|call| self.stopped_at(&Stop::Call(*call)))
            .count();
        let (way, after) = match &self.to {
            None => (Way::Up, &self.from),
            Some(to) => (Way::Down, to),
        };
        let within = within(self.kind, way, after);
        let mut between = 0;
        for stop in within.iter().skip(first % every).step_by(every) {
            assert!(self.stopped_at(stop), "a cut migration is never committed");
            between += 1;
        }
        calls + between
    }
}

/// A copy of a folder with only the database in it.
fn copied(folder: &TempDir, kind: Kind) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let file = |folder: &TempDir| -> PathBuf { folder.path().join(kind.file) };
    fs::copy(file(folder), file(&copy)).unwrap();
    copy
}

/// Every way between the newest version and each earlier one.
fn play(kind: Kind, way: Way, every: usize) {
    let versions: Vec<String> = migrations(kind)
        .iter()
        .map(|texts| texts.version().to_owned())
        .collect();
    let (newest, earlier) = versions.split_last().unwrap();
    let mut stops = 0;
    for (at, version) in earlier.iter().enumerate() {
        let case = match way {
            Way::Up => Case::new(kind, version, None),
            Way::Down => Case::new(kind, newest, Some(version)),
        };
        stops += case.play(every, at * STOPS_MIN / 3);
    }
    println!("{} {way:?}: ended at {stops} stops", kind.name);
    assert!(stops * every > STOPS_MIN * earlier.len(), "{stops}");
}

#[test]
fn upgrading_jobs_with_rows_can_end_before_any_statement() {
    play(JOBS, Way::Up, EVERY);
}

#[test]
fn upgrading_models_with_rows_can_end_before_any_statement() {
    play(MODELS, Way::Up, EVERY);
}

#[test]
fn taking_jobs_back_with_rows_can_end_before_any_statement() {
    play(JOBS, Way::Down, EVERY);
}

#[test]
fn taking_models_back_with_rows_can_end_before_any_statement() {
    play(MODELS, Way::Down, EVERY);
}

/// `cargo test -p job-service --test crash -- --ignored --nocapture between_all_versions`
#[test]
#[ignore = "takes minutes; its command is above it"]
fn the_same_at_each_stop_between_all_versions() {
    for kind in [JOBS, MODELS] {
        for way in [Way::Up, Way::Down] {
            play(kind, way, 1);
        }
    }
}
