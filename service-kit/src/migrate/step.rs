//! One migration with its texts, so that what is run is what is checksummed.
//!
//! `EmbeddedMigrations` keeps its texts to itself; running one against a [`Recorder`] shows them.

use diesel::QueryResult;
use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{
    Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion, Result,
};
use diesel::sqlite::Sqlite;
use sha2::{Digest, Sha256};

use super::{MigrateError, NOTHING, Schema};

/// A migration as diesel's harness takes it.
///
/// It opens no transaction of its own: all pending ones share one, and diesel's nested ones would
/// hide the cause when SQLite ends the outer one by itself.
pub(super) struct Step {
    name: Name,
    up: String,
    down: Option<String>,
}

/// All migrations of a schema, oldest first.
pub(super) fn steps(schema: &Schema) -> std::result::Result<Vec<Step>, MigrateError> {
    let unusable = |error: &dyn std::fmt::Display| MigrateError::Embedded(error.to_string());
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = schema
        .migrations
        .migrations()
        .map_err(|error| unusable(&error))?;
    let mut steps = Vec::with_capacity(migrations.len());
    for migration in migrations {
        let up = recorded(|recorder| migration.run(recorder)).map_err(|error| unusable(&error))?;
        let name = migration.name();
        steps.push(Step {
            name: Name {
                version: name.version().to_string(),
                full: name.to_string(),
            },
            up,
            // The one error of reverting against a recorder is that there is no down.sql.
            down: recorded(|recorder| migration.revert(recorder)).ok(),
        });
    }
    steps.sort_by(|a, b| a.version().cmp(b.version()));
    if let Some(pair) = steps
        .windows(2)
        .find(|pair| pair[0].version() == pair[1].version())
    {
        return Err(unusable(&format!(
            "two have the version {}",
            pair[0].version()
        )));
    }
    if steps.iter().any(|step| step.version() <= NOTHING) {
        return Err(unusable(&format!("versions begin after {NOTHING}")));
    }
    let oldest = schema.readable_from;
    if !steps.iter().any(|step| step.version() == oldest) {
        return Err(unusable(&format!(
            "none has the version {oldest}, from which on the schema is said to be readable"
        )));
    }
    Ok(steps)
}

impl Step {
    pub(super) fn version(&self) -> &str {
        &self.name.version
    }

    /// The name of the migration's folder.
    pub(super) fn full_name(&self) -> &str {
        &self.name.full
    }

    pub(super) fn has_down(&self) -> bool {
        self.down.is_some()
    }

    /// SHA-256 of `up.sql` in hex, the same whether the source was checked out with CRLF or LF.
    pub(super) fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.up.replace("\r\n", "\n")))
    }
}

impl Migration<Sqlite> for Step {
    fn run(&self, connection: &mut dyn BoxableConnection<Sqlite>) -> Result<()> {
        Ok(connection.batch_execute(&self.up)?)
    }

    fn revert(&self, connection: &mut dyn BoxableConnection<Sqlite>) -> Result<()> {
        let down = self.down.as_ref().ok_or("down.sql is missing")?;
        Ok(connection.batch_execute(down)?)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &NoTransaction
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

struct NoTransaction;

impl MigrationMetadata for NoTransaction {
    fn run_in_transaction(&self) -> bool {
        false
    }
}

struct Name {
    version: String,
    full: String,
}

impl MigrationName for Name {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(&self.version)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.full)
    }
}

/// A connection that keeps the text it is given and runs nothing.
#[derive(Default)]
struct Recorder {
    text: String,
}

fn recorded(run: impl FnOnce(&mut Recorder) -> Result<()>) -> Result<String> {
    let mut recorder = Recorder::default();
    run(&mut recorder)?;
    Ok(recorder.text)
}

impl SimpleConnection for Recorder {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.text.push_str(query);
        Ok(())
    }
}

impl BoxableConnection<Sqlite> for Recorder {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
