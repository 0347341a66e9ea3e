//! How the jobs database of the earlier application becomes ours: what each
//! documented column is made from. The way it is done is service-kit's, and
//! what remains to be done afterwards is in `finish`.

mod finish;
mod import;
mod keys;
mod servers;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use diesel::{dsl::sql, prelude::*, sql_types::Text};
use service_kit::migrate::{AdoptedTable, KeptAs, OlderRows};

pub use finish::finish;
pub use import::{JobsImport, RefusedEntry, has_new, import_jobs};
pub use servers::{ImportedServer, begun, import_servers};

/// The documented tables.
pub const TABLES: &[AdoptedTable] = &[JOBS, API_KEYS];

/// The folder of a database that is a file.
pub fn folder_of(conn: &mut SqliteConnection) -> QueryResult<Option<PathBuf>> {
    let file = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let file: String = sql::<Text>(file).get_result(conn)?;
    Ok(Path::new(&file).parent().map(Path::to_owned))
}

/// Keeps the result that a job brought from the earlier application, before a
/// run of ours replaces it.
///
/// # Errors
/// Those of the database.
pub fn keep_result(
    conn: &mut SqliteConnection,
    id: &str,
    result_json: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let rows = OlderRows::begin(conn, &JOBS, now)?;
    rows.keep(conn, id, RESULT, result_json, KeptAs::Replaced)
}

/// The column of what came of a job.
const RESULT: &str = "result_details_json";

const JOBS: AdoptedTable = AdoptedTable {
    name: "jobs",
    key: "mobilesd_job_id",
    recognised_by: &["mobilesd_job_id", "status", "generation_params_json"],
    older: &[],
    later: &[],
    secret: &[],
    set_aside: &[],
    columns: &[
        (
            "mobilesd_job_id",
            "coalesce(nullif(adopt_text(mobilesd_job_id), ''), adopt_id())",
        ),
        // A job that was under way waits for somebody to decide; one in a state
        // that nobody knows must not run.
        (
            "status",
            "CASE WHEN lower(trim(adopt_text(status))) IN \
                 ('pending', 'completed', 'failed', 'cancelled') \
                 THEN lower(trim(adopt_text(status))) \
             WHEN lower(trim(adopt_text(status))) = 'processing' THEN 'pending' \
             ELSE 'failed' END",
        ),
        (
            "creation_timestamp",
            "coalesce(adopt_time(creation_timestamp), adopt_time(last_updated_timestamp), \
             adopt_now())",
        ),
        (
            "last_updated_timestamp",
            "coalesce(adopt_time(last_updated_timestamp), adopt_time(creation_timestamp), \
             adopt_now())",
        ),
        (
            "completion_timestamp",
            "CASE WHEN lower(trim(adopt_text(status))) IN ('pending', 'processing') THEN NULL \
             ELSE coalesce(adopt_time(completion_timestamp), \
                 adopt_time(last_updated_timestamp), adopt_time(creation_timestamp), \
                 adopt_now()) END",
        ),
        (
            "target_server_alias",
            "coalesce(adopt_text(target_server_alias), '')",
        ),
        ("forge_session_hash", "adopt_text(forge_session_hash)"),
        (
            "generation_params_json",
            "coalesce(adopt_text(generation_params_json), '{}')",
        ),
        ("result_details_json", "adopt_text(result_details_json)"),
        (
            "retry_count",
            "CASE WHEN typeof(retry_count) = 'integer' THEN retry_count ELSE 0 END",
        ),
        (
            "forge_internal_task_id",
            "coalesce(adopt_text(forge_internal_task_id), \
             CASE WHEN json_valid(adopt_text(result_details_json)) THEN CAST(json_extract( \
                 adopt_text(result_details_json), '$.forge_internal_task_id') AS TEXT) END)",
        ),
        (
            "app_type",
            "coalesce(nullif(adopt_text(app_type), ''), 'forge')",
        ),
        ("source_info", "coalesce(adopt_text(source_info), 'ui')"),
        ("api_key_id", "adopt_text(api_key_id)"),
    ],
};

const API_KEYS: AdoptedTable = AdoptedTable {
    name: "api_keys",
    key: "id",
    recognised_by: &["id", "name"],
    older: &[],
    later: &[
        ("rate_limit_tier", "adopt_text(value)"),
        ("custom_rate_limits", "adopt_text(value)"),
    ],
    secret: &["key", "secret"],
    set_aside: &[],
    columns: &[
        ("id", "coalesce(nullif(adopt_text(id), ''), adopt_id())"),
        (
            "name",
            "coalesce(nullif(trim(adopt_text(name)), ''), 'unnamed')",
        ),
        // The 8 digits behind the mark `mk_`, by which a key is found. One of
        // another form could not be presented.
        (
            "key_prefix",
            "coalesce(CASE WHEN adopt_text(key_prefix) GLOB 'mk_????????*' \
                 THEN substr(adopt_text(key_prefix), 4, 8) ELSE adopt_text(key_prefix) END, \
             CASE WHEN length(adopt_text(older.key)) = 27 AND adopt_text(older.key) GLOB 'mk_*' \
                     AND substr(adopt_text(older.key), 4) NOT GLOB '*[^0-9a-f]*' \
                     AND length(adopt_text(secret)) = 32 \
                     AND adopt_text(secret) NOT GLOB '*[^0-9a-f]*' \
                 THEN substr(adopt_text(older.key), 4, 8) END, '')",
        ),
        (
            "key_hash",
            "coalesce(adopt_text(key_hash), adopt_sha256(older.key), '')",
        ),
        (
            "secret_hash",
            "coalesce(adopt_text(secret_hash), adopt_sha256(secret), '')",
        ),
        (
            "created_at",
            "coalesce(adopt_time(created_at), adopt_now())",
        ),
        ("last_used", "adopt_time(last_used)"),
        // NULL opened nothing in the earlier application either.
        ("is_active", "adopt_flag(is_active)"),
        // What the earlier application kept there was no list of scopes.
        ("permissions", "'[\"jobs:read\",\"jobs:write\"]'"),
        (
            "description",
            "coalesce(adopt_text(description), \
             CASE WHEN json_valid(adopt_text(permissions)) THEN CAST(json_extract( \
                 adopt_text(permissions), '$.description') AS TEXT) END)",
        ),
    ],
};
