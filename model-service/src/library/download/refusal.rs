//! Owns what it means when Civitai or its storage gives no file: whether to try again, and in which
//! words a download ends. Pure: it asks nobody and reads no clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use service_kit::status::Failure;

use crate::civitai::answer::{Answer, classify};
use crate::civitai::{FinalReason, RETRY_AFTER_MAX, Trouble};

#[cfg(test)]
mod tests;

/// When to try again after a key has downloaded too much; Civitai counts a rolling day.
const QUOTA_RETRY: Duration = Duration::from_secs(6 * 3_600);
/// When to try again after something that passes did not.
pub(super) const LATER: Duration = Duration::from_secs(600);
/// Who the failures are about.
const CIVITAI: &str = "civitai";
/// How pages and error messages begin, in lower case. One letter is not enough: files of models
/// begin with a number.
const PAGE_BEGINS: [&[u8]; 5] = [b"<!doctype", b"<html", b"<head", b"<?xml", b"{\"error\""];
/// Bytes that tell a page.
pub(super) const BEGIN_BYTES: usize = 64;

/// What is to be done when there is no file.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The download ends so.
    Final(Failure),
    /// It may be tried again.
    Again {
        /// How long Civitai wants to be left alone, if it said so.
        after: Option<Duration>,
        /// What went wrong.
        words: String,
    },
}

/// What an answer of Civitai's own address means that is neither a file nor leads to one.
pub(super) fn of_civitai(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Refusal {
    let said = Said::read(body);
    let refuse =
        |reason, text: String| Refusal::Final(Failure::precondition(reason, CIVITAI, text));
    match classify(status, headers, body, now) {
        Answer::Found(_) => page("JSON"),
        Answer::NotFound if is_storage_fault(headers) => Refusal::Again {
            after: None,
            words: "Civitai's storage has a fault and does not give the file".to_owned(),
        },
        Answer::NotFound | Answer::NoFile => {
            let text = "Civitai has no such file of this version any more, or does not show it; \
                        look at the version there";
            refuse("CIVITAI_FILE_NOT_FOUND", text.to_owned())
        }
        Answer::Trouble(Trouble::Final { reason, words }) => final_refusal(reason, &words, &said),
        Answer::Trouble(trouble) => of_trouble(&trouble),
    }
}

/// What trouble with a question means.
pub(super) fn of_trouble(trouble: &Trouble) -> Refusal {
    let words = trouble.to_string();
    match trouble {
        Trouble::Limited { after, .. } | Trouble::Later { after, .. }
            if after.is_some_and(|after| after > RETRY_AFTER_MAX) =>
        {
            let text = format!("Civitai wants to be left alone for a while ({words})");
            let reason = "CIVITAI_RATE_LIMITED";
            Refusal::Final(Failure::exhausted(reason, CIVITAI, text, *after))
        }
        Trouble::Limited { after, .. } | Trouble::Later { after, .. } => Refusal::Again {
            after: *after,
            words,
        },
        Trouble::Unreachable { .. } => Refusal::Again { after: None, words },
        Trouble::Final { reason, words } => final_refusal(*reason, words, &Said::default()),
        Trouble::OwnFault { .. } | Trouble::TooLarge { .. } => {
            Refusal::Final(Failure::precondition("CIVITAI_REFUSES", CIVITAI, words))
        }
    }
}

fn final_refusal(reason: FinalReason, words: &str, said: &Said) -> Refusal {
    let refuse =
        |reason, text: String| Refusal::Final(Failure::precondition(reason, CIVITAI, text));
    match reason {
        FinalReason::Unauthorized if said.message.contains("disabled downloads") => refuse(
            "CIVITAI_DOWNLOADS_DISABLED",
            "the creator has disabled downloads of this file; no key helps".to_owned(),
        ),
        FinalReason::Unauthorized => refuse(
            "CIVITAI_KEY_NEEDED",
            "Civitai wants a key for this file, or does not take the one it was given; put a valid \
             one into the file of --civitai-key-file"
                .to_owned(),
        ),
        FinalReason::Forbidden if said.error == "Early Access" => Refusal::Final(early(said)),
        FinalReason::Forbidden => refuse(
            "CIVITAI_FORBIDDEN",
            format!("{words}; the account of the key may not have this file"),
        ),
        FinalReason::Archived => refuse(
            "CIVITAI_ARCHIVED",
            "the model is archived at Civitai and its files are not given any more".to_owned(),
        ),
        FinalReason::Region => refuse(
            "CIVITAI_REGION",
            format!("{words}; it serves nobody where this machine is"),
        ),
        FinalReason::Quota => {
            let text = "the account of the key has downloaded too much from Civitai; it passes \
                        within hours, at most a day";
            let retry = Some(QUOTA_RETRY);
            Refusal::Final(Failure::exhausted("CIVITAI_QUOTA", CIVITAI, text, retry))
        }
        FinalReason::Other => refuse("CIVITAI_REFUSES", words.to_owned()),
    }
}

fn early(said: &Said) -> Failure {
    let reason = "CIVITAI_EARLY_ACCESS";
    if said.deadline.is_empty() {
        let text = "the file is in early access and must be bought at Civitai";
        return Failure::precondition(reason, CIVITAI, text);
    }
    let deadline = &said.deadline;
    let text = format!(
        "the file is in early access until {deadline}; try again then, or buy it at Civitai"
    );
    Failure::precondition(reason, CIVITAI, text).with_metadata("deadline", deadline)
}

/// What an answer of the storage means that is no file. Signatures expire, and a new one comes with
/// the next question to Civitai, so that nearly all of it is worth another try.
pub(super) fn of_storage(status: u16) -> Refusal {
    match status {
        300..=399 => Refusal::Final(Failure::precondition(
            "CIVITAI_REDIRECTS",
            CIVITAI,
            format!("the storage answered {status} and does not say where the file is"),
        )),
        _ => Refusal::Again {
            after: None,
            words: format!("the storage answered {status}"),
        },
    }
}

/// The end of a download to which no file but something else was given.
pub(super) fn page(what: &str) -> Refusal {
    let text = format!(
        "{what} came instead of the file, which is how Civitai asks for a login or a purchase, or \
         blocks a machine; look at --civitai-key-file, or try again later"
    );
    Refusal::Final(Failure::precondition("CIVITAI_PAGE", CIVITAI, text))
}

/// Whether an answer says of itself that it is no file.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    ["text/html", "application/json", "application/xhtml"]
        .iter()
        .any(|page| kind.starts_with(page))
}

/// Whether a file that begins so is a page or an error message.
pub(super) fn begins_as_page(bytes: &[u8]) -> bool {
    let bytes = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .trim_ascii_start();
    PAGE_BEGINS.iter().any(|begin| {
        let beginning = bytes.get(..begin.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(begin))
    })
}

/// How Civitai tells a fault of its storage, which passes, from a file that is not there.
fn is_storage_fault(headers: &HeaderMap) -> bool {
    let cached = headers
        .get(CACHE_CONTROL)
        .and_then(|value| value.to_str().ok());
    cached.is_some_and(|cached| cached.contains("private"))
}

/// What an error says of itself.
#[derive(Debug, Default)]
struct Said {
    error: String,
    message: String,
    deadline: String,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |field: &str| {
            let text = json.get(field).and_then(Value::as_str);
            text.unwrap_or_default().chars().take(200).collect()
        };
        Self {
            error: text("error"),
            message: text("message"),
            deadline: text("deadline"),
        }
    }
}
