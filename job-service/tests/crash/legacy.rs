//! Data folders of the earlier application to be killed over, and everything that a database
//! holds, so that two can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use chrono::TimeDelta;
use diesel::{Connection as _, SqliteConnection, prelude::*, sql_query, sql_types::Text};
use service_kit::clock::Clock;
use tempfile::TempDir;

/// Every sample folder.
pub(crate) const SAMPLES: [&str; 6] = [
    "2025-05-13-jobs-10-columns",
    "2025-05-14-jobs-10-models-11",
    "2025-05-24-jobs-14-keys-8",
    "2025-06-14-models-26",
    "2025-06-20-jobs-14-models-33",
    "2025-06-20-wal-not-checkpointed",
];
/// What is between two values of a row.
const BETWEEN: char = '\u{1f}';
/// What is in the place of a value that is another one in every run.
const OWN: &str = "of its own";
/// The longest that a test goes on.
const TEST_MAX: TimeDelta = TimeDelta::hours(2);

/// A copy of a sample.
pub(crate) fn copy(sample: &str) -> TempDir {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/legacy-databases");
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(samples.join(sample)).unwrap() {
        let entry = entry.unwrap();
        // Not fs::copy: the samples cannot be written, and a copy must.
        let bytes = fs::read(entry.path()).unwrap();
        fs::write(folder.path().join(entry.file_name()), bytes).unwrap();
    }
    folder
}

fn connect(database: &Path) -> SqliteConnection {
    SqliteConnection::establish(database.to_str().unwrap()).unwrap()
}

/// The column `text` of every row.
fn texts(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let rows: Vec<Row> = sql_query(sql).load(conn).unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

/// The keys and secrets that an older database has in clear.
pub(crate) fn secrets(database: &Path) -> Vec<String> {
    let conn = &mut connect(database);
    let there = "SELECT name AS text FROM sqlite_master WHERE name = 'api_keys'";
    if texts(conn, there).is_empty() {
        return Vec::new();
    }
    texts(
        conn,
        "SELECT key AS text FROM api_keys UNION SELECT secret FROM api_keys",
    )
}

/// The backups beside a database, finished or not.
pub(crate) fn backups(database: &Path) -> Vec<PathBuf> {
    let beside = fs::read_dir(database.parent().unwrap()).unwrap();
    let begin = format!("{}_backup_", database.file_stem().unwrap().display());
    beside
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .display()
                .to_string()
                .starts_with(&begin)
        })
        .collect()
}

/// A file that SQLite has beside a database.
pub(crate) fn beside(database: &Path, ending: &str) -> PathBuf {
    database.with_file_name(format!(
        "{}{ending}",
        database.file_name().unwrap().display()
    ))
}

/// Every row of every table, and every statement of the schema, as SQL writes the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content(BTreeMap<String, Vec<Vec<String>>>);

impl Content {
    pub(crate) fn of(database: &Path) -> Self {
        let conn = &mut connect(database);
        assert_eq!(
            texts(
                conn,
                "SELECT integrity_check AS text FROM pragma_integrity_check"
            ),
            ["ok"]
        );
        let master = "SELECT type || char(31) || name || char(31) || coalesce(sql, '') AS text \
                      FROM sqlite_master ORDER BY 1";
        let tables = "SELECT name AS text FROM sqlite_master WHERE type = 'table' \
                      AND name NOT LIKE 'sqlite~_%' ESCAPE '~'";
        let mut all = BTreeMap::from([("sqlite_master".to_owned(), rows(conn, master))]);
        for table in texts(conn, tables) {
            let columns = format!(
                "SELECT 'quote(\"' || name || '\")' AS text FROM pragma_table_info('{table}')"
            );
            let columns = texts(conn, &columns).join(" || char(31) || ");
            let found = rows(conn, &format!("SELECT {columns} AS text FROM \"{table}\""));
            all.insert(table, found);
        }
        Self(all)
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The number of rows of a table; 0 where there is none of that name.
    pub(crate) fn rows_of(&self, table: &str) -> usize {
        self.0.get(table).map_or(0, Vec::len)
    }
}

fn rows(conn: &mut SqliteConnection, sql: &str) -> Vec<Vec<String>> {
    let cells = |row: String| row.split(BETWEEN).map(str::to_owned).collect();
    texts(conn, sql).into_iter().map(cells).collect()
}

/// What every run that ends well has to come to.
pub(crate) struct Expected {
    content: Content,
    /// The columns that are others in every run: random ones.
    own: BTreeSet<(String, usize)>,
    /// Times between these are of the runs themselves, to the minute.
    minutes: (String, String),
}

impl Expected {
    /// From two undisturbed runs that began after `clock` was read.
    pub(crate) fn from(one: Content, other: Content, clock: &Clock) -> Self {
        let mut own = BTreeSet::new();
        for (table, rows) in &one.0 {
            let others = &other.0[table];
            assert_eq!(rows.len(), others.len(), "{table}");
            for (row, other) in rows.iter().zip(others) {
                let cells = row.iter().zip(other).enumerate();
                let differing = cells.filter(|(_, (cell, other))| cell != other);
                own.extend(differing.map(|(at, _)| (table.clone(), at)));
            }
        }
        let minute =
            |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%d %H:%M").to_string();
        let began = clock.now();
        let mut expected = Self {
            content: one.clone(),
            own,
            minutes: (
                minute(began - TimeDelta::minutes(2)),
                minute(began + TEST_MAX),
            ),
        };
        expected.content = expected.without_own(one);
        expected
    }

    fn without_own(&self, mut content: Content) -> Content {
        for (table, rows) in &mut content.0 {
            for row in rows {
                for (at, cell) in row.iter_mut().enumerate() {
                    if self.own.contains(&(table.clone(), at)) || self.is_of_a_run(cell) {
                        OWN.clone_into(cell);
                    }
                }
            }
        }
        content
    }

    /// Whether it is a time of a run.
    fn is_of_a_run(&self, cell: &str) -> bool {
        let minute = cell.strip_prefix('\'').and_then(|text| text.get(..16));
        let minute = minute.map(|text| text.replace('T', " "));
        minute.is_some_and(|minute| self.minutes.0 <= minute && minute <= self.minutes.1)
    }

    /// Asserts that a database holds it and that nothing is left of what it was made from.
    pub(crate) fn is_held_by(&self, database: &Path, secrets: &[String], when: &str) {
        let found = self.without_own(Content::of(database));
        for table in found.tables().chain(self.content.tables()) {
            assert!(!table.starts_with("adopted_"), "{when}: {table}");
            let (found, wanted) = (found.0.get(table), self.content.0.get(table));
            assert_eq!(found, wanted, "{when}: {table}");
        }
        for file in ["", "-wal", "-journal"].map(|ending| beside(database, ending)) {
            let bytes = fs::read(&file).unwrap_or_default();
            for text in secrets {
                let there = bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes());
                assert!(!there, "{when}: {} holds a secret", file.display());
            }
        }
    }

    pub(crate) fn rows_of(&self, table: &str) -> usize {
        self.content.rows_of(table)
    }
}
