//! The statements against a real database: the schema is the documented one,
//! lookups use indexes, inventories take effect as planned.

mod adoption;
mod documented;
mod filters;
mod plans;
mod request_ids;
mod schema_text;
mod syncs;
mod to_hash;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;
use service_kit::clock::Clock;
use service_kit::database::DatabaseLock;
use service_kit::migrate::{self, MigrateOptions};
use tempfile::TempDir;

use crate::store::schema;

/// A migrated database in a folder of its own.
struct Fixture {
    connection: SqliteConnection,
    path: PathBuf,
    lock: DatabaseLock,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mobilesd_models.sqlite");
        let lock = DatabaseLock::acquire(&path, "test").unwrap();
        migrate::migrate(&path, &lock, &schema(), now(), &MigrateOptions::default()).unwrap();
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        diesel::sql_query("PRAGMA foreign_keys = ON")
            .execute(&mut connection)
            .unwrap();
        Self {
            connection,
            path,
            lock,
            _folder: folder,
        }
    }

    fn migrate_to(&mut self, version: &str) {
        let options = MigrateOptions { backup: false };
        migrate::migrate_to(&self.path, &self.lock, &schema(), version, now(), &options).unwrap();
        self.connection = SqliteConnection::establish(self.path.to_str().unwrap()).unwrap();
    }

    /// The first column of every row, as text.
    fn texts(&mut self, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            text: String,
        }
        let rows: Vec<Row> = diesel::sql_query(sql).load(&mut self.connection).unwrap();
        rows.into_iter().map(|row| row.text).collect()
    }
}

fn now() -> DateTime<Utc> {
    Clock::system().now()
}

#[test]
fn documented_columns_hold_utc_seconds() {
    let time = service_kit::clock::from_text("2026-11-22T11:08:00.123Z").unwrap();
    assert_eq!(super::second_text(time), "2026-11-22 11:08:00");
    let read = super::from_second_text("2026-11-22 11:08:00").unwrap();
    assert_eq!(read.timestamp(), time.timestamp());
    assert_eq!(super::from_second_text("2026-11-22T11:08:00Z"), None);
}
