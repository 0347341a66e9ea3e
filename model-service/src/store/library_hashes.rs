//! Owns what the hashes of files change in the rows of `library_files` and
//! `models`. Which files have none yet is `library_hashes/to_hash.rs`.

mod to_hash;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use service_kit::clock::to_text;

use super::tables::{library_files, models};
use super::{field_sources, library_files as file_rows, merge, models as model_rows};
use crate::findings::{Field, Source};
use crate::library::digests::Digests;
use crate::library::hash::{Fate, TakenFor, fate};
use crate::library::stamp::FileStamp;
use crate::model::{CivitaiMetadata, Details, MetadataStatus, ModelKind, NewModel};
use crate::names;
pub(crate) use to_hash::{Amount, FileToHash, Wanted, amounts, next};

/// Whether something speaks for what the registry says of a model, when one file
/// of it (?2) at that path (?4) has this hash (?3): a file that a server lists, a
/// server that has it, another file of the library, or the registry itself, which
/// means a file at another path.
const HAS_WITNESS: &str = "
    SELECT EXISTS (SELECT 1 FROM models
                   WHERE id = ?1 AND replace(local_path, '\\', '/') <> ?4)
        OR EXISTS (SELECT 1 FROM server_model_files
                   WHERE model_id = ?1 AND (sha256 IS NULL OR sha256 <> ?3))
        OR EXISTS (SELECT 1 FROM model_server_availability AS there
                   WHERE model_id = ?1
                     AND NOT EXISTS (SELECT 1 FROM server_model_files AS file
                                     WHERE file.model_id = ?1
                                       AND file.server_id = there.server_id))
        OR EXISTS (SELECT 1 FROM library_files
                   WHERE model_id = ?1 AND id <> ?2 AND ifnull(hash_sha256, '') <> ?3
                     AND (missing_since IS NULL OR hash_sha256 IS NOT NULL)) AS found";

/// Writes only what is not there yet, so that a repetition changes nothing. A
/// model with several files shows the time of the first.
const LEARN: &str = "
    UPDATE models SET
        hash_sha256 = ?2, hash_autov2 = ?3, hash_autov1 = ?4, hash_autov3 = ?5, hash_blake3 = ?6,
        file_size_bytes = ?7, file_modified_at = ifnull(file_modified_at, ?8),
        untrusted_autov2 = NULL, revision = revision + 1
    WHERE id = ?1
      AND (hash_sha256 IS NOT ?2 OR hash_autov2 IS NOT ?3 OR hash_autov1 IS NOT ?4
           OR hash_autov3 IS NOT ?5 OR hash_blake3 IS NOT ?6 OR file_size_bytes IS NOT ?7
           OR file_modified_at IS NULL OR untrusted_autov2 IS NOT NULL)";

/// What was known of the former content is not true of the new one. The title
/// that Forge showed goes when the former hash is a part of it.
const FORGET_FORMER: &str = "
    UPDATE models SET
        metadata_status = 'incomplete', civitai_checked = NULL, civitai_matched_by = NULL,
        civitai_error = NULL, enriched_at = NULL, file_modified_at = NULL,
        forge_format = CASE WHEN instr(forge_format, '[') > 0 THEN NULL ELSE forge_format END
    WHERE id = ?1";

/// Who spoke of the content of a file, and not of whatever somebody calls by its
/// name.
const OF_CONTENT: [Source; 4] = [
    Source::Civitai,
    Source::Sidecar,
    Source::Embedded,
    Source::FileName,
];

/// A file that was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashedFile {
    pub(crate) id: i64,
    /// As it was before and after.
    pub(crate) stamp: FileStamp,
    pub(crate) digests: Digests,
    /// Where it is, for a model that is made for it.
    pub(crate) local_path: String,
    /// The last part of that.
    pub(crate) filename: String,
}

/// What the hashes of one file changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Whether they were written; not when the row says by now that the file is
    /// another one.
    pub(crate) written: bool,
    /// Models of which something is different now, or that are gone.
    pub(crate) changed: Vec<i64>,
    /// Models that became others.
    pub(crate) merged_count: u64,
    /// Whether the file is of another model now.
    pub(crate) moved: bool,
}

/// Writes the hashes of a file, and lets the registry follow: the model learns
/// them, models that turn out to be one are merged, and a file that is not the
/// model's any more goes to the one that it is.
pub(crate) fn settle(
    connection: &mut SqliteConnection,
    file: &HashedFile,
    now: DateTime<Utc>,
) -> QueryResult<Settled> {
    let Some(model_id) = write_file(connection, file, now)? else {
        return Ok(Settled::default());
    };
    let settled = match taken_for(connection, model_id, file)? {
        // It is no model, or its model was removed; the next scan makes one for it then.
        None => Settled::default(),
        Some((taken_for, kind)) => settle_model(connection, file, &taken_for, kind, now)?,
    };
    file_rows::settle_moved(connection, file.id, file.digests.sha256.as_str(), now)?;
    Ok(Settled {
        written: true,
        ..settled
    })
}

/// Decides which model the file is of, and lets it learn the hashes.
fn settle_model(
    connection: &mut SqliteConnection,
    file: &HashedFile,
    taken_for: &TakenFor,
    kind: ModelKind,
    now: DateTime<Utc>,
) -> QueryResult<Settled> {
    let mut settled = Settled::default();
    let same_hash: Vec<i64> = models::table
        .filter(models::hash_sha256.eq(file.digests.sha256.as_str()))
        .filter(models::kind.eq(kind.as_str()))
        .select(models::id)
        .load(connection)?;
    let id = match fate(taken_for, &same_hash, &file.digests.sha256) {
        Fate::AsTaken => taken_for.id,
        Fate::Merged(ids) => {
            let (stays, go) = (ids[0], &ids[1..]);
            for goes in go {
                merge::merge(connection, stays, *goes)?;
            }
            settled.merged_count = go.len() as u64;
            settled.changed.extend(ids);
            settled.changed[0]
        }
        Fate::Replaced => {
            forget_former(connection, taken_for.id, file)?;
            taken_for.id
        }
        Fate::Other(id) => {
            give(connection, file.id, id)?;
            settled.moved = true;
            id
        }
        Fate::New => {
            let id = model_rows::insert(connection, None, &new_model(file, kind), now)?;
            field_sources::put(connection, &[(id, Field::Name, Source::FileName)])?;
            give(connection, file.id, id)?;
            settled.moved = true;
            id
        }
    };
    if settled.moved {
        settled.changed.push(taken_for.id);
    }
    if (learn(connection, id, file)? || settled.moved) && !settled.changed.contains(&id) {
        settled.changed.push(id);
    }
    Ok(settled)
}

/// Forgets what was known of the former content of a file that is all that there
/// is of a model, but for what somebody set by hand. What the new content and
/// what lies beside it say is taken in by the next scan.
fn forget_former(
    connection: &mut SqliteConnection,
    model_id: i64,
    file: &HashedFile,
) -> QueryResult<()> {
    diesel::sql_query(FORGET_FORMER)
        .bind::<BigInt, _>(model_id)
        .execute(connection)?;
    let stem = names::without_ending(&file.filename);
    field_sources::forget(connection, model_id, &OF_CONTENT, &[], stem)?;
    file_rows::read_again(connection, model_id)
}

/// The same for a file that has its hashes already and has got a model since: the
/// model learns them. `local_path` is where it is, and `filename` the last part of
/// that.
pub(crate) fn settle_again(
    connection: &mut SqliteConnection,
    file_id: i64,
    local_path: &str,
    filename: &str,
    now: DateTime<Utc>,
) -> QueryResult<Settled> {
    let Some((stamp, digests)) = file_rows::hashed(connection, file_id)? else {
        return Ok(Settled::default());
    };
    let file = HashedFile {
        id: file_id,
        stamp,
        digests,
        local_path: local_path.to_owned(),
        filename: filename.to_owned(),
    };
    settle(connection, &file, now)
}

/// Writes the hashes into the row of a file and answers its model, when it has
/// one; `None` also when the row is of another file by now.
fn write_file(
    connection: &mut SqliteConnection,
    file: &HashedFile,
    now: DateTime<Utc>,
) -> QueryResult<Option<Option<i64>>> {
    let HashedFile { stamp, digests, .. } = file;
    let as_it_is = library_files::table
        .filter(library_files::id.eq(file.id))
        .filter(library_files::size_bytes.eq(stamp.size_bytes))
        .filter(library_files::modified_ns.eq(stamp.modified_ns))
        .filter(library_files::inode.eq(stamp.inode));
    diesel::update(as_it_is)
        .set((
            library_files::hash_sha256.eq(digests.sha256.as_str()),
            library_files::hash_autov1.eq(&digests.autov1),
            library_files::hash_autov3.eq(&digests.autov3),
            library_files::hash_blake3.eq(&digests.blake3),
            library_files::hashed_size_bytes.eq(stamp.size_bytes),
            library_files::hashed_modified_ns.eq(stamp.modified_ns),
            library_files::hashed_at.eq(to_text(now)),
        ))
        .returning(library_files::model_id)
        .get_result(connection)
        .optional()
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    found: i64,
}

fn taken_for(
    connection: &mut SqliteConnection,
    model_id: Option<i64>,
    file: &HashedFile,
) -> QueryResult<Option<(TakenFor, ModelKind)>> {
    let Some(id) = model_id else {
        return Ok(None);
    };
    let row: Option<(String, Option<String>, Option<String>)> = models::table
        .find(id)
        .select((models::kind, models::hash_sha256, models::hash_autov2))
        .first(connection)
        .optional()?;
    let Some((kind, sha256, autov2)) = row else {
        return Ok(None);
    };
    let witness: Found = diesel::sql_query(HAS_WITNESS)
        .bind::<BigInt, _>(id)
        .bind::<BigInt, _>(file.id)
        .bind::<Text, _>(file.digests.sha256.as_str())
        .bind::<Text, _>(names::with_slashes(&file.local_path))
        .get_result(connection)?;
    let taken_for = TakenFor {
        id,
        sha256,
        autov2,
        has_witness: witness.found != 0,
    };
    // The checks of the table allow no other word.
    let kind = ModelKind::from_word(&kind).unwrap_or(ModelKind::Checkpoint);
    Ok(Some((taken_for, kind)))
}

/// The file is of this model now. What its header and the files beside it say is
/// to be taken in for it by the next scan.
fn give(connection: &mut SqliteConnection, file_id: i64, model_id: i64) -> QueryResult<()> {
    diesel::update(library_files::table.find(file_id))
        .set((
            library_files::model_id.eq(model_id),
            library_files::beside_stamp.eq(""),
        ))
        .execute(connection)?;
    Ok(())
}

fn new_model(file: &HashedFile, kind: ModelKind) -> NewModel {
    NewModel {
        name: names::without_ending(&file.filename).to_owned(),
        kind,
        local_path: file.local_path.clone(),
        filename: file.filename.clone(),
        forge_format: None,
        autov2: None,
        sha256: None,
        civitai: CivitaiMetadata::default(),
        metadata_status: MetadataStatus::Incomplete,
        details: Details::default(),
    }
}

/// Whether that told the model anything new.
fn learn(connection: &mut SqliteConnection, model_id: i64, file: &HashedFile) -> QueryResult<bool> {
    let HashedFile { stamp, digests, .. } = file;
    let modified_at = DateTime::from_timestamp_nanos(stamp.modified_ns);
    let learned = diesel::sql_query(LEARN)
        .bind::<BigInt, _>(model_id)
        .bind::<Text, _>(digests.sha256.as_str())
        .bind::<Text, _>(digests.sha256.autov2().as_str())
        .bind::<Nullable<Text>, _>(&digests.autov1)
        .bind::<Nullable<Text>, _>(&digests.autov3)
        .bind::<Text, _>(&digests.blake3)
        .bind::<BigInt, _>(stamp.size_bytes)
        .bind::<Text, _>(to_text(modified_at))
        .execute(connection)?;
    Ok(learned > 0)
}
