//! Owns the last touch on an outgoing status: those that the framework made
//! get a reason too, and INTERNAL ones say nothing but the request id.
//! It does not make failures of its own.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Failure, REQUEST_ID_KEY, reason_of};

/// How prost begins the text of a decoding error; tonic reports it as INTERNAL
/// although the request is at fault.
const DECODE_ERROR: &str = "failed to decode Protobuf message";

/// The status as it leaves the process. `OK` and complete ones stay as they are.
pub(crate) fn complete(status: Status, request_id: &str) -> Status {
    let mut completed = match (status.code(), reason_of(&status)) {
        (Code::Ok, _) => return status,
        (Code::Internal, Some(reason)) if reason == super::INTERNAL => Failure::internal(),
        (_, Some(_)) => return status,
        (_, None) if status.get_details_error_info().is_some() => return status,
        (_, None) => adopt(&status),
    };
    if completed.code() == Code::Internal {
        completed = completed.with_metadata(REQUEST_ID_KEY, request_id);
    }
    let mut completed = completed.into_status();
    *completed.metadata_mut() = status.metadata().clone();
    completed
}

/// Gives a status that carries no reason the one that fits its code.
fn adopt(status: &Status) -> Failure {
    let message = status.message();
    match status.code() {
        Code::Internal if message.starts_with(DECODE_ERROR) => {
            Failure::new(Code::InvalidArgument, "MALFORMED_MESSAGE", message)
        }
        Code::Internal | Code::Unknown => {
            tracing::error!(code = ?status.code(), error = message, "a call failed inside");
            Failure::internal()
        }
        // tonic's answer to a message over the limit; gRPC itself calls it RESOURCE_EXHAUSTED.
        Code::OutOfRange => Failure::exhausted("MESSAGE_TOO_LARGE", "message", message, None),
        Code::Unimplemented if message.is_empty() => Failure::unimplemented(
            "METHOD_UNKNOWN",
            "this server has no such method; reflection lists those it has",
        ),
        code => Failure::new(code, code_name(code), message),
    }
}

/// A code as gRPC writes it in text.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_failures_say_nothing_but_the_request_id() {
        for inner in [
            Status::internal("table jobs has no column secret"),
            Status::unknown("table jobs has no column secret"),
            Failure::internal().into_status(),
        ] {
            let status = complete(inner, "r-1");
            assert_eq!(status.code(), Code::Internal);
            assert!(!status.message().contains("secret"));
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, "INTERNAL");
            assert_eq!(info.metadata[REQUEST_ID_KEY], "r-1");
        }
    }

    #[test]
    fn statuses_of_the_framework_get_a_reason() {
        let cases = [
            (
                Status::unimplemented(""),
                Code::Unimplemented,
                "METHOD_UNKNOWN",
            ),
            (
                Status::out_of_range("too large"),
                Code::ResourceExhausted,
                "MESSAGE_TOO_LARGE",
            ),
            (
                Status::internal(format!("{DECODE_ERROR}: x")),
                Code::InvalidArgument,
                "MALFORMED_MESSAGE",
            ),
            (
                Status::not_found("service not registered"),
                Code::NotFound,
                "NOT_FOUND",
            ),
        ];
        for (inner, code, reason) in cases {
            let status = complete(inner, "r-1");
            assert_eq!(
                (status.code(), reason_of(&status).as_deref()),
                (code, Some(reason))
            );
        }
    }

    #[test]
    fn a_failure_with_a_reason_stays_as_it_is() {
        let mut inner = Failure::aborted("ETAG_MISMATCH", "changed").into_status();
        inner.metadata_mut().insert("x-extra", "1".parse().unwrap());
        let status = complete(inner.clone(), "r-1");
        assert_eq!(reason_of(&status).as_deref(), Some("ETAG_MISMATCH"));
        assert!(status.metadata().contains_key("x-extra"));
        assert_eq!(status.details(), inner.details());
    }
}
