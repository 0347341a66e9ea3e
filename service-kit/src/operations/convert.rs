//! Operations and backups as the wire has them.

use stablequeue_proto::admin::v1::{self as wire, operation::Result as WireResult};

use super::{
    Operation, OperationKind, OperationProgress, OperationResult, OperationState, OptimizedDatabase,
};
use crate::clock::to_timestamp;
use crate::migrate::{Backup, CheckedBackup, NOTHING};
use crate::status::Failure;

/// An operation.
pub(crate) fn operation(operation: Operation) -> wire::Operation {
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
        }),
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
    }
}

/// The kind that a number stands for; `None` for no kind.
pub(super) fn kind_from_wire(number: i32) -> Option<OperationKind> {
    match wire::OperationKind::try_from(number).ok()? {
        wire::OperationKind::Unspecified => None,
        wire::OperationKind::CreateBackup => Some(OperationKind::CreateBackup),
        wire::OperationKind::VerifyBackup => Some(OperationKind::VerifyBackup),
        wire::OperationKind::Optimize => Some(OperationKind::Optimize),
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
