//! Owns how an answer of Civitai is kept to be used again: under which name, how much of it, and
//! until when. Who asks, and what is done with it, is its users' business.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::civitai::{Civitai, Version};
use crate::store::civitai_answers::NewAnswer;

/// Longest answer that is kept, in bytes of JSON; a longer one is kept without its pictures.
const KEPT_BYTES_MAX: usize = 512 * 1024;

/// The name under which the answer about a SHA-256, or the beginning of one, is kept.
pub(super) fn question(digits: &str) -> String {
    format!("sha256:{digits}")
}

/// A version to be used again; `None` for one that is too long even without its pictures.
pub(super) fn found(
    civitai: &Civitai,
    question: String,
    version: &Version,
    now: DateTime<Utc>,
) -> Option<NewAnswer> {
    let mut text = version.json().to_string();
    if text.len() > KEPT_BYTES_MAX {
        let mut json = version.json().clone();
        json.as_object_mut()?.shift_remove("images");
        text = json.to_string();
    }
    (text.len() <= KEPT_BYTES_MAX).then(|| NewAnswer {
        question,
        json: Some(text),
        expires_at: expires(civitai.config().kept, now),
    })
}

/// That Civitai does not know it.
pub(super) fn not_found(civitai: &Civitai, question: String, now: DateTime<Utc>) -> NewAnswer {
    NewAnswer {
        question,
        json: None,
        expires_at: expires(civitai.config().not_found_kept, now),
    }
}

fn expires(kept: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
    let kept = TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX);
    let expires = now.checked_add_signed(kept);
    expires.unwrap_or(DateTime::<Utc>::MAX_UTC)
}
