//! What an adoption found and did, for the log and as JSON.

use std::path::Path;

use serde::Serialize;

/// What an adoption found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AdoptionReport {
    /// The documented tables that were there.
    pub tables: Vec<AdoptedTableReport>,
    /// Tables of others that have another name now, since ours needed theirs.
    pub renamed: Vec<String>,
    /// Indexes, triggers and views that could not be put back, with the reason and their text.
    pub statements_lost: Vec<String>,
    /// Whether the database held secrets in clear. They are gone from it; a backup that was made
    /// before still holds them.
    pub held_secrets: bool,
    /// What else an operator should know, a sentence each.
    pub notes: Vec<String>,
}

/// What became of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdoptedTableReport {
    /// Its name.
    pub table: String,
    /// The rows that it had.
    pub rows_before: i64,
    /// The rows that were kept.
    pub rows_kept: i64,
    /// Rows that the documented table cannot hold; their values are in `adoption_values`.
    pub set_aside: Vec<SetAside>,
    /// Columns that the documented table has not; their values are in `adoption_values`.
    pub extra: Vec<ColumnCount>,
    /// Columns in which values were replaced by ones that readers can use; the older values are in
    /// `adoption_values`.
    pub replaced: Vec<ColumnCount>,
}

impl AdoptionReport {
    /// Notes which file still holds what was secret.
    pub(in super::super) fn name_backup(&mut self, backup: Option<&Path>) {
        let name = backup.and_then(Path::file_name);
        if let (true, Some(name)) = (self.held_secrets, name) {
            self.notes.push(format!(
                "the backup {} and every older copy of the database still hold keys and secrets \
                 in clear; remove them once nothing is missed",
                name.display()
            ));
        }
    }

    /// Says it to the log, a line for each table and each thing to know.
    pub(in super::super) fn log(&self) {
        for table in &self.tables {
            tracing::info!(
                table = table.table,
                rows_before = table.rows_before,
                rows_kept = table.rows_kept,
                rows_set_aside = table.rows_set_aside(),
                columns_extra = table.extra.len(),
                columns_replaced = table.replaced.len(),
                "a table of the earlier application was adopted"
            );
            for aside in &table.set_aside {
                let SetAside { reason, rows } = aside;
                tracing::warn!(table = table.table, rows, reason, "rows were set aside");
            }
        }
        for renamed in &self.renamed {
            tracing::warn!(renamed, "a table of others gave its name to ours");
        }
        for statement in &self.statements_lost {
            tracing::warn!(statement, "an index, trigger or view was not put back");
        }
        for note in &self.notes {
            tracing::info!(note, "of the adoption");
        }
        if self.held_secrets {
            tracing::warn!(
                "the backup from before the adoption holds secrets in clear; remove it with \
                 backups prune --pre-adoption once a newer backup is there"
            );
        }
    }
}

impl AdoptedTableReport {
    /// How many rows were set aside, for whichever reason.
    pub fn rows_set_aside(&self) -> i64 {
        self.set_aside.iter().map(|aside| aside.rows).sum()
    }
}

/// Rows that were set aside for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Why.
    pub reason: String,
    /// How many.
    pub rows: i64,
}

/// Values of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnCount {
    /// The column.
    pub column: String,
    /// How many.
    pub values: i64,
}
