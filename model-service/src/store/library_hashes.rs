//! Owns what the hashes of files change in the rows of `library_files` and
//! `models`, and which files have none yet.

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, sql};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;
use service_kit::clock::to_text;

use super::tables::{library_files, models};
use super::{field_sources, library_files as file_rows, merge, models as model_rows};
use crate::findings::Source;
use crate::library::digests::Digests;
use crate::library::hash::{Fate, TakenFor, fate};
use crate::library::stamp::FileStamp;
use crate::model::{CivitaiMetadata, Details, MetadataStatus, ModelKind, NewModel};
use crate::names;

/// Whether something speaks for what the registry says of a model, when one file
/// of it (?2) has this hash (?3): a file that a server lists, a server that has
/// it, another file of the library.
const HAS_WITNESS: &str = "
    SELECT EXISTS (SELECT 1 FROM server_model_files
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

/// Which files are to be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Beneath these roots.
    pub(crate) roots: Vec<String>,
    /// Of these models; none: of all.
    pub(crate) model_ids: Vec<i64>,
    /// Also those that were hashed before this time; `None`: only those without
    /// a hash as they are.
    pub(crate) hashed_before: Option<DateTime<Utc>>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// A file that is to be hashed, as the last scan found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileToHash {
    pub(crate) id: i64,
    pub(crate) root: String,
    /// Beneath the root, in the bytes of the file system.
    pub(crate) path: Vec<u8>,
    pub(crate) stamp: FileStamp,
}

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

type Chosen<'a> = library_files::BoxedQuery<'a, Sqlite>;

fn chosen(wanted: &Wanted) -> Chosen<'_> {
    let mut query = library_files::table
        .filter(library_files::missing_since.is_null())
        .filter(library_files::root.eq_any(&wanted.roots))
        .into_boxed();
    if !wanted.model_ids.is_empty() {
        let ids = wanted.model_ids.iter().map(|id| Some(*id));
        query = query.filter(library_files::model_id.eq_any(ids));
    }
    query
}

fn to_hash(wanted: &Wanted) -> Chosen<'_> {
    let other_size = library_files::hashed_size_bytes.is_not(library_files::size_bytes.nullable());
    let other_time =
        library_files::hashed_modified_ns.is_not(library_files::modified_ns.nullable());
    let without = library_files::hash_sha256
        .is_null()
        .or(other_size)
        .or(other_time);
    match wanted.hashed_before {
        None => chosen(wanted).filter(without),
        Some(time) => {
            let before = library_files::hashed_at.lt(to_text(time)).assume_not_null();
            let before = library_files::hashed_at.is_null().or(before);
            chosen(wanted).filter(without.or(before))
        }
    }
}

/// How much is to be hashed, and how much there is in all.
pub(crate) fn amounts(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
) -> QueryResult<(Amount, Amount)> {
    let mut amount = |query: Chosen<'_>| {
        let bytes = sql::<BigInt>("ifnull(sum(size_bytes), 0)");
        let (files, bytes): (i64, i64) = query.select((count_star(), bytes)).first(connection)?;
        let unsigned = |count| u64::try_from(count).unwrap_or_default();
        QueryResult::Ok(Amount {
            files: unsigned(files),
            bytes: unsigned(bytes),
        })
    };
    Ok((amount(to_hash(wanted))?, amount(chosen(wanted))?))
}

/// At most `limit` files that are to be hashed behind the id `after`, by id.
pub(crate) fn next(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
    after: i64,
    limit: i64,
) -> QueryResult<Vec<FileToHash>> {
    type Row = (i64, String, Vec<u8>, i64, i64, i64, i64);
    let rows: Vec<Row> = to_hash(wanted)
        .filter(library_files::id.gt(after))
        .order(library_files::id)
        .limit(limit)
        .select((
            library_files::id,
            library_files::root,
            library_files::path,
            library_files::size_bytes,
            library_files::modified_ns,
            library_files::device,
            library_files::inode,
        ))
        .load(connection)?;
    let file = |(id, root, path, size_bytes, modified_ns, device, inode)| FileToHash {
        id,
        root,
        path,
        stamp: FileStamp {
            size_bytes,
            modified_ns,
            device,
            inode,
        },
    };
    Ok(rows.into_iter().map(file).collect())
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
        // Its model was removed; the next scan makes one for it.
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
            let forget = diesel::sql_query(FORGET_FORMER).bind::<BigInt, _>(taken_for.id);
            forget.execute(connection)?;
            field_sources::forget(connection, taken_for.id, Source::Civitai)?;
            taken_for.id
        }
        Fate::Other(id) => {
            give(connection, file.id, id)?;
            settled.moved = true;
            id
        }
        Fate::New => {
            let id = model_rows::insert(connection, None, &new_model(file, kind), now)?;
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
