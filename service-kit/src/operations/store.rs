//! All SQL of `operations`. It does not decide what begins or how it ends.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::dsl::{self, sql};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use tonic::Code;

use super::{NewOperation, Operation, OperationKind, OperationProgress, OperationState, record};
use crate::clock::{from_text, to_text};
use crate::database::DatabaseError;
use crate::status::Failure;

diesel::table! {
    operations (id) {
        id -> Text,
        kind -> Text,
        state -> Text,
        target -> Text,
        request_json -> Text,
        key_id -> Nullable<Text>,
        caller -> Text,
        request_id -> Nullable<Text>,
        created_at -> Text,
        updated_at -> Text,
        ended_at -> Nullable<Text>,
        cancel_requested_at -> Nullable<Text>,
        starts -> Integer,
        epoch -> Text,
        progress_done -> Nullable<BigInt>,
        progress_total -> Nullable<BigInt>,
        progress_unit -> Text,
        error_code -> Nullable<Integer>,
        error_reason -> Nullable<Text>,
        error_message -> Nullable<Text>,
        result_json -> Nullable<Text>,
    }
}

const RUNNING: &str = OperationState::Running.as_str();

/// A row, without what only its owner reads.
#[derive(Queryable, Selectable)]
#[diesel(table_name = operations)]
struct Row {
    id: String,
    kind: String,
    state: String,
    target: String,
    caller: String,
    created_at: String,
    updated_at: String,
    ended_at: Option<String>,
    cancel_requested_at: Option<String>,
    starts: i32,
    progress_done: Option<i64>,
    progress_total: Option<i64>,
    progress_unit: String,
    error_code: Option<i32>,
    error_reason: Option<String>,
    error_message: Option<String>,
    result_json: Option<String>,
}

/// A row that was left running.
pub(super) struct Left {
    pub(super) operation: Operation,
    pub(super) request_json: String,
    pub(super) epoch: String,
}

/// Which operations are listed.
#[derive(Debug, Clone, Default)]
pub(super) struct OperationFilter {
    /// Of these states; of all when there is none.
    pub(super) states: BTreeSet<OperationState>,
    /// Of these kinds; of all, unknown ones included, when that is not said.
    pub(super) kinds: Option<BTreeSet<OperationKind>>,
}

impl OperationFilter {
    /// Leaves out what is not of a library.
    pub(super) fn only_of_library(&mut self) {
        let asked = self.kinds.take();
        let mut kinds = asked.unwrap_or_else(|| OperationKind::ALL.into());
        kinds.retain(|kind| kind.is_of_library());
        self.kinds = Some(kinds);
    }
}

/// Where a page ended: when its last operation was asked for, and its id.
pub(super) type Cursor = (String, String);

/// Where a page goes on that ends with this operation.
pub(super) fn cursor_of(operation: &Operation) -> Cursor {
    (to_text(operation.created_at), operation.id.clone())
}

/// Writes a row that has begun once, in the present life of the database.
pub(super) fn insert(
    connection: &mut SqliteConnection,
    operation: &Operation,
    new: &NewOperation,
    epoch: &str,
) -> Result<(), DatabaseError> {
    diesel::insert_into(operations::table)
        .values((
            operations::id.eq(&operation.id),
            operations::kind.eq(new.kind.as_str()),
            operations::state.eq(RUNNING),
            operations::target.eq(&new.target),
            operations::request_json.eq(&new.request_json),
            operations::key_id.eq(&new.caller.key_id),
            operations::caller.eq(&new.caller.name),
            operations::request_id.eq(&new.request_id),
            operations::created_at.eq(to_text(operation.created_at)),
            operations::updated_at.eq(to_text(operation.updated_at)),
            operations::starts.eq(operation.starts),
            operations::epoch.eq(epoch),
        ))
        .execute(connection)?;
    Ok(())
}

/// The operation with that id.
pub(super) fn find(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Operation>, DatabaseError> {
    let row = operations::table
        .find(id)
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(from_row))
}

/// The id of the operation that a key began with that id of its own, and what it
/// asked for then.
pub(super) fn find_repeated(
    connection: &mut SqliteConnection,
    key_id: Option<&str>,
    kind: OperationKind,
    request_id: &str,
) -> Result<Option<(String, String)>, DatabaseError> {
    // The expression is that of the index.
    let row = operations::table
        .filter(sql::<Bool>("ifnull(key_id, '') = ").bind::<Text, _>(key_id.unwrap_or_default()))
        .filter(operations::kind.eq(kind.as_str()))
        .filter(operations::request_id.eq(request_id))
        .select((operations::id, operations::request_json))
        .first(connection)
        .optional()?;
    Ok(row)
}

/// The newest operation of a kind that is about this.
pub(super) fn newest(
    connection: &mut SqliteConnection,
    kind: OperationKind,
    target: &str,
) -> Result<Option<Operation>, DatabaseError> {
    let row = operations::table
        .filter(operations::kind.eq(kind.as_str()))
        .filter(operations::target.eq(target))
        .order(operations::id.desc())
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(from_row))
}

/// The newest operations that fit, behind a place, at most `limit`.
pub(super) fn page(
    connection: &mut SqliteConnection,
    filter: &OperationFilter,
    behind: Option<&Cursor>,
    limit: usize,
) -> Result<Vec<Operation>, DatabaseError> {
    let mut query = operations::table
        .order((operations::created_at.desc(), operations::id.desc()))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(Row::as_select())
        .into_boxed();
    if !filter.states.is_empty() {
        let states = filter.states.iter().map(|state| state.as_str());
        query = query.filter(operations::state.eq_any(states));
    }
    if let Some(kinds) = &filter.kinds {
        let kinds = kinds.iter().map(|kind| kind.as_str());
        query = query.filter(operations::kind.eq_any(kinds));
    }
    if let Some((at, id)) = behind {
        let before = operations::created_at.lt(at);
        let same = operations::created_at.eq(at).and(operations::id.lt(id));
        query = query.filter(before.or(same));
    }
    Ok(query.load(connection)?.into_iter().map(from_row).collect())
}

/// The rows of these kinds that were left running, oldest first.
pub(super) fn left_running(
    connection: &mut SqliteConnection,
    kinds: &[OperationKind],
) -> Result<Vec<Left>, DatabaseError> {
    let kinds = kinds.iter().map(|kind| kind.as_str());
    let rows: Vec<(Row, String, String)> = operations::table
        .filter(operations::state.eq(RUNNING))
        .filter(operations::kind.eq_any(kinds))
        .order((operations::created_at, operations::id))
        .select((
            Row::as_select(),
            operations::request_json,
            operations::epoch,
        ))
        .load(connection)?;
    let left = rows.into_iter().map(|(row, request_json, epoch)| Left {
        operation: from_row(row),
        request_json,
        epoch,
    });
    Ok(left.collect())
}

/// Notes that a running operation is begun once more, from nothing.
pub(super) fn begin_again(
    connection: &mut SqliteConnection,
    id: &str,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let none: Option<i64> = None;
    diesel::update(running(id))
        .set((
            operations::starts.eq(operations::starts + 1),
            operations::updated_at.eq(to_text(now)),
            operations::progress_done.eq(none),
            operations::progress_total.eq(none),
        ))
        .execute(connection)?;
    Ok(())
}

/// Notes that a start came to nothing through no fault of the operation.
pub(super) fn give_start_back(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<(), DatabaseError> {
    diesel::update(running(id).filter(operations::starts.gt(0)))
        .set(operations::starts.eq(operations::starts - 1))
        .execute(connection)?;
    Ok(())
}

/// Notes how far a running operation is.
pub(super) fn note_progress(
    connection: &mut SqliteConnection,
    id: &str,
    progress: &OperationProgress,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    diesel::update(running(id))
        .set((
            progress_of(progress),
            operations::updated_at.eq(to_text(at)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Notes the first wish that a running operation may end.
pub(super) fn request_cancel(
    connection: &mut SqliteConnection,
    id: &str,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let now = to_text(now);
    diesel::update(running(id).filter(operations::cancel_requested_at.is_null()))
        .set((
            operations::cancel_requested_at.eq(&now),
            operations::updated_at.eq(&now),
        ))
        .execute(connection)?;
    Ok(())
}

/// Writes the end of an operation, unless it has one, and removes the oldest
/// ended rows beyond `kept`.
pub(super) fn end(
    connection: &mut SqliteConnection,
    ended: &Operation,
    kept: usize,
) -> Result<(), DatabaseError> {
    let error = ended.error.as_ref();
    let cancel_requested_at = ended.cancel_requested_at.map(to_text);
    let result_json = ended.result.as_ref().map(record::to_json).transpose();
    let result_json = result_json.map_err(|error| DatabaseError::Io(error.to_string()))?;
    diesel::update(running(&ended.id))
        .set((
            operations::state.eq(ended.state.as_str()),
            operations::updated_at.eq(to_text(ended.updated_at)),
            operations::ended_at.eq(ended.ended_at.map(to_text)),
            // A wish that is in the row alone stays there.
            cancel_requested_at.map(|at| operations::cancel_requested_at.eq(at)),
            ended.progress.as_ref().map(progress_of),
            operations::error_code.eq(error.map(|failure| failure.code() as i32)),
            operations::error_reason.eq(error.map(Failure::reason)),
            operations::error_message.eq(error.map(Failure::message)),
            operations::result_json.eq(result_json),
        ))
        .execute(connection)?;
    let gone: Vec<String> = operations::table
        .filter(operations::state.ne(RUNNING))
        // By id, which is the order of their beginnings and that of lists.
        .order(operations::id.desc())
        .offset(i64::try_from(kept).unwrap_or(i64::MAX))
        .limit(-1)
        .select(operations::id)
        .load(connection)?;
    for id in gone {
        diesel::delete(operations::table.find(id)).execute(connection)?;
    }
    Ok(())
}

/// One row, while it is running.
type RunningRow<'a> = dsl::Filter<
    dsl::Filter<operations::table, dsl::Eq<operations::id, &'a str>>,
    dsl::Eq<operations::state, &'static str>,
>;

fn running(id: &str) -> RunningRow<'_> {
    operations::table
        .filter(operations::id.eq(id))
        .filter(operations::state.eq(RUNNING))
}

/// The columns that say how far an operation is.
#[derive(AsChangeset)]
#[diesel(table_name = operations)]
struct ProgressColumns<'a> {
    progress_done: i64,
    progress_total: i64,
    progress_unit: &'a str,
}

fn progress_of(progress: &OperationProgress) -> ProgressColumns<'_> {
    ProgressColumns {
        progress_done: i64::try_from(progress.done).unwrap_or(i64::MAX),
        progress_total: i64::try_from(progress.total).unwrap_or(i64::MAX),
        progress_unit: &progress.unit,
    }
}

/// A time that cannot be read is that of 1970: a broken row is shown, and holds
/// nothing up.
fn time(text: &str) -> DateTime<Utc> {
    from_text(text).unwrap_or_default()
}

fn from_row(row: Row) -> Operation {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let progress = row.progress_done.map(|done| OperationProgress {
        done: count(done),
        total: count(row.progress_total.unwrap_or(0)),
        unit: Cow::Owned(row.progress_unit),
    });
    let error = row.error_reason.map(|reason| {
        let code = Code::from_i32(row.error_code.unwrap_or(Code::Unknown as i32));
        Failure::new(code, reason, row.error_message.unwrap_or_default())
    });
    Operation {
        id: row.id,
        kind: OperationKind::parse(&row.kind),
        // The table takes no other word.
        state: OperationState::parse(&row.state).unwrap_or(OperationState::Failed),
        target: row.target,
        progress,
        caller: row.caller,
        created_at: time(&row.created_at),
        updated_at: time(&row.updated_at),
        ended_at: row.ended_at.as_deref().map(time),
        cancel_requested_at: row.cancel_requested_at.as_deref().map(time),
        starts: row.starts,
        error,
        result: row.result_json.as_deref().and_then(record::from_json),
    }
}
