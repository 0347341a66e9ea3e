//! Owns the statements that find what may fit a reference. Each of them is an
//! index lookup, since job-service asks before every claim; a test looks at
//! their plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use diesel::prelude::*;
use diesel::result::QueryResult;

use super::filtered::AFTER_HEX;
use super::tables::{model_aliases, model_server_availability, models, server_model_files};
use super::{BIND_MAX, aliases, from_second_text};
use crate::availability::{FileOnServer, KnownModel, MayFit, Seen};
use crate::model::ModelKind;
use crate::reference::{LookupKeys, Reference};

/// Rows that are looked at for each way in which a reference can fit. Beyond
/// them a fit by a part of a name counts as ambiguous.
pub(crate) const ROWS_MAX: usize = 2000;

/// What may fit one reference.
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
    let mut found = Vec::with_capacity(references.len());
    let mut ids = BTreeSet::new();
    for reference in references {
        let one = find(connection, &reference.lookup_keys())?;
        ids.extend(&one.ids);
        found.push(one);
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let known = load(connection, &ids)?;
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

fn find(connection: &mut SqliteConnection, keys: &LookupKeys) -> QueryResult<Found> {
    let LookupKeys {
        sha256,
        autov2,
        twelve,
        names,
        filenames,
    } = keys;
    let limit = i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX);
    let mut found = Found {
        ids: BTreeSet::new(),
        truncated: false,
    };
    if let Some(sha256) = sha256 {
        let rows = models::table.filter(models::hash_sha256.eq(sha256));
        found.add(rows.limit(limit).select(models::id).load(connection)?);
    }
    if let Some(autov2) = autov2 {
        let rows = models::table.filter(models::hash_autov2.eq(autov2));
        found.add(rows.limit(limit).select(models::id).load(connection)?);
    }
    if let Some(twelve) = twelve {
        let rows = models::table.filter(models::hash_autov3.eq(twelve));
        found.add(rows.limit(limit).select(models::id).load(connection)?);
        let rows = models::table
            .filter(models::hash_sha256.ge(twelve))
            .filter(models::hash_sha256.lt(format!("{twelve}{AFTER_HEX}")));
        found.add(rows.limit(limit).select(models::id).load(connection)?);
    }
    let rows = model_aliases::table.filter(model_aliases::alias_key.eq_any(names));
    found.add(
        rows.limit(limit)
            .select(model_aliases::model_id)
            .load(connection)?,
    );
    let rows = models::table.filter(models::filename_key.eq_any(filenames));
    found.add(rows.limit(limit).select(models::id).load(connection)?);
    let rows = server_model_files::table.filter(server_model_files::filename_key.eq_any(filenames));
    found.add(
        rows.limit(limit)
            .select(server_model_files::model_id)
            .load(connection)?,
    );
    let rows = server_model_files::table.filter(server_model_files::title_key.eq_any(names));
    found.add(
        rows.limit(limit)
            .select(server_model_files::model_id)
            .load(connection)?,
    );
    let rows = server_model_files::table.filter(server_model_files::alias_key.eq_any(names));
    found.add(
        rows.limit(limit)
            .select(server_model_files::model_id)
            .load(connection)?,
    );
    Ok(found)
}

fn load(connection: &mut SqliteConnection, ids: &[i64]) -> QueryResult<BTreeMap<i64, KnownModel>> {
    let mut known = BTreeMap::new();
    for chunk in ids.chunks(BIND_MAX) {
        load_models(connection, chunk, &mut known)?;
        load_seen(connection, chunk, &mut known)?;
        load_files(connection, chunk, &mut known)?;
    }
    for alias in aliases::of_models(connection, ids)? {
        if let Some(model) = known.get_mut(&alias.model_id) {
            model.aliases.push(alias.alias_path);
        }
    }
    Ok(known)
}

fn load_models(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    type Row = (
        i64,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        String,
        String,
        Option<String>,
    );
    let rows: Vec<Row> = models::table
        .filter(models::id.eq_any(ids))
        .select((
            models::id,
            models::kind,
            models::hash_sha256,
            models::hash_autov2,
            models::hash_autov3,
            models::local_path,
            models::filename,
            models::forge_format,
        ))
        .load(connection)?;
    for (id, kind, sha256, autov2, autov3, local_path, filename, forge_format) in rows {
        let model = KnownModel {
            id,
            // The check of the table allows no other word.
            kind: ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint),
            sha256,
            autov2,
            autov3,
            local_path,
            filename,
            forge_format: forge_format.unwrap_or_default(),
            aliases: Vec::new(),
            seen_on: Vec::new(),
            files: Vec::new(),
        };
        known.insert(id, model);
    }
    Ok(())
}

fn load_seen(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    let rows: Vec<(i64, String, Option<String>, Option<String>)> = model_server_availability::table
        .filter(model_server_availability::model_id.eq_any(ids))
        .select((
            model_server_availability::model_id,
            model_server_availability::server_id,
            model_server_availability::title,
            model_server_availability::last_seen,
        ))
        .load(connection)?;
    for (model_id, server, title, last_seen) in rows {
        if let Some(model) = known.get_mut(&model_id) {
            model.seen_on.push(Seen {
                server,
                title: title.unwrap_or_default(),
                at: last_seen.as_deref().and_then(from_second_text),
            });
        }
    }
    Ok(())
}

fn load_files(
    connection: &mut SqliteConnection,
    ids: &[i64],
    known: &mut BTreeMap<i64, KnownModel>,
) -> QueryResult<()> {
    type Row = (i64, String, String, String, String, Option<String>);
    let rows: Vec<Row> = server_model_files::table
        .filter(server_model_files::model_id.eq_any(ids))
        .select((
            server_model_files::model_id,
            server_model_files::server_id,
            server_model_files::title,
            server_model_files::path,
            server_model_files::alias,
            server_model_files::sha256,
        ))
        .load(connection)?;
    for (model_id, server, title, path, alias, sha256) in rows {
        if let Some(model) = known.get_mut(&model_id) {
            model.files.push(FileOnServer {
                server,
                title,
                path,
                alias,
                sha256,
            });
        }
    }
    Ok(())
}
