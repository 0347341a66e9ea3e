//! The statements against a real database: the schema is the documented one,
//! and what runs often uses its indexes.

mod adoption;
mod changes;
mod documented;
mod importing;
mod ownership;
mod plans;
mod request_ids;
mod schema_text;
mod totals;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;
use service_kit::{
    clock::Clock,
    database::DatabaseLock,
    migrate::{self, MigrateOptions},
};
use tempfile::TempDir;

use crate::{config::DATABASE_FILE, run::schema, seal::SealingKey, vault::Vault};

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
        let path = folder.path().join(DATABASE_FILE);
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

    /// The column `text` of every row.
    fn texts(&mut self, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            text: String,
        }
        let rows: Vec<Row> = diesel::sql_query(sql).load(&mut self.connection).unwrap();
        rows.into_iter().map(|row| row.text).collect()
    }

    fn run(&mut self, sql: &str) -> QueryResult<usize> {
        diesel::sql_query(sql).execute(&mut self.connection)
    }
}

/// One that touches no file.
fn vault() -> Vault {
    let key = SealingKey::generate().unwrap();
    Vault::open(&PathBuf::new(), Some(key)).unwrap()
}

fn now() -> DateTime<Utc> {
    Clock::system().now()
}
