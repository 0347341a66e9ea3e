//! Owns how a failure looks on the wire: code, stable reason and details of
//! `google.rpc` (AIP-193). It does not know which failures a service has; each
//! service turns its own error enum into a [`Failure`].

mod adopt;
mod violations;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
pub use tonic_types::FieldViolation;
use tonic_types::{ErrorDetails, PreconditionViolation, QuotaViolation, StatusExt as _};

pub(crate) use adopt::{code_name, complete};
pub use violations::{VIOLATIONS_BYTES_MAX, Violations, ViolationsAt};

/// The `domain` of every `ErrorInfo` this project sends.
pub const ERROR_DOMAIN: &str = "stablequeue";
/// Reason of a request with invalid fields.
pub const INVALID_FIELDS: &str = "INVALID_FIELDS";
/// Reason of a failure whose cause stays in the log.
pub const INTERNAL: &str = "INTERNAL";
/// Metadata key under which an INTERNAL failure names its request.
pub const REQUEST_ID_KEY: &str = "request_id";
/// Longest message; statuses travel in headers, and clients accept few bytes there.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// A failure in the words of the wire. Turn it into a [`Status`] as the last step.
#[derive(Debug, Clone)]
pub struct Failure(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: Code,
    reason: Cow<'static, str>,
    message: String,
    metadata: BTreeMap<String, String>,
    fields: Vec<FieldViolation>,
    preconditions: Vec<PreconditionViolation>,
    quotas: Vec<QuotaViolation>,
    resource: Option<(String, String)>,
    retry: Option<Duration>,
}

impl Failure {
    /// A failure with a code, an UPPER_SNAKE reason and a message for people.
    /// Prefer the constructors below where one fits.
    pub fn new(
        code: Code,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts {
            code,
            reason: reason.into(),
            message: cut(message.into(), MESSAGE_BYTES_MAX),
            metadata: BTreeMap::new(),
            fields: Vec::new(),
            preconditions: Vec::new(),
            quotas: Vec::new(),
            resource: None,
            retry: None,
        }))
    }

    /// INVALID_ARGUMENT with all violations at once. Collect them with [`Violations`].
    pub fn invalid(violations: Vec<FieldViolation>) -> Self {
        let mut message = "the request is invalid".to_owned();
        if let Some(first) = violations.first() {
            message = format!("{}: {}", first.field, first.description);
        }
        if let more @ 1.. = violations.len().saturating_sub(1) {
            message.push_str(&format!(" (and {more} more)"));
        }
        let mut failure = Self::new(Code::InvalidArgument, INVALID_FIELDS, message);
        failure.0.fields = violations;
        failure
    }

    /// NOT_FOUND with reason `<TYPE>_NOT_FOUND`. The type is a word of the glossary.
    pub fn not_found(resource_type: &str, name: impl Into<String>) -> Self {
        let name = cut(name.into(), MESSAGE_BYTES_MAX / 2);
        Self::new(
            Code::NotFound,
            upper_snake(resource_type, "_NOT_FOUND"),
            format!("{resource_type} {name:?} does not exist"),
        )
        .with_resource(resource_type, name)
    }

    /// ALREADY_EXISTS with reason `<TYPE>_ALREADY_EXISTS`.
    pub fn already_exists(resource_type: &str, name: impl Into<String>) -> Self {
        let name = cut(name.into(), MESSAGE_BYTES_MAX / 2);
        Self::new(
            Code::AlreadyExists,
            upper_snake(resource_type, "_ALREADY_EXISTS"),
            format!("{resource_type} {name:?} already exists"),
        )
        .with_resource(resource_type, name)
    }

    /// FAILED_PRECONDITION: `subject` is in a state that does not allow the call.
    pub fn precondition(
        reason: &'static str,
        subject: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        let description = description.into();
        let mut failure = Self::new(Code::FailedPrecondition, reason, description.clone());
        failure
            .0
            .preconditions
            .push(PreconditionViolation::new(reason, subject, description));
        failure
    }

    /// ABORTED: somebody else changed the resource; read it again and retry.
    pub fn aborted(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::Aborted, reason, message)
    }

    /// OUT_OF_RANGE: a position that is not, or no longer, there.
    pub fn out_of_range(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::OutOfRange, reason, message)
    }

    /// RESOURCE_EXHAUSTED: `subject` ran into a limit; `retry` when waiting helps.
    pub fn exhausted(
        reason: &'static str,
        subject: impl Into<String>,
        description: impl Into<String>,
        retry: Option<Duration>,
    ) -> Self {
        let description = description.into();
        let mut failure = Self::new(Code::ResourceExhausted, reason, description.clone());
        failure
            .0
            .quotas
            .push(QuotaViolation::new(subject, description));
        failure.0.retry = retry;
        failure
    }

    /// UNAVAILABLE: busy, starting or stopping; the call can be repeated after `retry`.
    pub fn unavailable(reason: &'static str, message: impl Into<String>, retry: Duration) -> Self {
        Self::new(Code::Unavailable, reason, message).with_retry(retry)
    }

    /// PERMISSION_DENIED: the caller is known and may not do this.
    pub fn permission_denied(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, reason, message)
    }

    /// UNAUTHENTICATED: the caller is not known.
    pub fn unauthenticated(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, reason, message)
    }

    /// UNIMPLEMENTED: this server does not offer it.
    pub fn unimplemented(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, reason, message)
    }

    /// DATA_LOSS: what was stored cannot be read any more.
    pub fn data_loss(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::DataLoss, reason, message)
    }

    /// DEADLINE_EXCEEDED: the caller's own time limit passed.
    pub fn deadline() -> Self {
        Self::new(
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            "the deadline of the call has passed",
        )
    }

    /// INTERNAL without any cause: callers learn only the request id, which the
    /// server's layers add. Log the cause where it is known, or use
    /// [`Failure::internal_because`].
    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            INTERNAL,
            "an internal error; the server's log has more under the request id",
        )
    }

    /// INTERNAL, and the whole chain of causes goes to the log (once, in the
    /// span of the call, so that the request id is beside it).
    pub fn internal_because(cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = error_chain(cause), "a call failed inside");
        Self::internal()
    }

    /// Adds a fact for programs. Keys are lowerCamelCase or snake_case words.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let value = cut(value.into(), MESSAGE_BYTES_MAX);
        self.0.metadata.insert(key.into(), value);
        self
    }

    /// Says after how long a repetition makes sense.
    #[must_use]
    pub fn with_retry(mut self, delay: Duration) -> Self {
        self.0.retry = Some(delay);
        self
    }

    /// Names the resource that the failure is about.
    #[must_use]
    pub fn with_resource(mut self, resource_type: &str, name: impl Into<String>) -> Self {
        self.0.resource = Some((resource_type.to_owned(), name.into()));
        self
    }

    /// The code on the wire.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The stable reason.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The violations of an INVALID_ARGUMENT.
    pub fn fields(&self) -> &[FieldViolation] {
        &self.0.fields
    }

    /// Encodes the failure for the wire.
    pub fn into_status(self) -> Status {
        let parts = *self.0;
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> = parts.metadata.into_iter().collect();
        details.set_error_info(parts.reason, ERROR_DOMAIN, metadata);
        if !parts.fields.is_empty() {
            details.set_bad_request(parts.fields);
        }
        if !parts.preconditions.is_empty() {
            details.set_precondition_failure(parts.preconditions);
        }
        if !parts.quotas.is_empty() {
            details.set_quota_failure(parts.quotas);
        }
        if let Some((resource_type, name)) = parts.resource {
            details.set_resource_info(resource_type, name, "", "");
        }
        if let Some(delay) = parts.retry {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(parts.code, parts.message, details)
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.into_status()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.reason, self.0.message)
    }
}

impl Error for Failure {}

/// The stable reason of a status that some server of this project sent.
pub fn reason_of(status: &Status) -> Option<String> {
    status
        .get_details_error_info()
        .filter(|info| info.domain == ERROR_DOMAIN)
        .map(|info| info.reason)
}

/// After how long the sender of a status suggests a repetition.
pub fn retry_delay_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// An error and all its sources on one line, for logs.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let shown = source.to_string();
        // Some say what their source says, to put advice behind it.
        if !text.contains(&shown) {
            text = text + ": " + &shown;
        }
        next = source.source();
    }
    text
}

fn upper_snake(words: &str, ending: &str) -> String {
    words.to_ascii_uppercase().replace([' ', '-', '.'], "_") + ending
}

/// Cuts a text to at most `bytes`, at a character, and shows that it was cut.
fn cut(mut text: String, bytes: usize) -> String {
    const MARK: &str = "…";
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_carries_reason_and_domain() {
        let status = Failure::not_found("forge server", "left").into_status();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            reason_of(&status).as_deref(),
            Some("FORGE_SERVER_NOT_FOUND")
        );
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(
            (&*resource.resource_type, &*resource.resource_name),
            ("forge server", "left")
        );
    }

    #[test]
    fn a_wrong_state_says_what_and_why() {
        let status: Status =
            Failure::precondition("JOB_NOT_PENDING", "jobs/7", "the job is completed")
                .with_metadata("state", "completed")
                .into();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let violation = &status
            .get_details_precondition_failure()
            .unwrap()
            .violations[0];
        assert_eq!(violation.subject, "jobs/7");
        assert_eq!(
            status.get_details_error_info().unwrap().metadata["state"],
            "completed"
        );
    }

    #[test]
    fn a_limit_says_whose_and_when_to_retry() {
        let retry = Duration::from_millis(1500);
        let status =
            Failure::exhausted("TOO_MANY_STREAMS", "key:a", "at most 4", Some(retry)).into_status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.get_details_quota_failure().unwrap().violations[0].subject,
            "key:a"
        );
        assert_eq!(retry_delay_of(&status), Some(retry));
    }

    #[test]
    fn reasons_of_other_domains_are_not_ours() {
        let details = ErrorDetails::with_error_info("BUSY", "example.com", HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "", details);
        assert_eq!(reason_of(&status), None);
        assert_eq!(reason_of(&Status::unavailable("bare")), None);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let failure = Failure::aborted("X", "ä".repeat(MESSAGE_BYTES_MAX));
        assert!(failure.message().len() <= MESSAGE_BYTES_MAX);
        assert!(failure.message().ends_with('…'));
    }

    #[test]
    fn an_error_is_told_with_all_its_sources() {
        let inner = std::io::Error::other("disk on fire");
        let outer = crate::telemetry::init(crate::telemetry::LogFormat::Text, "=,=").unwrap_err();
        assert_eq!(error_chain(&inner), "disk on fire");
        assert!(
            error_chain(&outer).contains(": "),
            "{}",
            error_chain(&outer)
        );
    }
}
