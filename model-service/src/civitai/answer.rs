//! Owns what an answer of Civitai means: found, not known, to be asked again, or final. It asks
//! nobody and reads no clock.
//!
//! Status and content type are looked at before the body, because both lie at the edge of Civitai:
//! pages come with 200, 403, 429 and 503 alike.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Longest wait that Civitai may ask for; when it wants longer, the work ends and says so.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Letters of what Civitai said that are kept.
const WORDS_CHARS_MAX: usize = 200;
/// How it says that a page is too deep, which comes as a 429 and is no rate limit.
const TOO_DEEP: &str = "use cursors";
/// How it says that a key has downloaded too much, which takes hours to pass.
const QUOTA: &str = "unusual amount of downloading";
/// How it says that a version is there and its file is not.
const NO_FILE: &str = "Missing model file";

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// This.
    Found(T),
    /// Civitai does not know it, or does not show it now.
    NotFound,
    /// Civitai knows the version and has no usable file of it.
    NoFile,
    /// No answer was had.
    Trouble(Trouble),
}

/// Why no answer was had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Too many requests; nothing was wrong with this one.
    #[error("{words}")]
    Limited {
        /// When Civitai wants the next one, if it said so.
        after: Option<Duration>,
        /// What it said.
        words: String,
    },
    /// Something that passes.
    #[error("{words}")]
    Later {
        /// When Civitai wants the next one, if it said so.
        after: Option<Duration>,
        /// What it said.
        words: String,
    },
    /// No connection, a broken one, or none that answers in time.
    #[error("{words}")]
    Unreachable {
        /// What went wrong.
        words: String,
    },
    /// The request is wrong, or goes to the wrong place; repeating it is of no use.
    #[error("{words}")]
    OwnFault {
        /// What Civitai said.
        words: String,
    },
    /// Civitai refuses, and waiting does not help.
    #[error("{words}")]
    Final {
        /// Why.
        reason: FinalReason,
        /// What it said.
        words: String,
    },
    /// The answer is longer than it may be.
    #[error("Civitai's answer is longer than {limit} bytes")]
    TooLarge {
        /// What it may be.
        limit: usize,
    },
}

/// Why Civitai refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalReason {
    /// It serves nobody in this region.
    Region,
    /// It wants a key, or does not take this one.
    Unauthorized,
    /// This key may not.
    Forbidden,
    /// The model is archived.
    Archived,
    /// The key has downloaded too much; hours pass until it may again.
    Quota,
    /// Something else.
    Other,
}

impl Trouble {
    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Limited { .. } | Self::Later { .. } | Self::Unreachable { .. }
        )
    }

    /// When Civitai wants the next request, if it said so.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Limited { after, .. } | Self::Later { after, .. } => *after,
            _ => None,
        }
    }
}

/// What the head and the body of an answer mean; `Found` still holds any JSON. `now` is the time
/// that a `Retry-After` with a date counts from.
pub fn classify(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Answer<Value> {
    let said = match Said::read(headers, body) {
        Said::Json(value) if status == 200 => return Answer::Found(value),
        said => said,
    };
    let after = retry_after(headers, now);
    let words = || format!("Civitai answered {status}{}", said.words());
    let later = || {
        Answer::Trouble(Trouble::Later {
            after,
            words: words(),
        })
    };
    let own_fault = |hint: &str| {
        let words = format!("{}{hint}", words());
        Answer::Trouble(Trouble::OwnFault { words })
    };
    let refused = |reason| {
        let words = words();
        Answer::Trouble(Trouble::Final { reason, words })
    };
    match (status, &said) {
        // A page, or an answer that was cut.
        (200, _) => later(),
        (300..=399, _) => {
            let to = headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let to = bounded(to.unwrap_or("nowhere"));
            own_fault(&format!(
                "; it leads to {to:?}, which is not followed: see --civitai-url"
            ))
        }
        (401, Said::Json(_)) => refused(FinalReason::Unauthorized),
        (403, Said::Json(_)) => refused(FinalReason::Forbidden),
        // The challenge of the edge.
        (401 | 403, _) => later(),
        (404, Said::Json(_)) if said.contains(NO_FILE) => Answer::NoFile,
        (404, Said::Json(_)) => Answer::NotFound,
        (404, _) => own_fault("; nothing of Civitai's API is there: see --civitai-url"),
        (408, _) => later(),
        (410, _) => refused(FinalReason::Archived),
        (429, _) if said.contains(TOO_DEEP) => own_fault(""),
        (429, _) if said.contains(QUOTA) => refused(FinalReason::Quota),
        (429, _) => Answer::Trouble(Trouble::Limited {
            after,
            words: words(),
        }),
        (451, _) => refused(FinalReason::Region),
        (400 | 405 | 413, _) => own_fault(""),
        (500..=599, _) => later(),
        _ => refused(FinalReason::Other),
    }
}

/// What a body is.
enum Said {
    /// JSON by its content type and by its content.
    Json(Value),
    /// JSON by its content type only.
    Broken,
    Page,
    Text(String),
}

impl Said {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let begins = body.trim_ascii_start().first();
        if kind.contains("html") || begins == Some(&b'<') {
            return Self::Page;
        }
        if kind.contains("json") {
            return serde_json::from_slice(body).map_or(Self::Broken, Self::Json);
        }
        Self::Text(String::from_utf8_lossy(body).trim().to_owned())
    }

    /// What Civitai's own message is: `error` of its handlers, `message` of its framework.
    fn message(&self) -> &str {
        match self {
            Self::Json(Value::Object(object)) => ["error", "message"]
                .into_iter()
                .find_map(|field| object.get(field).and_then(Value::as_str))
                .unwrap_or_default(),
            Self::Text(text) => text,
            Self::Json(_) | Self::Broken | Self::Page => "",
        }
    }

    fn contains(&self, text: &str) -> bool {
        self.message().contains(text)
    }

    /// To follow the status.
    fn words(&self) -> String {
        match self {
            Self::Page => " with an HTML page".to_owned(),
            Self::Broken => " with JSON that is broken or cut".to_owned(),
            Self::Json(_) | Self::Text(_) => match bounded(self.message()) {
                message if message.is_empty() => String::new(),
                message => format!(": {message}"),
            },
        }
    }
}

/// The beginning of a text that can stand in a line.
pub(super) fn bounded(text: &str) -> String {
    let line = text.replace(char::is_control, " ");
    match line.char_indices().nth(WORDS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The wait that `Retry-After` asks for, in seconds or until a date; `None` when there is none.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    // One that has passed asks for no wait.
    Some((until.to_utc() - now).to_std().unwrap_or(Duration::ZERO))
}
