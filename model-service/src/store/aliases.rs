//! Owns the rows of `model_aliases`.

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;

use super::BIND_MAX;
use super::tables::model_aliases;
use crate::model::ModelAlias;

#[derive(Queryable, Selectable)]
#[diesel(table_name = model_aliases, check_for_backend(Sqlite))]
struct Row {
    id: i64,
    model_id: i64,
    alias_path: String,
}

impl From<Row> for ModelAlias {
    fn from(
        Row {
            id,
            model_id,
            alias_path,
        }: Row,
    ) -> Self {
        Self {
            id,
            model_id,
            alias_path,
        }
    }
}

/// The alias of a model that reads exactly so.
pub(crate) fn find(
    connection: &mut SqliteConnection,
    model_id: i64,
    alias_path: &str,
) -> QueryResult<Option<ModelAlias>> {
    let row = model_aliases::table
        .filter(model_aliases::alias_path.eq(alias_path))
        .filter(model_aliases::model_id.eq(model_id))
        .order(model_aliases::id)
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(ModelAlias::from))
}

/// One alias.
pub(crate) fn get(connection: &mut SqliteConnection, id: i64) -> QueryResult<Option<ModelAlias>> {
    let row = model_aliases::table
        .find(id)
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(ModelAlias::from))
}

/// How many aliases a model has.
pub(crate) fn count(connection: &mut SqliteConnection, model_id: i64) -> QueryResult<i64> {
    model_aliases::table
        .filter(model_aliases::model_id.eq(model_id))
        .count()
        .get_result(connection)
}

/// Adds an alias.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    model_id: i64,
    alias_path: &str,
) -> QueryResult<ModelAlias> {
    let row: Row = diesel::insert_into(model_aliases::table)
        .values((
            model_aliases::model_id.eq(model_id),
            model_aliases::alias_path.eq(alias_path),
        ))
        .returning(Row::as_returning())
        .get_result(connection)?;
    Ok(row.into())
}

/// Aliases of a model after the alias id `after`, by id.
pub(crate) fn list(
    connection: &mut SqliteConnection,
    model_id: i64,
    after: i64,
    limit: usize,
) -> QueryResult<Vec<ModelAlias>> {
    let rows: Vec<Row> = model_aliases::table
        .filter(model_aliases::model_id.eq(model_id))
        .filter(model_aliases::id.gt(after))
        .order(model_aliases::id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(Row::as_select())
        .load(connection)?;
    Ok(rows.into_iter().map(ModelAlias::from).collect())
}

/// All aliases of some models, by id.
pub(crate) fn of_models(
    connection: &mut SqliteConnection,
    model_ids: &[i64],
) -> QueryResult<Vec<ModelAlias>> {
    let mut found = Vec::new();
    for chunk in model_ids.chunks(BIND_MAX) {
        let rows: Vec<Row> = model_aliases::table
            .filter(model_aliases::model_id.eq_any(chunk))
            .select(Row::as_select())
            .load(connection)?;
        found.extend(rows.into_iter().map(ModelAlias::from));
    }
    found.sort_unstable_by_key(|alias| alias.id);
    Ok(found)
}

/// Removes an alias and answers whose it was.
pub(crate) fn delete(connection: &mut SqliteConnection, id: i64) -> QueryResult<Option<i64>> {
    diesel::delete(model_aliases::table.find(id))
        .returning(model_aliases::model_id)
        .get_result(connection)
        .optional()
}
