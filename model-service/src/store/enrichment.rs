//! Owns which models are to be asked about at Civitai, and what is written of the answers. What an
//! answer says of a model is decided in `library/enrich`.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use service_kit::clock;

use super::tables::models;
use super::{BIND_MAX, civitai_answers, field_sources};
use crate::civitai::version::MatchedBy;
use crate::findings::{self, Finding};
use crate::model::{AutoV2, MetadataStatus, Sha256};

/// A model that is to be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its id.
    pub(crate) id: i64,
    /// How reports name it.
    pub(crate) path: String,
    /// Its SHA-256.
    pub(crate) sha256: Option<Sha256>,
    /// Its AutoV2 hash.
    pub(crate) autov2: Option<AutoV2>,
    /// Which version of Civitai it is said to be, unless Civitai said so itself by its hash.
    pub(crate) version_id: Option<String>,
    /// Whether it says already that Civitai does not know it.
    pub(crate) known_unknown: bool,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = models, check_for_backend(Sqlite))]
struct Row {
    id: i64,
    local_path: String,
    filename: String,
    hash_sha256: Option<String>,
    hash_autov2: Option<String>,
    civitai_version_id: Option<String>,
    civitai_matched_by: Option<String>,
    civitai_checked: Option<String>,
    civitai_error: Option<String>,
    metadata_status: String,
}

impl From<Row> for Candidate {
    fn from(row: Row) -> Self {
        let path = match row.local_path.is_empty() {
            true => row.filename,
            false => row.local_path,
        };
        let by_file = row.civitai_matched_by.as_deref() == Some(MatchedBy::File.as_str());
        Self {
            id: row.id,
            path,
            sha256: row.hash_sha256.as_deref().and_then(Sha256::parse),
            autov2: row.hash_autov2.as_deref().and_then(AutoV2::parse),
            version_id: row.civitai_version_id.filter(|_| !by_file),
            known_unknown: row.civitai_checked.as_deref() == Some(NOT_FOUND)
                && row.civitai_error.is_none()
                && row.metadata_status == MetadataStatus::Incomplete.as_str(),
        }
    }
}

const FOUND: &str = "found";
const NOT_FOUND: &str = "not_found";

/// Which models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Only these; empty: all.
    pub(crate) model_ids: Vec<i64>,
    /// Those that are complete as well.
    pub(crate) complete_too: bool,
}

/// The wanted models with a hash whose ids come after `after`, by id, at most `limit`.
pub(crate) fn candidates(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
    after: i64,
    limit: usize,
) -> QueryResult<Vec<Candidate>> {
    let mut found: Vec<Row> = Vec::new();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    if wanted.model_ids.is_empty() {
        found = query(wanted, after).limit(limit).load(connection)?;
    } else {
        for part in wanted.model_ids.chunks(BIND_MAX) {
            let of_part = query(wanted, after).filter(models::id.eq_any(part));
            found.extend(of_part.limit(limit).load(connection)?);
        }
        found.sort_by_key(|row| row.id);
        found.dedup_by_key(|row| row.id);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(found.into_iter().map(Candidate::from).collect())
}

/// The first of these ids that is of no model.
pub(crate) fn first_unknown(
    connection: &mut SqliteConnection,
    ids: &[i64],
) -> QueryResult<Option<i64>> {
    for part in ids.chunks(BIND_MAX) {
        let known: Vec<i64> = models::table
            .filter(models::id.eq_any(part))
            .select(models::id)
            .load(connection)?;
        if let Some(id) = part.iter().find(|id| !known.contains(id)) {
            return Ok(Some(*id));
        }
    }
    Ok(None)
}

/// How many of the wanted models there are.
pub(crate) fn count(connection: &mut SqliteConnection, wanted: &Wanted) -> QueryResult<u64> {
    let mut total: i64 = 0;
    if wanted.model_ids.is_empty() {
        total = filtered(wanted).count().get_result(connection)?;
    } else {
        for part in wanted.model_ids.chunks(BIND_MAX) {
            let of_part = filtered(wanted).filter(models::id.eq_any(part));
            total += of_part.count().get_result::<i64>(connection)?;
        }
    }
    Ok(u64::try_from(total).unwrap_or_default())
}

type Filtered = models::BoxedQuery<'static, Sqlite>;

fn filtered(wanted: &Wanted) -> Filtered {
    let hashed = models::hash_sha256
        .is_not_null()
        .or(models::hash_autov2.is_not_null());
    let query = models::table.filter(hashed).into_boxed();
    match wanted.complete_too {
        true => query,
        false => query.filter(models::metadata_status.ne(MetadataStatus::Complete.as_str())),
    }
}

fn query(
    wanted: &Wanted,
    after: i64,
) -> diesel::dsl::Select<Filtered, diesel::dsl::AsSelect<Row, Sqlite>> {
    filtered(wanted)
        .filter(models::id.gt(after))
        .order(models::id)
        .select(Row::as_select())
}

/// What Civitai said of some models with one hash.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settled {
    /// Their ids.
    pub(crate) model_ids: Vec<i64>,
    /// What it said.
    pub(crate) outcome: Outcome,
}

/// What Civitai said of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It knows it.
    Found {
        /// What it says.
        findings: Vec<Finding>,
        /// How sure that is.
        matched_by: MatchedBy,
    },
    /// It does not know it, or shows no file of it.
    NotFound,
    /// No answer was had, and why.
    NoAnswer(String),
}

/// Writes answers and what they say; how many fields were written. Models that are gone by now are
/// left out.
pub(crate) fn settle(
    connection: &mut SqliteConnection,
    settled: &[Settled],
    answers: &[civitai_answers::NewAnswer],
    now: DateTime<Utc>,
) -> QueryResult<u64> {
    civitai_answers::put(connection, answers, now)?;
    let mut written = 0;
    for Settled { model_ids, outcome } in settled {
        for &id in model_ids {
            written += settle_one(connection, id, outcome, now)?;
        }
    }
    Ok(written)
}

fn settle_one(
    connection: &mut SqliteConnection,
    id: i64,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> QueryResult<u64> {
    let row = diesel::update(models::table.find(id));
    let counted = models::revision.eq(models::revision + 1);
    match outcome {
        Outcome::Found {
            findings,
            matched_by,
        } => {
            let there = row.set((
                models::metadata_status.eq(MetadataStatus::Complete.as_str()),
                models::civitai_checked.eq(FOUND),
                models::civitai_matched_by.eq(matched_by.as_str()),
                models::civitai_error.eq(None::<&str>),
                models::enriched_at.eq(clock::to_text(now)),
                counted,
            ));
            if there.execute(connection)? == 0 {
                return Ok(0);
            }
            let present = field_sources::present(connection, id)?;
            let written = findings::fill(&present, findings.clone());
            field_sources::apply(connection, id, &written)?;
            Ok(written.len() as u64)
        }
        Outcome::NotFound => {
            row.set((
                models::metadata_status.eq(unless_complete(MetadataStatus::Incomplete)),
                models::civitai_checked.eq(NOT_FOUND),
                models::civitai_error.eq(None::<&str>),
                models::enriched_at.eq(clock::to_text(now)),
                counted,
            ))
            .execute(connection)?;
            Ok(0)
        }
        Outcome::NoAnswer(words) => {
            row.set((
                models::metadata_status.eq(unless_complete(MetadataStatus::Error)),
                models::civitai_error.eq(words),
                counted,
            ))
            .execute(connection)?;
            Ok(0)
        }
    }
}

/// What is known of a model stays known when Civitai takes it away, or is away itself.
fn unless_complete(status: MetadataStatus) -> SqlLiteral<Text> {
    let (complete, status) = (MetadataStatus::Complete.as_str(), status.as_str());
    let kept = format!("iif(metadata_status = '{complete}', '{complete}', '{status}')");
    sql::<Text>(&kept)
}
