//! Owns how two rows of `models` become one: everything that hangs on the one
//! that goes moves to the one that stays.

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;

use super::tables::models;

/// In this order: what both have is kept once, what only the row that goes has
/// is moved, and what the row that stays does not know is filled in. A path of
/// the registry that no server reports lives on as an alias. A repeated request
/// is answered with what became of what it made.
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
    "UPDATE models AS kept SET
         revision = kept.revision + 1,
         civitai_id = ifnull(kept.civitai_id, gone.civitai_id),
         civitai_version_id = ifnull(kept.civitai_version_id, gone.civitai_version_id),
         forge_format = ifnull(kept.forge_format, gone.forge_format),
         hash_autov2 = ifnull(kept.hash_autov2, gone.hash_autov2),
         hash_sha256 = ifnull(kept.hash_sha256, gone.hash_sha256),
         civitai_model_name = ifnull(kept.civitai_model_name, gone.civitai_model_name),
         civitai_model_base = ifnull(kept.civitai_model_base, gone.civitai_model_base),
         civitai_model_type = ifnull(kept.civitai_model_type, gone.civitai_model_type),
         civitai_model_version_name =
             ifnull(kept.civitai_model_version_name, gone.civitai_model_version_name),
         civitai_model_version_desc =
             ifnull(kept.civitai_model_version_desc, gone.civitai_model_version_desc),
         civitai_model_version_date =
             ifnull(kept.civitai_model_version_date, gone.civitai_model_version_date),
         civitai_download_url = ifnull(kept.civitai_download_url, gone.civitai_download_url),
         civitai_trained_words = ifnull(kept.civitai_trained_words, gone.civitai_trained_words),
         civitai_file_size_kb = ifnull(kept.civitai_file_size_kb, gone.civitai_file_size_kb),
         metadata_status = CASE WHEN kept.metadata_status = 'complete' THEN kept.metadata_status
                                WHEN gone.metadata_status = 'complete' THEN gone.metadata_status
                                ELSE kept.metadata_status END,
         last_used = CASE WHEN kept.last_used IS NULL THEN gone.last_used
                          ELSE max(kept.last_used, ifnull(gone.last_used, kept.last_used)) END
     FROM models AS gone WHERE kept.id = ?1 AND gone.id = ?2",
];

/// Moves everything of the model `goes` to the model `stays` and removes it.
pub(crate) fn merge(connection: &mut SqliteConnection, stays: i64, goes: i64) -> QueryResult<()> {
    for step in STEPS {
        diesel::sql_query(step)
            .bind::<BigInt, _>(stays)
            .bind::<BigInt, _>(goes)
            .execute(connection)?;
    }
    diesel::delete(models::table.find(goes)).execute(connection)?;
    Ok(())
}
