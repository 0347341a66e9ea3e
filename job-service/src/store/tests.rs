//! The statements against a real database: the schema is the documented one,
//! and what runs often uses its indexes.

mod adopted_jobs;
mod adoption;
mod attempts;
mod changes;
mod cooldowns;
mod deadlines;
mod documented;
mod ends;
mod importing;
mod ownership;
mod plans;
mod request_ids;
mod retries;
mod schema_text;
mod totals;

use std::{collections::BTreeMap, path::PathBuf};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;
use service_kit::{
    clock::Clock,
    database::DatabaseLock,
    migrate::{self, MigrateOptions},
};
use tempfile::TempDir;

use super::servers::{self, NewServer};
use crate::{config::DATABASE_FILE, run::schema, seal::SealingKey, server::Usage, vault::Vault};

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

    /// A server that takes jobs.
    fn add_server(&mut self, alias: &str) {
        let server = NewServer {
            alias: alias.to_owned(),
            base_url: format!("http://{alias}"),
            usage: Usage::Dedicated,
            labels: BTreeMap::new(),
            enabled: true,
            interrupts_allowed: false,
            api_login: None,
            ui_login: None,
        };
        servers::insert(&mut self.connection, &vault(), &server, 10, now()).unwrap();
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
