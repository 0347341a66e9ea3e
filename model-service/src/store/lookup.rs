//! Owns the statements that find what may fit references. Each of them is an index lookup and is
//! prepared once, since job-service asks before every claim; a test looks at their plans. How the
//! models are read is in `lookup/load.rs`.

mod key_in;
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Text;

use super::filtered::AFTER_HEX;
use super::tables::{model_aliases, models, server_inventories, server_model_files};
use crate::availability::{KnownModel, MayFit};
use crate::inventory::path_item_key;
use crate::model::ModelKind;
use crate::reference::{LookupKeys, Reference};
use key_in::{KEYS_MAX, key_in};

/// Rows that are looked at for each way in which a reference can fit. Beyond them a reference that
/// fits by a part of a name, or not at all, counts as ambiguous.
pub(crate) const ROWS_MAX: usize = 2000;

/// A way in which a reference can fit: a column of keys.
#[derive(Debug, Clone, Copy)]
enum Way {
    Sha256,
    AutoV2,
    AutoV3,
    Alias,
    Filename,
    FilenameOnServer,
    TitleOnServer,
    AliasOnServer,
}

/// What may fit one reference.
#[derive(Default)]
struct Found {
    ids: BTreeSet<i64>,
    truncated: bool,
}

impl Found {
    fn add(&mut self, ids: Vec<i64>) {
        self.truncated |= ids.len() > ROWS_MAX;
        self.ids.extend(ids.into_iter().take(ROWS_MAX));
    }
}

/// For each reference, the models that may fit it.
pub(crate) fn may_fit(
    connection: &mut SqliteConnection,
    references: &[Reference],
) -> QueryResult<Vec<MayFit>> {
    let keys: Vec<LookupKeys> = references.iter().map(Reference::lookup_keys).collect();
    let mut found: Vec<Found> = keys.iter().map(|_| Found::default()).collect();
    for way in Way::ALL {
        find(connection, way, &keys, &mut found)?;
    }
    for ((reference, keys), found) in references.iter().zip(&keys).zip(&mut found) {
        if let Some(twelve) = &keys.twelve {
            found.add(beginning_with(connection, twelve)?);
        }
        if found.truncated {
            find_by_path(connection, reference, found)?;
        }
    }
    let ids: BTreeSet<i64> = found.iter().flat_map(|one| &one.ids).copied().collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    let known = load::load(connection, &ids)?;
    let known: BTreeMap<i64, Arc<KnownModel>> = known
        .into_iter()
        .map(|(id, model)| (id, Arc::new(model)))
        .collect();
    let may_fit = |Found { ids, truncated }| MayFit {
        models: ids.iter().filter_map(|id| known.get(id).cloned()).collect(),
        truncated,
    };
    Ok(found.into_iter().map(may_fit).collect())
}

/// Finds what fits in one way, for all references at once while that is not too much.
fn find(
    connection: &mut SqliteConnection,
    way: Way,
    keys: &[LookupKeys],
    found: &mut [Found],
) -> QueryResult<()> {
    let of_each = keys.iter().map(|keys| way.keys(keys)).enumerate();
    let mut asked: Vec<(&str, usize)> = of_each
        .flat_map(|(place, keys)| keys.iter().map(move |key| (key.as_str(), place)))
        .collect();
    asked.sort_unstable();
    let mut distinct: Vec<&str> = asked.iter().map(|(key, _)| *key).collect();
    distinct.dedup();
    let mut rows = Vec::new();
    for some in distinct.chunks(KEYS_MAX) {
        let more = way.rows(connection, some)?;
        if more.len() > ROWS_MAX {
            return find_each(connection, way, keys, found);
        }
        rows.extend(more);
    }
    for (key, id) in rows {
        let first = asked.partition_point(|(asked, _)| *asked < key.as_str());
        let places = asked[first..].iter().take_while(|(asked, _)| *asked == key);
        for (_, place) in places {
            found[*place].ids.insert(id);
        }
    }
    Ok(())
}

/// The same for one reference after the other, so that the many rows of one cut off no other.
fn find_each(
    connection: &mut SqliteConnection,
    way: Way,
    keys: &[LookupKeys],
    found: &mut [Found],
) -> QueryResult<()> {
    for (keys, found) in keys.iter().zip(found) {
        let keys: Vec<&str> = way.keys(keys).iter().map(String::as_str).collect();
        if !keys.is_empty() {
            let rows = way.rows(connection, &keys)?;
            found.add(rows.into_iter().map(|(_, id)| id).collect());
        }
    }
    Ok(())
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Sha256,
        Self::AutoV2,
        Self::AutoV3,
        Self::Alias,
        Self::Filename,
        Self::FilenameOnServer,
        Self::TitleOnServer,
        Self::AliasOnServer,
    ];

    fn keys(self, keys: &LookupKeys) -> &[String] {
        let LookupKeys {
            sha256,
            autov2,
            twelve,
            names,
            filenames,
        } = keys;
        match self {
            Self::Sha256 => sha256.as_slice(),
            Self::AutoV2 => autov2.as_slice(),
            Self::AutoV3 => twelve.as_slice(),
            Self::Alias | Self::TitleOnServer | Self::AliasOnServer => names,
            Self::Filename | Self::FilenameOnServer => filenames,
        }
    }

    /// The rows that have one of these keys, at most [`limit`]: key and model.
    fn rows(
        self,
        connection: &mut SqliteConnection,
        keys: &[&str],
    ) -> QueryResult<Vec<(String, i64)>> {
        use model_aliases::dsl as alias;
        use models::dsl as model;
        use server_model_files::dsl as file;
        macro_rules! rows {
            ($column:expr, $key:expr, $model:expr) => {
                $column
                    .0
                    .filter(key_in::<Text, _, _>($column.1, keys))
                    .select(($key, $model))
                    .limit(limit())
                    .load(connection)
            };
            ($column:expr, $model:expr) => {
                rows!($column, $column.1, $model)
            };
        }
        match self {
            Self::Sha256 => rows!(
                (models::table, model::hash_sha256),
                model::hash_sha256.assume_not_null(),
                model::id
            ),
            Self::AutoV2 => rows!(
                (models::table, model::hash_autov2),
                model::hash_autov2.assume_not_null(),
                model::id
            ),
            Self::AutoV3 => rows!(
                (models::table, model::hash_autov3),
                model::hash_autov3.assume_not_null(),
                model::id
            ),
            Self::Alias => rows!((model_aliases::table, alias::alias_key), alias::model_id),
            Self::Filename => rows!((models::table, model::filename_key), model::id),
            Self::FilenameOnServer => {
                rows!(
                    (server_model_files::table, file::filename_key),
                    file::model_id
                )
            }
            Self::TitleOnServer => {
                rows!((server_model_files::table, file::title_key), file::model_id)
            }
            Self::AliasOnServer => {
                rows!((server_model_files::table, file::alias_key), file::model_id)
            }
        }
    }
}

/// One row more than are looked at, which tells that there are more.
fn limit() -> i64 {
    i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX)
}

/// The models whose SHA-256 begins so.
fn beginning_with(connection: &mut SqliteConnection, twelve: &str) -> QueryResult<Vec<i64>> {
    models::table
        .filter(models::hash_sha256.ge(twelve))
        .filter(models::hash_sha256.lt(format!("{twelve}{AFTER_HEX}")))
        .select(models::id)
        .limit(limit())
        .load(connection)
}

/// Adds what has the whole text as its path, in the registry or on a server: the one that is meant
/// may lie behind the others of its file name.
fn find_by_path(
    connection: &mut SqliteConnection,
    reference: &Reference,
    found: &mut Found,
) -> QueryResult<()> {
    let paths = reference.paths();
    if paths.is_empty() {
        return Ok(());
    }
    let kinds = [ModelKind::Checkpoint, ModelKind::Lora].into_iter();
    let kinds = kinds.filter(|kind| reference.kind.is_none_or(|asked| asked == *kind));
    let item_keys = kinds.flat_map(|kind| paths.iter().map(move |path| path_item_key(kind, path)));
    let item_keys: Vec<String> = item_keys.collect();
    let here = models::table
        .filter(key_in::<Text, _, _>(models::local_path, &paths))
        .select(models::id);
    found.add(here.limit(limit()).load(connection)?);
    let servers = server_inventories::table.select(server_inventories::server_id);
    let there = server_model_files::table
        .filter(server_model_files::server_id.eq_any(servers))
        .filter(key_in::<Text, _, _>(
            server_model_files::item_key,
            &item_keys,
        ))
        .select(server_model_files::model_id);
    found.add(there.limit(limit()).load(connection)?);
    Ok(())
}
