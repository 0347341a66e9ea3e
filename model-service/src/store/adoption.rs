//! How the models database of the earlier application becomes ours: what each documented column is
//! made from, and what is filled in once our own columns are there.
//!
//! How it is done is service-kit's.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::BigInt;
use service_kit::migrate::{AdoptedTable, Adoption, AdoptionReport};

/// The whole rule.
pub(super) const ADOPTION: Adoption = Adoption {
    tables: &[MODELS, ALIASES, AVAILABILITY],
    finish,
};

/// A row whose Civitai version reads 'none' may be several files merged into one: its hashes may
/// be another file's.
macro_rules! merged {
    () => {
        "lower(trim(coalesce(adopt_text(civitai_version_id), ''))) = 'none'"
    };
}
/// A column with hexadecimal digits, in lower case, when it has so many of them.
macro_rules! digits {
    ($column:literal, $count:literal) => {
        concat!(
            "CASE WHEN length(trim(adopt_text(",
            $column,
            "))) = ",
            $count,
            " AND trim(adopt_text(",
            $column,
            ")) NOT GLOB '*[^0-9A-Fa-f]*'",
            " THEN lower(trim(adopt_text(",
            $column,
            "))) END"
        )
    };
}
/// Ids begin with 1; what is none gets a new one.
const ID: (&str, &str) = (
    "id",
    "CASE WHEN typeof(id) = 'integer' AND id > 0 THEN id END",
);
/// Rows of models that are gone.
const ORPHANS: (&str, &str) = (
    "it belongs to no model",
    "NOT EXISTS (SELECT 1 FROM models WHERE models.id = older.model_id)",
);

const MODELS: AdoptedTable = AdoptedTable {
    name: "models",
    key: "id",
    recognised_by: &["id", "filename", "local_path"],
    columns: &[
        ID,
        (
            "name",
            "CASE WHEN trim(adopt_text(name)) <> '' THEN adopt_text(name) \
             ELSE coalesce(adopt_stem(filename), adopt_stem(local_path), 'unnamed') END",
        ),
        // The word is often missing; the folder tells then.
        (
            "type",
            "CASE WHEN lower(trim(adopt_text(type))) IN ('checkpoint', 'lora') \
                 THEN lower(trim(adopt_text(type))) \
             WHEN '/' || lower(replace(adopt_join(local_path, filename), char(92), '/')) \
                 LIKE '%/lora/%' THEN 'lora' \
             WHEN '/' || lower(replace(adopt_join(local_path, filename), char(92), '/')) \
                 LIKE '%/loras/%' THEN 'lora' \
             ELSE 'checkpoint' END",
        ),
        // The earlier application kept the folder there, and folders in the file name.
        (
            "local_path",
            "coalesce(adopt_join(local_path, filename), '')",
        ),
        (
            "filename",
            "coalesce(adopt_file(filename), adopt_file(local_path), '')",
        ),
        ("civitai_id", "adopt_whole(civitai_id)"),
        ("civitai_version_id", "adopt_whole(civitai_version_id)"),
        ("forge_format", "adopt_text(forge_format)"),
        // Short hashes were computed over the first megabyte for some days. The whole hash tells
        // the true one; without it only what Forge itself said is believed: the column of the
        // first version, and what stands in a title.
        (
            "hash_autov2",
            concat!(
                "CASE WHEN ",
                merged!(),
                " THEN NULL ELSE coalesce( \
                     substr(",
                digits!("hash_sha256", 64),
                ", 1, 10), ",
                digits!("hash", 10),
                ", \
                     CASE WHEN instr(lower(adopt_text(forge_format)), \
                         '[' || lower(trim(adopt_text(hash_autov2))) || ']') > 0 \
                     THEN ",
                digits!("hash_autov2", 10),
                " END) END"
            ),
        ),
        (
            "hash_sha256",
            concat!(
                "CASE WHEN ",
                merged!(),
                " THEN NULL ELSE ",
                digits!("hash_sha256", 64),
                " END"
            ),
        ),
        ("civitai_model_name", "adopt_word(civitai_model_name)"),
        ("civitai_model_base", "adopt_word(civitai_model_base)"),
        ("civitai_model_type", "adopt_word(civitai_model_type)"),
        (
            "civitai_model_version_name",
            "adopt_word(civitai_model_version_name)",
        ),
        (
            "civitai_model_version_desc",
            "adopt_word(civitai_model_version_desc)",
        ),
        (
            "civitai_model_version_date",
            "adopt_word(civitai_model_version_date)",
        ),
        ("civitai_download_url", "adopt_word(civitai_download_url)"),
        ("civitai_trained_words", "adopt_word(civitai_trained_words)"),
        // Fractions, and weights that were written into the column by mistake.
        (
            "civitai_file_size_kb",
            "CASE WHEN typeof(civitai_file_size_kb) IN ('integer', 'real') \
                 AND civitai_file_size_kb BETWEEN 1.5 AND 2147483647 \
             THEN CAST(round(civitai_file_size_kb) AS INTEGER) END",
        ),
        (
            "metadata_status",
            "CASE WHEN lower(trim(adopt_text(metadata_status))) IN \
                 ('complete', 'incomplete', 'error') \
             THEN lower(trim(adopt_text(metadata_status))) ELSE 'incomplete' END",
        ),
        ("last_used", "adopt_seconds(last_used)"),
        ("created_at", "adopt_seconds(created_at)"),
    ],
    older: &["hash"],
    later: &[
        ("preview_path", "adopt_text(value)"),
        ("preview_url", "adopt_text(value)"),
        ("civitai_nsfw", "adopt_flag(value)"),
        ("civitai_blurhash", "adopt_word(value)"),
        ("civitai_checked", "lower(trim(adopt_text(value)))"),
        ("metadata_source", "lower(trim(adopt_text(value)))"),
        ("has_embedded_metadata", "adopt_flag(value)"),
        ("is_duplicate", "adopt_flag(value)"),
        ("duplicate_hash", "lower(trim(adopt_text(value)))"),
        (
            "duplicate_group_size",
            "CASE typeof(value) WHEN 'integer' THEN value END",
        ),
        (
            "duplicate_group_index",
            "CASE typeof(value) WHEN 'integer' THEN value END",
        ),
    ],
    secret: &[],
    set_aside: &[],
};

const ALIASES: AdoptedTable = AdoptedTable {
    name: "model_aliases",
    key: "id",
    recognised_by: &["model_id", "alias_path"],
    columns: &[
        ID,
        ("model_id", "model_id"),
        ("alias_path", "adopt_text(alias_path)"),
    ],
    older: &[],
    later: &[],
    secret: &[],
    set_aside: &[
        ORPHANS,
        (
            "it has no path",
            "coalesce(adopt_text(alias_path), '') = ''",
        ),
    ],
};

const AVAILABILITY: AdoptedTable = AdoptedTable {
    name: "model_server_availability",
    key: "id",
    recognised_by: &["model_id", "server_id"],
    columns: &[
        ID,
        ("model_id", "model_id"),
        ("server_id", "adopt_text(server_id)"),
        ("last_seen", "adopt_seconds(last_seen)"),
    ],
    older: &[],
    later: &[],
    secret: &[],
    // Doubles are refused by the table itself.
    set_aside: &[
        ORPHANS,
        (
            "it names no server",
            "coalesce(adopt_text(server_id), '') = ''",
        ),
    ],
};

/// What rows had in a column before it was replaced, as `kept.row_id` and `kept.word`.
macro_rules! replaced {
    ($column:literal) => {
        concat!(
            "(SELECT row_id, lower(trim(adopt_text(value))) AS word FROM adoption_values \
              WHERE table_name = 'models' AND column_name = '",
            $column,
            "' AND kind = 'replaced') AS kept WHERE models.id = kept.row_id"
        )
    };
}

const FINISH: &str = concat!(
    "UPDATE models SET older_metadata_status = kept.word FROM ",
    replaced!("metadata_status"),
    " AND kept.word IS NOT metadata_status; \
     UPDATE models SET needs_rescan = 1, civitai_checked = coalesce(civitai_checked, 'not_found') \
     FROM ",
    replaced!("civitai_version_id"),
    " AND kept.word = 'none'; \
     UPDATE models SET untrusted_autov2 = kept.word FROM ",
    replaced!("hash_autov2"),
    " AND kept.word IS NOT hash_autov2;"
);

fn finish(
    connection: &mut SqliteConnection,
    _: DateTime<Utc>,
    report: &mut AdoptionReport,
) -> QueryResult<()> {
    connection.batch_execute(FINISH)?;
    for (condition, said) in [
        (
            "needs_rescan",
            "rows may be several model files in one: they are found by name, and by hash only once \
             a server lists the file",
        ),
        (
            "untrusted_autov2 IS NOT NULL",
            "short hashes were not those of the whole file, or cannot be checked: models are no \
             longer found by them",
        ),
        (
            "older_metadata_status IS NOT NULL",
            "metadata states that the documented schema has no word for read 'incomplete' now",
        ),
    ] {
        let count = format!("SELECT count(*) FROM models WHERE {condition}");
        let rows: i64 = sql::<BigInt>(&count).get_result(connection)?;
        if rows > 0 {
            report.notes.push(format!("{rows} {said}"));
        }
    }
    Ok(())
}
