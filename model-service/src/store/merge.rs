//! Owns how two rows of `models` become one: everything that hangs on the one
//! that goes moves to the one that stays.

use std::fmt::Write as _;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;

use super::tables::models;
use crate::findings::Field;

/// In this order: what both have is kept once, and what only the row that goes
/// has is moved. A path of the registry that no server reports lives on as an
/// alias. A repeated request is answered with what became of what it made.
const STEPS: [&str; 10] = [
    "UPDATE model_server_availability AS kept
     SET last_seen = max(ifnull(kept.last_seen, ''), ifnull(gone.last_seen, '')),
         title = ifnull(kept.title, gone.title)
     FROM model_server_availability AS gone
     WHERE kept.model_id = ?1 AND gone.model_id = ?2 AND gone.server_id = kept.server_id",
    "DELETE FROM model_server_availability WHERE model_id = ?2 AND server_id IN
     (SELECT server_id FROM model_server_availability WHERE model_id = ?1)",
    "UPDATE model_server_availability SET model_id = ?1 WHERE model_id = ?2",
    "UPDATE server_model_files SET model_id = ?1 WHERE model_id = ?2",
    "UPDATE library_files SET model_id = ?1 WHERE model_id = ?2",
    "UPDATE request_ids SET model_id = ?1 WHERE model_id = ?2",
    "UPDATE request_ids SET alias_id = kept.id
     FROM model_aliases AS gone JOIN model_aliases AS kept ON kept.alias_path = gone.alias_path
     WHERE request_ids.alias_id = gone.id AND gone.model_id = ?2 AND kept.model_id = ?1",
    "DELETE FROM model_aliases WHERE model_id = ?2 AND alias_path IN
     (SELECT alias_path FROM model_aliases WHERE model_id = ?1)",
    "UPDATE model_aliases SET model_id = ?1 WHERE model_id = ?2",
    "INSERT INTO model_aliases (model_id, alias_path)
     SELECT ?1, gone.local_path FROM models AS gone, models AS kept
     WHERE gone.id = ?2 AND kept.id = ?1
       AND gone.local_path NOT IN ('', kept.local_path, gone.filename)
       AND NOT EXISTS (SELECT 1 FROM server_model_files
                       WHERE model_id = ?1 AND path = gone.local_path)
       AND NOT EXISTS (SELECT 1 FROM model_aliases
                       WHERE model_id = ?1 AND alias_path = gone.local_path)",
];

/// What is filled in where the row that stays does not know it, besides the
/// fields that anybody can fill.
const FACTS: [&str; 13] = [
    "forge_format",
    "hash_autov2",
    "hash_sha256",
    "hash_autov1",
    "hash_autov3",
    "hash_blake3",
    "file_size_bytes",
    "file_modified_at",
    "civitai_checked",
    "civitai_matched_by",
    "civitai_error",
    "enriched_at",
    "metadata_source",
];

/// The rest of what the row that stays takes over.
const FILL_IN: &str = "
    UPDATE models AS kept SET
        revision = kept.revision + 1,
        metadata_status = CASE WHEN kept.metadata_status = 'complete' THEN kept.metadata_status
                               WHEN gone.metadata_status = 'complete' THEN gone.metadata_status
                               ELSE kept.metadata_status END,
        last_used = CASE WHEN kept.last_used IS NULL THEN gone.last_used
                         ELSE max(kept.last_used, ifnull(gone.last_used, kept.last_used)) END";

/// Moves everything of the model `goes` to the model `stays` and removes it.
pub(crate) fn merge(connection: &mut SqliteConnection, stays: i64, goes: i64) -> QueryResult<()> {
    let written = [fill_in(), take_sources()];
    for step in STEPS.into_iter().chain(written.iter().map(String::as_str)) {
        diesel::sql_query(step)
            .bind::<BigInt, _>(stays)
            .bind::<BigInt, _>(goes)
            .execute(connection)?;
    }
    diesel::delete(models::table.find(goes)).execute(connection)?;
    Ok(())
}

/// Fills in what the row that stays does not know. What somebody set by hand
/// wins over what nobody did.
fn fill_in() -> String {
    let mut text = FILL_IN.to_owned();
    // Writing into a String cannot fail.
    for column in FACTS {
        let _ = write!(text, ", {column} = ifnull(kept.{column}, gone.{column})");
    }
    for column in Field::ALL.map(Field::column) {
        let _ = write!(
            text,
            ", {column} = CASE WHEN {} AND NOT {} THEN gone.{column}
               ELSE ifnull(kept.{column}, gone.{column}) END",
            by_hand("?2", column),
            by_hand("?1", column)
        );
    }
    text + " FROM models AS gone WHERE kept.id = ?1 AND gone.id = ?2"
}

fn by_hand(model: &str, column: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM model_field_sources
                 WHERE model_id = {model} AND field = '{column}' AND source = 'manual')"
    )
}

/// Lets a source follow the value that was filled in.
fn take_sources() -> String {
    let mut same = String::from("CASE gone.field");
    // Writing into a String cannot fail.
    for column in Field::ALL.map(Field::column) {
        let _ = write!(
            same,
            " WHEN '{column}' THEN stays.{column} IS goes.{column}"
        );
    }
    same.push_str(" ELSE 0 END");
    format!(
        "INSERT OR REPLACE INTO model_field_sources (model_id, field, source)
         SELECT ?1, gone.field, gone.source
         FROM model_field_sources AS gone
         JOIN models AS stays ON stays.id = ?1
         JOIN models AS goes ON goes.id = ?2
         LEFT JOIN model_field_sources AS kept ON kept.model_id = ?1 AND kept.field = gone.field
         WHERE gone.model_id = ?2 AND (kept.source IS NULL OR gone.source = 'manual')
           AND ({same})"
    )
}
