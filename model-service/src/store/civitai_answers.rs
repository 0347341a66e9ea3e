//! Owns the rows of `civitai_answers`: what Civitai answered, until it expires.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::upsert::excluded;
use service_kit::clock;

use super::BIND_MAX;
use super::tables::civitai_answers;

/// Expired answers that are forgotten in one command.
const FORGOTTEN_MAX: i64 = 1_000;

/// What is known of an answer without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Whether Civitai knew it.
    pub(crate) found: bool,
    /// When it was asked.
    pub(crate) asked_at: DateTime<Utc>,
}

/// An answer to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewAnswer {
    /// What was asked: `sha256:` with the digits of a SHA-256 or the beginning of one, in lower
    /// case, or `version:` with an id.
    pub(crate) question: String,
    /// The version as JSON; `None` when Civitai did not know it.
    pub(crate) json: Option<String>,
    /// Until when it is used again.
    pub(crate) expires_at: DateTime<Utc>,
}

/// The answers to these questions that have not expired.
pub(crate) fn kept(
    connection: &mut SqliteConnection,
    questions: &[String],
    now: DateTime<Utc>,
) -> QueryResult<HashMap<String, Kept>> {
    let mut found = HashMap::new();
    for part in questions.chunks(BIND_MAX) {
        let rows: Vec<(String, bool, String)> = civitai_answers::table
            .filter(civitai_answers::question.eq_any(part))
            .filter(civitai_answers::expires_at.gt(clock::to_text(now)))
            .select((
                civitai_answers::question,
                civitai_answers::found,
                civitai_answers::asked_at,
            ))
            .load(connection)?;
        found.extend(rows.into_iter().filter_map(|(question, found, asked_at)| {
            let asked_at = clock::from_text(&asked_at)?;
            Some((question, Kept { found, asked_at }))
        }));
    }
    Ok(found)
}

/// The texts of the answers to these questions, expired or not; without those that were not found.
pub(crate) fn texts(
    connection: &mut SqliteConnection,
    questions: &[String],
) -> QueryResult<HashMap<String, String>> {
    let mut found = HashMap::new();
    for part in questions.chunks(BIND_MAX) {
        let rows: Vec<(String, String)> = civitai_answers::table
            .filter(civitai_answers::question.eq_any(part))
            .filter(civitai_answers::answer_json.is_not_null())
            .select((
                civitai_answers::question,
                civitai_answers::answer_json.assume_not_null(),
            ))
            .load(connection)?;
        found.extend(rows);
    }
    Ok(found)
}

/// Keeps answers in the place of earlier ones.
pub(crate) fn put(
    connection: &mut SqliteConnection,
    answers: &[NewAnswer],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    for NewAnswer {
        question,
        json,
        expires_at,
    } in answers
    {
        diesel::insert_into(civitai_answers::table)
            .values((
                civitai_answers::question.eq(question),
                civitai_answers::found.eq(json.is_some()),
                civitai_answers::answer_json.eq(json),
                civitai_answers::asked_at.eq(clock::to_text(now)),
                civitai_answers::expires_at.eq(clock::to_text(*expires_at)),
            ))
            .on_conflict(civitai_answers::question)
            .do_update()
            .set((
                civitai_answers::found.eq(excluded(civitai_answers::found)),
                civitai_answers::answer_json.eq(excluded(civitai_answers::answer_json)),
                civitai_answers::asked_at.eq(excluded(civitai_answers::asked_at)),
                civitai_answers::expires_at.eq(excluded(civitai_answers::expires_at)),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// Forgets some of what has expired; whether there may be more.
pub(crate) fn forget_expired(
    connection: &mut SqliteConnection,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let expired: Vec<String> = civitai_answers::table
        .filter(civitai_answers::expires_at.le(clock::to_text(now)))
        .select(civitai_answers::question)
        .order(civitai_answers::expires_at)
        .limit(FORGOTTEN_MAX)
        .load(connection)?;
    for part in expired.chunks(BIND_MAX) {
        diesel::delete(civitai_answers::table.filter(civitai_answers::question.eq_any(part)))
            .execute(connection)?;
    }
    Ok(i64::try_from(expired.len()).unwrap_or(FORGOTTEN_MAX) >= FORGOTTEN_MAX)
}
