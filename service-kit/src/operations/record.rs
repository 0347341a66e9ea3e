//! How the result of an operation is written into its row, and read back. One
//! that a newer program wrote otherwise is left out, not an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LibraryProblem, LibraryReport, OperationResult, OptimizedDatabase};
use crate::clock::{from_text, to_text};
use crate::migrate::{Backup, CheckedBackup};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Backup(BackupRecord),
    CheckedBackup {
        backup: BackupRecord,
        schema_version: String,
        pre_adoption: bool,
        rows: i64,
    },
    OptimizedDatabase {
        size_bytes: u64,
        wal_pages: i64,
        checkpointed_pages: i64,
    },
    Library {
        counts: BTreeMap<String, u64>,
        problems: Vec<ProblemRecord>,
        problem_count: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct ProblemRecord {
    path: String,
    reason: String,
    message: String,
}

impl From<&LibraryProblem> for ProblemRecord {
    fn from(problem: &LibraryProblem) -> Self {
        let LibraryProblem {
            path,
            reason,
            message,
        } = problem.clone();
        Self {
            path,
            reason,
            message,
        }
    }
}

impl From<ProblemRecord> for LibraryProblem {
    fn from(problem: ProblemRecord) -> Self {
        Self {
            path: problem.path,
            reason: problem.reason,
            message: problem.message,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct BackupRecord {
    name: String,
    created_at: String,
    size_bytes: u64,
}

impl From<&Backup> for BackupRecord {
    fn from(backup: &Backup) -> Self {
        Self {
            name: backup.name.clone(),
            created_at: to_text(backup.created_at),
            size_bytes: backup.size_bytes,
        }
    }
}

impl BackupRecord {
    fn read(self) -> Option<Backup> {
        Some(Backup {
            created_at: from_text(&self.created_at)?,
            name: self.name,
            size_bytes: self.size_bytes,
        })
    }
}

/// The result as JSON.
pub(super) fn to_json(result: &OperationResult) -> Result<String, serde_json::Error> {
    serde_json::to_string(&match result {
        OperationResult::Backup(backup) => Record::Backup(backup.into()),
        OperationResult::CheckedBackup(checked) => Record::CheckedBackup {
            backup: (&checked.backup).into(),
            schema_version: checked.schema_version.clone(),
            pre_adoption: checked.pre_adoption,
            rows: checked.rows,
        },
        OperationResult::OptimizedDatabase(optimized) => Record::OptimizedDatabase {
            size_bytes: optimized.size_bytes,
            wal_pages: optimized.wal_pages,
            checkpointed_pages: optimized.checkpointed_pages,
        },
        OperationResult::Library(report) => Record::Library {
            counts: report.counts().clone(),
            problems: report.problems().iter().map(Into::into).collect(),
            problem_count: report.problem_count(),
        },
    })
}

/// The result in a row; `None` for what this program cannot read.
pub(super) fn from_json(json: &str) -> Option<OperationResult> {
    Some(match serde_json::from_str(json).ok()? {
        Record::Backup(backup) => OperationResult::Backup(backup.read()?),
        Record::CheckedBackup {
            backup,
            schema_version,
            pre_adoption,
            rows,
        } => OperationResult::CheckedBackup(CheckedBackup {
            backup: backup.read()?,
            schema_version,
            pre_adoption,
            rows,
        }),
        Record::OptimizedDatabase {
            size_bytes,
            wal_pages,
            checkpointed_pages,
        } => OperationResult::OptimizedDatabase(OptimizedDatabase {
            size_bytes,
            wal_pages,
            checkpointed_pages,
        }),
        Record::Library {
            counts,
            problems,
            problem_count,
        } => {
            let problems = problems.into_iter().map(Into::into).collect();
            OperationResult::Library(LibraryReport::written(counts, problems, problem_count))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_as_they_were_and_others_are_left_out() {
        let backup = Backup {
            name: "jobs_backup_2026-11-22T11-08-00-123Z.sqlite".to_owned(),
            created_at: from_text("2026-11-22T11:08:00.123Z").unwrap(),
            size_bytes: u64::MAX,
        };
        let mut library = LibraryReport::default();
        library.count("files", 7);
        library.problem("a/b.safetensors", "UNREADABLE", "look at its mode");
        let results = [
            OperationResult::Library(library),
            OperationResult::Backup(backup.clone()),
            OperationResult::CheckedBackup(CheckedBackup {
                backup,
                schema_version: "0008".to_owned(),
                pre_adoption: true,
                rows: 7,
            }),
            OperationResult::OptimizedDatabase(OptimizedDatabase {
                size_bytes: 1,
                wal_pages: 2,
                checkpointed_pages: 3,
            }),
        ];
        for result in results {
            let json = to_json(&result).unwrap();
            assert_eq!(from_json(&json), Some(result), "{json}");
        }
        for other in ["", "{}", r#"{"scan": {"files": 7}}"#, r#"{"backup": {}}"#] {
            assert_eq!(from_json(other), None, "{other}");
        }
    }
}
