//! What a server's refusal or a broken connection means for an attempt: the
//! failure table, as far as it can be read from status and body. What follows
//! from an outcome (retry, other server, failed) is decided by the dispatcher.
//!
//! Texts are those of Forge as recorded (`forge/forge-api.md` §1, exchanges
//! 03, 10 and 13). Whatever is not in the table is unknown and must be
//! reconciled, never retried blindly.

use serde_json::Value;

use crate::job::AttemptOutcome;

/// Bytes of a server's text that are kept.
pub const MESSAGE_BYTES_MAX: usize = 2048;

/// The code of a checkpoint that the server could not load.
pub const MODEL_UNREADABLE: &str = "FORGE_MODEL_UNREADABLE";
/// The code of a server that an earlier failed load left unable to work.
pub const POISONED: &str = "FORGE_POISONED";
/// The code of a server whose memory did not do.
pub const OUT_OF_MEMORY: &str = "FORGE_OUT_OF_MEMORY";
/// The code of a picture of another checkpoint than the one asked for.
pub const WRONG_MODEL: &str = "WRONG_MODEL";
/// The code of a picture without a LoRA that was asked for.
pub const LORA_NOT_APPLIED: &str = "LORA_NOT_APPLIED";
/// The code of a server that does not find a checkpoint beside the first.
pub const CHECKPOINT_MISSING: &str = "FORGE_CHECKPOINT_MISSING";
/// The code of a server to which no connection came about.
pub const UNREACHABLE: &str = "FORGE_UNREACHABLE";
/// The code of a failure of the server that says nothing more.
pub const OTHER_ERROR: &str = "FORGE_ERROR";

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of end.
    pub outcome: AttemptOutcome,
    /// A stable code in UPPER_SNAKE.
    pub code: &'static str,
    /// The server's HTTP status; 0 without an answer.
    pub http_status: u16,
    /// What happened, with Forge's own text where there is one; at most
    /// [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// The model that it is about, by its title on the server, where that is
    /// not the checkpoint.
    pub model: Option<String>,
}

impl Failure {
    /// A failure that has no HTTP status.
    #[must_use]
    pub fn new(outcome: AttemptOutcome, code: &'static str, message: &str) -> Self {
        Self {
            outcome,
            code,
            http_status: 0,
            message: bounded(message),
            model: None,
        }
    }

    /// Whether the attempt counts against its job's limit. One that found the
    /// server unable to work from an earlier failed load says nothing of its
    /// job.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.outcome.is_spent() && self.code != POISONED
    }
}

/// What can be said of an attempt that brought no pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is over, in this way.
    Failed(Failure),
    /// It may still run: reconcile.
    Unknown {
        /// The server's HTTP status; 0 without an answer.
        http_status: u16,
        /// What happened.
        message: String,
    },
}

/// How far a request got that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// Nothing can have been sent: connection refused, name not found, TLS.
    NotSent,
    /// Something was sent.
    Lost,
}

/// The attempt is over because the connection never came about, or its fate
/// is unknown.
#[must_use]
pub fn classify_transport(fault: TransportFault, message: &str) -> Verdict {
    match fault {
        TransportFault::NotSent => {
            Verdict::Failed(Failure::new(AttemptOutcome::Refused, UNREACHABLE, message))
        }
        TransportFault::Lost => Verdict::Unknown {
            http_status: 0,
            message: bounded(message),
        },
    }
}

/// What an answer with another status than 200 means.
#[must_use]
pub fn classify_status(status: u16, body: &[u8]) -> Verdict {
    let error = ForgeError::parse(body);
    let rule = match (status, &error) {
        (401 | 403, _) => Some((AttemptOutcome::Refused, "FORGE_UNAUTHENTICATED")),
        (404, Some(error)) if error.text == "Init image not found" => PERMANENT,
        (404, _) => Some((AttemptOutcome::Refused, "FORGE_API_MISSING")),
        (422, Some(error)) if error.is_unknown_script() => lacks("FORGE_SCRIPT_MISSING"),
        (422, Some(_)) => PERMANENT,
        (500, Some(error)) => Some(classify_500(error)),
        _ => None,
    };
    let message = match &error {
        Some(error) => error.to_string(),
        None => message_of(body),
    };
    match rule {
        Some((outcome, code)) => Verdict::Failed(Failure {
            outcome,
            code,
            http_status: status,
            model: (code == CHECKPOINT_MISSING)
                .then(|| missing_checkpoint(&message))
                .flatten(),
            message: bounded(&message),
        }),
        None => Verdict::Unknown {
            http_status: status,
            message: bounded(&format!("the server answered {status}: {message}")),
        },
    }
}

type Rule = (AttemptOutcome, &'static str);

/// The job can never work.
const PERMANENT: Option<Rule> = Some((AttemptOutcome::PermanentError, "FORGE_VALIDATION"));

const fn lacks(code: &'static str) -> Option<Rule> {
    Some((AttemptOutcome::ServerLacksFeature, code))
}

/// What Forge's own 500 means; the handler has raised, so nothing runs on.
fn classify_500(error: &ForgeError) -> Rule {
    let text = error.text.to_ascii_lowercase();
    let retry = |code| (AttemptOutcome::RetryableError, code);
    let missing = |code| (AttemptOutcome::ServerLacksFeature, code);
    if text.starts_with("could not find checkpoint") {
        return missing(CHECKPOINT_MISSING);
    }
    if text.starts_with("could not find ") {
        return missing("FORGE_FEATURE_MISSING");
    }
    if text.starts_with("bad sampler name") {
        return missing("FORGE_SAMPLER_MISSING");
    }
    if text == "invalid encoded image" {
        return (AttemptOutcome::PermanentError, "FORGE_BAD_IMAGE");
    }
    if error.is_out_of_memory(&text) {
        return retry(OUT_OF_MEMORY);
    }
    if text.starts_with("failed to recognize model type") {
        return retry(MODEL_UNREADABLE);
    }
    if text.contains("'nonetype'") && text.contains("sd_checkpoint_info") {
        return retry(POISONED);
    }
    match error.class.as_str() {
        "KeyError" if is_quoted_name(&error.text) => missing("FORGE_OPTION_MISSING"),
        "AssertionError" | "ZeroDivisionError" | "IndexError" => {
            (AttemptOutcome::PermanentError, "FORGE_REJECTED")
        }
        _ => retry(OTHER_ERROR),
    }
}

/// The name in `Could not find checkpoint with name …`.
fn missing_checkpoint(message: &str) -> Option<String> {
    let (_, name) = message.split_once("checkpoint with name ")?;
    let name = name.trim();
    (!name.is_empty()).then(|| bounded(name))
}

/// Whether a KeyError's text is one name in quotes, as that of an option.
fn is_quoted_name(text: &str) -> bool {
    text.strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

/// An error body in one of Forge's three shapes.
struct ForgeError {
    /// The exception's class; empty for an HTTPException.
    class: String,
    /// The exception's text.
    text: String,
}

impl ForgeError {
    fn parse(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text_at = |key: &str| body.get(key).and_then(Value::as_str);
        if let Some(class) = text_at("error") {
            return Some(Self {
                class: class.to_owned(),
                text: text_at("message").unwrap_or_default().to_owned(),
            });
        }
        let text = match body.get("detail")? {
            Value::String(text) => text.clone(),
            Value::Array(items) => validation_text(items),
            _ => return None,
        };
        Some(Self {
            class: String::new(),
            text,
        })
    }

    fn is_unknown_script(&self) -> bool {
        self.text.starts_with("Script '") && self.text.ends_with("' not found")
    }

    fn is_out_of_memory(&self, lower: &str) -> bool {
        self.class == "OutOfMemoryError"
            || lower.contains("out of memory")
            || lower.contains("can't allocate memory")
            || lower.contains("not enough memory")
    }
}

impl std::fmt::Display for ForgeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.class.is_empty(), self.text.is_empty()) {
            (true, _) => f.write_str(&self.text),
            (false, true) => f.write_str(&self.class),
            (false, false) => write!(f, "{}: {}", self.class, self.text),
        }
    }
}

/// The request-validation shape in one line: `steps: Input should be …`.
fn validation_text(items: &[Value]) -> String {
    let line = |item: &Value| {
        let path: Vec<String> = item
            .get("loc")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|part| part.as_str() != Some("body"))
            .map(|part| {
                part.as_str()
                    .map_or_else(|| part.to_string(), str::to_owned)
            })
            .collect();
        let message = item.get("msg").and_then(Value::as_str).unwrap_or("invalid");
        match path.is_empty() {
            true => message.to_owned(),
            false => format!("{}: {message}", path.join(".")),
        }
    };
    items.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// The text of an error body, whatever shape it has.
#[must_use]
pub fn message_of(body: &[u8]) -> String {
    match ForgeError::parse(body) {
        Some(error) => bounded(&error.to_string()),
        None => bounded(&String::from_utf8_lossy(body)),
    }
}

/// A text without control characters, at most [`MESSAGE_BYTES_MAX`] bytes.
#[must_use]
pub fn bounded(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.trim().chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if kept.len() + letter.len_utf8() > MESSAGE_BYTES_MAX {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
#[path = "outcome/tests.rs"]
mod tests;
