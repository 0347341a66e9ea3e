//! Operations and backups as the wire has them.

use stablequeue_proto::admin::v1::{self as wire, operation::Result as WireResult};

use super::{
    LibraryProblem, LibraryReport, Operation, OperationKind, OperationProgress, OperationResult,
    OperationState, OptimizedDatabase,
};
use crate::clock::to_timestamp;
use crate::migrate::{Backup, CheckedBackup, NOTHING};
use crate::status::Failure;

/// An operation as the wire has it, for whoever answers one that it has begun.
pub fn wire_operation(operation: Operation) -> wire::Operation {
    let Operation {
        id,
        kind,
        state,
        target,
        progress,
        caller,
        created_at,
        updated_at,
        ended_at,
        cancel_requested_at,
        starts,
        error,
        result,
    } = operation;
    wire::Operation {
        operation_id: id,
        kind: kind
            .map_or(wire::OperationKind::Unspecified, kind_to_wire)
            .into(),
        state: state_to_wire(state).into(),
        target,
        progress: progress.map(|progress| progress_to_wire(&progress)),
        caller,
        create_time: Some(to_timestamp(created_at)),
        update_time: Some(to_timestamp(updated_at)),
        end_time: ended_at.map(to_timestamp),
        cancel_requested_time: cancel_requested_at.map(to_timestamp),
        starts,
        error: error.as_ref().map(error_to_wire),
        result: result.map(|result| match result {
            OperationResult::Backup(made) => WireResult::Backup(backup(made)),
            OperationResult::CheckedBackup(checked) => {
                WireResult::CheckedBackup(checked_backup(checked))
            }
            OperationResult::OptimizedDatabase(optimized) => {
                WireResult::OptimizedDatabase(optimized_database(&optimized))
            }
            OperationResult::Library(report) => WireResult::LibraryReport(library_report(&report)),
        }),
    }
}

/// The same for a list, of which each must be small: without the problems of a
/// library.
pub(super) fn listed_operation(operation: Operation) -> wire::Operation {
    let mut operation = wire_operation(operation);
    if let Some(WireResult::LibraryReport(report)) = &mut operation.result {
        report.problems.clear();
    }
    operation
}

fn library_report(report: &LibraryReport) -> wire::LibraryReport {
    let counts = report.counts().iter();
    wire::LibraryReport {
        counts: counts
            .map(|(name, count)| (name.clone(), wire_count(*count)))
            .collect(),
        problems: report.problems().iter().map(library_problem).collect(),
        problem_count: i32::try_from(report.problem_count()).unwrap_or(i32::MAX),
    }
}

fn library_problem(problem: &LibraryProblem) -> wire::LibraryProblem {
    wire::LibraryProblem {
        path: problem.path.clone(),
        reason: problem.reason.clone(),
        message: problem.message.clone(),
    }
}

fn progress_to_wire(progress: &OperationProgress) -> wire::OperationProgress {
    wire::OperationProgress {
        done: wire_count(progress.done),
        total: wire_count(progress.total),
        unit: progress.unit.clone().into_owned(),
    }
}

fn error_to_wire(failure: &Failure) -> wire::OperationError {
    wire::OperationError {
        reason: failure.reason().to_owned(),
        message: failure.message().to_owned(),
    }
}

fn kind_to_wire(kind: OperationKind) -> wire::OperationKind {
    match kind {
        OperationKind::CreateBackup => wire::OperationKind::CreateBackup,
        OperationKind::VerifyBackup => wire::OperationKind::VerifyBackup,
        OperationKind::Optimize => wire::OperationKind::Optimize,
        OperationKind::Scan => wire::OperationKind::Scan,
        OperationKind::Hashing => wire::OperationKind::Hashing,
        OperationKind::Enrichment => wire::OperationKind::Enrichment,
        OperationKind::Download => wire::OperationKind::Download,
    }
}

/// The kind that a number stands for; `None` for no kind.
pub(super) fn kind_from_wire(number: i32) -> Option<OperationKind> {
    match wire::OperationKind::try_from(number).ok()? {
        wire::OperationKind::Unspecified => None,
        wire::OperationKind::CreateBackup => Some(OperationKind::CreateBackup),
        wire::OperationKind::VerifyBackup => Some(OperationKind::VerifyBackup),
        wire::OperationKind::Optimize => Some(OperationKind::Optimize),
        wire::OperationKind::Scan => Some(OperationKind::Scan),
        wire::OperationKind::Hashing => Some(OperationKind::Hashing),
        wire::OperationKind::Enrichment => Some(OperationKind::Enrichment),
        wire::OperationKind::Download => Some(OperationKind::Download),
    }
}

fn state_to_wire(state: OperationState) -> wire::OperationState {
    match state {
        OperationState::Running => wire::OperationState::Running,
        OperationState::Succeeded => wire::OperationState::Succeeded,
        OperationState::Failed => wire::OperationState::Failed,
        OperationState::Cancelled => wire::OperationState::Cancelled,
    }
}

/// The state that a number stands for; `None` for no state.
pub(super) fn state_from_wire(number: i32) -> Option<OperationState> {
    match wire::OperationState::try_from(number).ok()? {
        wire::OperationState::Unspecified => None,
        wire::OperationState::Running => Some(OperationState::Running),
        wire::OperationState::Succeeded => Some(OperationState::Succeeded),
        wire::OperationState::Failed => Some(OperationState::Failed),
        wire::OperationState::Cancelled => Some(OperationState::Cancelled),
    }
}

/// The names of the kinds that can be asked for.
pub(super) fn kind_names() -> String {
    let names = OperationKind::ALL.map(|kind| kind_to_wire(kind).as_str_name());
    names.join(", ")
}

/// The names of the states that can be asked for.
pub(super) fn state_names() -> String {
    let names = OperationState::ALL.map(|state| state_to_wire(state).as_str_name());
    names.join(", ")
}

/// A backup.
pub(crate) fn backup(backup: Backup) -> wire::Backup {
    let Backup {
        name,
        created_at,
        size_bytes,
    } = backup;
    wire::Backup {
        name,
        create_time: Some(to_timestamp(created_at)),
        size_bytes: wire_count(size_bytes),
    }
}

/// A backup that was looked into.
pub(crate) fn checked_backup(checked: CheckedBackup) -> wire::CheckedBackup {
    let schema_version = Some(checked.schema_version).filter(|version| version != NOTHING);
    wire::CheckedBackup {
        backup: Some(backup(checked.backup)),
        schema_version: schema_version.unwrap_or_default(),
        pre_adoption: checked.pre_adoption,
        row_count: checked.rows,
    }
}

/// A database that was looked after.
pub(crate) fn optimized_database(optimized: &OptimizedDatabase) -> wire::OptimizedDatabase {
    wire::OptimizedDatabase {
        size_bytes: wire_count(optimized.size_bytes),
        wal_pages: optimized.wal_pages,
        checkpointed_pages: optimized.checkpointed_pages,
    }
}

/// A count as the wire carries it; what no file reaches is cut.
pub(crate) fn wire_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
