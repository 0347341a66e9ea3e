//! Compares a database with the migrations of this program, on a connection that cannot change it.

use std::path::Path;

use diesel::SqliteConnection;

use crate::database::{DatabaseError, DatabaseOptions, open_inspector, sibling};

use super::adopt::{self, Adoption};
use super::bookkeeping::{self, DIESEL_TABLE, OUR_TABLE};
use super::step::Step;
use super::{MigrateError, NOTHING};

/// A migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// The version, as text.
    pub version: String,
    /// The name of the migration's folder.
    pub name: String,
    /// When it was applied, in UTC.
    pub applied_at: String,
}

/// How a database and the migrations of this program compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Whether the file exists.
    pub exists: bool,
    /// Tables of a database that has no record of our migrations; it is refused unless it is
    /// adoptable.
    pub foreign_tables: Vec<String>,
    /// What the database has, oldest first.
    pub applied: Vec<AppliedMigration>,
    /// Versions that it lacks, oldest first.
    pub pending: Vec<String>,
    /// Versions that it has and this program does not know; it is refused unless it says that this
    /// program may open it ([`MigrationStatus::is_ahead`]).
    pub newer: Vec<String>,
    /// The newest migration of this program.
    pub program_schema_version: String,
    /// The oldest schema version with which a program may open it; `None` in a database that only
    /// programs have migrated that did not record it.
    pub oldest_schema_version: Option<String>,
    /// Versions whose text was another one when they were applied; it is refused.
    pub changed: Vec<String>,
    /// Whether it holds tables that are not ours and that the service knows to take over.
    pub adoptable: bool,
    /// Whether an adoption still has to remove secrets from the file.
    pub scrub_pending: bool,
    /// Whether it holds no table at all.
    empty: bool,
}

impl MigrationStatus {
    /// Whether there is nothing to lose: no file, or no table in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// The newest migration of the database; [`NOTHING`] when there is none.
    #[must_use]
    pub fn schema_version(&self) -> &str {
        self.applied
            .last()
            .map_or(NOTHING, |newest| &newest.version)
    }

    /// Whether a newer program migrated the database, said that this one may still open it, and
    /// nothing else speaks against that.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.says_it_may_be_opened() && self.changed.is_empty()
    }

    /// Whether it has migrations that this program does not know, and says that it may open it.
    ///
    /// A migration that only diesel has recorded was never ours and said nothing. One that is
    /// pending, or unknown and older than what this program knows, is of another line of versions.
    fn says_it_may_be_opened(&self) -> bool {
        let recorded = |version: &String| self.applied.iter().any(|row| row.version == *version);
        let later = |version: &String| *version > self.program_schema_version;
        let known = |oldest: &String| recorded(oldest) && !self.newer.contains(oldest);
        !self.newer.is_empty()
            && self.pending.is_empty()
            && self
                .newer
                .iter()
                .all(|version| later(version) && recorded(version))
            && self.oldest_schema_version.as_ref().is_some_and(known)
    }

    /// Fails with the reason why this program must not bring the database to `target`, or to its
    /// own schema without one.
    pub(super) fn admit(&self, target: Option<&str>) -> Result<(), MigrateError> {
        self.refusal()?;
        if self.adoptable && target.is_some() {
            return Err(MigrateError::AdoptsWhole);
        }
        if !self.is_ahead() {
            return Ok(());
        }
        if target.is_some() {
            return Err(MigrateError::Ahead {
                versions: self.newer.clone(),
            });
        }
        tracing::warn!(
            schema_version = self.schema_version(),
            program_schema_version = self.program_schema_version,
            oldest_schema_version = self.oldest_schema_version,
            "a newer program has migrated the database, which says that this one may still open it"
        );
        Ok(())
    }

    /// Fails with the reason why this program must not touch the database, if there is one.
    pub fn refusal(&self) -> Result<(), MigrateError> {
        if !self.foreign_tables.is_empty() && !self.adoptable {
            return Err(MigrateError::NotOurs {
                tables: self.foreign_tables.clone(),
            });
        }
        let older = |version: &&String| **version < self.program_schema_version;
        let missing: Vec<String> = self.newer.iter().filter(older).cloned().collect();
        if !missing.is_empty() {
            return Err(MigrateError::Gap {
                versions: missing,
                program: self.program_schema_version.clone(),
            });
        }
        if !self.newer.is_empty() && !self.says_it_may_be_opened() {
            return Err(MigrateError::Newer {
                versions: self.newer.clone(),
                database: self.schema_version().to_owned(),
                program: self.program_schema_version.clone(),
                oldest: self.oldest_schema_version.clone(),
            });
        }
        if let Some(version) = self.changed.first() {
            return Err(MigrateError::Changed {
                version: version.clone(),
            });
        }
        if let (Some(version), Some(last)) = (self.pending.first(), self.applied.last())
            && *version < last.version
        {
            return Err(MigrateError::OutOfOrder {
                version: version.clone(),
                applied: last.version.clone(),
            });
        }
        Ok(())
    }
}

/// Compares the database at `path` with `steps`.
pub(super) fn inspect(
    path: &Path,
    steps: &[Step],
    adoption: Option<&Adoption>,
) -> Result<MigrationStatus, MigrateError> {
    let size_bytes = size_bytes(path)?;
    let mut status = MigrationStatus {
        exists: size_bytes.is_some(),
        empty: true,
        pending: steps.iter().map(|step| step.version().to_owned()).collect(),
        program_schema_version: steps
            .last()
            .map_or(NOTHING, |newest| newest.version())
            .to_owned(),
        ..MigrationStatus::default()
    };
    if size_bytes.unwrap_or(0) == 0 {
        // SQLite would throw away a log beside an empty file.
        let wal = sibling(path, "-wal");
        if self::size_bytes(&wal)?.unwrap_or(0) > 0 {
            return Err(MigrateError::StrayLog { wal });
        }
        return Ok(status);
    }
    let (mut connection, tables) = open_and_look(path)?;
    status.empty = tables.is_empty();
    if status.empty {
        return Ok(status);
    }
    let bookkept = [DIESEL_TABLE, OUR_TABLE]
        .iter()
        .filter(|ours| tables.iter().any(|table| table == *ours))
        .count();
    if bookkept < 2 {
        status.foreign_tables = tables;
        // One of the two alone is another program's.
        if let Some(adoption) = adoption.filter(|_| bookkept == 0) {
            status.adoptable = adopt::recognises(&mut connection, adoption)?;
        }
        return Ok(status);
    }
    status.scrub_pending = adopt::scrub_is_pending(&mut connection)?;
    status.oldest_schema_version = bookkeeping::oldest_schema_version(&mut connection)?;
    for row in bookkeeping::rows(&mut connection)? {
        match steps.iter().find(|step| step.version() == row.version) {
            None => status.newer.push(row.version.clone()),
            Some(step) if step.checksum() != row.checksum => {
                status.changed.push(row.version.clone());
            }
            Some(_) => {}
        }
        status.pending.retain(|version| *version != row.version);
        status.applied.push(AppliedMigration {
            version: row.version,
            name: row.name,
            applied_at: row.applied_at,
        });
    }
    // Recorded by diesel alone: by a program that keeps no checksums, so not by ours.
    status
        .newer
        .extend(bookkeeping::unrecorded(&mut connection)?);
    Ok(status)
}

fn open_and_look(path: &Path) -> Result<(SqliteConnection, Vec<String>), MigrateError> {
    let look = || {
        let mut connection = open_inspector(path, &DatabaseOptions::default())?;
        let tables = bookkeeping::tables(&mut connection)?;
        Ok((connection, tables))
    };
    let journal = sibling(path, "-journal");
    look().map_err(|error| match error {
        // Only who writes can undo what the journal holds.
        DatabaseError::ReadOnly if journal.exists() => MigrateError::Interrupted { journal },
        error => error.into(),
    })
}

/// The size of a file, `None` when it does not exist.
fn size_bytes(path: &Path) -> Result<Option<u64>, MigrateError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MigrateError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
